//! The sweep: what ran out ends once, what was left undone is taken over, and Redis's silence is nobody's end.

use std::time::Duration;

use nself_realtime::domain::endings::{self, Swept};
use nself_realtime::hot::keys::{Due, Partition};
use nself_realtime::hot::typing::{self, Mark};
use nself_realtime::hot::{presence, sweep};

use crate::ear::{Ear, words};
use crate::stage::{GRACE, Stage, lease, now_ms, partition};

const SILENCE: [&str; 0] = [];

#[tokio::test]
async fn a_lease_that_ran_out_ends_with_its_memberships() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let (dead, alive) = (lease("alice", 1), lease("bob", 1));
    for lease in [&dead, &alive] {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
    }
    let mut ear = Ear::of_room(&stage, &lobby).await;
    assert_eq!(stage.sweep().await, Swept::default(), "nothing is due");
    stage
        .let_run_out(stage.keys().leases(partition(&dead)), &dead.encode())
        .await;
    let (one, other) = tokio::join!(stage.sweep(), stage.sweep());
    assert_eq!(one.leases + other.leases, 1, "of two sweeps at once one ends it");
    assert_eq!(stage.sweep().await, Swept::default());
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["left alice disconnected"]);
    assert_eq!(stage.users_of(&lobby).await, ["bob"]);
    assert_eq!(stage.todo_length(&dead.user).await, 0);
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_grace_that_ran_out_ends_like_a_lease() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap();
    assert_eq!(stage.sweep().await, Swept::default());
    stage
        .let_run_out(stage.keys().grace(partition(&alice)), &alice.encode())
        .await;
    let swept = stage.sweep().await;
    assert_eq!((swept.graces, swept.leases), (1, 0));
    assert_eq!(stage.sweep().await, Swept::default());
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["left alice disconnected"]);
}

#[tokio::test]
async fn leaves_that_were_left_undone_are_taken_over() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let (red, blue) = (stage.room("red").await, stage.room("blue").await);
    stage.connect(&alice).await;
    for room in [&red, &blue] {
        stage.join(&alice, room).await;
    }
    let mut in_red = Ear::of_room(&stage, &red).await;
    // The node ends the connection, and dies before it leaves the rooms.
    presence::finish(&stage.hot, &alice, "asked")
        .await
        .unwrap()
        .expect("it lived");
    assert_eq!(stage.sweep().await.taken_over, 0, "its node may still be at it");
    assert_eq!(words(&in_red.heard_in(&stage, &red).await), SILENCE);
    stage.make_todos_old(&alice.user).await;
    assert_eq!(stage.sweep().await.taken_over, 1);
    for room in [&red, &blue] {
        assert_eq!(stage.users_of(room).await, SILENCE);
    }
    assert_eq!(words(&in_red.heard_in(&stage, &red).await), ["left alice disconnected"]);
    assert_eq!(stage.todo_length(&alice.user).await, 0);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_step_taken_twice_is_told_once() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    presence::finish(&stage.hot, &alice, "asked")
        .await
        .unwrap()
        .expect("it lived");
    stage.make_todos_old(&alice.user).await;
    let (one, other) = tokio::join!(stage.sweep(), stage.sweep());
    assert!(one.taken_over + other.taken_over >= 1);
    sweep::done(&stage.hot, partition(&alice), "1-1").await.unwrap(); // struck off by another
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["left alice disconnected"]);
}

#[tokio::test]
async fn a_silence_of_redis_is_an_amnesty() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let swept_key = stage.keys().swept(partition(&alice));
    stage.connect(&alice).await;
    stage
        .let_run_out(stage.keys().leases(partition(&alice)), &alice.encode())
        .await;
    // Never swept; long ago; in the future.
    for at in [None, Some(now_ms() - 3_500), Some(now_ms() + 60_000)] {
        let () = stage.ask("DEL", &swept_key).await;
        if let Some(at) = at {
            let () = stage.ask("HSET", (&swept_key, "at", at, "until", 0)).await;
        }
        let swept = endings::sweep(&stage.hot).await.unwrap();
        assert_eq!((swept.leases, swept.amnesties), (0, 1), "last sweep at {at:?}");
        let until: i64 = stage.ask("HGET", (&swept_key, "until")).await;
        assert!((now_ms() + 8_000..=now_ms() + 10_000).contains(&until));
        let again = endings::sweep(&stage.hot).await.unwrap();
        assert_eq!((again.leases, again.amnesties), (0, 1), "it lasts");
        let same: i64 = stage.ask("HGET", (&swept_key, "until")).await;
        assert_eq!(same, until, "it is granted once");
    }
    let () = stage.ask("HSET", (&swept_key, "until", now_ms() - 1)).await;
    assert_eq!(endings::sweep(&stage.hot).await.unwrap().leases, 1);
}

#[tokio::test]
async fn an_amnesty_ends_when_the_clock_went_back() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    stage
        .let_run_out(stage.keys().leases(partition(&alice)), &alice.encode())
        .await;
    let () = stage
        .ask(
            "HSET",
            (
                stage.keys().swept(partition(&alice)),
                "at",
                now_ms(),
                "until",
                now_ms() + 3_600_000,
            ),
        )
        .await;
    assert_eq!(endings::sweep(&stage.hot).await.unwrap().leases, 1);
}

#[tokio::test]
async fn an_amnesty_spares_leases_alone() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let mark = Mark {
        lease: &alice,
        room: &lobby,
        thread: "",
        room_type: "",
    };
    typing::start(&stage.hot, &mark, Duration::ZERO).await.unwrap();
    let swept = endings::sweep(&stage.hot).await.unwrap();
    assert_eq!((swept.amnesties, swept.due), (1, 1));
}

#[tokio::test]
async fn one_look_is_bounded_and_the_next_finds_the_rest() {
    let stage = Stage::new().await;
    let crowd: Vec<_> = (0..105).map(|number| lease("alice", number)).collect();
    for lease in &crowd[..100] {
        stage.connect(lease).await;
    }
    // More than one user may have; the sweep does not ask.
    for lease in &crowd[100..] {
        let () = stage
            .ask("ZADD", (stage.keys().leases(partition(lease)), 1, lease.encode()))
            .await;
    }
    for lease in &crowd[..100] {
        stage
            .let_run_out(stage.keys().leases(partition(lease)), &lease.encode())
            .await;
    }
    let first = stage.sweep().await.leases;
    let second = stage.sweep().await.leases;
    assert_eq!((first, second), (95, 5), "five of the first hundred were nobody's");
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_due_is_read_as_what_it_is() {
    let stage = Stage::new().await;
    let partition = Partition::all().next().unwrap();
    let due = stage.keys().due(partition);
    for (member, at) in [("typing\0a b", 1), ("count\0c", 2), ("status\0d", 3), ("later\0e", 4)] {
        let () = stage.ask("ZADD", (&due, at, member)).await;
    }
    let () = stage.ask("ZADD", (&due, now_ms() + 100_000, "status\0not yet")).await;
    let found = sweep::look(&stage.hot, &[partition]).await.unwrap();
    let expected = [
        Due::Typing("a b".parse().unwrap()),
        Due::Count("c".parse().unwrap()),
        Due::CustomStatus("d".parse().unwrap()),
    ];
    assert_eq!(found.due, expected, "a kind of a later version is left to it");
}
