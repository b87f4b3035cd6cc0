//! The delivery proof: three gateways, one Redis, thirty stock clients that speak and listen while transports are cut, nodes
//! killed and stopped, scripts forgotten and the bus's connections ended. In the end all have heard the same, without a
//! hole or a repeat, and exactly what was acked. A short run each here; `PROVE_MESSAGES` (`make prove`) makes it long.

#[path = "../support/mod.rs"]
mod support;

mod avalanche;
mod balancer;
mod company;
mod rolling;
mod verdict;

use std::time::Duration;

use company::{Company, Mode};
use support::redis::Redis;
use support::redis_any::AnyRedis;
use support::redis_fleet::RedisSentinel;
use verdict::Verdict;

const SHORT: usize = 1_500;

fn messages() -> usize {
    std::env::var("PROVE_MESSAGES").map_or(SHORT, |count| count.parse().expect("PROVE_MESSAGES is a number"))
}

fn is_proof() -> bool {
    std::env::var_os("PROVE_MESSAGES").is_some()
}

async fn everything_arrives(mode: Mode) -> Verdict {
    let mut company = Company::gather(mode, AnyRedis::One(Redis::start().await)).await;
    company.speak(messages());
    company.disturb().await;
    let verdict = company.verdict().await;
    verdict.assert_whole();
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_that_rejoins_by_hand_misses_nothing() {
    everything_arrives(Mode::Rejoin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_that_asked_for_recovery_misses_nothing() {
    everything_arrives(Mode::Recovery).await.assert_recovered();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_module_misses_nothing() {
    everything_arrives(Mode::Module).await;
}

/// Every client loses its transport for two seconds, again and again, under constant sending.
async fn jitter(mode: Mode) -> Verdict {
    let mut company = Company::gather(mode, AnyRedis::One(Redis::start().await)).await;
    company.speak(messages() / 2);
    company.jitter(Duration::from_secs(2)).await;
    let verdict = company.verdict().await;
    verdict.assert_whole();
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_loses_nothing_for_a_plain_client_that_rejoins_by_hand() {
    jitter(Mode::Rejoin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_loses_nothing_for_a_plain_client_that_asked_for_recovery() {
    jitter(Mode::Recovery).await.assert_recovered();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_loses_nothing_for_the_client_module() {
    jitter(Mode::Module).await;
}

/// What the dead master had not passed on is lost to Redis, and then it is said: nothing is missed in silence.
async fn failover(mode: Mode, loses: bool) -> Verdict {
    let redis = AnyRedis::Sentinel(RedisSentinel::start().await);
    let mut company = Company::gather(mode, redis).await;
    company.speak(if loses { SHORT } else { messages() });
    company.fail_over(loses).await;
    company.verdict().await
}

/// One that loses nothing, and, where a proof is asked for, one that loses the last second.
async fn failovers(mode: Mode) {
    failover(mode, false).await.assert_nothing_silent();
    if is_proof() {
        failover(mode, true).await.assert_announced();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_in_silence_for_a_plain_client_that_rejoins_by_hand() {
    failovers(Mode::Rejoin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_in_silence_for_a_plain_client_that_asked_for_recovery() {
    failovers(Mode::Recovery).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_in_silence_for_the_client_module() {
    failovers(Mode::Module).await;
}
