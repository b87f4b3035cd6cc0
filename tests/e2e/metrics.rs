//! `/metrics` of a real node: every metric is there from the start, promtool finds nothing to say against them, and what is
//! counted is what happened.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::metrics::{families, promtool_agrees, sum};
use crate::support::node::Node;
use crate::support::postgres::{Database, Postgres};
use crate::support::raw::{Raw, room, unique};
use crate::support::redis::Redis;
use crate::support::token::token;

pub async fn scrape(node: &Node) -> String {
    // As Prometheus asks.
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (status, text) = node.get("/metrics", accept).await.expect("/metrics answers");
    assert_eq!(status, 200, "{text}");
    text
}

/// A node with all that a node can have, which nobody has used yet.
pub async fn complete_node() -> (Redis, Database, Node) {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let url = database.url();
    let settings = [("REALTIME_DATABASE_URL", &*url), ("REALTIME_MIGRATE", "true")];
    let node = Node::start(&redis.url(), &settings).await;
    node.logs(&["the schema is up to date"]).await;
    (redis, database, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_there_before_anybody_comes_and_promtool_agrees() {
    let (_redis, _database, node) = complete_node().await;
    eventually("the node has beaten, and its archive stands", async || {
        let text = scrape(&node).await;
        sum(&text, "realtime_bus_lag_seconds_count", "") > 0.0 && sum(&text, "realtime_postgres_up", "") == 1.0
    })
    .await;
    let before = scrape(&node).await;
    promtool_agrees(&["check", "metrics"], &before);
    let room = room();
    let (ann, bob) = (
        Raw::member(&node, "ann", &room).await,
        Raw::member(&node, "bob", &room).await,
    );
    ann.done("message:send", json!({"roomName": room, "content": "hello"}))
        .await;
    ann.done("presence:update", json!({"status": "busy"})).await;
    ann.done("typing:start", json!({"roomName": room})).await;
    ann.refused("ROOM_NOT_FOUND", "room:members", json!({"roomName": "nowhere"}))
        .await;
    ann.marker(&room, &[&bob]).await;
    let after = scrape(&node).await;
    promtool_agrees(&["check", "metrics"], &after);
    let names = |text: &str| -> BTreeSet<String> { families(text).into_keys().collect() };
    assert_eq!(names(&before), names(&after), "no metric begins in the middle");
    for (name, family) in families(&after) {
        let is_ours = name.starts_with("realtime_") || name.starts_with("process_");
        assert!(is_ours, "{name} is nobody's");
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}: {family:?}");
        assert_ne!(family.kind, "summary", "{name}: histograms can be added up");
        for label in family.labels {
            assert!(
                !["room", "user", "connection", "ip"].contains(&&*label),
                "{name} by {label}"
            );
        }
    }
}

#[tokio::test]
async fn session_id_unknown_has_a_clear_answer_and_a_metric() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let sid = "0".repeat(20);
    let (status, text) = node
        .get(&format!("/socket.io/?EIO=4&transport=polling&sid={sid}"), "*/*")
        .await
        .expect("the node answers");
    assert_eq!((status, &*text), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    for (query, cause) in [
        ("EIO=3&transport=polling", "unsupported_version"),
        ("EIO=4&transport=pigeon", "unknown_transport"),
    ] {
        let (status, _) = node
            .get(&format!("/socket.io/?{query}"), "*/*")
            .await
            .expect("it answers");
        assert_eq!(status, 400, "{query}");
        let counted = node
            .metric("realtime_refusals_total", &format!("cause=\"{cause}\""))
            .await;
        assert_eq!(counted, Some(1.0), "{cause}");
    }
    let stranger = Raw::open(node).await;
    stranger.connect(&json!({"token": "none"})).await.expect_err("no token");
    let text = scrape(node).await;
    assert_eq!(sum(&text, "realtime_refusals_total", "cause=\"unknown_session\""), 1.0);
    assert_eq!(sum(&text, "realtime_refusals_total", "cause=\"token\""), 1.0);
    assert_eq!(
        sum(&text, "realtime_refusals_total", ""),
        4.0,
        "each is counted once: {text}"
    );
}

#[tokio::test]
async fn what_is_counted_is_what_happened() {
    let cluster = Cluster::start(1, &[("REALTIME_METRICS_SOCKET_IO", "true")]).await;
    let node = &cluster.nodes[0];
    let room = room();
    let ann = Raw::member(node, "ann", &room).await;
    let bob = Raw::member(node, "bob", &room).await;
    let second = Raw::enter(node, "bob").await;
    for content in ["one", "two", "three"] {
        ann.done("message:send", json!({"roomName": room, "content": content}))
            .await;
    }
    ann.emit(&unique("made-up"), json!({}));
    ann.done("presence:update", json!({"status": "busy"})).await;
    ann.marker(&room, &[&bob]).await;
    eventually("ann is seen as busy", async || {
        sum(&scrape(node).await, "realtime_local_users", "status=\"busy\"") == 1.0
    })
    .await;

    let text = scrape(node).await;
    let said = sum(&text, "realtime_events_received_total", "event=\"message:send\"");
    assert!(said >= 3.0, "{said}: {text}");
    assert_eq!(
        sum(&text, "realtime_ack_duration_seconds_count", "event=\"message:send\""),
        said
    );
    assert_eq!(sum(&text, "realtime_events_received_total", "event=\"unknown\""), 1.0);
    // Ann and bob are in the room, and hear each.
    assert_eq!(
        sum(&text, "realtime_events_sent_total", "event=\"message:new\""),
        2.0 * said
    );
    assert_eq!(sum(&text, "realtime_events_sent_total", "event=\"connected\""), 3.0);
    assert!(sum(&text, "realtime_events_sent_bytes_total", "event=\"message:new\"") > 100.0);
    assert_eq!(sum(&text, "realtime_connections", "transport=\"websocket\""), 3.0);
    assert_eq!(sum(&text, "realtime_connects_total", ""), 3.0);
    // Once for each shard that has somebody in it.
    assert!([1.0, 2.0].contains(&sum(&text, "realtime_local_rooms", "")), "{text}");
    assert_eq!(sum(&text, "realtime_redis_up", ""), 1.0);
    assert_eq!(sum(&text, "realtime_bus_up", ""), 1.0);
    assert!(sum(&text, "realtime_runtime_busy_seconds_total", "") > 0.0);
    assert!(sum(&text, "process_resident_memory_bytes", "") > 1e6);
    assert!(sum(&text, "process_open_fds", "") > 3.0);
    assert_eq!(
        sum(
            &text,
            "realtime_build_info",
            &format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))
        ),
        1.0
    );

    // The names of socket.io's exporters say the same.
    for (theirs, ours) in [
        ("socket_io_connected", "realtime_connections"),
        ("socket_io_connect_total", "realtime_connects_total"),
        ("socket_io_disconnect_total", "realtime_disconnects_total"),
        ("socket_io_events_received_total", "realtime_events_received_total"),
        ("socket_io_events_sent_total", "realtime_events_sent_total"),
        ("socket_io_recieve_bytes", "realtime_events_received_bytes_total"),
        ("socket_io_transmit_bytes", "realtime_events_sent_bytes_total"),
    ] {
        assert!(families(&text).contains_key(theirs), "{theirs}: {text}");
        assert_eq!(sum(&text, theirs, ""), sum(&text, ours, ""), "{theirs}");
    }
    assert!(text.contains("socket_io_events_sent_total{event=\"message:new\",namespace=\"/\"}"));

    second.disconnect().await;
    bob.disconnect().await;
    eventually("bob is gone from every gauge", async || {
        let text = scrape(node).await;
        sum(&text, "realtime_local_users", "") == 1.0
            && sum(&text, "realtime_disconnects_total", "") == 2.0
            && sum(&text, "socket_io_connected", "") == 1.0
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_slow_client_is_seen_and_gone_with_it() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let room = room();
    let ann = Raw::member(node, "ann", &room).await;
    // A session on polling that does not poll: what it would be told waits.
    let http = reqwest::Client::new();
    let base = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let open = http.get(&base).send().await.unwrap().text().await.unwrap();
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let own = format!("{base}&sid={}", open["sid"].as_str().unwrap());
    let connect = format!("40{}", json!({"token": token("sleeper")}));
    http.post(&own).body(connect).send().await.unwrap();
    let join = format!("420{}", json!(["room:join", {"roomName": room}]));
    http.post(&own).body(join).send().await.unwrap();
    ann.heard("user:joined", |joined| joined["userId"] == "sleeper").await;
    let content = "x".repeat(2_000);
    for _ in 0..10 {
        ann.done("message:send", json!({"roomName": room, "content": content}))
            .await;
    }
    eventually("ten messages wait", async || {
        let text = scrape(node).await;
        sum(&text, "realtime_send_queue_bytes", "") > 20_000.0
            && sum(&text, "realtime_send_queue_frames", "") >= 10.0
            && sum(&text, "realtime_backlogged_connections", "") == 1.0
    })
    .await;
    let text = scrape(node).await;
    let small = sum(&text, "realtime_connection_backlog_bytes_bucket", "le=\"16384\"");
    let all = sum(&text, "realtime_connection_backlog_bytes_count", "");
    assert!(
        all > small && small > 0.0,
        "the backlog grew through the bounds: {text}"
    );
    http.post(&own).body("1").send().await.unwrap();
    eventually("nothing waits for nobody", async || {
        let text = scrape(node).await;
        sum(&text, "realtime_send_queue_bytes", "") == 0.0 && sum(&text, "realtime_backlogged_connections", "") == 0.0
    })
    .await;
}

#[tokio::test]
async fn redis_that_goes_and_comes_is_seen() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let connects = sum(&scrape(&node).await, "realtime_redis_connects_total", "link=\"calls\"");
    assert!(connects >= 1.0, "{connects}");
    redis.kill();
    eventually("it is gone", async || {
        let text = scrape(&node).await;
        sum(&text, "realtime_redis_up", "") == 0.0
            && sum(&text, "realtime_bus_up", "") == 0.0
            && sum(&text, "realtime_redis_connect_failures_total", "") > 0.0
            && sum(&text, "realtime_redis_errors_total", "") > 0.0
    })
    .await;
    redis.restart().await;
    eventually("it is back", async || {
        let text = scrape(&node).await;
        sum(&text, "realtime_redis_up", "") == 1.0
            && sum(&text, "realtime_bus_up", "") == 1.0
            && sum(&text, "realtime_redis_connects_total", "link=\"calls\"") > connects
            && sum(&text, "realtime_redis_connects_total", "link=\"bus\"") == 2.0
    })
    .await;
}
