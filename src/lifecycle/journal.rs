//! Writes down, once a second, what the node has noted for the audit trail. Not here: what that is (`domain`).

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::domain::journal::{self, Noted};
use crate::hot::Hot;
use crate::types::NodeId;

const EVERY: Duration = Duration::from_secs(1);
/// Entries of one go; no more wait.
const BATCH: usize = 4_096;

/// Writes until the journal is closed, and then what is left. What cannot be written is lost, since Redis is away, and with it
/// what the entries tell of; `lost` hears how many.
pub async fn run(hot: Hot, node: NodeId, mut noted: Noted, lost: impl Fn(u64)) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            biased;
            () = noted.closing() => true,
            _ = ticks.tick() => false,
        };
        match noted.take(BATCH) {
            Some(entries) => {
                let count = journal::write(&hot, &node, entries).await;
                if count > 0 {
                    tracing::warn!(entries = count, "entries of the audit trail are lost");
                    lost(count);
                }
            }
            None if is_over => return,
            None => {}
        }
    }
}
