//! Away by inactivity: on no device anything for long, whatever programs say by themselves, and whoever died.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room};

/// Everything short, so that the tests are.
const HASTE: &[(&str, &str)] = &[
    ("REALTIME_PRESENCE_AWAY_AFTER", "700"),
    ("REALTIME_PRESENCE_HEARTBEAT", "200"),
    ("REALTIME_NODE_BEAT", "200"),
    ("REALTIME_NODE_LEASE", "800"),
    ("REALTIME_PRESENCE_GRACE", "400"),
];

fn is_now(user: &str, status: &str) -> impl Fn(&Value) -> bool {
    move |told: &Value| told["userId"] == user && told["status"] == status
}

#[tokio::test]
async fn pings_keep_nobody_online_and_one_word_does() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let away = dan.heard("presence:changed", is_now("ann", "away"));
    let pings = async {
        loop {
            ann.done("ping", json!({})).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = away => {}
        () = pings => {}
    }
    let before = dan.log().len();
    ann.done("room:members", json!({"roomName": room})).await;
    dan.heard_after(before, "presence:changed", is_now("ann", "online"))
        .await;
}

#[tokio::test]
async fn a_second_device_keeps_the_user_online_until_its_node_is_dead() {
    let cluster = Cluster::start(2, HASTE).await;
    let room = room();
    let _tablet = Raw::member(&cluster.nodes[1], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let phone = Raw::member(&cluster.nodes[0], "ann", &room).await;
    // Dan says nothing, so he is away; by then Ann would be too, but for her phone.
    let busy = async {
        loop {
            phone.done("room:members", json!({"roomName": room})).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = dan.heard("presence:changed", is_now("dan", "away")) => {}
        () = busy => {}
    }
    assert!(dan.all("presence:changed", is_now("ann", "away")).is_empty());
    cluster.nodes[0].signal("KILL");
    dan.heard("presence:changed", is_now("ann", "away")).await;
    assert!(dan.all("presence:changed", is_now("ann", "offline")).is_empty());
}
