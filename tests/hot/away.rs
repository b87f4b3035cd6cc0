//! Away by inactivity: when no device was active for long, told once, and taken back by the first activity.

use std::time::Duration;

use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence::{self, Choice, Connect, Facts, Held};
use nself_realtime::types::{Presence, RoomName, Status};

use crate::ear::{Ear, words};
use crate::stage::{GRACE, Stage, held, lease, now_ms, partition, user};

const SILENCE: [&str; 0] = [];
/// `away_after` of the tests.
const AWAY_MS: i64 = 300_000;

fn entry(lease: &Lease) -> String {
    format!("away\0{}", lease.user)
}

/// When the user is going to be away, Unix ms.
async fn away_at(stage: &Stage, lease: &Lease) -> Option<i64> {
    stage.score(stage.keys().due(partition(lease)), &entry(lease)).await
}

async fn let_idle(stage: &Stage, lease: &Lease) {
    stage
        .let_run_out(stage.keys().due(partition(lease)), &entry(lease))
        .await;
}

async fn seen(stage: &Stage, id: &str) -> Presence {
    presence::read_all(&stage.hot, &[user(id)]).await.unwrap().remove(0).0
}

async fn alice_in_lobby(stage: &Stage) -> (Lease, RoomName) {
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    (alice, lobby)
}

fn chosen(status: Status) -> Choice {
    Choice {
        status,
        text: None,
        emoji: None,
        until_ms: None,
    }
}

#[tokio::test]
async fn whoever_is_idle_is_away_and_told_once() {
    let stage = Stage::new().await;
    let (alice, lobby) = alice_in_lobby(&stage).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let mut beside = Ear::of_user(&stage, &alice.user).await;
    assert_eq!(stage.sweep().await.due, 0, "it is early");
    let_idle(&stage, &alice).await;
    let before = seen(&stage, "alice").await;
    tokio::join!(stage.sweep(), stage.sweep());
    stage.sweep().await;
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["away alice"]);
    assert_eq!(words(&beside.heard_of(&stage, &alice.user).await), ["away alice"]);
    let after = seen(&stage, "alice").await;
    assert!(after.is_idle() && after.version > before.version);
    assert_eq!(away_at(&stage, &alice).await, None);
    assert_eq!(stage.todo_length(&alice.user).await, 0);
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_silence_whose_sweeper_died_is_told_by_another() {
    let stage = Stage::new().await;
    let (alice, lobby) = alice_in_lobby(&stage).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let_idle(&stage, &alice).await;
    let told = presence::idle(&stage.hot, &alice.user)
        .await
        .unwrap()
        .expect("it was due");
    assert!(told.changed && told.todo.is_some() && told.rooms == [lobby.clone()]);
    assert!(
        presence::idle(&stage.hot, &alice.user).await.unwrap().is_none(),
        "a repeat"
    );
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    stage.make_todos_old(&alice.user).await;
    assert_eq!(stage.sweep().await.taken_over, 1);
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["away alice"]);
}

#[tokio::test]
async fn the_first_activity_is_told_once() {
    let stage = Stage::new().await;
    let (alice, lobby) = alice_in_lobby(&stage).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let_idle(&stage, &alice).await;
    stage.sweep().await;
    let woken = domain::wake(&stage.hot, &alice.user)
        .await
        .unwrap()
        .expect("she was away");
    assert_eq!(woken.status, Status::Online);
    assert!(
        domain::wake(&stage.hot, &alice.user).await.unwrap().is_none(),
        "a repeat"
    );
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["away alice", "online alice"]
    );
    assert!(away_at(&stage, &alice).await.unwrap() >= now_ms() + AWAY_MS - 10_000);
    let stranger = user("stranger");
    assert!(domain::wake(&stage.hot, &stranger).await.unwrap().is_none());
    assert_eq!(seen(&stage, "stranger").await, Presence::UNKNOWN);
}

#[tokio::test]
async fn one_active_device_keeps_the_user_online() {
    let stage = Stage::new().await;
    let (idle, active) = (lease("alice", 1), lease("alice", 2));
    stage.connect(&idle).await;
    stage.connect(&active).await;
    let_idle(&stage, &idle).await;
    let beat = |lease: &Lease, idle_s: Option<u64>| Held {
        lease: lease.clone(),
        idle: idle_s.map(Duration::from_secs),
    };
    let beats = [beat(&active, Some(10)), beat(&idle, Some(59))];
    presence::renew(&stage.hot, partition(&idle), &beats).await.unwrap();
    let at = away_at(&stage, &idle).await.unwrap();
    assert!((now_ms() + AWAY_MS - 15_000..=now_ms() + AWAY_MS - 10_000).contains(&at));
    stage.sweep().await;
    assert_eq!(seen(&stage, "alice").await.status, Status::Online);
    // What an earlier call told is not told again.
    presence::renew(&stage.hot, partition(&idle), &[beat(&active, None)])
        .await
        .unwrap();
    assert_eq!(away_at(&stage, &idle).await, Some(at));
}

#[tokio::test]
async fn a_beat_wakes_nobody_and_marks_nobody_who_is_not_there() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let_idle(&stage, &alice).await;
    stage.sweep().await;
    presence::renew(&stage.hot, partition(&alice), &[held(&alice), held(&lease("bob", 1))])
        .await
        .unwrap();
    assert!(seen(&stage, "alice").await.is_idle());
    assert_eq!(away_at(&stage, &alice).await, None);
    assert_eq!(away_at(&stage, &lease("bob", 1)).await, None);
}

#[tokio::test]
async fn a_choice_stands_before_activity() {
    let stage = Stage::new().await;
    let (alice, lobby) = alice_in_lobby(&stage).await;
    domain::choose(&stage.hot, &alice, &chosen(Status::Busy)).await.unwrap();
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let_idle(&stage, &alice).await;
    stage.sweep().await;
    assert_eq!(seen(&stage, "alice").await.status, Status::Busy);
    assert!(domain::wake(&stage.hot, &alice.user).await.unwrap().is_none());
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    assert!(away_at(&stage, &alice).await.is_some());
}

#[tokio::test]
async fn choosing_is_an_activity() {
    let stage = Stage::new().await;
    let (alice, lobby) = alice_in_lobby(&stage).await;
    let_idle(&stage, &alice).await;
    stage.sweep().await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    domain::choose(&stage.hot, &alice, &chosen(Status::Online))
        .await
        .unwrap();
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["online alice"]);
    assert!(away_at(&stage, &alice).await.is_some());
}

#[tokio::test]
async fn a_return_from_grace_stays_away_and_a_return_from_offline_does_not() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let_idle(&stage, &alice).await;
    stage.sweep().await;
    presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap();
    assert!(stage.connect(&lease("alice", 2)).await.is_idle(), "no hand was at it");
    for number in 1..=2 {
        endings::finish(&stage.hot, &lease("alice", number), "asked")
            .await
            .unwrap();
    }
    assert_eq!(away_at(&stage, &alice).await, None);
    assert_eq!(stage.connect(&lease("alice", 3)).await.status, Status::Online);
    assert!(away_at(&stage, &alice).await.is_some());
}

#[tokio::test]
async fn what_the_node_knows_of_activity_is_put_back_quietly() {
    let stage = Stage::new().await;
    let away = Presence {
        version: 7,
        status: Status::Away,
        ..Presence::UNKNOWN
    };
    let alice = lease("alice", 1);
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    for (number, idle_s) in [(1, 400), (2, 500)] {
        let facts = Facts {
            idle: Duration::from_secs(idle_s),
            ..Facts::default()
        };
        let connected = presence::connect(&stage.hot, &lease("alice", number), &facts, Some(&away))
            .await
            .unwrap();
        let Connect::Connected { presence, .. } = connected else {
            panic!("she has no other connection");
        };
        assert!(presence.is_idle());
    }
    assert_eq!(words(&ear.heard_of(&stage, &alice.user).await), SILENCE);
    assert_eq!(away_at(&stage, &alice).await, None);

    let bob = lease("bob", 1);
    let online = Presence {
        status: Status::Online,
        ..away
    };
    let facts = Facts {
        idle: Duration::from_secs(100),
        ..Facts::default()
    };
    presence::connect(&stage.hot, &bob, &facts, Some(&online))
        .await
        .unwrap();
    let at = away_at(&stage, &bob).await.unwrap();
    assert!((now_ms() + AWAY_MS - 105_000..=now_ms() + AWAY_MS - 100_000).contains(&at));
}

#[tokio::test]
async fn nobody_is_away_who_is_gone() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    // As an older version leaves it, which ends connections without a look at this entry.
    let () = stage
        .ask("ZADD", (stage.keys().due(partition(&alice)), 1, entry(&alice)))
        .await;
    assert_eq!(stage.sweep().await.due, 1);
    assert_eq!(words(&ear.heard_of(&stage, &alice.user).await), SILENCE);
    assert_eq!(away_at(&stage, &alice).await, None);
    assert_eq!(seen(&stage, "alice").await, Presence::UNKNOWN);
}
