//! Bad input gets its answer and nothing else happens: the same connection, where it lives on, and another one are
//! served after each. One test per line of the contract; the stock clients meet the same in their scenarios.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room, unique};
use crate::support::token::{seconds_from_now, signed, signed_under_a_false_name, unsigned};

const MAX_PAYLOAD: usize = 1_000_000;

/// Shows that a connection is served: a join, a message, its echo.
async fn is_served(raw: &Raw) {
    let room = room();
    raw.done("room:join", json!({"roomName": room})).await;
    raw.marker(&room, &[raw]).await;
}

async fn refused_at_the_door(auth: Value, message: &str) {
    let cluster = Cluster::shared().await;
    for node in &cluster.nodes {
        let raw = Raw::open(node).await;
        let refusal = raw.connect(&auth).await.expect_err("this must not get in");
        assert_eq!(
            refusal,
            json!({"message": message, "data": {"code": "UNAUTHENTICATED"}})
        );
        raw.send(r#"42["room:join",{"roomName":"auto:hall"}]"#); // whoever was refused is no socket
        is_served(&Raw::enter(node, &unique("ann")).await).await;
        assert!(raw.all("connected", |_| true).is_empty());
    }
}

#[tokio::test]
async fn no_token() {
    refused_at_the_door(json!({}), "Authentication required").await;
}

#[tokio::test]
async fn expired_token() {
    let claims = json!({"sub": "ann", "exp": seconds_from_now(-1)});
    refused_at_the_door(json!({"token": signed(&claims)}), "Invalid token").await;
}

#[tokio::test]
async fn token_of_algorithm_none() {
    let claims = json!({"sub": "ann", "exp": seconds_from_now(3600)});
    refused_at_the_door(json!({"token": unsigned(&claims)}), "Invalid token").await;
}

#[tokio::test]
async fn rs_token_against_an_hs_secret() {
    let claims = json!({"sub": "ann", "exp": seconds_from_now(3600)});
    let token = signed_under_a_false_name(&claims); // truly RSA-signed ones: scenarios/handshake.mjs
    refused_at_the_door(json!({"token": token}), "Invalid token").await;
}

#[tokio::test]
async fn no_claim_with_a_user() {
    let claims = json!({"role": "admin", "exp": seconds_from_now(3600)});
    refused_at_the_door(json!({"token": signed(&claims)}), "Invalid token").await;
}

#[tokio::test]
async fn token_that_is_no_text() {
    for token in [json!(7), json!({"alg": "none"}), json!(["a"]), json!(true)] {
        let raw = Raw::open(&Cluster::shared().await.nodes[0]).await;
        raw.connect(&json!({"token": token}))
            .await
            .expect_err("this must not get in");
    }
}

/// Every event that takes a room, with what else it needs.
fn events_of_rooms() -> Vec<(&'static str, Value)> {
    vec![
        ("room:join", json!({})),
        ("room:leave", json!({})),
        ("room:members", json!({})),
        ("message:send", json!({"content": "x"})),
        ("typing:start", json!({})),
        ("typing:stop", json!({})),
    ]
}

async fn room_name_is_refused(name: Value) {
    let raw = Raw::enter(&Cluster::shared().await.nodes[0], &unique("ann")).await;
    for (event, mut payload) in events_of_rooms() {
        payload["roomName"] = name.clone();
        let error = raw.refused("INVALID_PAYLOAD", event, payload).await;
        assert_eq!(error["details"]["field"], json!("roomName"), "{event}: {error}");
        let message = error["message"].as_str().expect("a message is text");
        assert!(message.contains("roomName"), "{event}: {error}");
    }
    is_served(&raw).await;
}

#[tokio::test]
async fn room_name_empty() {
    room_name_is_refused(json!("")).await;
}

#[tokio::test]
async fn room_name_no_text() {
    for name in [json!(7), json!(null), json!(true), json!(["auto:a"]), json!({"a": 1})] {
        room_name_is_refused(name).await;
    }
}

#[tokio::test]
async fn room_name_over_255_bytes() {
    room_name_is_refused(json!("x".repeat(256))).await;
    room_name_is_refused(json!("é".repeat(128))).await;
    room_name_is_refused(json!("x".repeat(100_000))).await;
}

#[tokio::test]
async fn room_name_with_control_characters() {
    for name in ["auto:\0", "\nauto:a", "auto:\u{7f}", "auto:\u{85}b", "auto:\u{1b}[2J"] {
        room_name_is_refused(json!(name)).await;
    }
}

/// Every event that takes a payload.
const EVENTS: [&str; 12] = [
    "room:join",
    "room:leave",
    "room:members",
    "message:send",
    "typing:start",
    "typing:stop",
    "presence:update",
    "presence:subscribe",
    "presence:unsubscribe",
    "presence:get",
    "auth:refresh",
    "pong",
];

async fn arguments_are_refused(args: &[Value]) {
    let raw = Raw::enter(&Cluster::shared().await.nodes[1], &unique("ann")).await;
    for event in EVENTS {
        let ack = raw.answer(raw.pose(event, args)).await;
        assert_eq!(ack["error"]["code"], json!("INVALID_PAYLOAD"), "{event}: {ack}");
    }
    is_served(&raw).await;
}

#[tokio::test]
async fn payload_missing() {
    arguments_are_refused(&[]).await;
    arguments_are_refused(&[json!(null)]).await;
}

#[tokio::test]
async fn payload_a_string() {
    arguments_are_refused(&[json!("auto:room")]).await;
}

#[tokio::test]
async fn payload_an_array() {
    arguments_are_refused(&[json!([])]).await;
    arguments_are_refused(&[json!([{"roomName": "auto:room", "status": "busy", "userIds": []}])]).await;
}

#[tokio::test]
async fn payload_deeply_nested() {
    let raw = Raw::enter(&Cluster::shared().await.nodes[0], &unique("ann")).await;
    let room = room();
    raw.done("room:join", json!({"roomName": room})).await;
    for levels in [100, 1_000, 100_000] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for event in EVENTS {
            raw.send(&format!("42[\"{event}\",{deep}]"));
            raw.send(&format!(
                "42[\"{event}\",{{\"roomName\":{deep},\"status\":{deep},\"userIds\":{deep}}}]"
            ));
        }
        let id = raw.pose("ping", &[]);
        assert_eq!(raw.answer(id).await["success"], json!(true), "{levels} levels");
        // Where the depth is the only fault.
        raw.send(&format!(
            "4277{levels}[\"message:send\",{{\"roomName\":\"{room}\",\"content\":{deep}}}]"
        ));
        let ack = raw.answer(format!("77{levels}").parse().expect("digits")).await;
        assert_eq!(ack["error"]["code"], json!("INVALID_PAYLOAD"), "{levels} levels: {ack}");
    }
    raw.marker(&room, &[&raw]).await;
    assert_eq!(raw.all("message:new", |_| true).len(), 1, "the marker alone");
}

#[tokio::test]
async fn content_over_its_limit() {
    let cluster = Cluster::shared().await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], &unique("ann"), &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let send = |bytes| json!({"roomName": room, "content": "x".repeat(bytes)});
    ann.refused("TOO_LARGE", "message:send", send(65_537)).await;
    ann.refused("TOO_LARGE", "message:send", send(MAX_PAYLOAD - 1_000))
        .await;
    ann.done("message:send", send(65_536)).await;
    ann.marker(&room, &[&bob]).await;
    assert_eq!(bob.all("message:new", |_| true).len(), 2);
}

#[tokio::test]
async fn websocket_packet_over_the_limit() {
    // A node of its own: its counters are read.
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let room = room();
    let ann = Raw::member(node, "ann", &room).await;
    let bob = Raw::member(node, "bob", &room).await;
    let counted = |text: &str| closes_for_size(text);
    let before = counted(&node.get("/metrics", "text/plain").await.unwrap().1);
    ann.emit(
        "message:send",
        json!({"roomName": room, "content": "x".repeat(MAX_PAYLOAD)}),
    );
    ann.closed().await;
    let after = counted(&node.get("/metrics", "text/plain").await.unwrap().1);
    assert_eq!(
        after,
        before + 1.0,
        "{}",
        node.get("/metrics", "text/plain").await.unwrap().1
    );
    is_served(&bob).await;

    let binary = Raw::enter(node, "cat").await;
    binary.send_message(Message::binary(vec![0; MAX_PAYLOAD + 1]));
    binary.closed().await;
    is_served(&bob).await;
}

#[tokio::test]
async fn posted_packet_over_the_limit() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let client = reqwest::Client::new();
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let open = client.get(&url).send().await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).unwrap();
    let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
    let before = closes_for_size(&node.get("/metrics", "text/plain").await.unwrap().1);
    let posted = client
        .post(&url)
        .body(format!("4{}", "x".repeat(MAX_PAYLOAD)))
        .send()
        .await;
    if let Ok(answer) = posted {
        assert!(answer.status().is_client_error(), "{}", answer.status()); // 413, unless the connection was cut first
    }
    let farewell = client.get(&url).send().await.unwrap();
    if farewell.status() == 200 {
        assert_eq!(farewell.text().await.unwrap(), "1", "nothing but a close");
    }
    let poll = client.get(&url).send().await.unwrap();
    assert_eq!(poll.status(), 400, "the session is gone");
    let after = closes_for_size(&node.get("/metrics", "text/plain").await.unwrap().1);
    assert_eq!(after, before + 1.0);
    is_served(&Raw::enter(node, "bob").await).await;
}

/// The sum of the samples that count connections closed for the size of a packet, whatever else labels them.
fn closes_for_size(metrics: &str) -> f64 {
    let samples = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains("payload_too_large"));
    samples
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test]
async fn unknown_event() {
    let raw = Raw::enter(&Cluster::shared().await.nodes[0], &unique("ann")).await;
    for event in [
        "no:such",
        "",
        "__proto__",
        "disconnect",
        "connect",
        "error",
        "room:join ",
    ] {
        raw.emit(event, json!({"roomName": "auto:room"}));
        raw.refused("UNKNOWN_EVENT", event, json!({"roomName": "auto:room"}))
            .await;
    }
    is_served(&raw).await;
    assert!(
        raw.all("error", |_| true).is_empty(),
        "without an ack they are only counted"
    );
}

#[tokio::test]
async fn event_whose_name_is_no_text() {
    for packet in [
        "42[]",
        "42[null]",
        "42[7]",
        "42[{}]",
        "42[[\"room:join\"]]",
        "42{}",
        "42",
        "42[\"a\"",
    ] {
        let cluster = Cluster::shared().await;
        let raw = Raw::enter(&cluster.nodes[0], &unique("ann")).await;
        raw.send(packet);
        // A stock server calls it a parse error and closes; whoever is beside it notices nothing.
        is_served(&Raw::enter(&cluster.nodes[0], &unique("bob")).await).await;
    }
}

#[tokio::test]
async fn unknown_namespace() {
    let raw = Raw::enter(&Cluster::shared().await.nodes[0], &unique("ann")).await;
    raw.send(r#"40/nowhere,{"token":"x"}"#);
    is_served(&raw).await;
    let answers: Vec<String> = raw.log().iter().map(|heard| format!("{heard:?}")).collect();
    let refusal = answers.iter().find(|answer| answer.contains("/nowhere"));
    let refusal = refusal.unwrap_or_else(|| panic!("no answer names the namespace: {answers:#?}"));
    assert!(refusal.contains("Invalid namespace"), "{refusal}");
}

#[tokio::test]
async fn status_not_in_the_list() {
    let raw = Raw::enter(&Cluster::shared().await.nodes[0], &unique("ann")).await;
    for status in [
        json!("invisible"),
        json!("Online"),
        json!(""),
        json!("x".repeat(21)),
        json!(1),
        json!(null),
    ] {
        let error = raw
            .refused("INVALID_PAYLOAD", "presence:update", json!({"status": status}))
            .await;
        assert_eq!(error["details"]["field"], json!("status"), "{error}");
    }
    is_served(&raw).await;
}

#[tokio::test]
async fn typing_in_a_room_not_joined() {
    let cluster = Cluster::shared().await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::enter(&cluster.nodes[0], &unique("ann")).await;
    for event in ["typing:start", "typing:stop"] {
        ann.refused("NOT_A_MEMBER", event, json!({"roomName": room})).await;
    }
    bob.marker(&room, &[&bob]).await;
    assert!(bob.all("typing:event", |_| true).is_empty());
    is_served(&ann).await;
}
