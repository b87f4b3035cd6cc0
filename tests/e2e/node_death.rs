//! Any node may die, and Redis may come back empty: nobody stays as a ghost, everybody is told exactly once, and whoever
//! lives is there again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::{API_KEY, ask};
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::binary;
use crate::support::raw::{Raw, room};

/// A node's death is noticed within a second, and the grace is short, so that the tests are.
const HASTE: &[(&str, &str)] = &[
    ("REALTIME_NODE_BEAT", "200"),
    ("REALTIME_NODE_LEASE", "800"),
    ("REALTIME_PRESENCE_GRACE", "800"),
];

fn is_left(user: &str) -> impl Fn(&Value) -> bool {
    move |left: &Value| left["userId"] == user && left["reason"] == "disconnected"
}

fn is_now(user: &str, status: &str) -> impl Fn(&Value) -> bool {
    move |told: &Value| told["userId"] == user && told["status"] == status
}

#[tokio::test]
async fn a_killed_node_leaves_no_ghosts_and_everybody_is_told_once() {
    let cluster = Cluster::start(3, HASTE).await;
    // Sweeps bury nobody in their first seconds, since nothing is known yet of who lives.
    let room = room();
    let doomed = ["ann", "bob", "cleo"];
    let mut victims = Vec::new();
    for user in doomed {
        victims.push(Raw::member(&cluster.nodes[0], user, &room).await);
    }
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let eve = Raw::member(&cluster.nodes[2], "eve", &room).await;
    // Ann has a second device on a node that lives on: she stays.
    let tablet = Raw::member(&cluster.nodes[1], "ann", &room).await;

    cluster.nodes[0].signal("KILL");
    for witness in [&dan, &eve] {
        for user in ["bob", "cleo"] {
            witness.heard("user:left", is_left(user)).await;
            witness.heard("presence:changed", is_now(user, "offline")).await;
        }
    }
    tablet.marker(&room, &[&dan, &eve]).await;
    for witness in [&dan, &eve] {
        for user in ["bob", "cleo"] {
            assert_eq!(witness.all("user:left", is_left(user)).len(), 1, "{user} left once");
            assert_eq!(
                witness.all("presence:changed", is_now(user, "offline")).len(),
                1,
                "{user} is offline once"
            );
        }
        assert!(witness.all("user:left", is_left("ann")).is_empty(), "ann is still here");
    }
    let mut ghosts = 0.0;
    for node in &cluster.nodes[1..] {
        ghosts += node.metric("realtime_ghost_seconds_count", "").await.unwrap();
        let beats = node.metric("realtime_heartbeat_duration_seconds_count", "").await;
        assert!(beats.is_some());
    }
    assert!(ghosts >= 3.0, "{ghosts} connections of the dead node were measured");
    let members = dan.done("room:members", json!({"roomName": room})).await;
    let members: Vec<&str> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| m["userId"].as_str())
        .collect();
    assert_eq!(members, ["ann", "dan", "eve"]);
}

#[tokio::test]
async fn a_node_that_has_stopped_is_no_dead_one() {
    let mut settings = HASTE.to_vec();
    settings.extend([("REALTIME_DRAIN_WAIT", "0"), ("REALTIME_DRAIN_WINDOW", "0")]);
    settings.push(("REALTIME_DRAIN_GRACE", "1500"));
    let cluster = Cluster::start(3, &settings).await;
    let [stops, dies, stays] = &cluster.nodes[..] else {
        unreachable!("three were started")
    };
    let room = room();
    let ann = Raw::member(stops, "ann", &room).await;
    let dan = Raw::member(stays, "dan", &room).await;

    stops.signal("TERM");
    assert_eq!(stops.ended(Duration::from_secs(60)).await.code(), Some(0));
    ann.closed().await;
    let mut status = binary();
    status
        .args(["status", "--json"])
        .env("REALTIME_REDIS_URL", cluster.redis.url());
    let status = status.output().expect("the binary starts");
    assert!(status.status.success(), "{status:?}");
    let status: Value = serde_json::from_slice(&status.stdout).expect("one JSON object");
    let names: Vec<&str> = status["nodes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|node| node["node"].as_str())
        .collect();
    assert_eq!(names, ["node-1", "node-2"]);
    dan.heard("user:left", is_left("ann")).await;

    // Whoever notices this later death would have noticed the earlier one.
    dies.signal("KILL");
    let is_noticed = async || {
        let lines = [stays.lines(), stops.lines()].concat();
        lines
            .iter()
            .any(|line| line.contains("a node is dead") && line.contains("node-1"))
    };
    eventually("the death is noticed", is_noticed).await;
    for node in &cluster.nodes {
        let said = node.lines();
        let of_stopped = said
            .iter()
            .find(|line| line.contains("a node is dead") && line.contains("node-0"));
        assert_eq!(of_stopped, None);
    }
    assert_eq!(stays.metric("realtime_nodes_buried_total", "").await, Some(1.0));
}

#[tokio::test]
async fn a_node_that_was_only_paused_registers_its_sockets_again() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    ann.done("presence:update", json!({"status": "busy"})).await;
    dan.heard("presence:changed", is_now("ann", "busy")).await;

    let before = dan.log().len();
    cluster.nodes[0].signal("STOP");
    dan.heard("user:left", is_left("ann")).await;
    dan.heard("presence:changed", is_now("ann", "offline")).await;
    cluster.nodes[0].signal("CONT");
    dan.heard_after(before, "user:joined", |joined| joined["userId"] == "ann")
        .await;
    dan.heard_after(before, "presence:changed", is_now("ann", "busy")).await;
    ann.marker(&room, &[&dan]).await;
    assert_eq!(dan.all("user:left", is_left("ann")).len(), 1);
}

#[tokio::test]
async fn an_emptied_redis_has_everybody_back_quietly() {
    let cluster = Cluster::start(2, &[("REALTIME_NODE_BEAT", "500"), ("REALTIME_NODE_LEASE", "2000")]).await;
    let room = room();
    cluster.create_room(&room, "group", "public");
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    ann.done(
        "presence:update",
        json!({"status": "busy", "customStatus": {"text": "Lunch", "emoji": "🍔"}}),
    )
    .await;
    dan.heard("presence:changed", is_now("ann", "busy")).await;
    let before = dan.log().len();

    cluster.redis.tell(&redis::cmd("FLUSHALL")).await;

    for raw in [&ann, &dan] {
        let reset = raw.heard("room:reset", |reset| reset["roomName"] == room).await;
        assert!(reset["epoch"].is_string() && reset["seq"] == 0, "{reset}");
    }
    eventually("both are members again", async || {
        let page = dan.ask("room:members", json!({"roomName": room})).await;
        page["data"]["members"]
            .as_array()
            .is_some_and(|members| members.len() == 2)
    })
    .await;
    let presences = dan.done("presence:get", json!({"userIds": ["ann"]})).await;
    assert_eq!(presences["presences"][0]["status"], "busy");
    assert_eq!(presences["presences"][0]["customStatus"], "Lunch");
    ann.marker(&room, &[&dan]).await;
    let joined = dan.done("room:join", json!({"roomName": room})).await;
    assert_eq!(joined["type"], "group", "the room is what it was");
    for event in ["user:left", "user:joined", "presence:changed"] {
        let said = dan.log()[before..]
            .iter()
            .filter(|heard| format!("{heard:?}").contains(event))
            .count();
        assert_eq!(said, 0, "{event} was said, though nobody left");
    }
}

/// Without a database there is nobody else who could know.
#[tokio::test]
async fn a_room_that_was_changed_comes_back_as_it_was_changed_to() {
    let settings = [
        ("REALTIME_NODE_BEAT", "500"),
        ("REALTIME_NODE_LEASE", "2000"),
        ("REALTIME_PRESENCE_HEARTBEAT", "500"),
        ("REALTIME_API_KEYS", API_KEY),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let ann = Raw::member(node, "ann", &room).await;
    let change = json!({"visibility": "secret", "maxMembers": 7});
    ask(node, "PATCH", &format!("/api/rooms/{room}"), change).await.done();
    // Told with a heartbeat, each of which has this script once; the second one begins behind the change.
    let asked = "realtime_script_duration_seconds_count";
    let label = "script=\"rooms/position\"";
    let before = node.metric(asked, label).await.unwrap_or_default();
    eventually("two heartbeats are over", async || {
        node.metric(asked, label).await.unwrap_or_default() >= before + 2.0
    })
    .await;
    cluster.redis.tell(&redis::cmd("FLUSHALL")).await;
    ann.heard("room:reset", |reset| reset["roomName"] == room).await;
    let shown = ask(node, "GET", &format!("/api/rooms/{room}"), Value::Null)
        .await
        .done();
    assert_eq!(
        (&shown["visibility"], &shown["maxMembers"]),
        (&json!("secret"), &json!(7))
    );
}
