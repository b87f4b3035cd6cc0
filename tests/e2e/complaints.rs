//! What users of such systems complain about, one test for each line that is about presence and membership. Most of it is
//! held elsewhere in greater depth (`node_death`, `redis_outage`, `hot`, `faults`); here each is shown as its user sees it.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::raw::{PATIENCE, Raw, room};
use crate::support::token::token;

/// A node's death is noticed within a second, and the grace is short, so that the tests are.
const HASTE: &[(&str, &str)] = &[
    ("REALTIME_NODE_BEAT", "200"),
    ("REALTIME_NODE_LEASE", "800"),
    ("REALTIME_PRESENCE_GRACE", "1500"),
];

/// With all of the above, promised: lease + grace + 2 s; and slack.
const GHOST_LIMIT: Duration = Duration::from_millis(800 + 1_500 + 2_000 + 3_000);

fn of(user: &str) -> impl Fn(&Value) -> bool {
    move |told: &Value| told["userId"] == user
}

/// Nothing of what says that somebody came, went or changed.
fn hears_nothing_since(witness: &Raw, from: usize) {
    let log = format!("{:?}", &witness.log()[from..]);
    for event in ["user:left", "user:joined", "presence:changed"] {
        assert!(!log.contains(event), "{} heard {event}: {log}", witness.user);
    }
}

/// Where sockets are asked of every node, a node that is gone lets each question wait for its timeout.
#[tokio::test]
async fn complaint_01_questions_time_out_when_a_node_is_gone() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let _bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    cluster.nodes[1].signal("STOP");
    let asked = Instant::now();
    let page = ann.done("room:members", json!({"roomName": room})).await;
    assert_eq!(page["members"].as_array().map(Vec::len), Some(2), "{page}");
    let seen = ann.done("presence:get", json!({"userIds": ["bob"]})).await;
    assert_eq!(seen["presences"][0]["status"], "online");
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "nobody asks the other node, yet it took {took:?}"
    );
    cluster.nodes[1].signal("CONT");
}

#[tokio::test]
async fn complaint_02_ghosts_after_a_crash() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let _ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let died = Instant::now();
    cluster.nodes[0].signal("KILL");
    dan.heard("user:left", of("ann")).await;
    let took = died.elapsed();
    assert!(took < GHOST_LIMIT, "a ghost for {took:?}");
}

/// A process that is restarted at once under its old name keeps that name alive, but not the sockets of its past life.
#[tokio::test]
async fn complaint_02_ghosts_of_a_node_that_restarts_under_its_name() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let _ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let died = Instant::now();
    cluster.nodes[0].signal("KILL");
    let mut settings = HASTE.to_vec();
    settings.push(("REALTIME_NODE_ID", "node-0"));
    let _again = Node::start(&cluster.redis.url(), &settings).await;
    dan.heard("user:left", of("ann")).await;
    let took = died.elapsed();
    assert!(took < GHOST_LIMIT, "a ghost for {took:?}");
}

#[tokio::test]
async fn complaint_04_a_subscriber_reconnects_and_does_not_resubscribe() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    cluster.redis.cut_bus().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What is told in the moment of the cut may be missed.
        let said = ann
            .done("message:send", json!({"roomName": room, "content": "again"}))
            .await;
        let heard = bob.heard("message:new", |message| message["seq"] == said["seq"]);
        if tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the subscription was not made again");
    }
}

#[tokio::test]
async fn complaint_06_a_reconnect_is_a_storm_of_presence() {
    const CROWD: usize = 40;
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(Raw::member(&cluster.nodes[0], &format!("user{number}"), &room).await);
    }
    dan.marker(&room, &[]).await;
    let before = dan.log().len();
    for raw in crowd {
        raw.lose();
    }
    let mut back = Vec::new();
    for number in 0..CROWD {
        back.push(Raw::member(&cluster.nodes[1], &format!("user{number}"), &room).await);
    }
    dan.marker(&room, &[]).await;
    hears_nothing_since(&dan, before);
}

#[tokio::test]
async fn complaint_07_presence_of_a_large_room_is_too_big() {
    const LIMIT: usize = 5;
    const CROWD: usize = 15;
    let cluster = Cluster::start(1, &[("REALTIME_PRESENCE_ROOM_LIMIT", "5")]).await;
    let (node, room) = (&cluster.nodes[0], room());
    let dan = Raw::member(node, "dan", &room).await;
    let mut crowd = Vec::new();
    for number in 1..CROWD {
        crowd.push(Raw::member(node, &format!("user{number:02}"), &room).await);
    }
    dan.heard("room:count", |count| count["memberCount"] == CROWD).await;
    assert_eq!(
        dan.all("user:joined", |_| true).len(),
        LIMIT - 1,
        "people up to the limit"
    );
    let counts = dan.all("room:count", |_| true).len();
    assert!(
        counts < CROWD - LIMIT,
        "{counts} counts: one a second, not one for each who came"
    );
    let (mut cursor, mut listed) = (Value::Null, 0);
    loop {
        let page = dan
            .done("room:members", json!({"roomName": room, "limit": 4, "cursor": cursor}))
            .await;
        listed += page["members"].as_array().map_or(0, Vec::len);
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(listed, CROWD, "in pages");
}

#[tokio::test]
async fn complaint_08_an_update_is_a_leave_and_a_join() {
    let cluster = Cluster::shared().await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], &crate::support::raw::unique("ann"), &room).await;
    let dan = Raw::member(&cluster.nodes[1], &crate::support::raw::unique("dan"), &room).await;
    let before = dan.log().len();
    for status in ["busy", "away", "online"] {
        ann.done("presence:update", json!({"status": status})).await;
        dan.heard_after(before, "presence:changed", |told| told["status"] == status)
            .await;
    }
    ann.marker(&room, &[&dan]).await;
    let log = format!("{:?}", &dan.log()[before..]);
    assert_eq!(log.matches("presence:changed").count(), 3, "{log}");
    assert!(!log.contains("user:left") && !log.contains("user:joined"), "{log}");
}

/// Its node dies with it, so neither a stop nor a disconnect will ever come.
#[tokio::test]
async fn complaint_09_stuck_typing() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    ann.done("typing:start", json!({"roomName": room})).await;
    dan.heard("typing:event", |typing| typing["users"][0]["userId"] == "ann")
        .await;
    cluster.nodes[0].signal("KILL");
    let nobody = |typing: &Value| typing["users"].as_array().is_some_and(Vec::is_empty);
    dan.heard("typing:event", nobody).await;
    assert!(
        dan.all("user:left", of("ann")).is_empty(),
        "the mark ends by its own time, before its user does"
    );
}

#[tokio::test]
async fn complaint_17_presence_is_wrong_with_several_devices() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let dan = Raw::member(&cluster.nodes[0], "dan", &room).await;
    let phone = Raw::member(&cluster.nodes[0], "ann", &room).await;
    phone.done("presence:update", json!({"status": "busy"})).await;
    dan.heard("presence:changed", |told| {
        told["userId"] == "ann" && told["status"] == "busy"
    })
    .await;
    let before = dan.log().len();
    let laptop = Raw::member(&cluster.nodes[1], "ann", &room).await;
    phone.disconnect().await;
    laptop.marker(&room, &[&dan]).await;
    hears_nothing_since(&dan, before);
    let seen = dan.done("presence:get", json!({"userIds": ["ann"]})).await;
    assert_eq!(
        seen["presences"][0]["status"], "busy",
        "neither a device that comes nor one that goes changes it"
    );
    // The last device dies with its node.
    cluster.nodes[1].signal("KILL");
    dan.heard_after(before, "presence:changed", |told| {
        told["userId"] == "ann" && told["status"] == "offline"
    })
    .await;
}

/// Without back-pressure a client that does not read fills the server's memory, or holds up whoever shares its room.
#[tokio::test]
async fn complaint_13_one_stalled_client_delays_nobody() {
    const MESSAGES_MAX: usize = 600;
    let cluster = Cluster::start(1, &[]).await;
    let (node, room) = (&cluster.nodes[0], room());
    let url = format!("ws://127.0.0.1:{}/socket.io/?EIO=4&transport=websocket", node.port());
    let (mut stalled, _) = tokio_tungstenite::connect_async(url).await.expect("it listens");
    let connect = format!("40{}", json!({"token": token("eve")}));
    let join = format!("420{}", json!(["room:join", {"roomName": room}]));
    for packet in [connect, join] {
        stalled.send(Message::text(packet)).await.expect("it is open");
    }
    while !stalled
        .next()
        .await
        .expect("it is open")
        .expect("a message")
        .to_string()
        .starts_with("430")
    {}
    // From here on nothing is read of it.
    let ann = Raw::member(node, "ann", &room).await;
    let bob = Raw::member(node, "bob", &room).await;
    let (content, mut longest, mut sent) = ("x".repeat(60_000), Duration::ZERO, 0);
    let closes = async || node.metric("realtime_closes_total", "reason=\"slow_consumer\"").await;
    while closes().await == Some(0.0) {
        assert!(sent < MESSAGES_MAX, "36 MB are nowhere but in the node");
        let (from, said) = (bob.log().len(), Instant::now());
        ann.done("message:send", json!({"roomName": room, "content": content}))
            .await;
        bob.heard_after(from, "message:new", of("ann")).await;
        longest = longest.max(said.elapsed());
        sent += 1;
    }
    assert!(longest < Duration::from_secs(2), "bob waited for {longest:?}");
    bob.heard("user:left", of("eve")).await;
}
