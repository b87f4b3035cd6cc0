//! Messages: numbers without gaps, idempotence by the client's id, and who may not speak.

use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::messages::{self, Send, SendRequest, Sent};
use nself_realtime::types::{RoomName, RoomType, Visibility};

use crate::ear::{Ear, words};
use crate::stage::{ODD_NAMES, Stage, lease, now_ms, room};

async fn send(stage: &Stage, lease: &Lease, room: &RoomName, id: Option<&str>) -> Send {
    let request = SendRequest {
        lease,
        room,
        body: "{\"content\":\"hi\"",
        client_message_id: id,
        listens_only: false,
        behind: 0,
    };
    messages::send(&stage.hot, &request).await.unwrap()
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
            behind: 0,
        };
        messages::send(&stage.hot, &request).await.unwrap()
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
