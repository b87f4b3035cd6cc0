//! The delivery proof: three gateways, one Redis, thirty stock clients that speak and listen while transports are cut, nodes
//! killed and stopped, scripts forgotten and the bus's connections ended. In the end all have heard the same, without a
//! hole or a repeat, and exactly what was acked. A short run each here; `PROVE_MESSAGES` (`make prove`) makes it long.

#[path = "../support/mod.rs"]
mod support;

mod avalanche;
mod company;
mod verdict;

use std::time::Duration;

use company::{Company, Mode};
use support::redis_fleet::RedisSentinel;
use verdict::Verdict;

const SHORT: usize = 1_500;

fn messages() -> usize {
    std::env::var("PROVE_MESSAGES").map_or(SHORT, |count| count.parse().expect("PROVE_MESSAGES is a number"))
}

async fn everything_arrives(mode: Mode) -> Verdict {
    let mut company = Company::gather(mode).await;
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_loses_nothing() {
    let mut company = Company::gather(Mode::Module).await;
    company.speak(messages() / 2);
    company.jitter(Duration::from_secs(2)).await;
    company.verdict().await.assert_whole();
}

/// What the dead master had not passed on is lost to Redis, and then it is said: nothing is missed in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_in_silence() {
    let sentinel = RedisSentinel::start().await;
    let mut company = Company::under(Mode::Module, &sentinel.url()).await;
    company.speak(messages());
    company.fail_over(&sentinel).await;
    company.verdict().await.assert_nothing_silent();
}
