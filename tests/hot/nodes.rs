//! A node's own lease, and whether Redis takes writes.

use std::time::Duration;

use nself_realtime::hot::nodes::beat;

use crate::stage::{Stage, node};

const LEASE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_beat_extends_the_node_s_lease() {
    let stage = Stage::new().await;
    let (n1, key) = (node("n1"), stage.keys().node(&node("n1")));
    assert!(beat(&stage.hot, &n1, r#"{"v":1}"#, LEASE).await.unwrap(), "a start");
    let () = stage.ask("PEXPIRE", (&key, 3_000)).await;
    assert!(!beat(&stage.hot, &n1, r#"{"v":2}"#, LEASE).await.unwrap(), "it lives");
    let ttl: i64 = stage.ask("PTTL", &key).await;
    assert!((3_001..=6_000).contains(&ttl), "{ttl}");
    assert_eq!(stage.ask::<String>("GET", &key).await, r#"{"v":2}"#);
    let () = stage.ask("DEL", &key).await;
    assert!(
        beat(&stage.hot, &n1, "{}", LEASE).await.unwrap(),
        "it was taken for dead"
    );
    assert_eq!(stage.ask::<Vec<String>>("SMEMBERS", stage.keys().nodes()).await, ["n1"]);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn nodes_live_and_die_each_for_itself() {
    let stage = Stage::new().await;
    for name in ["n1", "n2:{x}"] {
        assert!(beat(&stage.hot, &node(name), "{}", LEASE).await.unwrap());
    }
    let () = stage.ask("DEL", stage.keys().node(&node("n1"))).await;
    assert!(!beat(&stage.hot, &node("n2:{x}"), "{}", LEASE).await.unwrap());
    assert_eq!(stage.ask::<u64>("SCARD", stage.keys().nodes()).await, 2);
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing_for_ever() {
    let stage = Stage::new().await;
    for _ in 0..2 {
        assert!(stage.hot.check().await.unwrap() < Duration::from_secs(2));
        let ttl: i64 = stage.ask("PTTL", stage.keys().check()).await;
        assert!((1..=60_000).contains(&ttl), "{ttl}");
    }
    assert!(stage.hot.is_up());
}

#[tokio::test]
async fn a_check_fails_where_redis_takes_no_writes() {
    let redis = crate::support::redis::Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    stage.hot.check().await.unwrap();
    // A master without the replicas that it was told to wait for answers reads alone.
    let () = stage.ask("CONFIG", ("SET", "min-replicas-to-write", "1")).await;
    let error = stage.hot.check().await.unwrap_err().to_string();
    assert!(error.starts_with("nodes/check: "), "{error}");
    let () = stage.ask("CONFIG", ("SET", "min-replicas-to-write", "0")).await;
    stage.hot.check().await.unwrap();
}
