//! Away by inactivity: on no device anything for long, whatever programs say by themselves, and whoever died.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::interval;

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

/// Long enough to be measured, under the heartbeat of 30 s that nobody changes.
const AWAY_AFTER: Duration = Duration::from_secs(2);
const AWAY_AFTER_MS: &[(&str, &str)] = &[("REALTIME_PRESENCE_AWAY_AFTER", "2000")];

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

/// Says a word again and again, far more often than would make anybody away.
async fn talk(speaker: &Raw, room: &str) {
    let mut ticks = interval(Duration::from_millis(150));
    loop {
        ticks.tick().await;
        speaker.done("room:members", json!({"roomName": room})).await;
    }
}

#[tokio::test]
async fn away_comes_in_time_whatever_the_heartbeat() {
    let cluster = Cluster::start(2, AWAY_AFTER_MS).await;
    let room = room();
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let spoken = Instant::now();
    ann.done("room:members", json!({"roomName": room})).await;
    dan.heard("presence:changed", is_now("ann", "away")).await;
    let took = spoken.elapsed();
    assert!(took >= AWAY_AFTER - Duration::from_millis(5), "too early: {took:?}");
    // 5 % and a sweep; the rest is for a machine that does other things, far below the heartbeat.
    assert!(took <= AWAY_AFTER + Duration::from_millis(1_350), "too late: {took:?}");
}

#[tokio::test]
async fn complaint_17_who_speaks_on_one_device_is_not_away_between_two_heartbeats() {
    let cluster = Cluster::start(2, AWAY_AFTER_MS).await;
    let room = room();
    let tablet = Raw::member(&cluster.nodes[1], "ann", &room).await;
    let phone = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let dan = Raw::member(&cluster.nodes[1], "dan", &room).await;
    // Dan is away twice meanwhile, so Ann would be.
    let waits = async {
        for _ in 0..2 {
            let before = dan.log().len();
            dan.done("room:members", json!({"roomName": room})).await;
            tablet.heard_after(0, "presence:changed", is_now("dan", "away")).await;
            dan.heard_after(before, "presence:changed", is_now("dan", "away")).await;
        }
    };
    tokio::select! {
        () = waits => {}
        () = talk(&phone, &room) => {}
    }
    assert!(dan.all("presence:changed", is_now("ann", "away")).is_empty());
    dan.heard("presence:changed", is_now("ann", "away")).await;
}

#[tokio::test]
async fn activity_costs_few_calls_and_idleness_none() {
    const SOCKETS: usize = 30;
    let settings = [
        ("REALTIME_PRESENCE_AWAY_AFTER", "1000"),
        ("REALTIME_PRESENCE_HEARTBEAT", "600000"), // what is counted is not the heartbeat
    ];
    let cluster = Cluster::start(1, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let renewals = async || {
        let count = node.metric("realtime_script_duration_seconds_count", "script=\"presence/renew\"");
        count.await.unwrap_or(0.0)
    };
    let mut devices = Vec::new();
    for _ in 0..SOCKETS {
        devices.push(Raw::member(node, "ann", &room).await);
    }
    devices[0].heard("presence:changed", is_now("ann", "away")).await;
    let before = renewals().await;
    let dan = Raw::enter(node, "dan").await; // no event of his is an activity
    dan.heard("presence:changed", is_now("dan", "away")).await;
    // One heartbeat may come in any moment.
    assert!(renewals().await - before <= 1.0, "nobody was active");

    let (before, begun) = (renewals().await, Instant::now());
    let eve = Raw::enter(node, "eve").await;
    let speaking = futures_util::future::join_all(devices.iter().map(|device| talk(device, &room)));
    tokio::select! {
        _ = eve.heard("presence:changed", is_now("eve", "away")) => {}
        _ = speaking => {}
    }
    let (calls, seconds) = (renewals().await - before, begun.elapsed().as_secs_f64());
    assert!(calls >= 1.0, "somebody was active for {seconds} s");
    // Each socket once per three quarters of a second, but for the first time; one call for those who are due together.
    let most = SOCKETS as f64 * (seconds / 0.75 + 1.0);
    assert!(calls <= most, "{calls} calls in {seconds} s");
}
