//! Writes, every two seconds, how this node's connections are to Postgres. Not here: what is told of them (`gateway`).

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};

use crate::archive::Archive;
use crate::archive::snapshot::Snapshot;

const EVERY: Duration = Duration::from_secs(2);
/// Each connection comes once in so many snapshots.
pub const SLOTS: u64 = 15;

/// Writes until it is dropped. `look` gathers the connections of a slot. While Postgres is away nothing is kept: the next
/// snapshot tells the same, and newer.
pub async fn run(archive: Archive, look: impl Fn(u64) -> BoxFuture<'static, Snapshot>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_away = false;
    for slot in 0.. {
        ticks.tick().await;
        let written = archive.write_snapshot(&look(slot).await).await;
        if let Err(error) = &written
            && !is_away
        {
            tracing::warn!(%error, "snapshots are not written until Postgres takes them again");
        }
        is_away = written.is_err();
    }
}
