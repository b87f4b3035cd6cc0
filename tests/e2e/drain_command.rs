//! A node that is told to drain from outside, by the command or over HTTP: it sends its sockets away and stays up.

use std::process::Stdio;
use std::time::{Duration, Instant};

use redis::AsyncCommands as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::cluster::Cluster;
use crate::support::node::{Node, binary};
use crate::support::raw::{Raw, room};
use crate::support::redis::Redis;

const KEY: &str = "a key of the administration";
const SETTINGS: &[(&str, &str)] = &[
    ("REALTIME_NODE_BEAT", "300"),
    ("REALTIME_DRAIN_WAIT", "4000"),
    ("REALTIME_DRAIN_WINDOW", "500"),
    ("REALTIME_API_KEYS", KEY),
];

/// `nself-realtime drain …`: its exit code, standard output and standard error.
async fn drain(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    drain_at(&cluster.redis.url(), arguments).await
}

async fn drain_at(redis: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::from(binary());
    command.arg("drain").args(arguments);
    command.env("REALTIME_REDIS_URL", redis);
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let done = tokio::time::timeout(Duration::from_secs(60), run).await;
    let output = done.expect("it comes to an end").expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn post(node: &Node, key: Option<&str>, body: &str) -> (StatusCode, Value) {
    let url = format!("{}/api/drain", node.url());
    let mut request = reqwest::Client::new().post(url).body(body.to_owned());
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let response = request.send().await.expect("the node answers");
    (response.status(), response.json().await.expect("JSON"))
}

async fn refuses_newcomers(node: &Node) -> bool {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    reqwest::get(url).await.expect("it answers").status() == StatusCode::SERVICE_UNAVAILABLE
}

#[tokio::test]
async fn the_command_waits_until_a_node_is_empty_and_the_node_stays_up() {
    let mut cluster = Cluster::start(2, SETTINGS).await;
    let room = room();
    let moved = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let stays = Raw::member(&cluster.nodes[1], "bob", &room).await;

    let (code, _, error) = drain(&cluster, &[]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("name one of node-0, node-1"), "{error}");
    let (code, _, error) = drain(&cluster, &["node-7"]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("node-7 does not live; there are node-0, node-1"),
        "{error}"
    );

    let asked = Instant::now();
    let (code, said, error) = drain(&cluster, &["node-0", "--json"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(asked.elapsed() >= Duration::from_secs(4), "the wait holds here too");
    let said: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(
        said,
        json!({"node": "node-0", "drained": true, "stopped": false, "connections": 0})
    );
    moved.heard("server:draining", |_| true).await;
    moved.closed().await;
    let node = &cluster.nodes[0];
    assert_eq!(node.get("/livez", "*/*").await.expect("it is up").0, 200);
    let (status, why) = node.get("/readyz", "*/*").await.expect("it is up");
    assert!(status == 503 && why.contains("draining"), "{status} {why}");
    assert!(refuses_newcomers(node).await);
    assert_eq!(node.metric("realtime_draining", "").await, Some(1.0));
    assert_eq!(node.metric("realtime_drain_connections_left", "").await, Some(0.0));

    let (code, said, error) = drain(&cluster, &["node-0"]).await;
    assert_eq!(
        (code, &*said),
        (
            Some(0),
            "✓ Drained: node-0 has no connections, of 0; it stays up until it is stopped\n"
        ),
        "{error}"
    );
    stays.marker(&room, &[]).await;
    assert!(
        stays.all("server:draining", |_| true).is_empty(),
        "the other was not asked"
    );

    let signalled = Instant::now();
    node.signal("TERM");
    assert_eq!(node.ended(Duration::from_secs(30)).await.code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(4), "the wait was before");
    // Another process of the name is not the one that was asked.
    let mut settings = SETTINGS.to_vec();
    settings.push(("REALTIME_NODE_ID", "node-0"));
    cluster.nodes[0] = Node::start(&cluster.redis.url(), &settings).await;
    let back = Raw::member(&cluster.nodes[0], "ann", &room).await;
    back.marker(&room, &[&stays]).await;
    assert_eq!(cluster.nodes[0].get("/readyz", "*/*").await.expect("it is up").0, 200);
}

#[tokio::test]
async fn over_http_it_is_asked_with_a_key() {
    let cluster = Cluster::start(2, SETTINGS).await;
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let (status, problem) = post(node, None, "").await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNAUTHORIZED, &json!("UNAUTHENTICATED"))
    );
    for (body, wrong) in [
        ("", "node: name one of node-0, node-1"),
        (
            r#"{"node": "node-7"}"#,
            "node: node-7 does not live; there are node-0, node-1",
        ),
        (r#"{"node": ""}"#, "node: "),
        (r#"{"nodes": "node-0"}"#, "nodes: is no field of this request"),
        ("[]", "body: must be one JSON object"),
        ("\u{0}", "body: must be one JSON object"),
    ] {
        let (status, problem) = post(node, Some(KEY), body).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::BAD_REQUEST, &json!("INVALID_PAYLOAD")),
            "{body}"
        );
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(detail.contains(wrong), "{body}: {detail}");
    }
    // Whichever node is asked, the named one drains.
    for _ in 0..2 {
        let (status, answer) = post(other, Some(KEY), r#"{"node": "node-0"}"#).await;
        assert_eq!(
            (status, answer),
            (StatusCode::ACCEPTED, json!({"node": "node-0", "connections": 0}))
        );
    }
    node.becomes("/readyz", 503).await;
    assert!(!refuses_newcomers(node).await, "not before the wait is over");
    node.logs(&["drained"]).await;
    assert!(refuses_newcomers(node).await);
    assert_eq!(other.get("/readyz", "*/*").await.expect("it answers").0, 200);
    assert!(node.is_running());
}

#[tokio::test]
async fn the_only_node_needs_no_name_and_one_that_stops_meanwhile_is_drained() {
    let settings = [
        ("REALTIME_NODE_BEAT", "300"),
        ("REALTIME_NODE_LEASE", "900"),
        ("REALTIME_DRAIN_WAIT", "1000"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    let (code, said, error) = drain(&cluster, &["--no-wait"]).await;
    assert_eq!(
        (code, &*said),
        (Some(0), "✓ Asked: node-0 drains; it has 0 connections\n"),
        "{error}"
    );
    node.becomes("/readyz", 503).await;
    let (ended, (code, said, error)) = tokio::join!(
        async {
            node.signal("TERM");
            node.ended(Duration::from_secs(30)).await
        },
        drain(&cluster, &[])
    );
    assert_eq!(ended.code(), Some(0));
    assert_eq!(code, Some(0), "{error}");
    assert!(said.starts_with("✓ Drained: node-0 has "), "{said}");
    let (code, _, error) = loop {
        // The lease of a node that has stopped runs out by itself.
        let (code, said, error) = drain(&cluster, &["--no-wait"]).await;
        if code != Some(0) {
            break (code, said, error);
        }
    };
    assert_eq!(code, Some(2));
    assert!(error.contains("no node lives"), "{error}");
}

/// Somebody wants node-0 to drain.
const REQUEST: &str = "rt:{nodes}:node.drain:node-0";

#[tokio::test]
async fn a_process_that_takes_the_place_of_the_one_that_was_asked_stays() {
    let settings = [
        ("REALTIME_NODE_BEAT", "300"),
        ("REALTIME_NODE_LEASE", "60000"),
        ("REALTIME_DRAIN_WAIT", "1800000"),
        ("REALTIME_DRAIN_TIMEOUT", "3600000"),
        ("REALTIME_NODE_ID", "node-0"),
    ];
    let redis = Redis::start().await;
    let url = redis.url();
    let mut node = Node::start(&redis.url(), &settings).await;
    let (code, _, error) = drain_at(&redis.url(), &["--no-wait"]).await;
    assert_eq!(code, Some(0), "{error}");
    node.becomes("/readyz", 503).await;
    let mut connection = redis.connection().await;
    let () = connection.del(REQUEST).await.expect("Redis answers");
    let (_, (code, said, error)) = tokio::join!(
        async {
            let mut is_asked = false;
            while !is_asked {
                is_asked = connection.exists(REQUEST).await.expect("Redis answers");
            }
            node.signal("KILL");
            node.ended(Duration::from_secs(30)).await;
            // Within the lease of the one before.
            node = Node::start(&redis.url(), &settings).await;
        },
        drain_at(&url, &["--json"])
    );
    assert_eq!(code, Some(0), "{error}");
    let said: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(said["stopped"], true);
    let ann = Raw::enter(&node, "ann").await;
    assert_eq!(node.get("/readyz", "*/*").await.expect("it is up").0, 200);
    assert!(ann.all("server:draining", |_| true).is_empty());
}

#[tokio::test]
async fn sockets_that_a_drain_left_are_an_error_soon() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    let about = r#"{"connections":2,"phase":"drained","process":"p"}"#;
    let () = connection.sadd("rt:{nodes}:nodes", "stuck").await.expect("it answers");
    let () = connection
        .set_ex("rt:{nodes}:node:stuck", about, 600)
        .await
        .expect("it answers");
    let (code, _, error) = drain_at(&redis.url(), &["stuck"]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("stuck has drained, and still has 2 connections"),
        "{error}"
    );
}
