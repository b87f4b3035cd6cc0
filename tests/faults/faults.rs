//! The faults, one after the other, on each form of Redis. They can follow each other in any order, as often as one likes.

use std::time::Instant;

use tokio::sync::Mutex;

use crate::crowd::Crowd;
use crate::node_faults::Ghosts;
use crate::support::redis::Redis;
use crate::support::redis_any::AnyRedis;
use crate::support::redis_fleet::{RedisCluster, RedisSentinel};

/// One crowd at a time: three of them on two cores starve each other's heartbeats.
static TURN: Mutex<()> = Mutex::const_new(());

/// How many rounds of everything `make soak` wants.
fn soak_rounds() -> Option<u32> {
    let rounds = std::env::var("SOAK_ROUNDS").ok()?;
    Some(rounds.parse().expect("SOAK_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_haunts_nobody_is_lost_and_everybody_is_told_once() {
    let _turn = TURN.lock().await;
    let mut crowd = Crowd::gather(AnyRedis::One(Redis::start().await)).await;
    let mut ghosts = Ghosts::default();
    let Some(rounds) = soak_rounds() else {
        crowd.kill_a_node(0, &mut ghosts).await;
        crowd.pause_a_node_shortly(1).await;
        crowd.forget_scripts().await;
        crowd.cut_commands().await;
        crowd.cut_the_bus().await;
        crowd.empty_redis().await;
        ghosts.print("one kill");
        return;
    };
    for round in 0..rounds {
        let (started, node) = (Instant::now(), round as usize % 3);
        crowd.kill_a_node(node, &mut ghosts).await;
        crowd.pause_a_node_shortly((node + 1) % 3).await;
        crowd.pause_a_node_for_long((node + 2) % 3, &mut ghosts).await;
        crowd.terminate_a_node((node + 1) % 3).await;
        crowd.forget_scripts().await;
        crowd.cut_commands().await;
        crowd.cut_the_bus().await;
        crowd.slow_redis(3).await;
        crowd.slow_redis(7).await;
        crowd.empty_redis().await;
        println!(
            "round {} of {rounds} took {:.0} s",
            round + 1,
            started.elapsed().as_secs_f64()
        );
    }
    ghosts.print("kills and long pauses");
}

/// Faults of Redis that has replicas, and of the nodes over it.
async fn fail_over_again_and_again(redis: AnyRedis) {
    let mut crowd = Crowd::gather(redis).await;
    let rounds = soak_rounds().unwrap_or(1) as usize;
    for round in 0..rounds {
        let started = Instant::now();
        crowd.fail_over(round).await;
        crowd.fail_over_with_loss(round + 1).await;
        crowd.kill_a_node(round % 3, &mut Ghosts::default()).await;
        println!(
            "round {} of {rounds} took {:.0} s",
            round + 1,
            started.elapsed().as_secs_f64()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_sentinels_loses_nobody_and_says_what_it_lost() {
    let _turn = TURN.lock().await;
    fail_over_again_and_again(AnyRedis::Sentinel(RedisSentinel::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_a_cluster_loses_nobody_and_says_what_it_lost() {
    let _turn = TURN.lock().await;
    fail_over_again_and_again(AnyRedis::Cluster(RedisCluster::with_replicas(1).await)).await;
}
