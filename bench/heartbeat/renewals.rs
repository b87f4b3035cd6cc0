//! One round of renewals of one node: how many calls, and how much of Redis.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use nself_realtime::hot::keys::{Lease, PARTITIONS, Partition};
use nself_realtime::hot::presence::{self, Facts, Held};
use nself_realtime::types::{ConnectionId, NodeId};

use crate::stats::Stats;
use crate::support::redis::Redis;
use crate::{open, user};

const LEASE: Duration = Duration::from_secs(600);
const ROUNDS: u32 = 5;

pub async fn run(redis: &Redis, count: usize) {
    let (hot, stats) = (open(&redis.url(), LEASE), Stats::of(redis).await);
    let node = NodeId::parse("n1").expect("a valid id");
    let mut by_partition: Vec<Vec<Lease>> = vec![Vec::new(); PARTITIONS];
    for number in 0..count {
        let lease = Lease {
            connection: ConnectionId::parse(&format!("{number:020}.0")).expect("a valid id"),
            node: node.clone(),
            user: user(number),
        };
        by_partition[Partition::of_user(&lease.user).index()].push(lease);
    }
    let registered = stream::iter(by_partition.iter().flatten()).for_each_concurrent(256, |lease| {
        let hot = hot.clone();
        async move {
            let facts = Facts::default();
            presence::connect(&hot, lease, &facts, None)
                .await
                .expect("redis answers");
        }
    });
    registered.await;

    let (cpu_before, (calls_before, _)) = (stats.cpu_ms().await, stats.command("evalsha").await);
    let (mut longest, started) = (Duration::ZERO, Instant::now());
    for _ in 0..ROUNDS {
        for partition in Partition::all() {
            // Everybody has just been active: the dearest round there is.
            let held = by_partition[partition.index()].iter().map(|lease| Held {
                lease: lease.clone(),
                idle: Some(Duration::ZERO),
            });
            let held: Vec<Held> = held.collect();
            let asked = Instant::now();
            let missing = presence::renew(&hot, partition, &held).await;
            assert!(missing.expect("redis answers").is_empty(), "every lease is there");
            longest = longest.max(asked.elapsed());
        }
    }
    let (took, (calls, _)) = (started.elapsed() / ROUNDS, stats.command("evalsha").await);
    let cpu_ms = (stats.cpu_ms().await - cpu_before) / f64::from(ROUNDS);
    let calls = (calls - calls_before) / u64::from(ROUNDS);
    assert!(calls <= PARTITIONS as u64, "a round took {calls} calls");
    println!(
        "renewals: {count} leases: {calls} calls a round, {cpu_ms:.0} ms of Redis's CPU ({:.2} µs a lease), \
         {:.0} ms in all one after the other, the longest call {:.1} ms",
        cpu_ms * 1_000.0 / count as f64,
        took.as_secs_f64() * 1_000.0,
        longest.as_secs_f64() * 1_000.0,
    );
}
