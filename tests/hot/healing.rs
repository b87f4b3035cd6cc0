//! What a node has missed of a room, read from Redis.

use std::time::Duration;

use nself_realtime::domain::{presence as domain_presence, rooms as domain};
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::healing::{self, Healed, Heard};
use nself_realtime::hot::presence::Choice;
use nself_realtime::types::{RoomName, Status};

use crate::ear::words;
use crate::stage::{Stage, lease, room};

const MINUTE: Duration = Duration::from_secs(60);

fn heard(epoch: &str, seq: u64, rev: u64) -> Heard {
    Heard {
        epoch: epoch.to_owned(),
        seq,
        rev,
    }
}

async fn missed(
    stage: &Stage,
    room: &RoomName,
    epoch: &str,
    rev: u64,
    outage: Duration,
) -> (Vec<BusEvent>, Vec<String>) {
    match healing::heal(&stage.hot, room, &heard(epoch, 0, rev), &[], outage)
        .await
        .unwrap()
    {
        Healed::Missed { events, users, .. } => (events, users.iter().map(|(user, _)| user.to_string()).collect()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_behind_a_rev_are_told_in_their_order_and_again() {
    let stage = Stage::new().await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    let first = stage.join(&alice, &lobby).await;
    stage.join(&bob, &lobby).await;
    domain::leave(&stage.hot, &bob, &lobby).await.unwrap();
    for _ in 0..2 {
        let (changes, _) = missed(&stage, &lobby, &first.epoch, first.rev, MINUTE).await;
        assert_eq!(words(&changes), ["joined bob", "left bob left"]);
    }
    let (changes, _) = missed(&stage, &lobby, &first.epoch, first.rev + 1, MINUTE).await;
    assert_eq!(words(&changes), ["left bob left"]);
    let (changes, _) = missed(&stage, &lobby, &first.epoch, first.rev + 2, MINUTE).await;
    assert!(changes.is_empty(), "nothing was missed");
}

#[tokio::test]
async fn what_cannot_be_told_one_by_one_is_a_reset() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let gone = healing::heal(&stage.hot, &room("nowhere"), &heard("e", 0, 0), &[], MINUTE).await;
    assert_eq!(gone.unwrap(), Healed::Gone);
    stage.connect(&alice).await;
    let joined = stage.join(&alice, &lobby).await;
    let now = heard(&joined.epoch, 0, 1);
    let anew = healing::heal(&stage.hot, &lobby, &heard("another", 0, 0), &[], MINUTE).await;
    assert_eq!(
        anew.unwrap(),
        Healed::Anew(now.clone()),
        "nothing leads from there to here"
    );
    for (seq, rev) in [(1, 0), (0, 2)] {
        let ahead = healing::heal(&stage.hot, &lobby, &heard(&joined.epoch, seq, rev), &[], MINUTE).await;
        let reset = Healed::Reset {
            heard: now.clone(),
            reason: "epoch_changed".to_owned(),
        };
        assert_eq!(ahead.unwrap(), reset, "what was heard and is not there is lost");
    }
    let () = stage.ask("DEL", stage.keys().room_changes(&lobby)).await;
    let trimmed = healing::heal(&stage.hot, &lobby, &heard(&joined.epoch, 0, 0), &[], MINUTE).await;
    let reset = Healed::Reset {
        heard: now,
        reason: "changes_trimmed".to_owned(),
    };
    assert_eq!(trimmed.unwrap(), reset);
}

#[tokio::test]
async fn users_whose_presence_was_told_meanwhile_are_named() {
    let stage = Stage::new().await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    stage.join(&alice, &lobby).await;
    let joined = stage.join(&bob, &lobby).await;
    let busy = Choice {
        status: Status::Busy,
        text: None,
        emoji: None,
        until_ms: None,
    };
    domain_presence::choose(&stage.hot, &bob, &busy).await.unwrap();
    let (_, users) = missed(&stage, &lobby, &joined.epoch, joined.rev, MINUTE).await;
    assert_eq!(users, ["bob"], "alice is told as she came, by that change");
    let (_, users) = missed(&stage, &lobby, &joined.epoch, joined.rev, Duration::ZERO).await;
    assert!(users.len() < 2, "without an outage what lies back is known: {users:?}");
}

#[tokio::test]
async fn a_large_room_misses_nobody_and_is_not_reset() {
    let stage = Stage::with(|terms| terms.presence_limit = 1).await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    let first = stage.join(&alice, &lobby).await;
    stage.join(&bob, &lobby).await;
    let (changes, _) = missed(&stage, &lobby, &first.epoch, first.rev, MINUTE).await;
    assert!(changes.is_empty(), "it was told a count");
}

#[tokio::test]
async fn a_room_that_is_made_anew_begins_without_its_past() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), room("lobby"));
    stage.connect(&alice).await;
    let before = stage.try_join(&alice, &lobby, true).await.unwrap();
    domain::leave(&stage.hot, &alice, &lobby).await.unwrap();
    let () = stage.ask("DEL", stage.keys().room(&lobby)).await;
    let again = stage.try_join(&alice, &lobby, true).await.unwrap();
    assert_ne!(before.epoch, again.epoch);
    let (changes, _) = missed(&stage, &lobby, &again.epoch, 0, MINUTE).await;
    assert_eq!(words(&changes), ["joined alice"]);
}
