//! `/metrics` as pollers of the existing plugin ask for it: figures of the whole cluster, on every node, whatever Redis does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room};
use crate::support::redis::Redis;

/// Two seconds are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_secs(5);

async fn figures(node: &Node) -> Value {
    let started = Instant::now();
    let (status, text) = node.get("/metrics", "*/*").await.expect("/metrics answers");
    assert!(started.elapsed() < PROMISED, "after {:?}", started.elapsed());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Names and kinds: what a poller of the existing plugin reads.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

#[tokio::test]
async fn every_node_tells_of_the_whole_cluster() {
    let settings = [("REALTIME_ALLOW_ANONYMOUS", "true"), ("REALTIME_DATABASE_URL", "none")];
    let cluster = Cluster::start(2, &settings).await;
    let [one, other] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    let lobby = room();
    let ann = Raw::member(one, "ann", &lobby).await;
    let _again = Raw::enter(other, "ann").await;
    let bob = Raw::enter(other, "bob").await;
    let stranger = Raw::open(one).await;
    stranger.connect(&json!({})).await.expect("anonymous sockets may come");
    bob.done("presence:update", json!({"status": "busy"})).await;
    cluster.create_room("empty", "channel", "public");
    for node in [one, other] {
        let told = figures(node).await;
        assert_eq!(
            told["connections"],
            json!({"total": 4, "active": 4, "authenticated": 3, "anonymous": 1})
        );
        assert_eq!(told["rooms"], json!({"total": 2, "active": 1}));
        assert_eq!(
            told["presence"],
            json!({"online": 1, "away": 0, "busy": 1, "offline": 0})
        );
        assert_eq!(
            told["events"],
            json!({"total": 0, "lastHour": 0}),
            "there is no archive"
        );
        let number = "number";
        assert_eq!(
            shape(&told),
            json!({
                "uptime": number,
                "connections": {"total": number, "active": number, "authenticated": number, "anonymous": number},
                "rooms": {"total": number, "active": number},
                "presence": {"online": number, "away": number, "busy": number, "offline": number},
                "events": {"total": number, "lastHour": number},
                "memory": {"used": number, "total": number, "percentage": number},
                "cpu": {"usage": number},
            })
        );
        let used = told["memory"]["used"].as_u64().unwrap();
        assert!((1_000_000..2_000_000_000).contains(&used), "{told}");
    }
    // What changed is told once what is kept is no longer fresh.
    ann.disconnect().await;
    eventually("both nodes tell that somebody has gone", async || {
        let (one, other) = tokio::join!(figures(one), figures(other));
        [one, other]
            .iter()
            .all(|told| told["connections"]["total"] == 3 && told["rooms"]["active"] == 0)
    })
    .await;
}

#[tokio::test]
async fn who_names_the_text_gets_the_node_s_own() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    for text in [
        "text/plain",
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    ] {
        let (_, body) = node.get("/metrics", text).await.unwrap();
        assert!(body.contains("# TYPE realtime_connections gauge"), "{text}: {body}");
    }
    for json in ["*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8"] {
        let (_, body) = node.get("/metrics", json).await.unwrap();
        assert!(body.starts_with("{\""), "{json}: {body}");
    }
}

#[tokio::test]
async fn a_redis_that_is_silent_holds_nobody_up() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let _ann = Raw::enter(&node, "ann").await;
    redis.pause();
    // Nothing is known yet, and nothing is made up.
    let told = figures(&node).await;
    assert_eq!(told["connections"]["total"], Value::Null, "{told}");
    assert!(
        told["uptime"].is_number() && told["memory"]["used"].is_number(),
        "{told}"
    );
    redis.resume();
    eventually("the figures are told", async || {
        figures(&node).await["connections"]["total"] == 1
    })
    .await;
    // What is known stays known for a while.
    redis.pause();
    let told = figures(&node).await;
    assert_eq!(told["connections"]["total"], 1, "{told}");
    redis.resume();
}
