//! Rates and counts on the wire: what is refused, how it is said, when it is over, and that a flood stays in memory.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::clients::javascript;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room};
use crate::support::token::token;

const ENFORCE: (&str, &str) = ("REALTIME_LIMITS", "enforce");

/// A GET that opens a polling session, as a proxy passes it on: status, and `Retry-After` in seconds.
async fn knock(node: &Node, forwarded: Option<&str>) -> (u16, Option<u64>) {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let request = reqwest::Client::new().get(url);
    let request = match forwarded {
        Some(addresses) => request.header("x-forwarded-for", addresses),
        None => request,
    };
    answered(request).await
}

/// The same over WebSocket: what stands before the upgrade.
async fn knock_websocket(node: &Node) -> (u16, Option<u64>) {
    let url = format!("{}/socket.io/?EIO=4&transport=websocket", node.url());
    let request = reqwest::Client::new().get(url).header("connection", "Upgrade");
    let request = request
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    answered(request).await
}

async fn answered(request: reqwest::RequestBuilder) -> (u16, Option<u64>) {
    let answer = request.send().await.expect("the node answers");
    let retry_after = answer.headers().get("retry-after");
    let seconds = retry_after.map(|value| value.to_str().unwrap().parse().expect("whole seconds"));
    (answer.status().as_u16(), seconds)
}

/// How many of so many sends at once were refused, and the longest wait that was told.
async fn flood(raw: &Raw, room: &str, size: usize) -> (usize, u64) {
    let ids: Vec<u64> = (0..size)
        .map(|number| {
            raw.pose(
                "message:send",
                &[json!({"roomName": room, "content": number.to_string()})],
            )
        })
        .collect();
    let (mut refused, mut longest) = (0, 0);
    for id in ids {
        let ack = raw.answer(id).await;
        if ack["success"] != json!(true) {
            assert_eq!(ack["error"]["code"], "RATE_LIMITED", "{ack}");
            let wait = ack["error"]["retryAfterMs"].as_u64().expect("it says when");
            assert!(wait > 0, "{ack}");
            (refused, longest) = (refused + 1, longest.max(wait));
        }
    }
    (refused, longest)
}

async fn calls(node: &Node, script: &str) -> f64 {
    let label = format!("script=\"{script}\"");
    let count = node.metric("realtime_script_duration_seconds_count", &label).await;
    count.unwrap_or(0.0)
}

async fn hits(node: &Node, limit: &str) -> f64 {
    let label = format!("limit=\"{limit}\"");
    node.metric("realtime_limit_hits_total", &label).await.unwrap_or(0.0)
}

#[tokio::test]
async fn who_is_refused_is_let_through_when_the_wait_is_over() {
    let settings = [ENFORCE, ("REALTIME_RATE_MESSAGES", "60/3")];
    let cluster = Cluster::start(1, &settings).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let (refused, wait) = flood(&ann, &room, 20).await;
    // One beyond the burst may have passed on credit.
    assert!((16..=17).contains(&refused), "{refused} of 20");
    assert!(wait <= 2_000, "{wait} ms for a token a second");
    tokio::time::sleep(Duration::from_millis(wait)).await; // the very time that was told
    ann.done("message:send", json!({"roomName": room, "content": "again"}))
        .await;
    assert!(hits(&cluster.nodes[0], "messages").await >= 16.0);
    // Another class, and another user, have tokens of their own; without an ack it is told as an event.
    let bob = Raw::member(&cluster.nodes[0], "bob", &room).await;
    bob.done("message:send", json!({"roomName": room, "content": "hello"}))
        .await;
    ann.done("room:leave", json!({"roomName": room})).await;
}

#[tokio::test]
async fn every_class_is_refused_by_its_name_and_in_its_order() {
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_TYPING", "1/1"),
        ("REALTIME_RATE_PRESENCE", "1/1"),
        ("REALTIME_RATE_REQUESTS", "1/1"),
        ("REALTIME_RATE_REFRESHES", "1/1"),
        ("REALTIME_RATE_JOINS", "1/2"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let ann = Raw::member(node, "ann", &room).await;
    let cases = [
        ("typing", "typing:start", json!({"roomName": room}), json!({})),
        (
            "presence",
            "presence:update",
            json!({"status": "busy"}),
            json!({"status": "x"}),
        ),
        (
            "requests",
            "room:members",
            json!({"roomName": room}),
            json!({"roomName": 7}),
        ),
        ("refreshes", "auth:refresh", json!({"token": token("ann")}), json!({})),
        ("joins", "room:join", json!({"roomName": room}), json!({})),
    ];
    for (class, event, good, bad) in cases {
        let mut last = Value::Null;
        for _ in 0..5 {
            last = ann.ask(event, good.clone()).await;
        }
        assert_eq!(last["error"]["code"], "RATE_LIMITED", "{event}: {last}");
        assert!(
            last["error"]["retryAfterMs"].as_u64().is_some_and(|wait| wait > 1_000),
            "{last}"
        );
        assert!(hits(node, class).await >= 1.0, "{class}");
        // The payload is looked at first.
        ann.refused("INVALID_PAYLOAD", event, bad).await;
    }
    ann.emit("typing:stop", json!({"roomName": room}));
    ann.heard("error", |error| error["code"] == "RATE_LIMITED").await;
}

/// Two nodes draw from one bucket, by however many connections.
#[tokio::test]
async fn a_user_has_one_rate_on_all_nodes() {
    const BURST: usize = 60;
    let settings = [ENFORCE, ("REALTIME_RATE_MESSAGES", "1/60"), ("REALTIME_SHARDS", "1")];
    let cluster = Cluster::start(2, &settings).await;
    let room = room();
    let tabs = join_all((0..4).map(|tab| Raw::member(&cluster.nodes[tab % 2], "ann", &room))).await;
    let floods = join_all(tabs.iter().map(|tab| flood(tab, &room, BURST))).await;
    let passed = 4 * BURST - floods.iter().map(|(refused, _)| refused).sum::<usize>();
    // Each node is one event ahead at most.
    assert!((BURST / 2..=BURST + 2).contains(&passed), "{passed} passed");
}

#[tokio::test]
async fn a_flood_stays_in_memory() {
    const FLOOD: usize = 10_000;
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_EVENTS", "1/400"),
        ("REALTIME_RATE_MESSAGES", "60/100"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let ann = Raw::member(node, "ann", &room).await;
    let (refused, _) = flood(&ann, &room, FLOOD).await;
    assert!(refused >= FLOOD - 150, "{refused} of {FLOOD}");
    let (sends, draws) = (calls(node, "messages/send").await, calls(node, "limits/draw").await);
    assert!(sends <= 150.0 && draws <= 60.0, "{sends} sends, {draws} draws");
    println!("10,000 events of one socket: {sends} sends and {draws} draws reached Redis, {refused} were refused");
    assert!(hits(node, "events").await >= 9_000.0);
    // What costs no rate of its own is stopped by the gate as well.
    ann.refused("RATE_LIMITED", "pong", json!({"timestamp": 1})).await;
    let other = Raw::member(node, "bob", &room).await;
    other
        .done("message:send", json!({"roomName": room, "content": "undisturbed"}))
        .await;
}

#[tokio::test]
async fn rooms_are_made_at_a_rate_and_those_that_exist_cost_nothing() {
    let settings = [ENFORCE, ("REALTIME_RATE_CREATIONS", "1/3")];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    let bob = Raw::enter(node, "bob").await;
    let made = room();
    bob.done("room:join", json!({"roomName": made})).await;
    let ann = Raw::enter(node, "ann").await;
    let mut refused = 0;
    for _ in 0..10 {
        let ack = ann.ask("room:join", json!({"roomName": room()})).await;
        if ack["success"] != json!(true) {
            assert_eq!(ack["error"]["code"], "RATE_LIMITED", "{ack}");
            refused += 1;
        }
    }
    assert!((6..=7).contains(&refused), "{refused} of 10");
    ann.done("room:join", json!({"roomName": made})).await;
    ann.refused("ROOM_NOT_FOUND", "room:join", json!({"roomName": "nobody-makes-this"}))
        .await;
    assert!(hits(node, "creations").await >= 6.0);
}

/// The 101st within a minute, over both transports; others are not concerned.
#[tokio::test]
async fn an_address_has_so_many_handshakes_a_minute() {
    let settings = [ENFORCE, ("REALTIME_TRUSTED_PROXIES", "127.0.0.1")];
    let cluster = Cluster::start(2, &settings).await;
    let node = &cluster.nodes[0];
    let knocked = join_all((0..100).map(|number| knock(&cluster.nodes[number % 2], None))).await;
    let let_in = knocked.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(let_in, 100, "{knocked:?}");
    // A token comes back every 600 ms, and the hundred took some time.
    let mut last = (200, None);
    for _ in 0..50 {
        last = knock(node, None).await;
        if last.0 != 200 {
            break;
        }
    }
    assert_eq!(last, (429, Some(1)));
    assert_eq!(knock_websocket(node).await, (429, Some(1)));
    for other in ["127.0.0.2", "203.0.113.9", "2001:db8::1"] {
        assert_eq!(knock(node, Some(other)).await.0, 200, "{other}");
    }
    let label = "cause=\"rate\"";
    let refusals = node.metric("realtime_refusals_total", label).await;
    assert!(refusals.is_some_and(|refusals| refusals >= 2.0), "{refusals:?}");
    assert!(hits(node, "handshakes").await >= 2.0);
    // The wait that was told is long enough.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(knock(node, None).await.0, 200);
}

#[tokio::test]
async fn an_ipv6_64_is_one_address() {
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_LIMIT", "1/2"),
        ("REALTIME_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    for (address, status) in [
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 200),
        ("2001:db8:0:1::3", 429),
        ("2001:db8:0:2::1", 200),
        // A client may write what it likes in front of what the proxy writes.
        ("198.51.100.1, 2001:db8:0:1::4", 429),
        ("[2001:db8:0:1::5]:4711", 429),
    ] {
        assert_eq!(knock(node, Some(address)).await.0, status, "{address}");
    }
}

#[tokio::test]
async fn a_header_of_a_stranger_is_not_believed() {
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_LIMIT", "1/2"),
        ("REALTIME_TRUSTED_PROXIES", "none"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    for (address, status) in [("203.0.113.1", 200), ("203.0.113.2", 200), ("203.0.113.3", 429)] {
        assert_eq!(knock(&cluster.nodes[0], Some(address)).await.0, status, "{address}");
    }
}

/// A session is one handshake, however many polls and upgrades it takes.
#[tokio::test]
async fn polls_and_upgrades_are_no_handshakes() {
    let settings = [ENFORCE, ("REALTIME_RATE_LIMIT", "1/2")];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let opened = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let opened: Value = serde_json::from_str(&opened[1..]).expect("an open packet");
    let raw = Raw::upgrade(node, opened["sid"].as_str().unwrap()).await;
    raw.connect(&json!({"token": token("ann")}))
        .await
        .expect("a good token");
    assert_eq!(knock(node, None).await.0, 200);
    assert_eq!(knock(node, None).await.0, 429);
}

#[tokio::test]
async fn limits_in_the_shadow_are_counted_and_refuse_nothing() {
    let settings = [
        ("REALTIME_LIMITS", "shadow"),
        ("REALTIME_RATE_LIMIT", "1/1"),
        ("REALTIME_RATE_MESSAGES", "1/1"),
        ("REALTIME_RATE_EVENTS", "1/1"),
        ("REALTIME_RATE_CREATIONS", "1/1"),
        ("REALTIME_RATE_ROOM_MESSAGES", "1/1"),
        ("REALTIME_MAX_USER_CONNECTIONS", "1"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let ann = Raw::member(node, "ann", &room).await;
    let _tab = Raw::enter(node, "ann").await;
    assert_eq!(flood(&ann, &room, 20).await.0, 0);
    for _ in 0..3 {
        ann.done("room:join", json!({"roomName": crate::support::raw::room()}))
            .await;
    }
    for limit in [
        "handshakes",
        "messages",
        "events",
        "room_messages",
        "creations",
        "user_connections",
    ] {
        assert!(hits(node, limit).await >= 1.0, "{limit}");
    }
}

#[tokio::test]
async fn limits_that_are_off_cost_nothing() {
    let settings = [
        ("REALTIME_RATE_LIMIT", "1/1"),
        ("REALTIME_RATE_MESSAGES", "1/1"),
        ("REALTIME_RATE_EVENTS", "1/1"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let ann = Raw::member(node, "ann", &room).await;
    let _bob = Raw::enter(node, "bob").await;
    assert_eq!(flood(&ann, &room, 20).await.0, 0);
    assert!(calls(node, "limits/draw").await < 1.0);
    assert!(hits(node, "messages").await < 1.0);
}

/// 50 by default; one more is turned away by the end of its transport, so that a stock client tries again.
#[tokio::test]
async fn a_user_has_so_many_connections_on_all_nodes() {
    let cluster = Cluster::start(2, &[ENFORCE, ("REALTIME_RATE_LIMIT", "1000")]).await;
    let tabs = join_all((0..50).map(|tab| Raw::enter(&cluster.nodes[tab % 2], "ann"))).await;
    let one_more = Raw::open(&cluster.nodes[0]).await;
    one_more.send(&format!("40{}", json!({"token": token("ann")})));
    one_more.closed().await;
    let label = "cause=\"user_connections\"";
    let refusals = cluster.nodes[0].metric("realtime_refusals_total", label).await;
    assert_eq!(refusals, Some(1.0));
    let _bob = Raw::enter(&cluster.nodes[0], "bob").await;
    // All of them lose their network and come back: what is in grace is in nobody's way.
    tabs.into_iter().for_each(Raw::lose);
    eventually("the lost are in grace", async || {
        let held = cluster.nodes.iter();
        let held = held.map(|node| node.metric("realtime_connections", "transport=\"websocket\""));
        join_all(held).await.into_iter().flatten().sum::<f64>() <= 1.0
    })
    .await;
    join_all((0..49).map(|tab| Raw::enter(&cluster.nodes[tab % 2], "ann"))).await;
}

#[tokio::test]
async fn a_socket_is_in_200_rooms() {
    let settings = [ENFORCE];
    let cluster = Cluster::start(1, &settings).await;
    let ann = Raw::enter(&cluster.nodes[0], "ann").await;
    // As after a reconnect: all at once, none of them made before.
    let ids: Vec<u64> = (0..200)
        .map(|_| ann.pose("room:join", &[json!({"roomName": room()})]))
        .collect();
    for id in ids {
        let ack = ann.answer(id).await;
        assert_eq!(ack["success"], json!(true), "{ack}");
    }
    ann.refused("TOO_MANY_ROOMS", "room:join", json!({"roomName": room()}))
        .await;
}

#[tokio::test]
async fn the_stock_client_over_websocket() {
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_MESSAGES", "120/5"),
        ("REALTIME_RATE_LIMIT", "1000"),
    ];
    javascript(&Cluster::start(2, &settings).await, "limits", "websocket").await;
}

#[tokio::test]
async fn the_stock_client_over_polling() {
    let settings = [
        ENFORCE,
        ("REALTIME_RATE_MESSAGES", "120/5"),
        ("REALTIME_RATE_LIMIT", "1000"),
    ];
    javascript(&Cluster::start(2, &settings).await, "limits", "polling").await;
}
