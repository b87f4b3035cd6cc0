//! Defects of connections: events were lost while one was made, its record was wrong, and greetings were never sent.

use futures_util::future::join_all;
use serde_json::json;

use super::hot_state::connections_of;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};
use crate::support::token::token;

/// What a client sends the moment it is connected is handled, and what it sends before it goes is undone.
#[tokio::test]
async fn defect_10_events_right_after_connect_are_handled() {
    let cluster = Cluster::shared().await;
    let room = room();
    let witness = Raw::member(&cluster.nodes[1], &unique("witness"), &room).await;
    let rounds = (0..50).map(|_| async {
        let user = unique("ann");
        let raw = Raw::open(&cluster.nodes[0]).await;
        raw.connect(&json!({"token": token(&user)}))
            .await
            .expect("a good token");
        // Without waiting for `connected` or `authenticated`.
        raw.emit("room:join", json!({"roomName": room}));
        raw.emit("message:send", json!({"roomName": room, "content": user}));
        witness
            .heard("message:new", |message| message["content"] == user.as_str())
            .await;
        raw.lose();
        user
    });
    let users = join_all(rounds).await;
    for user in &users {
        witness.heard("user:left", |left| left["userId"] == user.as_str()).await;
    }
    let joined = witness.done("room:join", json!({"roomName": room})).await;
    assert_eq!(joined["memberCount"], json!(1), "{joined}");
}

/// A connection that goes while it is being made leaves nothing behind.
#[tokio::test]
async fn defect_10_a_disconnect_during_connect_is_not_missed() {
    let cluster = Cluster::shared().await;
    let user = unique("hasty");
    let room = room();
    let witness = Raw::member(&cluster.nodes[1], &unique("witness"), &room).await;
    for _ in 0..50 {
        let raw = Raw::open(&cluster.nodes[0]).await;
        raw.send(&format!("40{}", json!({"token": token(&user)})));
        raw.emit("room:join", json!({"roomName": room})); // not connected yet: may be ignored, must not be half done
        raw.lose();
    }
    eventually("no connection is left", async || {
        connections_of(&cluster.redis, &user).await.is_empty()
    })
    .await;
    let presences = witness.done("presence:get", json!({"userIds": [user]})).await;
    assert_eq!(presences["presences"][0]["status"], json!("offline"), "{presences}");
    let joined = witness.done("room:join", json!({"roomName": room})).await;
    assert_eq!(joined["memberCount"], json!(1), "{joined}");
}

/// A transport that is lost is said once to each room, when the grace is over; typing goes with it.
#[tokio::test]
async fn defect_15_a_lost_transport_leaves_once() {
    let cluster = Cluster::shared().await;
    let [one, two] = [room(), room()];
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &one).await;
    bob.done("room:join", json!({"roomName": two})).await;
    let ann = Raw::member(&cluster.nodes[0], &user, &one).await;
    ann.done("room:join", json!({"roomName": two})).await;
    ann.done("typing:start", json!({"roomName": one})).await;
    bob.heard("typing:event", |typing| typing["users"][0]["userId"] == user.as_str())
        .await;
    ann.lose();
    for room in [&one, &two] {
        let left = bob
            .heard("user:left", |left| {
                left["userId"] == user.as_str() && left["roomName"] == room.as_str()
            })
            .await;
        assert_eq!(left["reason"], json!("disconnected"), "{left}");
        assert!(left["rev"].is_u64() && left["timestamp"].is_string(), "{left}");
    }
    bob.heard("typing:event", |typing| typing["users"] == json!([])).await;
    bob.heard("presence:changed", |told| {
        told["userId"] == user.as_str() && told["status"] == "offline"
    })
    .await;
    let joined = bob.done("room:join", json!({"roomName": one})).await;
    assert_eq!(joined["memberCount"], json!(1), "{joined}");
    for room in [&one, &two] {
        bob.marker(room, &[&bob]).await;
        let times = bob.all("user:left", |left| left["roomName"] == room.as_str()).len();
        assert_eq!(times, 1, "user:left is said once");
    }
}

/// Whoever comes back within the grace was never gone.
#[tokio::test]
async fn defect_15_back_within_the_grace_nobody_sees_a_flap() {
    let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_GRACE", "10000")]).await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    for round in 0..5 {
        let ann = Raw::member(&cluster.nodes[round % 2], "ann", &room).await;
        ann.marker(&room, &[&bob]).await;
        ann.lose();
    }
    let ann = Raw::member(&cluster.nodes[1], "ann", &room).await;
    ann.marker(&room, &[&bob]).await;
    assert_eq!(bob.all("user:joined", |_| true).len(), 1);
    assert!(bob.all("user:left", |_| true).is_empty());
    assert!(
        bob.all("presence:changed", |told| told["status"] == "offline")
            .is_empty()
    );
}

/// Who says goodbye is gone at once, whatever the grace.
#[tokio::test]
async fn defect_15_a_farewell_needs_no_grace() {
    let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_GRACE", "60000")]).await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    ann.disconnect().await;
    let left = bob.heard("user:left", |left| left["userId"] == "ann").await;
    assert_eq!(left["reason"], json!("disconnected"), "{left}");
    bob.heard("presence:changed", |told| {
        told["userId"] == "ann" && told["status"] == "offline"
    })
    .await;
}

/// Leaving on one tab keeps the other's membership; leaving twice, or without having joined, is told to nobody.
#[tokio::test]
async fn defect_15_leaving_on_one_tab_keeps_the_other() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let first = Raw::member(&cluster.nodes[0], &user, &room).await;
    let second = Raw::member(&cluster.nodes[1], &user, &room).await;
    first.done("room:leave", json!({"roomName": room})).await;
    first.ask("room:leave", json!({"roomName": room})).await;
    let lost = Raw::member(&cluster.nodes[0], &user, &room).await;
    lost.lose();
    second.marker(&room, &[&bob]).await;
    let joined = bob.done("room:join", json!({"roomName": room})).await;
    assert_eq!(joined["memberCount"], json!(2), "{joined}");
    assert!(bob.all("user:left", |_| true).is_empty());
    assert_eq!(bob.all("user:joined", |_| true).len(), 1, "a second tab is quiet");
    second.done("room:leave", json!({"roomName": room})).await;
    bob.heard("user:left", |left| {
        left["userId"] == user.as_str() && left["reason"] != "kicked"
    })
    .await;
    bob.marker(&room, &[&bob]).await;
    assert_eq!(bob.all("user:left", |_| true).len(), 1);
}

/// Greetings and errors are sent, messages have ids, places and no twins.
#[tokio::test]
async fn defect_17_greetings_errors_ids_and_order() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let ann = Raw::member(&cluster.nodes[0], &user, &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let hello = ann.heard("authenticated", |_| true).await;
    assert_eq!(hello["userId"], json!(user), "{hello}");
    ann.emit("room:join", json!({"roomName": ""}));
    let error = ann.heard("error", |_| true).await;
    assert_eq!(error["code"], json!("INVALID_PAYLOAD"), "{error}");

    let message = |n: u32| json!({"roomName": room, "content": n.to_string(), "clientMessageId": format!("own-{n}")});
    let mut ids = Vec::new();
    for n in 1..=20 {
        let sent = ann.done("message:send", message(n)).await;
        assert_eq!(sent["seq"], json!(n), "{sent}");
        let again = ann.done("message:send", message(n)).await;
        assert_eq!(again["duplicate"], json!(true), "{again}");
        assert_eq!(again["messageId"], sent["messageId"]);
        ids.push(sent["messageId"].clone());
    }
    bob.heard("message:new", |message| message["seq"] == 20).await;
    let heard = bob.all("message:new", |_| true);
    let heard: Vec<_> = heard.iter().map(|message| message["messageId"].clone()).collect();
    assert_eq!(heard, ids);
}

/// The record of a connection says its transport, also after an upgrade, and its latency.
#[tokio::test]
async fn defect_18_transport_and_latency_are_true() {
    let cluster = Cluster::start(
        1,
        &[
            ("REALTIME_PING_INTERVAL", "300"),
            ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
        ],
    )
    .await;
    let node = &cluster.nodes[0];
    let ann = Raw::enter(node, "ann").await;
    let record = &connections_of(&cluster.redis, "ann").await[0];
    assert_eq!(
        (record["transport"].as_str(), record["node"].as_str()),
        ("websocket", "node-0"),
        "{record:?}"
    );

    let _bob = upgraded_session(node, "bob").await;
    eventually("the record says websocket", async || {
        let records = connections_of(&cluster.redis, "bob").await;
        records.first().is_some_and(|record| record["transport"] == "websocket")
    })
    .await;
    // Ann echoes the server's timestamp; bob, as a stock client, answers the engine's own pings alone.
    ann.done("ping", json!({})).await;
    let pong = ann.heard("pong", |_| true).await;
    ann.done("pong", pong).await;
    for user in ["ann", "bob"] {
        eventually("the record says a latency", async || {
            let records = connections_of(&cluster.redis, user).await;
            records
                .first()
                .is_some_and(|record| record.get("latency").is_some_and(|ms| ms.parse::<u32>().is_ok()))
        })
        .await;
    }
    let metrics = node.get("/metrics", "text/plain").await.unwrap().1;
    let measured = |line: &str| line.contains("latency") && line.contains("_count") && !line.ends_with(" 0");
    assert!(metrics.lines().any(measured), "{metrics}");
}

/// The address is the client's: what a trusted proxy says, and only what a trusted one says.
#[tokio::test]
async fn defect_18_the_address_is_the_clients() {
    let cluster = Cluster::start(1, &[("REALTIME_TRUSTED_PROXIES", "loopback")]).await;
    let careful = Node::start(&cluster.redis.url(), &[("REALTIME_TRUSTED_PROXIES", "192.0.2.1")]).await;
    let said = [("x-forwarded-for", "198.51.100.9, 203.0.113.7")]; // the first is whatever the client wrote itself
    for (node, user, address) in [
        (&cluster.nodes[0], "ann", "203.0.113.7"),
        (&careful, "bob", "127.0.0.1"),
    ] {
        let raw = Raw::open_with(node, &said).await;
        raw.connect(&json!({"token": token(user)})).await.expect("a good token");
        raw.heard("authenticated", |_| true).await;
        let record = &connections_of(&cluster.redis, user).await[0];
        assert_eq!(record["ip"], address, "{record:?}");
    }
    let plain = Raw::enter(&cluster.nodes[0], "cat").await;
    let record = &connections_of(&cluster.redis, "cat").await[0];
    assert_eq!(record["ip"], "127.0.0.1", "{record:?}");
    drop(plain);
}

/// A session that began over polling, was connected there, and went on over WebSocket.
async fn upgraded_session(node: &Node, user: &str) -> Raw {
    let http = reqwest::Client::new();
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let open = http.get(&url).send().await.unwrap().text().await.unwrap();
    let open: serde_json::Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).unwrap();
    let sid = open["sid"].as_str().expect("a session has an id");
    let url = format!("{url}&sid={sid}");
    let connect = format!("40{}", json!({"token": token(user)}));
    assert_eq!(http.post(&url).body(connect).send().await.unwrap().status(), 200);
    let answer = http.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(answer.starts_with("40"), "{answer}");
    Raw::upgrade(node, sid).await
}
