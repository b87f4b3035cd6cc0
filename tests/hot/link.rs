//! The connection to Redis: a call never waits longer than two seconds, and works again by itself.

use std::time::{Duration, Instant};

use nself_realtime::hot::Hot;
use nself_realtime::hot::presence::{self, Connect, Facts};

use crate::stage::{Stage, lease};
use crate::support::eventually;
use crate::support::redis::Redis;

/// Two seconds are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_millis(2_500);
/// Far below the patience of a call that waits.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Whether a call succeeded, and how long it took.
async fn call(hot: &Hot) -> (bool, Duration) {
    let started = Instant::now();
    let succeeded = hot.check().await.is_ok();
    (succeeded, started.elapsed())
}

async fn works_again(hot: &Hot) {
    eventually("a call succeeds", async || call(hot).await.0).await;
    assert!(hot.is_up());
}

#[tokio::test]
async fn a_redis_that_was_killed_fails_calls_in_time_until_it_is_back() {
    let redis = Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    stage.hot.check().await.unwrap();
    redis.kill();
    for attempt in 0..5 {
        let (succeeded, took) = call(&stage.hot).await;
        assert!(!succeeded, "Redis is dead");
        assert!(took < PROMISED, "call {attempt} took {took:?}");
    }
    let (_, took) = call(&stage.hot).await;
    assert!(took < AT_ONCE, "what is known need not be waited for: {took:?}");
    assert!(!stage.hot.is_up());
    redis.restart().await;
    works_again(&stage.hot).await;
    // An emptied Redis has no scripts either.
    let alice = lease("alice", 1);
    let connected = presence::connect(&stage.hot, &alice, &Facts::default(), None)
        .await
        .unwrap();
    assert!(matches!(connected, Connect::Connected { .. }));
}

#[tokio::test]
async fn a_silent_redis_fails_the_first_call_in_time_and_the_others_at_once() {
    let redis = Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    stage.hot.check().await.unwrap();
    redis.pause();
    let first: Vec<_> = futures_util::future::join_all((0..20).map(|_| call(&stage.hot))).await;
    for (succeeded, took) in first {
        assert!(!succeeded && took < PROMISED, "{took:?}");
    }
    for _ in 0..20 {
        let (succeeded, took) = call(&stage.hot).await;
        assert!(!succeeded && took < AT_ONCE, "{took:?}");
    }
    assert!(!stage.hot.is_up());
    redis.resume();
    works_again(&stage.hot).await;
}

#[tokio::test]
async fn a_call_that_timed_out_has_an_unknown_outcome_and_may_be_repeated() {
    let redis = Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    let alice = lease("alice", 1);
    stage.hot.check().await.unwrap();
    redis.pause();
    presence::connect(&stage.hot, &alice, &Facts::default(), None)
        .await
        .unwrap_err();
    redis.resume();
    works_again(&stage.hot).await;
    // Redis ran it after all, when it woke up.
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 1);
    let before = stage
        .ask::<String>("HGET", (stage.keys().user(&alice.user), "version"))
        .await;
    assert_eq!(stage.connect(&alice).await.version.to_string(), before);
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 1);
}

#[tokio::test]
async fn connections_that_redis_closes_are_made_anew() {
    let redis = Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    stage.hot.check().await.unwrap();
    for _ in 0..3 {
        let killed: u64 = stage.ask("CLIENT", ("KILL", "TYPE", "normal", "SKIPME", "yes")).await;
        assert!(killed >= 1);
        works_again(&stage.hot).await;
    }
}

#[tokio::test]
async fn a_redis_that_comes_late_is_waited_for() {
    let redis = Redis::stopped();
    let late = Redis::start().await; // to have somewhere for the test's own connection
    let stage = Stage::on(&late, |_| {}).await;
    let hot = Hot::open(nself_realtime::hot::Settings {
        url: redis.url(),
        prefix: stage.prefix.clone(),
        terms: crate::stage::terms(),
        metrics: nself_realtime::hot::Metrics::new(&prometheus::Registry::new()).unwrap(),
    })
    .unwrap();
    assert!(!hot.is_up());
    let (succeeded, took) = call(&hot).await;
    assert!(!succeeded && took < PROMISED, "{took:?}");
    redis.restart().await;
    works_again(&hot).await;
}

#[tokio::test]
async fn an_error_names_the_script_and_keeps_the_connection() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let () = stage.ask("SET", (stage.keys().user(&alice.user), "no hash")).await;
    let error = presence::connect(&stage.hot, &alice, &Facts::default(), None)
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("presence/connect: "), "{error}");
    assert!(stage.hot.is_up(), "one user's broken record is nobody else's");
    let () = stage.ask("DEL", stage.keys().user(&alice.user)).await;
    stage.connect(&alice).await;
}
