//! What a room keeps of what was said: bounds, pages, what was missed since a place, and the epochs of several masters.

use nself_realtime::domain::rooms::{self, JoinOptions, Joined, Since};
use nself_realtime::hot::frame::{BusEvent, Message};
use nself_realtime::hot::healing::{self, Healed, Heard};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::messages::{self, History, HistoryPage, PageRequest, Send, SendRequest, Sent};
use nself_realtime::types::RoomName;
use std::time::Duration;

use crate::stage::{Stage, lease, room, send_one};

pub async fn say(stage: &Stage, lease: &Lease, room: &RoomName, content: &str) -> Sent {
    let body = format!("{{\"content\":\"{content}\"");
    let request = SendRequest {
        lease,
        room,
        body: &body,
        client_message_id: None,
        listens_only: false,
        tokens: 1,
    };
    match send_one(&stage.hot, request).await.unwrap() {
        Send::Sent(sent) => sent,
        refused => panic!("{refused:?}"),
    }
}

async fn say_many(stage: &Stage, lease: &Lease, room: &RoomName, count: u32) {
    for number in 1..=count {
        say(stage, lease, room, &number.to_string()).await;
    }
}

async fn page(stage: &Stage, lease: &Lease, room: &RoomName, wanted: PageRequest) -> HistoryPage {
    match messages::history(&stage.hot, lease, room, wanted).await.unwrap() {
        History::Page(page) => page,
        refused => panic!("{refused:?}"),
    }
}

fn wanted(before: Option<u64>, after: Option<u64>, limit: u32) -> PageRequest {
    PageRequest { before, after, limit }
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}

async fn join_since(stage: &Stage, lease: &Lease, room: &RoomName, epoch: &str, seq: u64) -> Joined {
    let since = Since {
        epoch: epoch.to_owned(),
        seq,
    };
    let options = JoinOptions {
        autocreate: false,
        known: None,
        members: 0,
        since: Some(&since),
        toll: None,
    };
    rooms::join(&stage.hot, lease, room, options).await.unwrap().unwrap()
}

async fn alice_in(stage: &Stage, room: &RoomName) -> (Lease, Joined) {
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let joined = stage.join(&alice, room).await;
    (alice, joined)
}

#[tokio::test]
async fn a_history_is_read_in_pages_from_either_end() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 10).await;
    for (before, after, limit, expected, more) in [
        (None, None, 4, vec![7, 8, 9, 10], true),
        (Some(7), None, 4, vec![3, 4, 5, 6], true),
        (Some(3), None, 4, vec![1, 2], false),
        (None, Some(0), 4, vec![1, 2, 3, 4], true),
        (None, Some(6), 4, vec![7, 8, 9, 10], false),
        (Some(5), Some(2), 4, vec![3, 4], false),
        (None, Some(10), 4, vec![], false),
        (Some(1), None, 4, vec![], false),
    ] {
        let page = page(&stage, &alice, &lobby, wanted(before, after, limit)).await;
        assert_eq!(
            (seqs(&page.messages), page.more),
            (expected, more),
            "{before:?} {after:?}"
        );
        assert_eq!(page.epoch, joined.epoch);
    }
}

#[tokio::test]
async fn a_history_is_its_members_alone() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let bob = lease("bob", 1);
    stage.connect(&bob).await;
    let read = async |room: &RoomName| {
        messages::history(&stage.hot, &bob, room, wanted(None, None, 1))
            .await
            .unwrap()
    };
    assert!(matches!(read(&room("nowhere")).await, History::Missing));
    assert!(matches!(read(&lobby).await, History::Stranger));
    let policy = stage.keys().room_policy(&lobby);
    let () = stage.ask("HSET", (policy, "bob", r#"{"ban":0}"#)).await;
    assert!(matches!(read(&lobby).await, History::Banned));
}

#[tokio::test]
async fn the_oldest_go_beyond_the_number() {
    let stage = Stage::with(|terms| terms.history.size = 3).await;
    let lobby = stage.room("lobby").await;
    let (alice, _) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 5).await;
    let all = page(&stage, &alice, &lobby, wanted(None, None, 10)).await;
    assert_eq!(seqs(&all.messages), [3, 4, 5]);
    let ttl: i64 = stage.ask("PTTL", stage.keys().room_history(&lobby)).await;
    assert!((1..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn the_oldest_go_beyond_the_bytes_and_the_last_stays() {
    let stage = Stage::with(|terms| terms.history.bytes = 1_000).await;
    let lobby = stage.room("lobby").await;
    let (alice, _) = alice_in(&stage, &lobby).await;
    for _ in 0..5 {
        say(&stage, &alice, &lobby, &"x".repeat(300)).await;
    }
    let all = page(&stage, &alice, &lobby, wanted(None, None, 10)).await;
    assert_eq!(
        seqs(&all.messages),
        [4, 5],
        "two of them are below a thousand bytes, three are not"
    );
    let entries: Vec<(String, Vec<String>)> = stage.ask("XRANGE", (stage.keys().room_history(&lobby), "-", "+")).await;
    let bytes: usize = entries.iter().map(|(_, fields)| fields[1].len()).sum();
    let counted: usize = stage.ask("HGET", (stage.keys().room(&lobby), "bytes")).await;
    assert_eq!(counted, bytes);
    say(&stage, &alice, &lobby, &"x".repeat(3_000)).await;
    let all = page(&stage, &alice, &lobby, wanted(None, None, 10)).await;
    assert_eq!(seqs(&all.messages), [6]);
}

/// What a room's record says of its history: the last message that is wider than its share, and bytes.
async fn counted(stage: &Stage, room: &RoomName) -> (Option<String>, Option<String>) {
    stage.ask("HMGET", (stage.keys().room(room), "wide", "bytes")).await
}

#[tokio::test]
async fn bytes_are_counted_while_a_wide_message_is_kept() {
    let stage = Stage::with(|terms| (terms.history.size, terms.history.bytes) = (3, 3_000)).await;
    let lobby = stage.room("lobby").await;
    let (alice, _) = alice_in(&stage, &lobby).await;
    let (narrow, wide) = ("x".repeat(100), "x".repeat(2_700));
    for (content, kept, last_wide) in [
        (&narrow, vec![1], None),
        (&narrow, vec![1, 2], None),
        (&wide, vec![2, 3], Some("3")), // all three are too much
        (&narrow, vec![3, 4], Some("3")),
        (&narrow, vec![4, 5], Some("3")),
        (&wide, vec![5, 6], Some("6")),
        (&narrow, vec![6, 7], Some("6")),
        (&narrow, vec![7, 8], Some("6")),
        (&narrow, vec![7, 8, 9], Some("")), // the wide one could not be among them any more
        (&narrow, vec![8, 9, 10], Some("")),
    ] {
        say(&stage, &alice, &lobby, content).await;
        let all = page(&stage, &alice, &lobby, wanted(None, None, 10)).await;
        assert_eq!(seqs(&all.messages), kept);
        let entries: Vec<(String, Vec<String>)> =
            stage.ask("XRANGE", (stage.keys().room_history(&lobby), "-", "+")).await;
        let bytes: usize = entries.iter().map(|(_, fields)| fields[1].len()).sum();
        let (wide, counted) = counted(&stage, &lobby).await;
        assert_eq!(wide.as_deref(), last_wide);
        match last_wide {
            // A number all the same, for a node of before that adds to it.
            Some("") => assert_eq!(counted.as_deref(), Some("0")),
            _ => assert_eq!(counted, last_wide.map(|_| bytes.to_string())),
        }
    }
}

#[tokio::test]
async fn without_a_history_nothing_is_kept_and_messages_go_on() {
    let stage = Stage::with(|terms| terms.history.size = 0).await;
    let lobby = stage.room("lobby").await;
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 2).await;
    assert!(
        page(&stage, &alice, &lobby, wanted(None, None, 10))
            .await
            .messages
            .is_empty()
    );
    let again = join_since(&stage, &alice, &lobby, &joined.epoch, 0).await;
    assert_eq!(again.missed, Some(Err("history_trimmed".to_owned())));
    let kept: u32 = stage.ask("EXISTS", stage.keys().room_history(&lobby)).await;
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_join_since_a_place_brings_what_came_behind_it() {
    let stage = Stage::with(|terms| terms.history.size = 5).await;
    let lobby = stage.room("lobby").await;
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 8).await;
    let bob = lease("bob", 1);
    stage.connect(&bob).await;
    for _ in 0..2 {
        let back = join_since(&stage, &bob, &lobby, &joined.epoch, 5).await;
        assert_eq!(back.seq, 8);
        let missed = back.missed.expect("it was asked for").expect("it is there");
        assert_eq!(seqs(&missed), [6, 7, 8]);
        assert_eq!(missed[0].body, "{\"content\":\"6\"");
    }
    for (epoch, seq, outcome) in [
        (&*joined.epoch, 8, Ok(vec![])),
        (&*joined.epoch, 3, Ok(vec![4, 5, 6, 7, 8])),
        (&*joined.epoch, 2, Err("history_trimmed")),
        (&*joined.epoch, 9, Err("epoch_changed")),
        ("another", 8, Err("epoch_changed")),
    ] {
        let back = join_since(&stage, &bob, &lobby, epoch, seq).await;
        let missed = back.missed.expect("it was asked for");
        let missed = missed.as_ref().map(|messages| seqs(messages)).map_err(String::as_str);
        assert_eq!(missed, outcome, "{epoch} {seq}");
    }
}

#[tokio::test]
async fn more_than_a_client_is_given_at_once_is_too_many() {
    let stage = Stage::with(|terms| (terms.history.size, terms.history.bytes) = (2_000, 8 << 20)).await;
    let (lobby, den) = (stage.room("lobby").await, stage.room("den").await);
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 1_001).await;
    let missed = join_since(&stage, &alice, &lobby, &joined.epoch, 1).await.missed;
    assert_eq!(
        missed.expect("asked").expect("a thousand are not too many").len(),
        1_000
    );
    let missed = join_since(&stage, &alice, &lobby, &joined.epoch, 0).await.missed;
    assert_eq!(missed, Some(Err("too_many".to_owned())));

    let joined = stage.join(&alice, &den).await;
    for _ in 0..18 {
        say(&stage, &alice, &den, &"x".repeat(60_000)).await;
    }
    let missed = join_since(&stage, &alice, &den, &joined.epoch, 0).await.missed;
    assert_eq!(missed, Some(Err("too_many".to_owned())), "18 times 60,000 bytes");
    let missed = join_since(&stage, &alice, &den, &joined.epoch, 1).await.missed;
    assert_eq!(missed.expect("asked").expect("17 times are less than 1 MiB").len(), 17);
}

/// As another master would find the room after a failover; `lost` of its messages have not come to it.
async fn fail_over(stage: &Stage, room: &RoomName, lost: u64) {
    let key = stage.keys().room(room);
    let () = stage.ask("HSET", (&key, "master", "0".repeat(40))).await;
    if lost > 0 {
        let seq: u64 = stage.ask("HGET", (&key, "seq")).await;
        let () = stage.ask("HSET", (&key, "seq", seq - lost)).await;
        for gone in (seq - lost + 1)..=seq {
            let () = stage
                .ask("XDEL", (stage.keys().room_history(room), format!("{gone}-0")))
                .await;
        }
        // A stream does not take an id again that it has had; a replica never had it.
        let last = format!("{}-0", seq - lost);
        let () = stage.ask("XSETID", (stage.keys().room_history(room), last)).await;
    }
}

#[tokio::test]
async fn under_another_master_a_room_goes_on_in_a_new_epoch() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 3).await;
    fail_over(&stage, &lobby, 0).await;
    let sent = say(&stage, &alice, &lobby, "after").await;
    assert_eq!(sent.seq, 4, "the numbers go on");
    assert_ne!(sent.epoch, joined.epoch);
    assert_eq!(say(&stage, &alice, &lobby, "again").await.epoch, sent.epoch, "once");

    // Whoever knows nothing beyond where the old epoch ended has lost nothing.
    let back = join_since(&stage, &alice, &lobby, &joined.epoch, 2).await;
    assert_eq!(back.epoch, sent.epoch);
    assert_eq!(seqs(&back.missed.expect("asked").expect("nothing is lost")), [3, 4, 5]);
    let heard = Heard {
        epoch: joined.epoch.clone(),
        seq: 3,
        rev: 1,
    };
    match healing::heal(&stage.hot, &lobby, &heard, &[], Duration::ZERO)
        .await
        .unwrap()
    {
        Healed::Missed { heard, events, .. } => {
            assert_eq!((heard.epoch, heard.seq), (sent.epoch, 5));
            assert_eq!(events.len(), 2);
            assert!(events.iter().all(|event| matches!(event, BusEvent::Message(_))));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failover_that_lost_something_says_so_to_those_who_heard_it() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let (alice, joined) = alice_in(&stage, &lobby).await;
    say_many(&stage, &alice, &lobby, 5).await;
    fail_over(&stage, &lobby, 2).await;
    let sent = say(&stage, &alice, &lobby, "after").await;
    assert_eq!(sent.seq, 4);
    for (seq, outcome) in [(3, Ok(vec![4])), (2, Ok(vec![3, 4])), (4, Err("epoch_changed"))] {
        let back = join_since(&stage, &alice, &lobby, &joined.epoch, seq).await;
        let missed = back.missed.expect("it was asked for");
        let missed = missed.as_ref().map(|messages| seqs(messages)).map_err(String::as_str);
        assert_eq!(missed, outcome, "since {seq}");
    }
    let heard = Heard {
        epoch: joined.epoch.clone(),
        seq: 5,
        rev: 1,
    };
    let healed = healing::heal(&stage.hot, &lobby, &heard, &[], Duration::ZERO)
        .await
        .unwrap();
    assert!(
        matches!(&healed, Healed::Reset { reason, .. } if reason == "epoch_changed"),
        "{healed:?}"
    );
    // A second failover may lose the very epoch: the room has not begun anew for that.
    let heard = Heard {
        epoch: "lost".to_owned(),
        seq: 4,
        rev: 1,
    };
    let heal = async |former: &[String]| {
        let healed = healing::heal(&stage.hot, &lobby, &heard, former, Duration::ZERO).await;
        healed.unwrap()
    };
    let led = [joined.epoch.clone()];
    assert!(matches!(heal(&led).await, Healed::Reset { reason, .. } if reason == "epoch_changed"));
    assert!(matches!(heal(&[]).await, Healed::Anew(_)));
}
