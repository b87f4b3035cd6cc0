//! The events of one connection run in the order in which they came, without an ack being awaited in between; each is
//! answered, whatever the next one does.

use nself_realtime::hot::keys::Partition;
use nself_realtime::types::RoomName;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room, unique};

const ROUNDS: usize = 200;

#[tokio::test]
async fn join_send_leave_send_without_waiting() {
    let cluster = Cluster::shared().await;
    let ann = Raw::enter(&cluster.nodes[0], &unique("ann")).await;
    for round in 0..ROUNDS {
        let room = room();
        let join = ann.pose("room:join", &[json!({"roomName": room})]);
        let within = ann.pose("message:send", &[json!({"roomName": room, "content": "within"})]);
        let leave = ann.pose("room:leave", &[json!({"roomName": room})]);
        let after = ann.pose("message:send", &[json!({"roomName": room, "content": "after"})]);
        assert_eq!(
            ann.answer(join).await["success"],
            json!(true),
            "round {round}: room:join"
        );
        assert_eq!(
            ann.answer(after).await["error"]["code"],
            json!("NOT_A_MEMBER"),
            "round {round}: after"
        );
        assert_eq!(
            ann.answer(leave).await["success"],
            json!(true),
            "round {round}: room:leave"
        );
        let sent = ann.answer(within).await;
        assert_eq!(sent["data"]["seq"], json!(1), "round {round}: message:send: {sent}");
    }
}

#[tokio::test]
async fn a_burst_of_every_kind_is_answered_in_its_order() {
    let cluster = Cluster::shared().await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], &unique("ann"), &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let mut questions = Vec::new();
    for n in 0..ROUNDS {
        let (event, payload) = match n % 5 {
            0 => ("message:send", json!({"roomName": room, "content": n.to_string()})),
            1 => ("typing:start", json!({"roomName": room})),
            2 => ("room:join", json!({"roomName": room})),
            3 => ("ping", json!({"timestamp": n})),
            _ => ("typing:stop", json!({"roomName": room})),
        };
        questions.push((event, ann.pose(event, &[payload])));
    }
    for (event, id) in questions {
        let ack = ann.answer(id).await;
        assert_eq!(ack["success"], json!(true), "{event}: {ack}");
    }
    bob.heard("message:new", |message| {
        message["content"] == (ROUNDS - 5).to_string().as_str()
    })
    .await;
    let heard: Vec<_> = bob
        .all("message:new", |_| true)
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    let said: Vec<_> = (0..ROUNDS).step_by(5).map(|n| json!(n.to_string())).collect();
    assert_eq!(heard, said);
}

/// What was said before a join is not waited for when the room is left: it may never have come to this node.
#[tokio::test]
async fn a_leave_waits_for_nothing_that_was_said_before_the_join() {
    let cluster = Cluster::start(2, &[]).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    ann.done("message:send", json!({"roomName": room, "content": "early"}))
        .await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    bob.done("room:leave", json!({"roomName": room})).await;
    let late = cluster.nodes[1].metric("realtime_late_acks_total", "").await;
    assert_eq!(late, Some(0.0), "the leave waited until the bus's patience was over");
}

/// More than may be under way at once.
const BURST: usize = 70;

fn contents(heard: &[Value]) -> Vec<Value> {
    heard.iter().map(|message| message["content"].clone()).collect()
}

fn burst() -> Vec<Value> {
    (0..BURST).map(|n| json!(n.to_string())).collect()
}

/// Rooms whose messages may go in one call.
fn neighbours() -> (String, String) {
    let first = room();
    let partition = |name: &str| Partition::of_room(&RoomName::parse(name).expect("a name"));
    let second = std::iter::repeat_with(room).find(|name| partition(name) == partition(&first));
    (first, second.expect("there are others in it"))
}

#[tokio::test]
async fn a_burst_in_two_rooms_is_heard_as_it_was_sent_and_a_leave_comes_behind_it() {
    let cluster = Cluster::shared().await;
    let (first, second) = neighbours();
    let ann = Raw::member(&cluster.nodes[0], &unique("ann"), &first).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &first).await;
    for raw in [&ann, &bob] {
        raw.done("room:join", json!({"roomName": second})).await;
    }
    let rooms = [&first, &second];
    let asked: Vec<u64> = (0..BURST)
        .map(|n| {
            let payload = json!({"roomName": rooms[n % 3 % 2], "content": n.to_string()});
            ann.pose("message:send", &[payload])
        })
        .collect();
    let leave = ann.pose("room:leave", &[json!({"roomName": first})]);
    assert_eq!(ann.answer(leave).await["success"], json!(true));
    for id in asked {
        let ack = ann.answer(id).await;
        assert_eq!(ack["success"], json!(true), "{ack}");
    }
    let left = |left: &Value| left["userId"] == ann.user.as_str();
    bob.heard("user:left", left).await;
    assert_eq!(contents(&bob.all("message:new", |_| true)), burst());
}

#[tokio::test]
async fn whoever_disconnects_behind_a_burst_has_said_all_of_it() {
    let cluster = Cluster::shared().await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::member(&cluster.nodes[0], &unique("ann"), &room).await;
    let user = ann.user.clone();
    for content in burst() {
        ann.emit("message:send", json!({"roomName": room, "content": content}));
    }
    ann.disconnect().await;
    bob.heard("user:left", |left| left["userId"] == user.as_str()).await;
    assert_eq!(contents(&bob.all("message:new", |_| true)), burst());
}
