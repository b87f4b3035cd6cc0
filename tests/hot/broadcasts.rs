//! Events of the administration's: told to all who are in a room, once per id, and counted.

use std::time::Duration;

use nself_realtime::domain::broadcasts::{self as domain, Broadcast};
use nself_realtime::hot::broadcasts::{Emission, Emitted, emit, recall};
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::types::RoomName;
use sha2::{Digest as _, Sha256};

use crate::ear::Ear;
use crate::stage::{ODD_NAMES, Stage, lease, room};

const KEEP: Duration = Duration::from_secs(60);

fn emission<'a>(room: &'a RoomName, token: &'a str) -> Emission<'a> {
    Emission {
        room,
        token,
        keep: KEEP,
        is_of_many: false,
        named_max: 0,
        event: "x:y",
        payload: "{\"a\":\n1}",
    }
}

async fn emitted(stage: &Stage, emission: Emission<'_>) -> Emitted {
    let mut told = emit(&stage.hot, &[emission]).await.unwrap();
    told.pop().unwrap().unwrap()
}

#[tokio::test]
async fn a_room_hears_it_with_its_place_and_once_per_token() {
    let stage = Stage::new().await;
    for name in ODD_NAMES {
        let room = stage.room(name).await;
        let mut ear = Ear::of_room(&stage, &room).await;
        for n in 1..=2 {
            stage.join(&connected(&stage, "alice", n).await, &room).await;
        }
        ear.heard_in(&stage, &room).await;
        let first = emitted(&stage, emission(&room, "a1")).await;
        assert_eq!((first.is_new, first.connections, first.leases), (true, 2, None));
        let again = emitted(&stage, emission(&room, "a1")).await;
        assert_eq!((again.is_new, again.connections), (false, 2));
        assert!(emitted(&stage, emission(&room, "a2")).await.is_new);
        let told = ear.heard_in(&stage, &room).await;
        let [
            BusEvent::Emitted {
                epoch,
                seq,
                rev,
                token,
                event,
                payload,
            },
            _,
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        let known: (String, u64, u64) = stage
            .ask("HMGET", (stage.keys().room(&room), "epoch", "seq", "rev"))
            .await;
        assert_eq!((epoch.clone(), *seq, *rev), known);
        assert_eq!((token.as_deref(), &**event, &**payload), (None, "x:y", "{\"a\":\n1}"));
    }
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}

async fn connected(stage: &Stage, name: &str, number: u32) -> nself_realtime::hot::keys::Lease {
    let lease = lease(name, number);
    stage.connect(&lease).await;
    lease
}

#[tokio::test]
async fn who_is_in_is_named_where_the_event_is_of_many_rooms() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let odd = connected(&stage, "a@b:{c}", 1).await;
    stage.join(&odd, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let of_many = Emission {
        is_of_many: true,
        named_max: 1,
        ..emission(&lobby, "b1")
    };
    assert_eq!(emitted(&stage, of_many).await.leases, Some(vec![odd]));
    let told = ear.heard_in(&stage, &lobby).await;
    assert!(matches!(&told[..], [BusEvent::Emitted { token: Some(token), .. }] if token == "b1"));
    // One more than are named: none is.
    stage.join(&connected(&stage, "alice", 2).await, &lobby).await;
    for is_new in [true, false] {
        let many = Emission { token: "b2", ..of_many };
        let (connections, leases) = (2, None);
        let expected = Emitted {
            is_new,
            connections,
            leases,
        };
        assert_eq!(emitted(&stage, many).await, expected);
    }
    // A room that there is not is told nothing, and keeps nothing.
    let nowhere = room("nowhere");
    let told = emitted(&stage, emission(&nowhere, "b1")).await;
    assert_eq!((told.is_new, told.connections), (false, 0));
    assert_eq!(
        stage
            .ask::<u64>("EXISTS", stage.keys().room_emitted(&nowhere, "b1"))
            .await,
        0
    );
}

#[tokio::test]
async fn the_first_word_on_what_it_came_to_stays() {
    let stage = Stage::new().await;
    let large = u64::from(u32::MAX);
    let events = [
        ("c1", None),
        ("c1", Some(0)),
        ("c2", Some(large)),
        ("c1", Some(large)),
        ("c1", None),
        ("c2", None),
    ];
    let known = recall(&stage.hot, &events, KEEP).await.unwrap();
    let known: Vec<Option<u64>> = known.into_iter().map(Result::unwrap).collect();
    assert_eq!(known, [None, Some(0), Some(large), Some(0), Some(0), Some(large)]);
    let ttl: i64 = stage.ask("PTTL", stage.keys().emitted("c1")).await;
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

/// Whoever is told before an outcome is known is not told again, and the first answer is everybody's.
#[tokio::test]
async fn a_broadcast_goes_on_where_an_earlier_try_broke_off() {
    let stage = Stage::new().await;
    let rooms: Vec<RoomName> = [stage.room("one").await, stage.room("two").await].into();
    let alice = connected(&stage, "alice", 1).await;
    for room in &rooms {
        stage.join(&alice, room).await;
    }
    let broadcast = Broadcast {
        event: "x:y".into(),
        rooms: rooms.clone(),
        payload: "1".into(),
        id: Some("e".into()),
    };
    // Of the earlier try one room heard.
    let mut ears = [
        Ear::of_room(&stage, &rooms[0]).await,
        Ear::of_room(&stage, &rooms[1]).await,
    ];
    let half = Broadcast {
        rooms: vec![rooms[0].clone()],
        ..broadcast.clone()
    };
    assert_eq!(domain::emit(&stage.hot, &[half]).await, [Ok(1)]);
    let token = ears[0].heard_in(&stage, &rooms[0]).await;
    assert_eq!(token.len(), 1);
    let token: String = Sha256::digest("e")[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let forgotten: u64 = stage.ask("DEL", stage.keys().emitted(&token)).await;
    assert_eq!(forgotten, 1, "its outcome");
    assert_eq!(
        domain::emit(&stage.hot, &[broadcast.clone(), broadcast]).await,
        [Ok(1), Ok(1)]
    );
    assert_eq!(ears[0].heard_in(&stage, &rooms[0]).await, []);
    assert_eq!(ears[1].heard_in(&stage, &rooms[1]).await.len(), 1);
}

/// Each of many gets its own answer, also between those that were told before or have no id.
#[tokio::test]
async fn a_batch_answers_each_event() {
    let stage = Stage::new().await;
    let rooms: Vec<RoomName> = [stage.room("one").await, stage.room("two").await].into();
    for (name, rooms) in [("alice", &rooms[..]), ("bob", &rooms[..1])] {
        let lease = connected(&stage, name, 1).await;
        for room in rooms {
            stage.join(&lease, room).await;
        }
    }
    let event = |rooms: &[RoomName], id: Option<&str>| Broadcast {
        event: "x:y".into(),
        rooms: rooms.to_vec(),
        payload: "1".into(),
        id: id.map(str::to_owned),
    };
    let told = event(&rooms[1..], Some("told"));
    assert_eq!(domain::emit(&stage.hot, std::slice::from_ref(&told)).await, [Ok(1)]);
    let batch = [
        event(&rooms, None),
        event(&rooms, Some("told")),
        event(&rooms[..1], Some("new")),
        event(&rooms[1..], None),
        event(&rooms[1..], Some("new")),
        event(&rooms, Some("both")),
    ];
    let counts = [2, 1, 2, 1, 2, 2].map(Ok);
    assert_eq!(domain::emit(&stage.hot, &batch).await, counts);
}

/// Above the bound there are only numbers, and what they come to is no less than who heard it.
#[tokio::test]
async fn of_more_sockets_than_are_named_the_answer_is_an_upper_bound() {
    let stage = Stage::new().await;
    let rooms: Vec<RoomName> = [stage.room("one").await, stage.room("two").await].into();
    let alice = connected(&stage, "alice", 1).await;
    for room in &rooms {
        stage.join(&alice, room).await;
    }
    let mut members = Vec::new();
    for number in 0..5_000 {
        members.push((i64::from(u32::MAX) * 1_000, lease("bob", number).member()));
    }
    let _: u64 = stage.ask("ZADD", (stage.keys().room_live(&rooms[0]), members)).await;
    let broadcast = Broadcast {
        event: "x:y".into(),
        rooms,
        payload: "1".into(),
        id: None,
    };
    assert_eq!(domain::emit(&stage.hot, &[broadcast]).await, [Ok(5_001 + 1)]);
}

#[tokio::test]
async fn a_closed_partition_tells_nothing() {
    let stage = Stage::with(|terms| terms.outbox = 1_000).await;
    let lobby = room("lobby");
    let refused = emit(&stage.hot, &[emission(&lobby, "d1")])
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert!(refused.unwrap_err().is_restoring());
}
