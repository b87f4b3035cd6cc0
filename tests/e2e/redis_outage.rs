//! Redis that is not there: a node waits for it at start, and lives through its absence with every socket.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::heard::Heard;
use crate::support::node::Node;
use crate::support::raw::{PATIENCE, Raw, room, unique};
use crate::support::redis::Redis;
use crate::support::token::token;

/// Promised: an ack says UNAVAILABLE within 2 s. Asserted with a second of slack.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn redis_unreachable_at_start() {
    let redis = Redis::stopped();
    let node = Node::spawn(&redis.url(), &[]);
    node.becomes("/livez", 200).await;
    node.becomes("/readyz", 503).await;
    let line = node.logs(&["edis", &redis.port().to_string()]).await;
    let seen = line.contains(r#""level":"warn""#) || line.contains(r#""level":"error""#);
    assert!(seen, "somebody must see it: {line}");
    assert!(node.is_running());

    // Nobody gets in, and nobody is told that it is his identity's fault: that would end a stock client's attempts.
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let answer = reqwest::get(&url).await.expect("the node listens");
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));

    redis.restart().await;
    node.becomes("/readyz", 200).await;
    let room = room();
    let ann = Raw::member(&node, "ann", &room).await;
    ann.marker(&room, &[&ann]).await;
}

/// Every event that needs Redis; each must be answered in time, and none with a success.
fn questions(room: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("room:join", json!({"roomName": room})),
        ("room:join", json!({"roomName": unique("auto:new")})),
        ("message:send", json!({"roomName": room, "content": "into the void"})),
        ("room:members", json!({"roomName": room})),
        ("presence:update", json!({"status": "busy"})),
        ("presence:get", json!({"userIds": ["bob"]})),
        ("presence:subscribe", json!({"userIds": ["user0"]})),
        ("typing:start", json!({"roomName": room})),
        ("typing:stop", json!({"roomName": room})),
        ("room:leave", json!({"roomName": room})),
    ]
}

/// Each question on a connection of its own, at the same time: one after the other, on one, they would wait for each other.
async fn answers_unavailable(askers: &[Raw], room: &str) {
    let asked = Instant::now();
    let questions = questions(room);
    assert_eq!(askers.len(), questions.len());
    let poses: Vec<_> = askers
        .iter()
        .zip(&questions)
        .map(|(raw, (event, payload))| (raw, event, raw.pose(event, std::slice::from_ref(payload))))
        .collect();
    for (raw, event, id) in poses {
        let ack = raw.answer(id).await;
        let took = asked.elapsed();
        assert_eq!(ack["error"]["code"], json!("UNAVAILABLE"), "{event}: {ack}");
        assert!(took < ANSWER_LIMIT, "{event} was answered after {took:?}");
    }
}

async fn members(cluster: &Cluster, room: &str, count: usize) -> Vec<Raw> {
    let mut cast = Vec::new();
    for i in 0..count {
        cast.push(Raw::member(&cluster.nodes[i % 2], &format!("user{i}"), room).await);
    }
    cast
}

#[tokio::test]
async fn redis_paused_while_running() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let cast = members(&cluster, &room, questions(&room).len()).await;
    cluster.redis.one().pause();
    answers_unavailable(&cast, &room).await;
    for node in &cluster.nodes {
        node.becomes("/readyz", 503).await;
        node.becomes("/livez", 200).await;
    }
    // What needs no Redis is served meanwhile.
    assert_eq!(
        cast[0].ask("ping", json!({"timestamp": 1})).await,
        json!({"success": true, "timestamp": 1})
    );

    cluster.redis.one().resume();
    for node in &cluster.nodes {
        node.becomes("/readyz", 200).await;
    }
    // Whether the leave that got no answer was done is unknown: a join, idempotent, settles it.
    let (leaver, others) = cast.split_last().expect("somebody is there");
    eventually_joined(leaver, &room).await;
    sockets_work_again(&cast, &room).await;
    for raw in others {
        let gone = raw.all("user:left", |left| left["userId"] != leaver.user.as_str());
        assert!(gone.is_empty(), "silence of everybody is Redis's silence");
    }
}

/// Whoever connects meanwhile is not told that it is his identity's fault: a stock client would never try again.
#[tokio::test]
async fn redis_paused_while_connecting() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let halfway = Raw::open(node).await;
    cluster.redis.one().pause();
    halfway.send(&format!("40{}", json!({"token": token("ann")})));
    halfway.closed().await;
    let refused = halfway
        .log()
        .iter()
        .any(|heard| matches!(heard, Heard::ConnectError(_) | Heard::Disconnect));
    assert!(!refused, "{:#?}", halfway.log());
    node.becomes("/readyz", 503).await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let answer = reqwest::get(&url).await.expect("the node listens");
    assert_eq!(answer.status(), 503);
    cluster.redis.one().resume();
    node.becomes("/readyz", 200).await;
    let room = room();
    let ann = Raw::member(node, "ann", &room).await;
    ann.marker(&room, &[&ann]).await;
}

#[tokio::test]
async fn redis_restarted_empty_while_running() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let cast = members(&cluster, &room, questions(&room).len()).await;
    cluster.redis.one().kill();
    answers_unavailable(&cast, &room).await;
    for node in &cluster.nodes {
        node.becomes("/readyz", 503).await;
    }
    cluster.redis.one().restart().await;
    for node in &cluster.nodes {
        node.becomes("/readyz", 200).await;
    }
    // The room died with its data: whoever wants it joins again; the sockets are the same.
    for raw in &cast {
        eventually_joined(raw, &room).await;
    }
    sockets_work_again(&cast, &room).await;
}

/// Joins until Redis's return has come through to this connection.
async fn eventually_joined(raw: &Raw, room: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ack = raw.ask("room:join", json!({"roomName": room})).await;
        if ack["success"] == json!(true) {
            return;
        }
        assert_eq!(ack["error"]["code"], json!("UNAVAILABLE"), "{ack}");
        assert!(Instant::now() < deadline, "{} cannot join: {ack}", raw.user);
    }
}

async fn sockets_work_again(cast: &[Raw], room: &str) {
    let listeners: Vec<&Raw> = cast.iter().collect();
    for raw in cast {
        raw.marker(room, &listeners).await;
        raw.done("presence:update", json!({"status": "away"})).await;
    }
    let newcomers = room.replace("room", "other");
    for raw in cast {
        raw.done("room:join", json!({"roomName": newcomers})).await;
    }
    cast[0].marker(&newcomers, &listeners).await;
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let cast = members(&cluster, &room, 2).await;
    cluster.redis.tell(redis::cmd("SCRIPT").arg("FLUSH")).await;
    sockets_work_again(&cast, &room).await;
}

/// What is said in the moment of the cut may be missed; what is said once the subscription stands again is not.
#[tokio::test]
async fn a_cut_subscription_is_made_again() {
    const EACH: u64 = 20;
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let cast = members(&cluster, &room, 4).await;
    for _ in 0..5 {
        cluster.redis.cut_bus().await;
        let first = 1 + heard_again(&cast, &room).await;
        for _ in 0..EACH {
            cast[0]
                .done("message:send", json!({"roomName": room, "content": "after the cut"}))
                .await;
        }
        for raw in &cast {
            raw.heard("message:new", |message| message["seq"] == first + EACH - 1)
                .await;
            let heard = raw.all("message:new", |message| message["seq"].as_u64() >= Some(first));
            let heard: Vec<u64> = heard.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            assert_eq!(heard, (first..first + EACH).collect::<Vec<_>>(), "{}", raw.user);
        }
    }
}

/// Says something until everybody hears it; its seq.
async fn heard_again(cast: &[Raw], room: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = cast[0]
            .done("message:send", json!({"roomName": room, "content": "hello?"}))
            .await;
        let seq = said["seq"].as_u64().expect("a message has its place");
        let all_heard = async {
            for raw in cast {
                raw.heard("message:new", |message| message["seq"] == seq).await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(500), all_heard)
            .await
            .is_ok()
        {
            return seq;
        }
        assert!(Instant::now() < deadline, "nobody hears anything after the cut");
    }
}

/// Whatever happens to a room while the bus is cut is told afterwards, in its order and once.
#[tokio::test]
async fn changes_of_membership_that_the_bus_dropped_are_healed() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let witness = Raw::member(&cluster.nodes[0], "witness", &room).await;
    const ROUNDS: usize = 10;
    for round in 0..ROUNDS {
        cluster.redis.cut_bus().await;
        let user = format!("guest-{round}");
        let guest = Raw::member(&cluster.nodes[1], &user, &room).await;
        guest.done("room:leave", json!({"roomName": room})).await;
        guest.disconnect().await;
    }
    let last = format!("guest-{}", ROUNDS - 1);
    witness.heard("user:left", |left| left["userId"] == last).await;
    let mut revs = Vec::new();
    for event in ["user:joined", "user:left"] {
        let told = witness.all(event, |_| true);
        assert_eq!(told.len(), ROUNDS, "{event}");
        revs.extend(told.iter().map(|told| told["rev"].as_u64().unwrap()));
    }
    revs.sort_unstable();
    assert_eq!(
        revs,
        (2..=1 + 2 * ROUNDS as u64).collect::<Vec<_>>(),
        "each change once"
    );
    assert!(witness.all("room:reset", |_| true).is_empty());
}
