//! Typing marks: set, extended, taken back, run out, and gone with their user.

use std::time::Duration;

use nself_realtime::domain::{endings, rooms};
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::typing::{self, Mark, Typing};
use nself_realtime::types::RoomName;

use crate::ear::{Ear, words};
use crate::stage::{ODD_NAMES, Stage, lease, now_ms, room};

const LASTS: Duration = Duration::from_secs(60);
/// Nothing takes longer than what has no duration.
const RUN_OUT: Duration = Duration::ZERO;
const SILENCE: [&str; 0] = [];

fn mark<'a>(lease: &'a Lease, room: &'a RoomName, thread: &'a str) -> Mark<'a> {
    Mark {
        lease,
        room,
        thread,
        room_type: "",
    }
}

async fn start(stage: &Stage, lease: &Lease, room: &RoomName, thread: &str) -> Typing {
    typing::start(&stage.hot, &mark(lease, room, thread), LASTS)
        .await
        .unwrap()
}

async fn stop(stage: &Stage, lease: &Lease, room: &RoomName, thread: &str) -> Typing {
    typing::stop(&stage.hot, &mark(lease, room, thread)).await.unwrap()
}

async fn members(stage: &Stage, room: &RoomName, ids: &[&str]) -> Vec<Lease> {
    let mut leases = Vec::new();
    for id in ids {
        leases.push(lease(id, 1));
        stage.connect(&leases[leases.len() - 1]).await;
        stage.join(&leases[leases.len() - 1], room).await;
    }
    leases
}

async fn due(stage: &Stage, room: &RoomName) -> Option<i64> {
    stage
        .score(stage.keys().due(Partition::of_room(room)), &format!("typing\0{room}"))
        .await
}

#[tokio::test]
async fn a_mark_is_set_extended_and_taken_back() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let all = members(&stage, &lobby, &["alice", "bob"]).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let echoed = Mark {
        room_type: "channel",
        ..mark(&all[0], &lobby, "")
    };
    assert_eq!(typing::start(&stage.hot, &echoed, LASTS).await.unwrap(), Typing::Done);
    let [
        BusEvent::Typing {
            thread: None,
            room_type: Some(room_type),
            except: Some(except),
            users,
        },
    ] = &ear.heard_in(&stage, &lobby).await[..]
    else {
        panic!("one list of who types");
    };
    assert_eq!((room_type.as_str(), except), ("channel", &all[0].user));
    let started_ms = users[0].1;
    assert!((now_ms() - 10_000..=now_ms()).contains(&started_ms));

    start(&stage, &all[0], &lobby, "").await;
    start(&stage, &all[1], &lobby, "").await;
    let events = ear.heard_in(&stage, &lobby).await;
    assert_eq!(words(&events), ["typing [alice]", "typing [alice,bob]"]);
    let BusEvent::Typing { users, .. } = &events[0] else {
        unreachable!()
    };
    assert_eq!(users[0].1, started_ms, "a mark that is extended began when it began");

    assert_eq!(stop(&stage, &all[0], &lobby, "").await, Typing::Done);
    assert_eq!(stop(&stage, &all[0], &lobby, "").await, Typing::Done);
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["typing [bob]"],
        "a repeated stop is silent"
    );
}

#[tokio::test]
async fn a_user_s_marks_are_one_per_thread_whatever_the_tabs() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let first = members(&stage, &lobby, &["alice"]).await.remove(0);
    let second = lease("alice", 2);
    stage.connect(&second).await;
    stage.join(&second, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    for lease in [&first, &second] {
        for thread in ["", "t1"] {
            start(&stage, lease, &lobby, thread).await;
        }
    }
    let said = words(&ear.heard_in(&stage, &lobby).await);
    assert_eq!(
        said,
        [
            "typing [alice]",
            "typing t1[alice]",
            "typing [alice]",
            "typing t1[alice]"
        ]
    );
    assert_eq!(stage.ask::<u64>("HLEN", stage.keys().room_typing(&lobby)).await, 2);
    rooms::leave(&stage.hot, &first, &lobby).await.unwrap();
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        SILENCE,
        "the other tab is still there"
    );
}

#[tokio::test]
async fn marks_run_out_and_the_room_is_told_once() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let all = members(&stage, &lobby, &["alice", "bob", "carol"]).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    for lease in &all[..2] {
        typing::start(&stage.hot, &mark(lease, &lobby, ""), RUN_OUT)
            .await
            .unwrap();
    }
    typing::start(&stage.hot, &mark(&all[0], &lobby, "t1"), RUN_OUT)
        .await
        .unwrap();
    start(&stage, &all[2], &lobby, "").await;
    ear.heard_in(&stage, &lobby).await;

    assert_eq!(stage.sweep().await.due, 1, "one entry for the room");
    let mut said = words(&ear.heard_in(&stage, &lobby).await);
    said.sort();
    assert_eq!(said, ["typing [carol]", "typing t1[]"]);
    assert_eq!(typing::expire(&stage.hot, &lobby).await.unwrap(), 0);
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    assert!(
        due(&stage, &lobby).await.unwrap() > now_ms() + 50_000,
        "carol's mark is the next to end"
    );
    stop(&stage, &all[2], &lobby, "").await;
    stage
        .let_run_out(stage.keys().due(Partition::of_room(&lobby)), "typing\0lobby")
        .await;
    stage.sweep().await;
    assert_eq!(due(&stage, &lobby).await, None);
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn whoever_ran_out_and_types_again_begins_anew() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = members(&stage, &lobby, &["alice"]).await.remove(0);
    let mark_key = stage.keys().room_typing(&lobby);
    let long_ago = now_ms() - 100_000;
    let () = stage
        .ask(
            "HSET",
            (&mark_key, "alice\0", format!("{long_ago} {} ", long_ago + 5_000)),
        )
        .await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    start(&stage, &alice, &lobby, "").await;
    let [BusEvent::Typing { users, .. }] = &ear.heard_in(&stage, &lobby).await[..] else {
        panic!("one list of who types");
    };
    assert!(users[0].1 > now_ms() - 10_000);
}

#[tokio::test]
async fn marks_go_with_their_user() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    // A name that another one begins with must not lose its marks.
    let all = members(&stage, &lobby, &["al", "alice"]).await;
    for lease in &all {
        start(&stage, lease, &lobby, "").await;
        start(&stage, lease, &lobby, "t1").await;
    }
    let mut ear = Ear::of_room(&stage, &lobby).await;
    endings::finish(&stage.hot, &all[0], "asked").await.unwrap();
    let mut said = words(&ear.heard_in(&stage, &lobby).await);
    assert_eq!(said.pop().unwrap(), "left al disconnected");
    said.sort();
    assert_eq!(said, ["typing [alice]", "typing t1[alice]"]);
    endings::finish(&stage.hot, &all[1], "asked").await.unwrap();
    assert!(!stage.ask::<bool>("EXISTS", stage.keys().room_typing(&lobby)).await);
    stage
        .let_run_out(stage.keys().due(Partition::of_room(&lobby)), "typing\0lobby")
        .await;
    stage.sweep().await;
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn the_rules_of_speaking_hold_for_typing() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    assert_eq!(start(&stage, &alice, &room("nowhere"), "").await, Typing::Missing);
    assert_eq!(stop(&stage, &alice, &room("nowhere"), "").await, Typing::Missing);
    assert_eq!(start(&stage, &alice, &lobby, "").await, Typing::Stranger);
    assert_eq!(stop(&stage, &alice, &lobby, "").await, Typing::Stranger);
    stage.policy(&lobby, &alice.user, r#"{"ban":0}"#).await;
    assert_eq!(start(&stage, &alice, &lobby, "").await, Typing::Banned);
    stage.policy(&lobby, &alice.user, "{}").await;
    stage.join(&alice, &lobby).await;
    stage.policy(&lobby, &alice.user, r#"{"mute":0}"#).await;
    assert_eq!(start(&stage, &alice, &lobby, "").await, Typing::Muted);
    let earlier = now_ms() - 1;
    stage
        .policy(&lobby, &alice.user, &format!(r#"{{"mute":{earlier}}}"#))
        .await;
    assert_eq!(start(&stage, &alice, &lobby, "").await, Typing::Done);
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["joined alice", "typing [alice]"]
    );
}

#[tokio::test]
async fn a_room_holds_a_hundred_marks() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let alice = members(&stage, &lobby, &["alice"]).await.remove(0);
    for thread in 0..101 {
        assert_eq!(start(&stage, &alice, &lobby, &format!("t{thread}")).await, Typing::Done);
    }
    assert_eq!(stage.ask::<u64>("HLEN", stage.keys().room_typing(&lobby)).await, 100);
    let mut ear = Ear::of_room(&stage, &lobby).await;
    start(&stage, &alice, &lobby, "t0").await;
    start(&stage, &alice, &lobby, "t100").await;
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["typing t0[alice]"],
        "the known are extended"
    );
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    assert!(!stage.ask::<bool>("EXISTS", stage.keys().room_typing(&lobby)).await);
}

#[tokio::test]
async fn odd_names_type_like_others() {
    let stage = Stage::new().await;
    for name in ODD_NAMES {
        let room = stage.room(name).await;
        let typist = members(&stage, &room, &[name]).await.remove(0);
        let mut ear = Ear::of_room(&stage, &room).await;
        typing::start(&stage.hot, &mark(&typist, &room, name), RUN_OUT)
            .await
            .unwrap();
        start(&stage, &typist, &room, name).await;
        stop(&stage, &typist, &room, name).await;
        let said = words(&ear.heard_in(&stage, &room).await);
        assert_eq!(
            said,
            [
                format!("typing {name}[]"),
                format!("typing {name}[{name}]"),
                format!("typing {name}[]")
            ]
        );
    }
}
