//! Messages that the bus did not bring: they come from the history, in their order, before anything newer and before the ack.

use std::time::Duration;

use nself_realtime::hot::keys::Keys;
use nself_realtime::types::RoomName;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room};

async fn seqs(raw: &Raw, last: u64) -> Vec<u64> {
    raw.heard("message:new", |message| message["seq"] == last).await;
    let heard = raw.all("message:new", |_| true);
    heard.iter().filter_map(|message| message["seq"].as_u64()).collect()
}

/// The subscriptions are cut again and again while messages are said; everybody hears all of them.
#[tokio::test]
async fn complaint_04_what_a_cut_bus_drops_comes_from_the_history() {
    const CUTS: u64 = 10;
    const EACH: u64 = 30;
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let mut cast = Vec::new();
    for (node, user) in ["ann", "bob", "cat", "dan"].iter().enumerate() {
        cast.push(Raw::member(&cluster.nodes[node % 2], user, &room).await);
    }
    for _ in 0..CUTS {
        let said: Vec<u64> = (0..EACH)
            .map(|_| cast[0].pose("message:send", &[json!({"roomName": room, "content": "on and on"})]))
            .collect();
        cluster.redis.cut_bus().await;
        for id in said {
            let ack = cast[0].answer(id).await;
            assert_eq!(ack["success"], true, "{ack}");
        }
    }
    for raw in &cast {
        assert_eq!(
            seqs(raw, CUTS * EACH).await,
            (1..=CUTS * EACH).collect::<Vec<_>>(),
            "{}",
            raw.user
        );
        assert!(raw.all("room:reset", |_| true).is_empty());
    }
}

/// Puts a message into a room as a send does whose publication is lost on its way.
async fn say_unheard(cluster: &Cluster, room: &str, epoch: &str) -> u64 {
    let keys = Keys::new("rt");
    let name = RoomName::parse(room).unwrap();
    let raise = (keys.room(&name), "seq", 1);
    let seq: u64 = cluster.redis.ask(redis::cmd("HINCRBY").arg(raise)).await;
    let body = json!({"roomName": room, "content": "unheard", "userId": "ann"}).to_string();
    let frame = format!(
        "m {epoch} {seq} 1700000000000 aa.1 lost/1\n{}",
        body.trim_end_matches('}')
    );
    let entry = (keys.room_history(&name), format!("{seq}-0"), "m", frame);
    let _: String = cluster.redis.ask(redis::cmd("XADD").arg(entry)).await;
    seq
}

#[tokio::test]
async fn the_heartbeat_finds_the_lost_end_of_a_silent_room() {
    let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_HEARTBEAT", "500")]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    ann.marker(&room, &[&bob]).await;
    let epoch = ann.all("message:new", |_| true)[0]["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    let seq = say_unheard(&cluster, &room, &epoch).await;
    for raw in [&ann, &bob] {
        assert_eq!(seqs(raw, seq).await, [1, 2]);
    }
    ann.marker(&room, &[&bob]).await;
    for raw in [&ann, &bob] {
        assert_eq!(seqs(raw, 3).await, [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_message_out_of_its_turn_waits_for_the_one_before() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    ann.marker(&room, &[&bob]).await;
    let epoch = ann.all("message:new", |_| true)[0]["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    say_unheard(&cluster, &room, &epoch).await;
    let said = ann
        .done("message:send", json!({"roomName": room, "content": "heard"}))
        .await;
    assert_eq!(said["seq"], 3);
    for raw in [&ann, &bob] {
        assert_eq!(seqs(raw, 3).await, [1, 2, 3]);
        let unheard = raw.all("message:new", |message| message["seq"] == 2);
        assert_eq!(unheard[0]["content"], Value::from("unheard"));
    }
}

/// Without a history nothing can be healed: it is said, and the room goes on.
#[tokio::test]
async fn what_cannot_be_healed_is_a_reset() {
    let cluster = Cluster::start(1, &[("REALTIME_HISTORY_SIZE", "0")]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    ann.marker(&room, &[]).await;
    let epoch = ann.all("message:new", |_| true)[0]["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    let seq = say_unheard(&cluster, &room, &epoch).await;
    let history = Keys::new("rt").room_history(&RoomName::parse(&room).unwrap());
    let () = cluster.redis.ask(redis::cmd("DEL").arg(history)).await;
    ann.pose(
        "message:send",
        &[json!({"roomName": room, "content": "after the hole"})],
    );
    let reset = ann
        .heard("room:reset", |reset| reset["roomName"] == room.as_str())
        .await;
    assert_eq!(reset["reason"], "history_trimmed");
    assert!(reset["seq"].as_u64() >= Some(seq), "{reset}");
    tokio::time::timeout(Duration::from_secs(10), ann.marker(&room, &[]))
        .await
        .expect("the room goes on");
}

/// A failover may lose a membership that the node and the client know of: what the client says next is said, and nobody is
/// told of a coming or going.
#[tokio::test]
async fn a_member_whom_redis_has_lost_is_one_again_when_it_speaks() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    bob.marker(&room, &[&ann]).await;
    let (keys, name) = (Keys::new("rt"), RoomName::parse(&room).unwrap());
    let members: Vec<String> = cluster
        .redis
        .ask(redis::cmd("ZRANGE").arg((keys.room_live(&name), 0, -1)))
        .await;
    for member in members.iter().filter(|member| member.starts_with("ann\0")) {
        let _: u64 = cluster
            .redis
            .ask(redis::cmd("ZREM").arg((keys.room_live(&name), member)))
            .await;
        let _: u64 = cluster
            .redis
            .ask(redis::cmd("HDEL").arg((keys.room_users(&name), "ann")))
            .await;
    }
    ann.done("message:send", json!({"roomName": room, "content": "still here"}))
        .await;
    bob.heard("message:new", |message| message["content"] == "still here")
        .await;
    let members = bob.done("room:members", json!({"roomName": room})).await;
    assert_eq!(members["members"].as_array().map(Vec::len), Some(2), "{members}");
    for raw in [&ann, &bob] {
        assert!(raw.all("user:left", |_| true).is_empty());
        assert!(raw.all("user:joined", |told| told["userId"] == "ann").is_empty() || raw.user == "bob");
    }
}
