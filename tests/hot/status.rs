//! What users choose, when it ends, and how rooms hear of it.

use std::slice;

use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::presence::{self, Choice, Enter};
use nself_realtime::hot::rooms::{JoinRequest, LeaveRequest};
use nself_realtime::hot::{rooms, sweep};
use nself_realtime::types::{LeaveReason, Presence, Status};

use crate::ear::{Ear, words};
use crate::stage::{Stage, lease, now_ms, partition, room, user};

fn choice(status: Status) -> Choice {
    Choice {
        status,
        text: None,
        emoji: None,
        until_ms: None,
    }
}

fn lunch(until_ms: Option<i64>) -> Choice {
    Choice {
        status: Status::Busy,
        text: Some("lunch \"soup\"\n\\o/".into()),
        emoji: Some("🍜".into()),
        until_ms,
    }
}

async fn seen(stage: &Stage, id: &str) -> Presence {
    presence::read_all(&stage.hot, &[user(id)]).await.unwrap().remove(0).0
}

const SILENCE: [&str; 0] = [];

#[tokio::test]
async fn a_choice_is_told_in_every_room_and_struck_off() {
    let stage = Stage::new().await;
    let (first, second) = (lease("alice", 1), lease("alice", 2));
    let (red, blue) = (stage.room("red").await, stage.room("blue").await);
    for (lease, room) in [(&first, &red), (&second, &blue)] {
        stage.connect(lease).await;
        stage.join(lease, room).await;
    }
    let mut in_red = Ear::of_room(&stage, &red).await;
    let mut in_blue = Ear::of_room(&stage, &blue).await;
    let mut beside = Ear::of_user(&stage, &first.user).await;
    let told = domain::choose(&stage.hot, &first, &lunch(None))
        .await
        .unwrap()
        .expect("registered");
    assert_eq!((told.status, told.emoji.as_deref()), (Status::Busy, Some("🍜")));
    assert_eq!(words(&in_red.heard_in(&stage, &red).await), ["busy alice"]);
    assert_eq!(words(&in_blue.heard_in(&stage, &blue).await), ["busy alice"]);
    assert_eq!(words(&beside.heard_of(&stage, &first.user).await), ["busy alice"]);
    assert_eq!(stage.todo_length(&first.user).await, 0);
    assert_eq!(seen(&stage, "alice").await, told);
}

#[tokio::test]
async fn the_same_choice_again_is_no_news() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let first = presence::update(&stage.hot, &alice, &lunch(None))
        .await
        .unwrap()
        .unwrap();
    let again = presence::update(&stage.hot, &alice, &lunch(None))
        .await
        .unwrap()
        .unwrap();
    assert!(first.changed && !again.changed);
    assert_eq!(again.presence, first.presence);
    assert!(again.todo.is_none());
    assert_eq!(stage.todo_length(&alice.user).await, 1);
}

#[tokio::test]
async fn only_the_registered_choose() {
    let stage = Stage::new().await;
    let told = presence::update(&stage.hot, &lease("alice", 1), &lunch(None))
        .await
        .unwrap();
    assert!(told.is_none());
    assert_eq!(seen(&stage, "alice").await, Presence::UNKNOWN);
    assert_eq!(stage.keys_left().await, []);
}

#[tokio::test]
async fn a_choice_outlives_tabs_and_connections() {
    let stage = Stage::new().await;
    stage.connect(&lease("alice", 1)).await;
    presence::update(&stage.hot, &lease("alice", 1), &lunch(None))
        .await
        .unwrap();
    assert_eq!(
        stage.connect(&lease("alice", 2)).await.status,
        Status::Busy,
        "a second tab wipes nothing"
    );
    for number in 1..=2 {
        presence::finish(&stage.hot, &lease("alice", number), "asked")
            .await
            .unwrap();
    }
    assert_eq!(seen(&stage, "alice").await.status, Status::Offline);
    let ttl: i64 = stage.ask("PTTL", stage.keys().user(&user("alice"))).await;
    assert_eq!(ttl, -1, "what was chosen is kept");
    let back = stage.connect(&lease("alice", 3)).await;
    assert_eq!((back.status, back.emoji.as_deref()), (Status::Busy, Some("🍜")));
}

#[tokio::test]
async fn the_invisible_come_and_go_unseen() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let told = presence::update(&stage.hot, &alice, &choice(Status::Offline))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.presence.status, Status::Offline);
    assert!(told.presence.seen_ms.unwrap() <= now_ms());
    let mut beside = Ear::of_user(&stage, &alice.user).await;
    stage.connect(&lease("alice", 2)).await;
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    endings::finish(&stage.hot, &lease("alice", 2), "asked").await.unwrap();
    stage.connect(&lease("alice", 3)).await;
    assert_eq!(words(&beside.heard_of(&stage, &alice.user).await), SILENCE);
}

#[tokio::test]
async fn versions_only_rise_also_when_the_clock_goes_back() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let mut last = stage.connect(&alice).await.version;
    let ahead = last + 1_000_000_000_000;
    let () = stage
        .ask("HSET", (stage.keys().user(&alice.user), "version", ahead))
        .await;
    for (status, at_least) in [(Status::Busy, ahead), (Status::Away, ahead), (Status::Online, ahead)] {
        let told = presence::update(&stage.hot, &alice, &choice(status))
            .await
            .unwrap()
            .unwrap();
        assert!(told.presence.version > at_least.max(last), "{told:?} after {last}");
        last = told.presence.version;
    }
    let gone = presence::finish(&stage.hot, &alice, "asked")
        .await
        .unwrap()
        .unwrap()
        .changed
        .unwrap();
    assert!(gone.version > last);
}

#[tokio::test]
async fn a_custom_status_runs_out_once() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    domain::choose(&stage.hot, &alice, &lunch(Some(now_ms() + 100_000)))
        .await
        .unwrap();
    assert!(
        presence::expire(&stage.hot, &alice.user).await.unwrap().is_none(),
        "not yet"
    );
    assert_eq!(seen(&stage, "alice").await.emoji.as_deref(), Some("🍜"));

    let due = stage.keys().due(partition(&alice));
    stage.let_run_out(due.clone(), "status\0alice").await;
    let () = stage
        .ask("HSET", (stage.keys().user(&alice.user), "until", now_ms() - 1))
        .await;
    assert_eq!(
        seen(&stage, "alice").await.text,
        None,
        "shown to nobody from its end on"
    );
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let swept = stage.sweep().await;
    assert_eq!(swept.due, 1);
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["busy alice"]);
    assert!(
        presence::expire(&stage.hot, &alice.user).await.unwrap().is_none(),
        "it has ended"
    );
    assert_eq!(stage.score(due, "status\0alice").await, None);
    assert_eq!(stage.todo_length(&alice.user).await, 0);
    assert_eq!(
        seen(&stage, "alice").await.status,
        Status::Busy,
        "the chosen status stays"
    );
}

#[tokio::test]
async fn an_end_in_the_past_is_no_custom_status() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let told = presence::update(&stage.hot, &alice, &lunch(Some(now_ms() - 1)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((told.presence.status, told.presence.text), (Status::Busy, None));
    assert_eq!(
        stage.score(stage.keys().due(partition(&alice)), "status\0alice").await,
        None
    );
}

#[tokio::test]
async fn a_new_choice_takes_the_old_one_s_end_with_it() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let due = stage.keys().due(partition(&alice));
    stage.connect(&alice).await;
    presence::update(&stage.hot, &alice, &lunch(Some(now_ms() + 100_000)))
        .await
        .unwrap();
    presence::update(&stage.hot, &alice, &lunch(None)).await.unwrap();
    assert_eq!(stage.score(due, "status\0alice").await, None);
    assert!(presence::expire(&stage.hot, &alice.user).await.unwrap().is_none());
    assert_eq!(seen(&stage, "alice").await.emoji.as_deref(), Some("🍜"));
}

#[tokio::test]
async fn a_custom_status_that_ends_after_its_user_leaves_a_plain_record() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let status = Choice {
        status: Status::Online,
        ..lunch(Some(now_ms() + 100_000))
    };
    presence::update(&stage.hot, &alice, &status).await.unwrap();
    presence::finish(&stage.hot, &alice, "asked").await.unwrap();
    let key = stage.keys().user(&alice.user);
    assert_eq!(stage.ask::<i64>("PTTL", &key).await, -1, "kept for its custom status");
    stage
        .let_run_out(stage.keys().due(partition(&alice)), "status\0alice")
        .await;
    let () = stage.ask("HSET", (&key, "until", now_ms() - 1)).await;
    stage.sweep().await;
    let ttl: i64 = stage.ask("PTTL", &key).await;
    assert!(ttl > 0, "nothing chosen, nobody there: {ttl}");
}

#[tokio::test]
async fn a_room_is_told_each_version_once_and_none_that_was_overtaken() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let at_join = stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let version = |status, version| Presence {
        status,
        version,
        ..at_join.clone()
    };
    let old = version(Status::Away, at_join.version + 1);
    let new = version(Status::Busy, at_join.version + 2);
    for presence in [&at_join, &new, &new, &old] {
        rooms::tell_all(&stage.hot, &alice.user, presence, slice::from_ref(&lobby))
            .await
            .unwrap();
    }
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["busy alice"]);
    let page = rooms::members(&stage.hot, &lobby, None, 10, &alice)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(page.members[0].status, Status::Busy, "members are shown as last told");
    assert_eq!(page.members[0].joined_ms / 1_000_000, now_ms() / 1_000_000);
}

#[tokio::test]
async fn a_room_is_told_of_members_only() {
    let stage = Stage::new().await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), stage.room("lobby").await);
    let presence = stage.connect(&alice).await;
    stage.connect(&bob).await;
    stage.join(&bob, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    rooms::tell_all(&stage.hot, &alice.user, &presence, &[lobby.clone(), room("nowhere")])
        .await
        .unwrap();
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    assert_eq!(stage.users_of(&lobby).await, ["bob"]);
}

#[tokio::test]
async fn a_large_room_hears_nothing_of_people() {
    let stage = Stage::with(|terms| terms.presence_limit = 1).await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    for lease in [&alice, &lease("bob", 1)] {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
    }
    let mut ear = Ear::of_room(&stage, &lobby).await;
    domain::choose(&stage.hot, &alice, &lunch(None)).await.unwrap();
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
}

#[tokio::test]
async fn a_telling_that_was_left_undone_is_taken_over() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    // The node dies between the two steps.
    let told = presence::update(&stage.hot, &alice, &lunch(None))
        .await
        .unwrap()
        .unwrap();
    let mut ear = Ear::of_room(&stage, &lobby).await;
    assert_eq!(stage.sweep().await.taken_over, 0, "its node may still be at it");
    stage.make_todos_old(&alice.user).await;
    assert_eq!(stage.sweep().await.taken_over, 1);
    assert_eq!(stage.sweep().await.taken_over, 0);
    // The node was only slow.
    rooms::tell_all(&stage.hot, &alice.user, &told.presence, &told.rooms)
        .await
        .unwrap();
    sweep::done(&stage.hot, partition(&alice), &told.todo.unwrap())
        .await
        .unwrap();
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["busy alice"]);
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_join_reaches_the_room() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let Enter::Entered(before) = presence::enter(&stage.hot, &alice, &lobby, None).await.unwrap().0 else {
        panic!("it lives");
    };
    domain::choose(&stage.hot, &alice, &choice(Status::Busy)).await.unwrap();
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let request = JoinRequest {
        lease: &alice,
        room: &lobby,
        presence: &before,
        autocreate: None,
        is_named: false,
        known: None,
        members: 0,
        since: None,
    };
    rooms::join(&stage.hot, &request).await.unwrap();
    stage.make_todos_old(&alice.user).await;
    stage.sweep().await;
    stage.sweep().await;
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["joined alice", "busy alice"]
    );
    assert_eq!(stage.todo_length(&alice.user).await, 0);
}

#[tokio::test]
async fn the_last_of_two_tabs_that_end_at_once_turns_the_user_offline_in_any_order() {
    let stage = Stage::new().await;
    let (first, last, lobby) = (lease("alice", 1), lease("alice", 2), stage.room("lobby").await);
    for lease in [&first, &last] {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
    }
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let one = presence::finish(&stage.hot, &first, "asked").await.unwrap().unwrap();
    let other = presence::finish(&stage.hot, &last, "asked").await.unwrap().unwrap();
    assert!(one.changed.is_none() && other.changed.is_some());
    for (lease, presence) in [(&last, other.changed.as_ref()), (&first, None)] {
        for _repeat in 0..2 {
            let request = LeaveRequest {
                lease,
                room: &lobby,
                reason: LeaveReason::Disconnected,
                presence,
                ended: true,
            };
            rooms::leave(&stage.hot, &request).await.unwrap();
        }
    }
    let told = words(&ear.heard_in(&stage, &lobby).await);
    assert_eq!(told, ["offline alice", "left alice disconnected"]);
}
