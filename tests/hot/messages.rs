//! Messages: numbers without gaps, idempotence by the client's id, and who may not speak.

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::messages::{self, Send, SendRequest, Sent};
use nself_realtime::types::{RoomName, RoomType, Visibility};

use crate::ear::{Ear, words};
use crate::stage::{ODD_NAMES, Stage, lease, now_ms, room, send_one};

async fn send(stage: &Stage, lease: &Lease, room: &RoomName, id: Option<&str>) -> Send {
    let request = SendRequest {
        lease,
        room,
        body: "{\"content\":\"hi\"",
        client_message_id: id,
        listens_only: false,
        tokens: 1,
    };
    send_one(&stage.hot, request).await.unwrap()
}

async fn sent(stage: &Stage, lease: &Lease, room: &RoomName, id: Option<&str>) -> Sent {
    match send(stage, lease, room, id).await {
        Send::Sent(sent) => sent,
        refused => panic!("{refused:?}"),
    }
}

async fn alice_in(stage: &Stage, room: &RoomName) -> Lease {
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    stage.join(&alice, room).await;
    alice
}

#[tokio::test]
async fn messages_are_numbered_and_told_in_order() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = alice_in(&stage, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let epoch: String = stage.ask("HGET", (stage.keys().room(&lobby), "epoch")).await;
    for seq in 1..=3 {
        let sent = sent(&stage, &alice, &lobby, None).await;
        assert_eq!((sent.seq, &sent.epoch, sent.duplicate), (seq, &epoch, false));
        assert!((now_ms() - 10_000..=now_ms()).contains(&sent.sent_ms));
        let body = "{\"content\":\"hi\"".to_owned();
        let told = ear.heard_in(&stage, &lobby).await;
        let [BusEvent::Message(told)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (&told.epoch, told.seq, told.sent_ms, &told.body),
            (&sent.epoch, seq, sent.sent_ms, &body)
        );
    }
    assert_eq!(
        stage.join(&alice, &lobby).await.seq,
        3,
        "a join says where the room stands"
    );
}

#[tokio::test]
async fn the_same_id_again_is_the_same_message() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = alice_in(&stage, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let mut ids: Vec<&str> = ODD_NAMES.to_vec();
    ids.extend(["m1", "line\nbreak", "nul\0byte"]);
    for (id, seq) in ids.iter().zip(1..) {
        let first = sent(&stage, &alice, &lobby, Some(id)).await;
        let again = sent(&stage, &alice, &lobby, Some(id)).await;
        assert_eq!((first.seq, first.duplicate), (seq, false), "{id:?}");
        assert_eq!(
            again,
            Sent {
                duplicate: true,
                ..first
            }
        );
    }
    assert_eq!(ear.heard_in(&stage, &lobby).await.len(), ids.len());
    let ttl: i64 = stage
        .ask("PTTL", stage.keys().room_dedupe(&lobby, &alice.user, "m1"))
        .await;
    assert!((1..=300_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_id_is_its_user_s_and_its_room_s() {
    let stage = Stage::new().await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    let alice = alice_in(&stage, &lobby).await;
    stage.join(&alice, &den).await;
    let bob = lease("bob", 1);
    stage.connect(&bob).await;
    stage.join(&bob, &lobby).await;
    assert_eq!(sent(&stage, &alice, &lobby, Some("m")).await.seq, 1);
    assert_eq!(sent(&stage, &bob, &lobby, Some("m")).await.seq, 2);
    let elsewhere = sent(&stage, &alice, &den, Some("m")).await;
    assert_eq!((elsewhere.seq, elsewhere.duplicate), (1, false));
    assert_eq!(sent(&stage, &alice, &lobby, None).await.seq, 3);
    assert_eq!(
        sent(&stage, &alice, &lobby, None).await.seq,
        4,
        "without an id nothing is a repeat"
    );
}

#[tokio::test]
async fn whoever_may_not_speak_leaves_no_gap() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let later = now_ms() + 100_000;
    assert!(matches!(
        send(&stage, &alice, &room("nowhere"), None).await,
        Send::Missing
    ));
    assert!(matches!(send(&stage, &alice, &lobby, None).await, Send::Stranger));
    stage.policy(&lobby, &alice.user, r#"{"ban":0,"mute":0}"#).await;
    assert!(
        matches!(send(&stage, &alice, &lobby, None).await, Send::Banned),
        "before membership"
    );
    stage.policy(&lobby, &alice.user, "{}").await;
    stage.join(&alice, &lobby).await;
    for policy in [r#"{"mute":0}"#.to_owned(), format!(r#"{{"mute":{later}}}"#)] {
        stage.policy(&lobby, &alice.user, &policy).await;
        assert!(
            matches!(send(&stage, &alice, &lobby, Some("m")).await, Send::Muted),
            "{policy}"
        );
    }
    stage
        .policy(&lobby, &alice.user, &format!(r#"{{"ban":{later}}}"#))
        .await;
    assert!(matches!(send(&stage, &alice, &lobby, Some("m")).await, Send::Banned));
    let earlier = now_ms() - 1;
    stage
        .policy(&lobby, &alice.user, &format!(r#"{{"ban":{earlier},"mute":{earlier}}}"#))
        .await;
    assert_eq!(
        sent(&stage, &alice, &lobby, Some("m")).await.seq,
        1,
        "both have run out"
    );
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await).len(),
        2,
        "the join and one message"
    );
}

#[tokio::test]
async fn a_broadcast_room_is_spoken_in_by_those_who_moderate() {
    let stage = Stage::new().await;
    let stage_room = stage
        .make_room("news", RoomType::Broadcast, Visibility::Public, None)
        .await;
    let alice = alice_in(&stage, &stage_room).await;
    for policy in ["{}", r#"{"role":"member"}"#, r#"{"role":"guest"}"#] {
        stage.policy(&stage_room, &alice.user, policy).await;
        assert!(
            matches!(send(&stage, &alice, &stage_room, None).await, Send::Forbidden),
            "{policy}"
        );
    }
    for (policy, seq) in [(r#"{"role":"moderator"}"#, 1), (r#"{"role":"admin"}"#, 2)] {
        stage.policy(&stage_room, &alice.user, policy).await;
        assert_eq!(sent(&stage, &alice, &stage_room, None).await.seq, seq);
    }
}

#[tokio::test]
async fn a_listener_is_refused_after_everything_else() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = alice_in(&stage, &lobby).await;
    let listens = async || {
        let request = SendRequest {
            lease: &alice,
            room: &lobby,
            body: "{",
            client_message_id: None,
            listens_only: true,
            tokens: 1,
        };
        send_one(&stage.hot, request).await.unwrap()
    };
    assert!(matches!(listens().await, Send::Forbidden));
    stage.policy(&lobby, &alice.user, r#"{"mute":0}"#).await;
    assert!(matches!(listens().await, Send::Muted));
}

#[tokio::test]
async fn numbers_stay_whole_where_lua_would_round_them() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = alice_in(&stage, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let high = 9_007_199_254_740_000_u64;
    let () = stage.ask("HSET", (stage.keys().room(&lobby), "seq", high)).await;
    assert_eq!(sent(&stage, &alice, &lobby, Some("m")).await.seq, high + 1);
    assert_eq!(sent(&stage, &alice, &lobby, Some("m")).await.seq, high + 1);
    assert_eq!(stage.join(&alice, &lobby).await.seq, high + 1);
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        [format!("message {} {{\"content\":\"hi\"", high + 1)]
    );
}

/// Rooms of one partition.
fn neighbours(first: &RoomName) -> impl Iterator<Item = RoomName> {
    let partition = Partition::of_room(first);
    let names = (0..).map(|number| room(&format!("neighbour-{number}")));
    names.filter(move |name| Partition::of_room(name) == partition)
}

#[tokio::test]
async fn many_messages_go_in_one_call_and_each_has_its_outcome() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let other = stage.room(neighbours(&lobby).next().unwrap().as_str()).await;
    let (alice, bob, eve) = (alice_in(&stage, &lobby).await, lease("bob", 1), lease("eve", 1));
    stage.join(&alice, &other).await;
    for somebody in [&bob, &eve] {
        stage.connect(somebody).await;
        stage.join(somebody, &lobby).await;
    }
    stage.policy(&lobby, &eve.user, r#"{"mute":0}"#).await;
    let mut ear = Ear::open(&stage, &[Topic::Room(lobby.clone()), Topic::Room(other.clone())]).await;
    let request = |lease, room, body, client_message_id| SendRequest {
        lease,
        room,
        body,
        client_message_id,
        listens_only: false,
        tokens: 1,
    };
    let nowhere = neighbours(&lobby).nth(1).unwrap();
    let requests = [
        request(&alice, &lobby, "{1", Some("a")),
        request(&bob, &lobby, "{2", None),
        request(&alice, &other, "{3", Some("a")),
        request(&eve, &lobby, "{4", None),
        request(&alice, &lobby, "{5", Some("a")),
        request(&bob, &other, "{6", None),
        request(&bob, &nowhere, "{7", None),
        request(&bob, &lobby, "{8", Some("a")),
        request(&bob, &lobby, "{9", Some("a")),
    ];
    let outcomes = messages::send(&stage.hot, &requests, 0).await.unwrap();
    let seqs: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Send::Sent(sent) => format!("{}{}", sent.seq, if sent.duplicate { " again" } else { "" }),
            refused => format!("{refused:?}"),
        })
        .collect();
    assert_eq!(
        seqs,
        ["1", "2", "1", "Muted", "1 again", "Stranger", "Missing", "3", "3 again"]
    );
    let topics = [Topic::Room(lobby.clone()), Topic::Room(other.clone())];
    let (in_lobby, in_other) = (ear.heard(&stage, &topics[0]).await, ear.heard(&stage, &topics[1]).await);
    assert_eq!(words(&in_lobby), ["message 1 {1", "message 2 {2", "message 3 {8"]);
    assert_eq!(words(&in_other), ["message 1 {3"]);
    let positions = in_lobby.iter().chain(&in_other).map(|event| match event {
        BusEvent::Message(message) => message.position.at_us,
        other => panic!("{other:?}"),
    });
    assert!(
        positions.is_sorted_by(|before, behind| before < behind),
        "as a node hears them"
    );
    // The same once more: what had an id is found, the rest is said anew.
    let again = messages::send(&stage.hot, &requests[..3], 0).await.unwrap();
    assert!(
        matches!(&again[..], [Send::Sent(first), Send::Sent(second), Send::Sent(third)]
            if first.duplicate && first.seq == 1 && second.seq == 4 && third.duplicate)
    );
}
