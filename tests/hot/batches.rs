//! Many messages in one call: what each may expect of the others, and of a call whose answer is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::messages::{self, Send, SendRequest};
use nself_realtime::types::{Rate, RoomName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ear::{Ear, words};
use crate::stage::{Stage, lease, room};
use crate::support::redis::Redis;

fn request<'a>(lease: &'a Lease, room: &'a RoomName, client_message_id: Option<&'a str>) -> SendRequest<'a> {
    SendRequest {
        lease,
        room,
        body: "{\"content\":\"hi\"",
        client_message_id,
        listens_only: false,
        tokens: 1,
    }
}

/// Each outcome as a short word: its number, or why not.
async fn send(stage: &Stage, requests: &[SendRequest<'_>]) -> Vec<String> {
    let outcomes = messages::send(&stage.hot, requests, 0).await.unwrap();
    let word = |outcome: &Send| match outcome {
        Send::Sent(sent) => format!("{}{}", sent.seq, if sent.duplicate { " again" } else { "" }),
        Send::Limited(_) => "limited".to_owned(),
        refused => format!("{refused:?}"),
    };
    outcomes.iter().map(word).collect()
}

/// Another room of the same partition.
async fn neighbour(stage: &Stage, first: &RoomName) -> RoomName {
    let partition = Partition::of_room(first);
    let names = (0..).map(|number| room(&format!("neighbour-{number}")));
    let mut names = names.filter(move |name| Partition::of_room(name) == partition);
    stage.room(names.next().unwrap().as_str()).await
}

async fn member(stage: &Stage, name: &str, rooms: &[&RoomName]) -> Lease {
    let lease = lease(name, 1);
    stage.connect(&lease).await;
    for room in rooms {
        stage.join(&lease, room).await;
    }
    lease
}

/// The second of one id is no repeat of a message that was not said, and pays as the first would have.
#[tokio::test]
async fn an_id_that_is_over_the_rate_is_over_it_twice() {
    let stage = Stage::with(|terms| terms.room_messages = Rate::new(1, 1)).await;
    let lobby = stage.room("lobby").await;
    let ann = member(&stage, "ann", &[&lobby]).await;
    let said = [
        request(&ann, &lobby, None),
        request(&ann, &lobby, Some("a")),
        request(&ann, &lobby, Some("a")),
        request(&ann, &lobby, Some("a")),
    ];
    assert_eq!(send(&stage, &said).await, ["1", "limited", "limited", "limited"]);
    let seq: u64 = stage.ask("HGET", (stage.keys().room(&lobby), "seq")).await;
    assert_eq!(seq, 1);
}

/// A room of another partition than these.
async fn elsewhere(stage: &Stage, rooms: &[&RoomName]) -> RoomName {
    let is_new = |name: &RoomName| {
        rooms
            .iter()
            .all(|room| Partition::of_room(room) != Partition::of_room(name))
    };
    let mut names = (0..).map(|number| room(&format!("elsewhere-{number}"))).filter(is_new);
    stage.room(names.next().unwrap().as_str()).await
}

#[tokio::test]
async fn what_is_wrong_with_a_partition_is_no_matter_of_the_others_in_its_call() {
    let stage = Stage::with(|terms| terms.outbox = 1_000).await;
    if !messages::share_calls(&stage.hot) {
        return; // in a Cluster nobody makes such a call
    }
    for partition in Partition::all() {
        let opened = (stage.keys().outbox(partition), "*", "k", "opened", "d", "{}");
        let _id: String = stage.ask("XADD", opened).await;
    }
    let first = stage.room("first").await;
    let closed = elsewhere(&stage, &[&first]).await;
    let broken = elsewhere(&stage, &[&first, &closed]).await;
    let last = elsewhere(&stage, &[&first, &closed, &broken]).await;
    let ann = member(&stage, "ann", &[&first, &closed, &broken, &last]).await;
    let said: Vec<SendRequest<'_>> = [&first, &closed, &broken, &first, &last]
        .map(|room| request(&ann, room, None))
        .into();
    assert_eq!(send(&stage, &said).await, ["1", "1", "1", "2", "1"]);
    let mut ear = Ear::open(&stage, &[Topic::Room(first.clone())]).await;
    let outbox = stage.keys().outbox(Partition::of_room(&closed));
    let () = stage.ask("DEL", outbox).await;
    assert_eq!(send(&stage, &said).await, ["3", "Closed", "2", "4", "2"]);
    // Fails in the middle, behind what was said in the first room.
    let history = stage.keys().room_history(&broken);
    let () = stage.ask("DEL", history.clone()).await;
    let () = stage.ask("SET", (history.clone(), "no stream")).await;
    let named: Vec<SendRequest<'_>> = said
        .iter()
        .zip(["a", "b", "c", "d", "e"])
        .map(|(request, id)| SendRequest {
            client_message_id: Some(id),
            ..*request
        })
        .collect();
    assert_eq!(send(&stage, &named).await, ["5", "Closed", "Broken", "6", "3"]);
    // What failed was not said: it is no repeat, and the room goes on where it was.
    let () = stage.ask("DEL", history).await;
    assert_eq!(
        send(&stage, &named).await,
        ["5 again", "Closed", "3", "6 again", "3 again"]
    );
    let in_first = ear.heard(&stage, &Topic::Room(first.clone())).await;
    let numbers: Vec<String> = words(&in_first)
        .iter()
        .map(|word| word.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(numbers, ["3", "4", "5", "6"], "each once");
}

#[tokio::test]
async fn a_record_that_nobody_can_read_fails_its_own_user_alone() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let other = neighbour(&stage, &lobby).await;
    let ann = member(&stage, "ann", &[&lobby, &other]).await;
    let bob = member(&stage, "bob", &[&lobby]).await;
    for damaged in ["{\"ban\":", "5", "null", "\"\""] {
        stage.policy(&lobby, &bob.user, damaged).await;
        let said = [
            request(&ann, &lobby, Some(damaged)),
            request(&bob, &lobby, None),
            request(&ann, &other, Some(damaged)),
        ];
        let outcomes = send(&stage, &said).await;
        assert_eq!(outcomes[1], "Damaged", "{damaged}");
        assert_eq!(outcomes[0], outcomes[2], "{damaged}: both are said");
    }
}

/// Of two rooms one was last written under another master.
#[tokio::test]
async fn each_room_of_a_call_has_its_own_epoch() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let other = neighbour(&stage, &lobby).await;
    let ann = member(&stage, "ann", &[&lobby, &other]).await;
    let both = [
        request(&ann, &lobby, None),
        request(&ann, &other, None),
        request(&ann, &lobby, Some("b")),
    ];
    send(&stage, &both).await;
    let before: String = stage.ask("HGET", (stage.keys().room(&lobby), "epoch")).await;
    let untouched: String = stage.ask("HGET", (stage.keys().room(&other), "epoch")).await;
    let () = stage
        .ask("HSET", (stage.keys().room(&lobby), "master", "0".repeat(40)))
        .await;

    let mut ear = Ear::open(&stage, &[Topic::Room(lobby.clone()), Topic::Room(other.clone())]).await;
    let again = [
        request(&ann, &lobby, Some("b")),
        request(&ann, &lobby, None),
        request(&ann, &other, None),
        request(&ann, &lobby, Some("c")),
        request(&ann, &lobby, Some("c")),
    ];
    assert_eq!(send(&stage, &again).await, ["2 again", "3", "2", "4", "4 again"]);
    let after: String = stage.ask("HGET", (stage.keys().room(&lobby), "epoch")).await;
    let past: String = stage.ask("HGET", (stage.keys().room(&lobby), "past")).await;
    assert_ne!(after, before);
    assert_eq!(past.lines().count(), 1, "{past}");
    assert!(past.starts_with(&format!("{before} 2 ")), "{past}");
    for (room, epoch, number) in [(&lobby, &after, 2), (&other, &untouched, 1)] {
        let heard = ear.heard(&stage, &Topic::Room(room.clone())).await;
        assert_eq!(heard.len(), number);
        for event in heard {
            assert!(
                matches!(&event, BusEvent::Message(message) if message.epoch == *epoch),
                "{event:?}"
            );
        }
    }
}

/// Also where positions run ahead of the clock, since another master's is ahead, or this one's went back; and where the key
/// is another than that of the message before.
#[tokio::test]
async fn what_expires_with_the_last_message_always_does() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let ann = member(&stage, "ann", &[&lobby]).await;
    let (history, said) = (
        stage.keys().room_history(&lobby),
        stage.keys().said(Partition::of_room(&lobby)),
    );
    let say = async |behind| {
        messages::send(&stage.hot, &[request(&ann, &lobby, None)], behind)
            .await
            .unwrap()
    };
    let whole = stage.hot.terms().history.ttl.as_millis() as i64;
    let soon = whole - whole / 500;
    let lasting = async |when: &str| {
        for key in [&history, &said] {
            let ttl: i64 = stage.ask("PTTL", key).await;
            assert!((soon..=whole).contains(&ttl), "{when}: {key} {ttl}");
        }
    };
    say(0).await;
    lasting("at first").await;
    for (when, verb, args) in [
        ("after it was gone", "DEL", None),
        ("after it had nearly run out", "PEXPIRE", Some(whole / 2)),
        ("after it lasted for longer", "PEXPIRE", Some(whole * 2)),
        ("after it was to last for ever", "PERSIST", None),
    ] {
        for behind in [0, 4_000_000_000_000_000] {
            for key in [&history, &said] {
                match args {
                    Some(ms) => {
                        let () = stage.ask(verb, (key, ms)).await;
                    }
                    None => {
                        let () = stage.ask(verb, key).await;
                    }
                }
            }
            say(behind).await;
            lasting(when).await;
        }
    }
}

/// Passes everything on; while it `loses`, the answer to a script that it has passed on is lost with its connection, once. The bus,
/// which calls none, has a connection of its own.
async fn losing(redis: &Redis) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let (switch, loses) = watch::channel(false);
    let (port, losing) = (redis.port(), switch.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (losing, loses) = (losing.clone(), loses.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let calls_scripts = AtomicBool::new(false);
                let asks = async {
                    let mut bytes = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                        if bytes[..count].windows(7).any(|word| word == b"EVALSHA") {
                            calls_scripts.store(true, Ordering::Relaxed);
                        }
                        to_server.write_all(&bytes[..count]).await.unwrap();
                    }
                };
                let answers = async {
                    let mut bytes = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                        if calls_scripts.load(Ordering::Relaxed) && *loses.borrow() {
                            losing.send_replace(false);
                            return;
                        }
                        to_client.write_all(&bytes[..count]).await.unwrap();
                    }
                };
                tokio::select! {
                    () = answers => {}
                    () = asks => {}
                }
            });
        }
    });
    (url, switch)
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_is_carried_out_once() {
    let redis = Redis::start().await;
    let (url, loses) = losing(&redis).await;
    for size in [10, 1_000] {
        let stage = Stage::at(&url, vec![redis.connection().await], |terms| terms.history.size = size);
        let lobby = stage.room("lobby").await;
        let other = neighbour(&stage, &lobby).await;
        let ann = member(&stage, "ann", &[&lobby, &other]).await;
        let mut ear = Ear::of_room(&stage, &lobby).await;
        let most = messages::most_at_once(&stage.hot).min(100);
        assert!(most >= 10);
        let mut said: Vec<SendRequest<'_>> = vec![request(&ann, &lobby, None); most - 2];
        said[3].client_message_id = Some("a");
        said.insert(5, request(&ann, &lobby, Some("a")));
        said.insert(6, request(&ann, &other, None));
        loses.send_replace(true);
        let outcomes = send(&stage, &said).await;
        assert!(!*loses.borrow(), "an answer was lost");
        let mut expected: Vec<String> = (1..=most - 2).map(|seq| seq.to_string()).collect();
        expected.insert(5, "4 again".to_owned());
        expected.insert(6, "1".to_owned());
        assert_eq!(outcomes, expected);
        let heard = words(&ear.heard_in(&stage, &lobby).await);
        let told: Vec<String> = (1..=most - 2)
            .map(|seq| format!("message {seq} {{\"content\":\"hi\""))
            .collect();
        assert_eq!(heard, told, "each once");
    }
}
