//! A node that is told to stop: not ready at once, serving on, then sending everybody away, each at a moment of its own.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room};

/// GET of a handshake: its status, and its `Retry-After`.
async fn knock(node: &Node) -> (u16, Option<String>) {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let response = reqwest::get(url).await.expect("the node answers");
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().expect("a number").to_owned());
    (response.status().as_u16(), retry_after)
}

fn moment(draining: &Value) -> u64 {
    draining["reconnectInMs"].as_u64().expect("a whole number")
}

#[tokio::test]
async fn a_node_that_is_to_stop_serves_on_and_then_sends_each_away_at_its_moment() {
    const WINDOW_MS: u64 = 2_000;
    let settings = [
        ("REALTIME_DRAIN_WAIT", "4000"),
        ("REALTIME_DRAIN_WINDOW", "2000"),
        ("REALTIME_SHARDS", "2"),
    ];
    let cluster = Cluster::start(2, &settings).await;
    let (node, room) = (&cluster.nodes[0], room());
    let users: Vec<String> = (0..20).map(|number| format!("user-{number}")).collect();
    let members = join_all(users.iter().map(|user| Raw::member(node, user, &room))).await;
    let witness = Raw::member(&cluster.nodes[1], "witness", &room).await;
    assert_eq!(node.metric("realtime_draining", "").await, Some(0.0));

    let signalled = Instant::now();
    node.signal("TERM");
    node.becomes("/readyz", 503).await;
    let (_, why) = node.get("/readyz", "*/*").await.expect("it answers");
    assert!(why.contains(r#""reason":"draining""#), "{why}");
    assert_eq!(node.get("/livez", "*/*").await.expect("it answers").0, 200, "it lives");
    assert_eq!(node.metric("realtime_draining", "").await, Some(1.0));
    // Balancers have not seen it yet: newcomers are let in, and everybody is served.
    let late = Raw::member(node, "late", &room).await;
    late.marker(&room, &[&members[0], &witness]).await;
    assert!(late.all("server:draining", |_| true).is_empty(), "nobody has to go yet");
    assert!(
        signalled.elapsed() < Duration::from_secs(4),
        "all of it within the wait"
    );
    eventually("it shows how many are left", async || {
        node.metric("realtime_drain_connections_left", "").await == Some(21.0)
    })
    .await;

    let words = join_all(members.iter().map(|member| member.heard("server:draining", |_| true))).await;
    assert!(
        signalled.elapsed() >= Duration::from_secs(4),
        "and they were told behind the wait"
    );
    let (status, retry_after) = knock(node).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "the door is closed");
    let mut moments: Vec<u64> = words.iter().map(moment).collect();
    moments.push(moment(&late.heard("server:draining", |_| true).await));
    moments.sort_unstable();
    assert!(moments.iter().all(|moment| *moment < WINDOW_MS), "{moments:?}");
    for quarter in 0..4 {
        let (from, to) = (quarter * WINDOW_MS / 4, (quarter + 1) * WINDOW_MS / 4);
        let here = moments.iter().filter(|moment| (from..to).contains(*moment)).count();
        assert!((4..=7).contains(&here), "spread evenly: {moments:?}");
    }
    join_all(members.iter().map(Raw::closed)).await;
    let status = node.ended(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0), "{}", node.log_text());
    for member in &members {
        let log = member.log();
        let told: Vec<_> = log.iter().map(|heard| format!("{heard:?}")).collect();
        assert!(
            told.last().is_some_and(|last| last.contains("close")),
            "the transport ended: {told:?}"
        );
    }
    // Within the grace nobody is told anything.
    witness.marker(&room, &[]).await;
    assert!(witness.all("user:left", |_| true).is_empty());
    assert!(
        witness
            .all("presence:changed", |told| told["status"] == "offline")
            .is_empty()
    );
}

#[tokio::test]
async fn transports_are_closed_one_by_one_over_the_window() {
    let settings = [
        ("REALTIME_DRAIN_WINDOW", "3000"),
        ("REALTIME_SHARDS", "1"),
        ("REALTIME_DRAIN_TIMEOUT", "60000"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    let users: Vec<String> = (0..6).map(|number| format!("user-{number}")).collect();
    let members = join_all(users.iter().map(|user| Raw::enter(node, user))).await;
    node.signal("TERM");
    let closed = join_all(members.iter().map(async |member| {
        let word = member.heard("server:draining", |_| true).await;
        let told = Instant::now();
        member.closed().await;
        (moment(&word), told.elapsed())
    }))
    .await;
    for (moment, took) in &closed {
        let lived = u64::try_from(took.as_millis()).expect("short");
        // The word itself took a moment.
        assert!(
            lived + 500 >= *moment,
            "closed {lived} ms after the word, and {moment} ms were said: {closed:?}"
        );
    }
    let mut moments: Vec<u64> = closed.iter().map(|(moment, _)| *moment).collect();
    moments.sort_unstable();
    assert_eq!(moments, [0, 500, 1_000, 1_500, 2_000, 2_500]);
    assert_eq!(node.ended(Duration::from_secs(30)).await.code(), Some(0));
}

#[tokio::test]
async fn with_nobody_left_the_window_is_over_but_the_wait_is_not() {
    let settings = [
        ("REALTIME_DRAIN_WAIT", "3000"),
        ("REALTIME_DRAIN_WINDOW", "3000000"),
        ("REALTIME_DRAIN_TIMEOUT", "6000000"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    let signalled = Instant::now();
    node.signal("TERM");
    let status = node.ended(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(0), "{}", node.log_text());
    assert!(
        signalled.elapsed() >= Duration::from_secs(3),
        "a balancer may still send people"
    );
}

#[tokio::test]
async fn who_goes_before_its_moment_is_missed_by_nobody_either() {
    let settings = [
        ("REALTIME_PRESENCE_GRACE", "0"),
        ("REALTIME_DRAIN_WINDOW", "600000"),
        ("REALTIME_DRAIN_TIMEOUT", "1200000"),
    ];
    let cluster = Cluster::start(2, &settings).await;
    let room = room();
    // The first has its moment at once; one of the others is here for minutes.
    let early = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let other = Raw::member(&cluster.nodes[0], "bob", &room).await;
    let witness = Raw::member(&cluster.nodes[1], "witness", &room).await;
    cluster.nodes[0].signal("TERM");
    for member in [&early, &other] {
        member.heard("server:draining", |_| true).await;
    }
    early.lose();
    other.lose();
    assert_eq!(cluster.nodes[0].ended(Duration::from_secs(60)).await.code(), Some(0));
    let back = Raw::member(&cluster.nodes[1], "ann", &room).await;
    back.marker(&room, &[&witness]).await;
    assert!(
        witness.all("user:left", |_| true).is_empty(),
        "it has the grace of a node that drains"
    );
    assert!(witness.all("user:joined", |_| true).is_empty(), "{:?}", witness.log());
}

#[tokio::test]
async fn a_signal_that_comes_again_later_ends_it_at_once() {
    let settings = [("REALTIME_DRAIN_WAIT", "600000"), ("REALTIME_DRAIN_TIMEOUT", "1200000")];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    node.signal("TERM");
    node.becomes("/readyz", 503).await;
    // Those of the first two seconds are the first one over again, as npm passes it on.
    let mut asked = 0;
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while node.is_running() {
            node.signal(if asked % 2 == 0 { "INT" } else { "TERM" });
            asked += 1;
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("it ends");
    assert_eq!(node.ended(Duration::from_secs(1)).await.code(), Some(1));
    assert!(asked > 10, "the ones that came at once ended nothing: {asked}");
}

#[tokio::test]
async fn a_polling_client_is_told_too_and_fetches_its_end() {
    let cluster = Cluster::start(1, &[("REALTIME_DRAIN_WINDOW", "1000")]).await;
    let node = &cluster.nodes[0];
    let client = reqwest::Client::new();
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let get = async |url: &str| {
        client
            .get(url)
            .send()
            .await
            .expect("it answers")
            .text()
            .await
            .expect("text")
    };
    let open = get(&url).await;
    let open: Value = serde_json::from_str(&open[1..]).expect("an open packet");
    let url = format!("{url}&sid={}", open["sid"].as_str().expect("a session"));
    let connect = format!("40{}", json!({"token": crate::support::token::token("ann")}));
    let posted = client.post(&url).body(connect).send().await.expect("it answers");
    assert_eq!(posted.status(), 200);
    let mut heard = get(&url).await;
    node.signal("TERM");
    while !heard.contains("server:draining") {
        heard = get(&url).await;
    }
    while !heard.ends_with('1') {
        heard = get(&url).await;
    }
    assert_eq!(node.ended(Duration::from_secs(30)).await.code(), Some(0));
}
