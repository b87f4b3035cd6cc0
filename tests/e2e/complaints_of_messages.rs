//! What users of such systems complain about, one test for each line that is about messages, memory and load. As in
//! `complaints`, most of it is held elsewhere in greater depth (`lost_messages`, `hot`, `delivery`).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::heard::Heard;
use crate::support::node::Node;
use crate::support::raw::{Raw, room};
use crate::support::redis::Redis;
use crate::support::redis_fleet::{RedisCluster, ask};
use crate::support::token::token;
use crate::support::valve::Valve;

const BEATS: (&str, &str) = ("REALTIME_NODE_BEAT", "250");

fn seqs(raw: &Raw) -> Vec<u64> {
    let heard = raw.all("message:new", |_| true);
    heard.iter().filter_map(|message| message["seq"].as_u64()).collect()
}

async fn say(raw: &Raw, room: &str, count: usize) {
    for _ in 0..count {
        raw.done("message:send", json!({"roomName": room, "content": "x"}))
            .await;
    }
}

async fn unready_for(node: &Node, reason: &str) {
    node.becomes("/readyz", 503).await;
    let (_, body) = node.get("/readyz", "*/*").await.expect("it answers");
    assert!(body.contains(reason), "{body}");
}

/// The connection stands and brings nothing, while commands pass: nobody is sent to such a node, and it helps itself.
#[tokio::test]
async fn complaint_03_a_bus_that_brings_nothing_is_seen_and_loses_nothing() {
    let redis = Redis::start().await;
    let valve = Valve::before(&redis).await;
    let url = valve.url();
    let deaf = Node::start(&url, &[BEATS, ("REALTIME_NODE_ID", "deaf")]).await;
    let well = Node::start(&redis.url(), &[BEATS, ("REALTIME_NODE_ID", "well")]).await;
    let room = room();
    let ann = Raw::member(&deaf, "ann", &room).await;
    let bob = Raw::member(&well, "bob", &room).await;
    ann.marker(&room, &[&bob]).await;

    valve.close();
    let closed = Instant::now();
    say(&bob, &room, 3).await;
    unready_for(&deaf, "bus").await;
    let took = closed.elapsed();
    assert!(took < Duration::from_secs(6), "promised after three seconds: {took:?}");
    let (status, health) = deaf.get("/health", "*/*").await.expect("it answers");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")), "{health}");
    assert_eq!(health["dependencies"]["redis"]["status"], "connected", "{health}");
    ann.done("room:members", json!({"roomName": room})).await;
    assert_eq!(well.get("/readyz", "*/*").await.expect("it answers").0, 200);

    valve.open();
    deaf.becomes("/readyz", 200).await;
    ann.heard("message:new", |message| message["seq"] == 4).await;
    bob.marker(&room, &[&ann]).await;
    assert_eq!(seqs(&ann), [1, 2, 3, 4, 5], "all of it, in order and once");
    assert!(ann.all("room:reset", |_| true).is_empty());
}

/// A server that answers commands and refuses subscriptions, as after an operator's change of its permissions.
#[tokio::test]
async fn complaint_03_a_bus_that_may_not_subscribe_is_not_ready() {
    let cluster = Cluster::start(1, &[BEATS]).await;
    let node = &cluster.nodes[0];
    let room = room();
    let ann = Raw::member(node, "ann", &room).await;
    let () = ask(cluster.redis.one(), "ACL", &["SETUSER", "default", "-ssubscribe"]).await;
    let _killed: u64 = ask(cluster.redis.one(), "CLIENT", &["KILL", "TYPE", "pubsub"]).await;
    unready_for(node, "bus").await;
    ann.done("room:members", json!({"roomName": room})).await;
    let () = ask(cluster.redis.one(), "ACL", &["SETUSER", "default", "+ssubscribe"]).await;
    node.becomes("/readyz", 200).await;
    ann.marker(&room, &[]).await;
}

/// What a stock client keeps by itself: the pid of CONNECT, and the string that stood beside the last message.
async fn come(node: &Node, user: &str, memory: Option<(&Value, Option<&Value>)>) -> (Raw, Value) {
    let raw = Raw::open(node).await;
    let mut auth = json!({"token": token(user), "recovery": true});
    if let Some((pid, offset)) = memory {
        auth["pid"] = pid.clone();
        auth["offset"] = offset.cloned().unwrap_or_default();
    }
    let connected = raw.connect(&auth).await.expect("a good token");
    let told = raw.heard("connected", |_| true).await;
    assert_eq!(told["recovered"], memory.is_some(), "{told}");
    (raw, connected["pid"].clone())
}

fn offset_of(raw: &Raw, seq: u64) -> Value {
    let offset = raw.log().into_iter().find_map(|heard| match heard {
        Heard::Event(name, args) if name == "message:new" && args[0]["seq"] == seq => args.into_iter().nth(1),
        _ => None,
    });
    offset.expect("an offset stands beside each message")
}

#[tokio::test]
async fn complaint_05_recovery_fails_when_the_node_dies_before_the_first_message() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let (ann, pid) = come(&cluster.nodes[0], "ann", None).await;
    ann.done("room:join", json!({"roomName": room})).await;
    cluster.nodes[0].signal("KILL");
    ann.closed().await;
    assert!(seqs(&ann).is_empty(), "nothing was said, so it has no offset");
    say(&bob, &room, 3).await;
    let (ann, same_pid) = come(&cluster.nodes[1], "ann", Some((&pid, None))).await;
    assert_eq!(same_pid, pid);
    bob.marker(&room, &[&ann]).await;
    assert_eq!(seqs(&ann), [1, 2, 3, 4]);
    assert!(bob.all("user:left", |_| true).is_empty());
}

/// What is replayed has its offsets too: whoever is lost in the middle of it goes on from there.
#[tokio::test]
async fn complaint_05_recovery_brings_duplicates() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let (ann, pid) = come(&cluster.nodes[0], "ann", None).await;
    ann.done("room:join", json!({"roomName": room})).await;
    bob.marker(&room, &[&ann]).await;
    let mut offset = offset_of(&ann, 1);
    ann.lose();
    for round in 0..4 {
        say(&bob, &room, 3).await;
        let (ann, _) = come(&cluster.nodes[round % 2], "ann", Some((&pid, Some(&offset)))).await;
        // Two of the replay reach it, the rest is lost with the transport.
        let first = 2 + 2 * round as u64;
        let said = 1 + 3 * (1 + round as u64);
        ann.heard("message:new", |message| message["seq"] == said).await;
        assert_eq!(seqs(&ann), (first..=said).collect::<Vec<_>>());
        offset = offset_of(&ann, first + 1);
        ann.lose();
    }
}

/// Connections that are made and lost leave nothing: neither in the node nor in Redis.
#[tokio::test]
async fn complaint_12_sockets_that_come_and_go_leave_no_memory_behind() {
    const ROUNDS: usize = 12;
    const SOCKETS: usize = 400;
    const SETTLED: usize = 4;
    let cluster = Cluster::start(1, &[("REALTIME_PRESENCE_GRACE", "500")]).await;
    let node = &cluster.nodes[0];
    let mut resident = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..ROUNDS {
        let guests = (0..SOCKETS).map(async |number| {
            let room = format!("auto:visited-{}", number % 20);
            let raw = Raw::member(node, &format!("guest-{number}"), &room).await;
            say(&raw, &room, 1).await;
            raw
        });
        let guests = join_all(guests).await;
        let ends = guests.into_iter().enumerate().map(async |(number, guest)| {
            if number % 2 == 0 {
                guest.disconnect().await;
            } else {
                guest.lose();
            }
        });
        join_all(ends).await;
        eventually("all are gone, and their grace is over", async || {
            let sockets = node.metric("realtime_connections", "transport=\"websocket\"").await;
            let records: Vec<String> = ask(cluster.redis.one(), "KEYS", &["rt:*:conn:*"]).await;
            sockets == Some(0.0) && records.is_empty()
        })
        .await;
        resident.push(node.resident_kb());
        keys.push(lasting_keys(cluster.redis.one()).await);
    }
    // Had 3,200 sockets left two and a half kilobytes each, it would be 8 MB; the allocator's own steps are up to 3 MB.
    let (before, after) = (resident[SETTLED - 1], resident[ROUNDS - 1]);
    println!(
        "{} sockets, kB after each round: {resident:?}; lasting keys: {keys:?}",
        ROUNDS * SOCKETS
    );
    assert!(after < before + 8_000, "kB after each round: {resident:?}");
    // A sample may have met steps that were still under way.
    let fewest = keys.iter().min().copied().unwrap_or_default();
    eventually("Redis holds no more than after any round", async || {
        lasting_keys(cluster.redis.one()).await <= fewest
    })
    .await;
}

/// Keys that do not expire by themselves.
async fn lasting_keys(redis: &Redis) -> u64 {
    let keyspace: String = ask(redis, "INFO", &["keyspace"]).await;
    let number = |name: &str| -> u64 {
        let (_, behind) = keyspace.split_once(name).expect("the database is not empty");
        let digits = behind.split(|c: char| !c.is_ascii_digit()).next();
        digits.expect("there is always a first").parse().expect("a number")
    };
    number("keys=") - number("expires=")
}

/// Where all messages go through one stream, or all channels through one slot, a Cluster's other masters do nothing.
#[tokio::test]
async fn complaint_18_no_stream_and_no_slot_has_it_all() {
    const ROOMS: usize = 48;
    const EACH: usize = 5;
    let cluster = RedisCluster::start().await;
    let node = Node::start(&cluster.url(), &[]).await;
    join_all((0..ROOMS).map(async |number| {
        let room = format!("auto:hot-{number}");
        let raw = Raw::member(&node, &format!("speaker-{number}"), &room).await;
        say(&raw, &room, EACH).await;
    }))
    .await;
    let (mut histories, mut published) = (Vec::new(), Vec::new());
    for master in &cluster.masters {
        let keys: Vec<String> = ask(master, "KEYS", &["*room.history*"]).await;
        for key in &keys {
            assert_eq!(ask::<usize>(master, "XLEN", &[key]).await, EACH, "{key} is of one room");
        }
        histories.push(keys.len());
        let stats: String = ask(master, "INFO", &["commandstats"]).await;
        let spublish = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_spublish:calls="));
        let calls = spublish.and_then(|line| line.split(',').next());
        published.push(calls.map_or(0, |calls| calls.parse::<usize>().expect("a number")));
    }
    println!("of {ROOMS} rooms each master has {histories:?}; it published {published:?} times");
    assert_eq!(histories.iter().sum::<usize>(), ROOMS);
    // The names are always the same, so this is no matter of luck.
    assert!(histories.iter().all(|count| *count >= ROOMS / 6), "{histories:?}");
    let all: usize = published.iter().sum();
    assert!(all >= ROOMS * EACH, "each message is published: {published:?}");
    assert!(published.iter().all(|count| *count >= all / 6), "{published:?}");
}
