//! Extends the leases of this node's connections: one call per partition and interval, spread over the interval and
//! jittered by ±20 %, so that neither nodes nor partitions beat in step. Not here: who holds the leases.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Metrics;
use crate::domain::presence::{self, Held};
use crate::hot::Hot;
use crate::hot::keys::{Lease, PARTITIONS, Partition};

/// A renewal that failed is tried again after this long, or after half an interval where that is shorter.
const RETRY: Duration = Duration::from_millis(500);

/// The shards, as the heartbeat sees them.
pub struct Holders {
    /// The leases that this node holds in a partition.
    pub leases: Box<dyn Fn(Partition) -> BoxFuture<'static, Vec<Held>> + Send + Sync>,
    /// Takes leases that Redis does not have: their connections are to be registered anew.
    pub missing: Box<dyn Fn(Vec<Lease>) + Send + Sync>,
}

/// Beats until it is dropped. `revived`: the node's own lease was gone, so its connections' may be too, and all are
/// looked after at once.
pub async fn run(hot: Hot, every: Duration, holders: Holders, revived: Arc<Notify>, metrics: Metrics) {
    let start = Instant::now();
    let mut due: BinaryHeap<Reverse<(Instant, Partition)>> = Partition::all()
        .map(|partition| {
            Reverse((
                start + every.mul_f64(partition.index() as f64 / PARTITIONS as f64),
                partition,
            ))
        })
        .collect();
    while let Some(Reverse((at, partition))) = due.pop() {
        tokio::select! {
            () = sleep_until(at) => {}
            () = revived.notified() => {
                let now = Instant::now();
                due = due.drain().map(|Reverse((_, partition))| Reverse((now, partition))).collect();
            }
        }
        let renewed = renew(&hot, partition, &holders, &metrics).await;
        let next = if renewed { jittered(every) } else { RETRY.min(every / 2) };
        due.push(Reverse((Instant::now() + next, partition)));
    }
}

async fn renew(hot: &Hot, partition: Partition, holders: &Holders, metrics: &Metrics) -> bool {
    let leases = (holders.leases)(partition).await;
    if leases.is_empty() {
        return true;
    }
    metrics.renewed.observe(leases.len() as f64);
    let started = Instant::now();
    let renewed = presence::renew(hot, partition, &leases).await;
    metrics.beats.observe(started.elapsed().as_secs_f64());
    match renewed {
        Ok(missing) => {
            if !missing.is_empty() {
                metrics.missing.inc_by(missing.len() as u64);
                (holders.missing)(missing);
            }
            true
        }
        Err(error) => {
            tracing::debug!(error = %error, partition = partition.index(), "leases not extended; trying again");
            false
        }
    }
}

fn jittered(every: Duration) -> Duration {
    every.mul_f64(rand::rng().random_range(0.8..=1.2))
}
