//! Defects of the process: it did not answer probes, believed anybody, and could be ended from outside.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};
use crate::support::redis::Redis;
use crate::support::token::{signed, token};

/// Health, probes and metrics are answered on the main port.
#[tokio::test]
async fn defect_01_probes_are_answered() {
    let cluster = Cluster::start(2, &[]).await;
    let _ann = Raw::enter(&cluster.nodes[0], "ann").await;
    let _bob = Raw::enter(&cluster.nodes[1], "bob").await;
    for node in &cluster.nodes {
        let (status, text) = node.get("/health", "*/*").await.expect("/health answers");
        assert_eq!(status, 200, "{text}");
        let health: Value = serde_json::from_str(&text).expect("/health is JSON");
        assert_eq!(health["status"], json!("healthy"), "{health}");
        assert_eq!(health["connections"], json!(2), "of the cluster: {health}");
        assert!(
            health["timestamp"].is_string() && health["uptime"].is_number(),
            "{health}"
        );
        assert!(
            health["service"].is_string() && health["version"].is_string(),
            "{health}"
        );
        assert!(
            health["node"].is_string() && health["dependencies"]["redis"].is_object(),
            "{health}"
        );
        for path in ["/livez", "/readyz"] {
            let (status, text) = node.get(path, "*/*").await.expect("a probe is answered");
            assert_eq!(status, 200, "{path}: {text}");
        }
        let (status, text) = node.get("/metrics", "text/plain").await.expect("/metrics answers");
        assert_eq!(status, 200);
        assert!(text.lines().any(|line| line.starts_with("# TYPE ")), "{text}");
        let (status, _) = node
            .get("/nothing-here", "*/*")
            .await
            .expect("an unknown path is answered");
        assert_eq!(status, 404);
    }
}

/// Without a secret, nobody gets in, whatever the token says; the log says why at start.
#[tokio::test]
async fn defect_02_no_secret_lets_nobody_in() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[("REALTIME_JWT_SECRET", "")]).await;
    node.logs(&["REALTIME_JWT_SECRET"]).await;
    let unsigned = crate::support::token::unsigned(&json!({"sub": "ann", "userId": "ann"}));
    for auth in [
        json!({}),
        json!({"token": token("ann")}),
        json!({"token": unsigned}),
        json!({"token": "user:ann"}),
    ] {
        let raw = Raw::open(&node).await;
        raw.connect(&auth).await.expect_err("nobody may get in");
    }
    // An empty secret is no secret to sign with, either.
    let raw = Raw::open(&node).await;
    let empty = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &json!({"sub": "ann", "exp": 9_999_999_999_i64}),
        &jsonwebtoken::EncodingKey::from_secret(b""),
    );
    raw.connect(&json!({"token": empty.unwrap()}))
        .await
        .expect_err("nobody may get in");
}

/// The packets that ended the plugin's process, and their kin.
fn killers() -> Vec<String> {
    let mut packets = vec![
        r#"42["pong"]"#.to_owned(),
        r#"42["pong",{"timestamp":1.5}]"#.to_owned(),
        r#"42["pong",{"timestamp":"now"}]"#.to_owned(),
        r#"42["pong",{"timestamp":1e400}]"#.to_owned(),
        r#"42["pong",{"timestamp":-9223372036854775809}]"#.to_owned(),
        r#"42["ping",null,null,null]"#.to_owned(),
        r#"42["ping",{"timestamp":{"a":[]}}]"#.to_owned(),
        r#"42["typing:start"]"#.to_owned(),
        r#"42["typing:stop"]"#.to_owned(),
        r#"42["typing:start",{"roomName":"a\u0000b"}]"#.to_owned(),
        r#"42["room:join",{"roomName":"a\u0000b"},"not a function"]"#.to_owned(),
        r#"42["room:join",{"roomName":"\ud800"}]"#.to_owned(),
        r#"42["presence:update",{"status":"a status of more than twenty letters"}]"#.to_owned(),
        r#"42["presence:update",{"status":"busy","customStatus":{"expiresAt":"+275760-09-13T00:00:00.001Z"}}]"#
            .to_owned(),
        r#"42["presence:update",{"status":"busy","customStatus":{"text":"x","expiresAt":1e308}}]"#.to_owned(),
        r#"42["room:members",{"roomName":"auto:x","limit":-1,"cursor":"\u0000"}]"#.to_owned(),
        r#"42["room:join",{"roomName":"auto:x","since":{"epoch":"","seq":-1}}]"#.to_owned(),
        r#"4299999999999999999999["ping"]"#.to_owned(),
        r#"4218446744073709551615["ping"]"#.to_owned(),
        r#"451-["message:send",{"_placeholder":true,"num":0}]"#.to_owned(),
        r#"459999999-["message:send"]"#.to_owned(),
        r#"451-["message:send",{"_placeholder":true,"num":7}]"#.to_owned(),
        r#"42["__proto__",{"__proto__":{"a":1}}]"#.to_owned(),
        "40".to_owned(),
        "43".to_owned(),
        "430[]".to_owned(),
        "44".to_owned(),
        "49".to_owned(),
        "4".to_owned(),
        "5".to_owned(),
        "6".to_owned(),
        "3".to_owned(),
        "1".to_owned(),
        "9".to_owned(),
        String::new(),
        "\u{0}".to_owned(),
        "2".repeat(10_000),
    ];
    packets.push(format!(r#"42["{}",1]"#, "e".repeat(100_000)));
    packets
}

/// No packet ends the process, or another's connection.
#[tokio::test]
async fn defect_03_one_packet_never_ends_the_process() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let witness = Raw::member(&cluster.nodes[0], "witness", &room).await;
    let far = Raw::member(&cluster.nodes[1], "far", &room).await;
    for packet in killers() {
        let eve = Raw::enter(&cluster.nodes[0], &unique("eve")).await;
        eve.send(&packet);
        eve.send(&packet);
        // Whether the packet is answered, ignored or ends eve's own transport is other tests' matter.
        witness.marker(&room, &[&witness, &far]).await;
    }
    let long_name = json!({"token": signed(&json!({"sub": "u".repeat(256), "exp": 9_999_999_999_i64}))});
    let raw = Raw::open(&cluster.nodes[0]).await;
    raw.connect(&long_name)
        .await
        .expect_err("a user id of 256 bytes is no user id");
    let odd_device =
        json!({"token": token("dan"), "device": {"type": "\u{0}", "os": {"deep": [[[]]]}, "x": "y".repeat(50_000)}});
    let raw = Raw::open(&cluster.nodes[0]).await;
    let _ = raw.connect(&odd_device).await; // taken or refused, but answered
    witness.marker(&room, &[&witness, &far]).await;
    assert!(cluster.nodes.iter().all(Node::is_running));
    for node in &cluster.nodes {
        assert!(!node.log_text().contains("panicked"), "{}", node.log_text());
    }
}

/// The loss of Redis ends no process and no socket (its course is in `redis_outage`).
#[tokio::test]
async fn defect_04_redis_loss_does_not_end_the_process() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let ann = Raw::enter(node, "ann").await;
    for _ in 0..3 {
        cluster.redis.one().kill();
        node.becomes("/readyz", 503).await;
        assert_eq!(
            ann.ask("ping", json!({"timestamp": 7})).await,
            json!({"success": true, "timestamp": 7})
        );
        cluster.redis.one().restart().await;
        node.becomes("/readyz", 200).await;
    }
    assert!(node.is_running());
    node.signal("TERM");
    let status = node.ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}
