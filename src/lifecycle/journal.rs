//! Writes down, once a second, what the node has noted for the audit trail. Not here: what that is (`domain`).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::journal::{self, Entry};
use crate::hot::Hot;
use crate::types::NodeId;

const EVERY: Duration = Duration::from_secs(1);
/// Entries of one go; the channel holds no more.
const BATCH: usize = 4_096;

/// Writes until it is dropped. What cannot be written is lost: Redis is away, and with it what the entries tell of.
pub async fn run(hot: Hot, node: NodeId, mut entries: mpsc::Receiver<Entry>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut noted = Vec::new();
        if entries.recv_many(&mut noted, BATCH).await == 0 {
            return;
        }
        let count = noted.len();
        if let Err(error) = journal::write(&hot, &node, noted).await {
            tracing::warn!(error = %error, entries = count, "entries of the audit trail are lost");
        }
    }
}
