//! Sessions of stock clients: made by the connection, kept through its joins, ended with it or a while later; and what a
//! client that comes back has missed, by positions and by places.

use std::time::Duration;

use nself_realtime::domain::offset::{Offset, Positions};
use nself_realtime::domain::rooms::Since;
use nself_realtime::domain::sessions::{self, Claim, Recovery};
use nself_realtime::domain::{endings, rooms};
use nself_realtime::hot::frame::Message;
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::messages::{self, PageRequest};
use nself_realtime::hot::presence::{self, Connect, Facts};
use nself_realtime::types::{ConnectionId, RoomName};

use crate::history::say;
use crate::stage::{Stage, lease, user};

async fn arrive(stage: &Stage, lease: &Lease) {
    let facts = Facts {
        recovers: true,
        ..Facts::default()
    };
    let connected = presence::connect(&stage.hot, lease, &facts, None).await.unwrap();
    assert!(matches!(connected, Connect::Connected { .. }));
}

/// Joins as the gateway does for those who recover.
async fn enter(stage: &Stage, lease: &Lease, room: &RoomName) {
    let joined = stage.join(lease, room).await;
    let since = Since {
        epoch: joined.epoch,
        seq: joined.seq,
    };
    sessions::keep(&stage.hot, lease, room, &since).await.unwrap();
}

fn claim(lease: &Lease, offset: Option<&str>) -> Claim {
    Claim {
        pid: lease.connection.pid(),
        offset: offset.map(|text| Offset::parse(text).expect("an offset")),
    }
}

/// Where each room is gone on from, by name; or why not.
async fn look(stage: &Stage, lease: &Lease, offset: Option<&str>) -> Result<Vec<(String, u64)>, String> {
    match sessions::look_back(&stage.hot, &lease.user, &claim(lease, offset))
        .await
        .unwrap()
    {
        Recovery::Possible(rooms) => {
            let mut rooms: Vec<_> = rooms
                .into_iter()
                .map(|(room, since)| (room.to_string(), since.seq))
                .collect();
            rooms.sort();
            Ok(rooms)
        }
        Recovery::Lost(reason) => Err(reason),
    }
}

fn places(expected: &[(&str, u64)]) -> Result<Vec<(String, u64)>, String> {
    Ok(expected.iter().map(|(room, seq)| ((*room).to_owned(), *seq)).collect())
}

async fn all(stage: &Stage, lease: &Lease, room: &RoomName) -> Vec<Message> {
    let wanted = PageRequest {
        before: None,
        after: None,
        limit: 100,
    };
    match messages::history(&stage.hot, lease, room, wanted).await.unwrap() {
        messages::History::Page(page) => page.messages,
        refused => panic!("{refused:?}"),
    }
}

#[tokio::test]
async fn a_session_knows_its_rooms_from_the_join_on() {
    let stage = Stage::new().await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    let alice = lease("alice", 1);
    arrive(&stage, &alice).await;
    assert_eq!(look(&stage, &alice, None).await, places(&[]));
    enter(&stage, &alice, &lobby).await;
    say(&stage, &alice, &lobby, "one").await;
    enter(&stage, &alice, &den).await;
    enter(&stage, &alice, &lobby).await;
    assert_eq!(
        look(&stage, &alice, None).await,
        places(&[("den", 0), ("lobby", 0)]),
        "a second join moves nothing"
    );
    rooms::leave(&stage.hot, &alice, &den).await.unwrap();
    assert_eq!(look(&stage, &alice, None).await, places(&[("lobby", 0)]));
}

#[tokio::test]
async fn a_session_is_its_user_s_alone() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    arrive(&stage, &alice).await;
    let mallory = Lease {
        user: user("mallory"),
        ..alice.clone()
    };
    assert_eq!(look(&stage, &mallory, None).await, Err("session_unknown".to_owned()));
    let plain = lease("alice", 2);
    stage.connect(&plain).await;
    assert_eq!(
        look(&stage, &plain, None).await,
        Err("session_unknown".to_owned()),
        "it did not ask for one"
    );
}

#[tokio::test]
async fn a_position_says_how_far_every_room_was_heard() {
    let stage = Stage::new().await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    let alice = lease("alice", 1);
    arrive(&stage, &alice).await;
    for room in [&lobby, &den] {
        enter(&stage, &alice, room).await;
    }
    for _ in 0..3 {
        say(&stage, &alice, &lobby, "in the lobby").await;
        say(&stage, &alice, &den, "in the den").await;
    }
    let (in_lobby, in_den) = (all(&stage, &alice, &lobby).await, all(&stage, &alice, &den).await);
    assert!(
        in_lobby[0].position.at_us < in_den[0].position.at_us && in_den[0].position.at_us < in_lobby[1].position.at_us
    );
    // One position for each master that was heard; the rooms have one or two.
    let mut heard = Positions::default();
    let mut after = |messages: &[&Message]| {
        for message in messages {
            heard.advance(&message.position);
        }
        heard.to_string()
    };
    for (offset, expected) in [
        (after(&[&in_lobby[0]]), [("den", 0), ("lobby", 1)]),
        (after(&[&in_den[0]]), [("den", 1), ("lobby", 1)]),
        (after(&[&in_lobby[2], &in_den[2]]), [("den", 3), ("lobby", 3)]),
        // Nothing of this master was heard: all that came since the join was missed.
        ("00000000.9999999999999999".to_owned(), [("den", 0), ("lobby", 0)]),
    ] {
        assert_eq!(look(&stage, &alice, Some(&offset)).await, places(&expected), "{offset}");
    }
}

#[tokio::test]
async fn places_say_it_of_each_room() {
    let stage = Stage::new().await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    let alice = lease("alice", 1);
    arrive(&stage, &alice).await;
    for room in [&lobby, &den] {
        enter(&stage, &alice, room).await;
        say(&stage, &alice, room, "one").await;
    }
    let epoch = all(&stage, &alice, &lobby).await.remove(0).epoch;
    let offset = nself_realtime::domain::offset::of_places([(&lobby, epoch.as_str(), 1)].into_iter());
    assert_eq!(
        look(&stage, &alice, Some(&offset)).await,
        places(&[("den", 0), ("lobby", 1)])
    );
    let elsewhere = nself_realtime::domain::offset::of_places([(&lobby, "another", 1)].into_iter());
    assert_eq!(
        look(&stage, &alice, Some(&elsewhere)).await,
        Err("epoch_changed".to_owned())
    );
}

#[tokio::test]
async fn what_is_gone_or_too_much_is_no_recovery() {
    let stage = Stage::with(|terms| terms.history.size = 2).await;
    let lobby = stage.room("lobby").await;
    let alice = lease("alice", 1);
    arrive(&stage, &alice).await;
    enter(&stage, &alice, &lobby).await;
    say(&stage, &alice, &lobby, "one").await;
    let first = all(&stage, &alice, &lobby).await.remove(0).position.to_string();
    say(&stage, &alice, &lobby, "two").await;
    say(&stage, &alice, &lobby, "three").await;
    assert_eq!(
        look(&stage, &alice, Some(&first)).await,
        Err("history_trimmed".to_owned()),
        "the first has gone"
    );
    let () = stage.ask("DEL", stage.keys().room(&lobby)).await;
    assert_eq!(
        look(&stage, &alice, Some(&first)).await,
        Err("epoch_changed".to_owned())
    );

    let stage = Stage::with(|terms| terms.history.size = 2_000).await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    arrive(&stage, &alice).await;
    for room in [&lobby, &den] {
        enter(&stage, &alice, room).await;
        for _ in 0..501 {
            say(&stage, &alice, room, "one").await;
        }
    }
    assert_eq!(
        look(&stage, &alice, None).await,
        Err("too_many".to_owned()),
        "of both rooms together"
    );
}

#[tokio::test]
async fn a_session_outlives_its_connection_for_a_while_unless_the_end_was_wanted() {
    let stage = Stage::with(|terms| terms.recovery_window = Duration::from_secs(100)).await;
    let (alice, bob) = (lease("alice", 1), lease("bob", 1));
    let ttl = async |lease: &Lease| -> i64 {
        let key = stage.keys().session(&lease.user, &lease.connection.pid());
        stage.ask("PTTL", key).await
    };
    for lease in [&alice, &bob] {
        arrive(&stage, lease).await;
        assert_eq!(ttl(lease).await, -1, "it lasts as long as the lease");
    }
    presence::lose(&stage.hot, &alice, Duration::ZERO, "test")
        .await
        .unwrap();
    stage.sweep().await;
    assert!((90_000..=100_000).contains(&ttl(&alice).await), "{}", ttl(&alice).await);
    endings::finish(&stage.hot, &bob, "asked").await.unwrap();
    assert_eq!(ttl(&bob).await, -2);
}

#[tokio::test]
async fn whoever_comes_back_takes_the_session_and_the_end_of_the_old_connection_leaves_it() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let before = lease("alice", 1);
    arrive(&stage, &before).await;
    enter(&stage, &before, &lobby).await;
    let after = Lease {
        connection: ConnectionId::draw(&before.connection.pid()),
        ..before.clone()
    };
    arrive(&stage, &after).await;
    let since = Since {
        epoch: "e".to_owned(),
        seq: 9,
    };
    sessions::keep(&stage.hot, &before, &stage.room("den").await, &since)
        .await
        .unwrap();
    endings::finish(&stage.hot, &before, "asked").await.unwrap();
    assert_eq!(
        look(&stage, &after, None).await,
        places(&[("lobby", 0)]),
        "the old one has no say any more"
    );
    let key = stage.keys().session(&after.user, &after.connection.pid());
    assert_eq!(stage.ask::<i64>("PTTL", key).await, -1);
}
