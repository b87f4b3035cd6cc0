//! Drift: none in a healthy life; each kind that is made by hand is found, ended, and told where somebody sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use nself_realtime::domain::doctor::{Drift, examine, examine_partition, repair};
use nself_realtime::hot::doctor::{self, Pieces};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence::{self, Choice};
use nself_realtime::hot::typing::{self, Mark};
use nself_realtime::hot::{nodes, rooms};
use nself_realtime::types::{RoomName, Status};

use crate::ear::{Ear, words};
use crate::stage::{GRACE, ODD_NAMES, Stage, lease, now_ms, partition, user};

const WHOLE: Pieces = Pieces {
    leased: true,
    record: true,
    of_user: true,
    of_node: true,
    rooms: 0,
};
const NOTHING: Pieces = Pieces {
    leased: false,
    record: false,
    of_user: false,
    of_node: false,
    rooms: 0,
};

async fn pieces(stage: &Stage, lease: &Lease, adopt: bool) -> Pieces {
    let found = doctor::connections(&stage.hot, std::slice::from_ref(lease), adopt).await;
    found.unwrap().remove(0)
}

async fn said(stage: &Stage, room: &RoomName, repair: bool) -> Vec<String> {
    let mut said: Vec<String> = doctor::room(&stage.hot, room, repair)
        .await
        .unwrap()
        .into_iter()
        .map(|(kind, user)| format!("{kind} {user}"))
        .collect();
    said.sort();
    said
}

fn mark<'a>(lease: &'a Lease, room: &'a RoomName) -> Mark<'a> {
    Mark {
        lease,
        room,
        thread: "",
        room_type: "",
    }
}

#[tokio::test]
async fn a_healthy_life_has_no_drift() {
    let stage = Stage::new().await;
    nodes::beat(&stage.hot, &lease("x", 1).node, "{}", GRACE).await.unwrap();
    for name in ODD_NAMES {
        let (odd, room) = (lease(name, 1), stage.room(name).await);
        stage.connect(&odd).await;
        stage.join(&odd, &room).await;
        typing::start(&stage.hot, &mark(&odd, &room), Duration::from_secs(60))
            .await
            .unwrap();
        let choice = Choice {
            status: Status::Busy,
            text: Some("x".into()),
            emoji: None,
            until_ms: Some(now_ms() + 100_000),
        };
        presence::update(&stage.hot, &odd, &choice).await.unwrap();
    }
    presence::lose(&stage.hot, &lease("-", 1), GRACE, "test").await.unwrap();
    assert_eq!(examine(&stage.hot).await.unwrap(), BTreeSet::new());
    assert_eq!(
        doctor::census(&stage.hot).await.unwrap(),
        (ODD_NAMES.len() as u64 - 1, 1)
    );
}

#[tokio::test]
async fn a_step_under_way_is_no_drift() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    presence::finish(&stage.hot, &alice, "asked")
        .await
        .unwrap()
        .expect("it lived");
    stage.make_todos_old(&alice.user).await;
    let (found, _) = tokio::join!(examine(&stage.hot), stage.sweep());
    assert_eq!(found.unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn every_drift_is_found_ended_and_told() {
    let stage = Stage::new().await;
    let (keys, lobby) = (stage.keys(), stage.room("lobby").await);
    // Alice's lease is gone, Bob's record, Cleo's place on the node; Dan is a ghost in the room, Eve a name there.
    let [alice, bob, cleo, dan, eve] = ["alice", "bob", "cleo", "dan", "eve"].map(|name| lease(name, 1));
    for lease in [&alice, &bob, &cleo] {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
    }
    nodes::beat(&stage.hot, &alice.node, "{}", GRACE).await.unwrap();
    let () = stage
        .ask("ZREM", (keys.leases(partition(&alice)), alice.encode()))
        .await;
    let () = stage.ask("DEL", keys.connection(&bob.user, &bob.connection)).await;
    let () = stage
        .ask("SREM", (keys.node_leases(partition(&cleo), &cleo.node), cleo.encode()))
        .await;
    let () = stage.ask("ZADD", (keys.room_live(&lobby), 0, dan.member())).await;
    for name in ["dan", "eve"] {
        let () = stage.ask("HSET", (keys.room_users(&lobby), name, "1 0 online")).await;
    }
    let () = stage
        .ask("ZADD", (keys.user_rooms(&user("fay")), 0, "fay-1.0\0lobby"))
        .await;
    let () = stage
        .ask("ZADD", (keys.due(partition(&eve)), i64::MAX >> 12, "away\0eve"))
        .await;
    let tombstone = keys.tombstone(&lobby, &eve.connection);
    let () = stage.ask("SET", (&tombstone, "1")).await;

    let found = examine(&stage.hot).await.unwrap();
    let expected = BTreeSet::from([
        Drift::Connection(alice.encode()),
        Drift::Connection(bob.encode()),
        Drift::Connection(cleo.encode()),
        Drift::Ghost(lobby.clone(), alice.encode()),
        Drift::Ghost(lobby.clone(), dan.encode()),
        Drift::Room(lobby.clone(), "unheld".to_owned(), user("eve")),
        Drift::StrayRoom(user("fay"), lease("fay", 1).connection, lobby.clone()),
        Drift::Due(partition(&eve), "away\0eve".to_owned()),
        Drift::Lasting(tombstone),
    ]);
    assert_eq!(found, expected);
    let cheap = examine_partition(&stage.hot, partition(&alice)).await.unwrap();
    assert!(cheap.contains(&Drift::Connection(alice.encode())), "{cheap:?}");

    let mut ear = Ear::of_room(&stage, &lobby).await;
    for _ in 0..2 {
        for drift in &found {
            repair(&stage.hot, drift).await.unwrap();
        }
    }
    let mut told = words(&ear.heard_in(&stage, &lobby).await);
    told.sort();
    let left = ["alice", "bob", "cleo", "dan", "eve"].map(|name| format!("left {name} disconnected"));
    assert_eq!(told, left, "each once");
    assert_eq!(examine(&stage.hot).await.unwrap(), BTreeSet::new());
    assert_eq!(stage.users_of(&lobby).await, [] as [&str; 0]);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_connection_is_whole_or_not_there() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    assert_eq!(pieces(&stage, &alice, true).await, NOTHING);
    assert_eq!(stage.keys_left().await, [], "nothing is adopted that is not there");
    stage.connect(&alice).await;
    for _ in 0..2 {
        assert_eq!(pieces(&stage, &alice, true).await, WHOLE);
    }
    presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap();
    assert_eq!(pieces(&stage, &alice, false).await, WHOLE, "grace holds as well");
    presence::finish(&stage.hot, &alice, "asked").await.unwrap();
    assert_eq!(pieces(&stage, &alice, false).await, NOTHING);
}

#[tokio::test]
async fn what_is_not_whole_is_adopted_and_ends_like_any_connection() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let () = stage.ask("DEL", stage.keys().user_connections(&alice.user)).await;
    let broken = Pieces {
        of_user: false,
        ..WHOLE
    };
    assert_eq!(pieces(&stage, &alice, false).await, broken);
    assert_eq!(pieces(&stage, &alice, true).await, broken, "as it was found");
    assert_eq!(pieces(&stage, &alice, true).await, WHOLE, "a repeat");
    assert!(presence::finish(&stage.hot, &alice, "asked").await.unwrap().is_some());
    assert_eq!(pieces(&stage, &alice, false).await, NOTHING);
}

#[tokio::test]
async fn a_room_agrees_with_itself_or_is_made_to() {
    let stage = Stage::new().await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), stage.room("lobby").await);
    for lease in [&alice, &bob] {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
        typing::start(&stage.hot, &mark(lease, &lobby), Duration::from_secs(60))
            .await
            .unwrap();
    }
    assert_eq!(said(&stage, &lobby, true).await, [] as [&str; 0]);
    let keys = stage.keys();
    let () = stage.ask("HDEL", (keys.room_users(&lobby), "alice")).await;
    let () = stage.ask("ZREM", (keys.room_live(&lobby), bob.member())).await;
    let due = keys.due(nself_realtime::hot::keys::Partition::of_room(&lobby));
    let () = stage.ask("DEL", &due).await;
    let drift = [
        "endless alice",
        "endless bob",
        "typing bob",
        "unheld bob",
        "unlisted alice",
    ];
    assert_eq!(said(&stage, &lobby, false).await, drift);
    let mut ear = Ear::of_room(&stage, &lobby).await;
    assert_eq!(said(&stage, &lobby, true).await, drift);
    assert_eq!(
        said(&stage, &lobby, true).await,
        ["unheld bob"],
        "who must leave like everybody"
    );
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["typing [alice]"]);
    assert!(
        rooms::members(&stage.hot, &lobby, None, 10, &alice)
            .await
            .unwrap()
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn so_many_findings_and_no_more() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    for number in 0..150 {
        let () = stage
            .ask(
                "HSET",
                (stage.keys().room_users(&lobby), format!("user{number}"), "1 0 online"),
            )
            .await;
    }
    assert_eq!(said(&stage, &lobby, true).await.len(), 100);
    let nowhere = stage.room("nowhere").await;
    assert_eq!(said(&stage, &nowhere, true).await, [] as [&str; 0]);
}
