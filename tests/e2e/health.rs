//! What a node says of itself to supervisors and balancers, and that it cannot lie: what every master publishes has to come
//! back, what is asked is answered in time whatever hangs, and where a port of its own is asked for nothing is said elsewhere.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{API_KEY, ask, ask_at};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};
use crate::support::redis::Redis;
use crate::support::redis_fleet::{RedisCluster, ask as ask_redis};
use crate::support::valve::Valve;

const KEYS: (&str, &str) = ("REALTIME_API_KEYS", API_KEY);
/// Of this machine, beside what is promised.
const SLACK: Duration = Duration::from_secs(3);

async fn read(node: &Node, path: &str) -> (u16, Value) {
    let (status, text) = node.get(path, "*/*").await.expect("it answers");
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// Waits until the node is not ready because of `reason`, and `detail` says where.
async fn unready(node: &Node, reason: &str, detail: &str) {
    eventually(&format!("{reason}: {detail}"), async || {
        let (status, body) = read(node, "/readyz").await;
        let said = body["detail"].as_str().unwrap_or_default();
        status == 503 && body["reason"] == reason && said.contains(detail)
    })
    .await;
}

/// Only what brings events is cut, and for good: connections stand and commands pass, so whoever publishes sees nothing.
#[tokio::test]
async fn a_bus_that_is_cut_for_good_makes_the_node_unready_in_time() {
    let redis = Redis::start().await;
    let valve = Valve::before(&redis).await;
    let node = Node::start(&valve.url(), &[KEYS]).await;
    let room = room();
    let ada = Raw::member(&node, "ada", &room).await;
    valve.close();
    let cut = Instant::now();
    let mut answers = Vec::new();
    let (unready_after, body) = loop {
        let (status, body) = read(&node, "/readyz").await;
        assert_eq!(read(&node, "/livez").await.0, 200);
        if status == 503 {
            break (cut.elapsed(), body);
        }
        assert!(cut.elapsed() < Duration::from_secs(20), "it is still ready");
        let event = json!({"eventType": "x:y", "rooms": [room], "payload": {}});
        answers.push(ask(&node, "POST", "/api/broadcast", event).await.done());
    };
    assert!(
        answers.iter().all(|told| *told == json!({"recipientCount": 1})),
        "{answers:?}"
    );
    assert!(
        unready_after < Duration::from_secs(7) + SLACK,
        "promised are seven seconds: {unready_after:?}"
    );
    assert_eq!((&body["status"], &body["reason"]), (&json!("unready"), &json!("bus")));
    // Its connection is made anew, and never helps: it stays unready, alive, and publishes still.
    for _ in 0..3 {
        assert_eq!(read(&node, "/readyz").await.0, 503);
        assert_eq!(read(&node, "/livez").await.0, 200);
    }
    ada.done("room:members", json!({"roomName": room})).await;
    let (status, health) = read(&node, "/health").await;
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")));
    assert_eq!(health["dependencies"]["bus"]["status"], "disconnected", "{health}");
    valve.open();
    node.becomes("/readyz", 200).await;
}

/// One master of several, with commands untouched: the canary at another one must not speak for it.
#[tokio::test]
async fn every_master_has_to_prove_itself() {
    let cluster = RedisCluster::start().await;
    let node = Node::start(&cluster.url(), &[KEYS, ("REALTIME_NODE_BEAT", "250")]).await;
    let masters = &cluster.masters;
    assert!(masters.len() > 1);
    for master in masters {
        let address = format!(":{}", master.port());
        let () = ask_redis(master, "ACL", &["SETUSER", "default", "-ssubscribe"]).await;
        let _killed: u64 = ask_redis(master, "CLIENT", &["KILL", "TYPE", "pubsub"]).await;
        unready(&node, "bus", &address).await;
        let () = ask_redis(master, "ACL", &["SETUSER", "default", "+ssubscribe"]).await;
        node.becomes("/readyz", 200).await;
        // It reads, and takes no writes.
        let () = ask_redis(master, "CONFIG", &["SET", "maxmemory", "1"]).await;
        unready(&node, "redis", "").await;
        assert_eq!(read(&node, "/livez").await.0, 200);
        let () = ask_redis(master, "CONFIG", &["SET", "maxmemory", "0"]).await;
        node.becomes("/readyz", 200).await;
    }
}

#[tokio::test]
async fn health_says_what_the_existing_plugin_s_clients_read() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let _ada = Raw::enter(&node, "ada").await;
    let (status, health) = read(&node, "/health").await;
    assert_eq!(status, 200);
    for (pointer, wanted) in [
        ("/status", json!("healthy")),
        ("/connections", json!(1)),
        ("/service", json!("realtime")),
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/websocket", json!({"running": true, "connections": 1})),
        ("/dependencies/redis/status", json!("connected")),
        ("/dependencies/postgres/status", json!("off")),
        ("/dependencies/bus/status", json!("connected")),
    ] {
        assert_eq!(health.pointer(pointer), Some(&wanted), "{pointer}: {health}");
    }
    assert!(health["uptime"].is_f64() && health["dependencies"]["redis"]["latency"].is_f64());
    let timestamp = health["timestamp"].as_str().expect("a text");
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
}

#[tokio::test]
async fn whatever_hangs_every_route_answers_in_time() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[KEYS]).await;
    let event = json!({"eventType": "x:y", "rooms": ["a", "b"], "payload": {}, "eventId": unique("e")});
    let routes = [
        ("GET", "/health", Value::Null, 503),
        ("GET", "/readyz", Value::Null, 503),
        ("GET", "/livez", Value::Null, 200),
        ("GET", "/metrics", Value::Null, 200),
        ("GET", "/api/openapi.json", Value::Null, 200),
        ("GET", "/api/rooms", Value::Null, 503),
        ("GET", "/api/connections", Value::Null, 503),
        ("POST", "/api/users/ann/disconnect", Value::Null, 503),
        ("POST", "/api/presence", json!({"userIds": ["ann"]}), 503),
        ("PUT", "/api/rooms/den/bans/ann", json!({}), 503),
        ("POST", "/api/broadcast", event.clone(), 503),
    ];
    redis.pause();
    let asked = routes.iter().map(async |(method, path, body, status)| {
        let begun = Instant::now();
        let answer = ask(&node, method, path, body.clone()).await;
        assert_eq!(answer.status, *status, "{path}: {}", answer.body);
        assert!(
            begun.elapsed() < Duration::from_secs(2) + SLACK,
            "{path}: {:?}",
            begun.elapsed()
        );
        if *status == 503 && path.starts_with("/api") {
            answer.is_problem(503, "UNAVAILABLE", None);
            assert_eq!(answer.headers["retry-after"], "1");
        }
    });
    futures_util::future::join_all(asked).await;
    // A batch tells of each what became of it.
    let batch = json!({"events": [event]});
    let answer = ask(&node, "POST", "/api/broadcast/batch", batch).await;
    match answer.status {
        200 => assert_eq!(answer.body["results"][0]["error"]["code"], "UNAVAILABLE"),
        _ => answer.is_problem(503, "UNAVAILABLE", None),
    }
    redis.resume();
    node.becomes("/readyz", 200).await;
}

#[tokio::test]
async fn a_port_of_the_administration_is_the_only_one_that_tells() {
    let redis = Redis::start().await;
    let node = Node::spawn(&redis.url(), &[KEYS, ("REALTIME_ADMIN_PORT", "0")]);
    let line = node.logs(&["listening for health, metrics and /api", "address"]).await;
    let line: Value = serde_json::from_str(&line).expect("a JSON line");
    let said = line.to_string();
    let port = said.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next());
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    eventually("it is ready", async || {
        ask_at(port, "GET", "/readyz", None, None).await.status == 200
    })
    .await;
    for (path, key, status) in [
        ("/health", None, 200),
        ("/livez", None, 200),
        ("/metrics", None, 200),
        ("/api/rooms", Some(API_KEY), 200),
        ("/api/rooms", None, 401),
        ("/nothing", None, 404),
    ] {
        assert_eq!(ask_at(port, "GET", path, key, None).await.status, status, "{path}");
        let main = ask_at(node.port(), "GET", path, key, None).await;
        assert_eq!(main.status, 404, "the main port: {path}");
    }
    let (there, here) = (
        ask_at(port, "GET", "/socket.io/?EIO=4&transport=polling", None, None).await,
        ask_at(node.port(), "GET", "/socket.io/?EIO=4&transport=polling", None, None).await,
    );
    assert_eq!((there.status, here.status), (404, 200));
    Raw::enter(&node, "ada").await;
}

#[tokio::test]
async fn pages_that_may_speak_to_the_gateway_may_read_its_health() {
    let redis = Redis::start().await;
    let listed = Node::start(
        &redis.url(),
        &[("REALTIME_CORS_ORIGIN", "https://a.example,https://b.example")],
    )
    .await;
    let any = Node::start(&redis.url(), &[("REALTIME_CORS_ORIGIN", "*")]).await;
    let same = Node::start(&redis.url(), &[]).await;
    let client = reqwest::Client::new();
    for (node, origin, allowed, with_credentials) in [
        (&listed, "https://b.example", Some("https://b.example"), true),
        (&listed, "https://c.example", None, true),
        (&any, "https://c.example", Some("*"), false),
        (&same, "https://c.example", None, false),
    ] {
        for path in ["/health", "/metrics"] {
            let request = client.get(format!("{}{path}", node.url())).header("origin", origin);
            let response = request.send().await.expect("it answers");
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            };
            assert_eq!(response.status(), 200);
            assert_eq!(header("access-control-allow-origin").as_deref(), allowed, "{origin}");
            let credentials = header("access-control-allow-credentials");
            assert_eq!(credentials.as_deref(), with_credentials.then_some("true"), "{origin}");
        }
    }
}
