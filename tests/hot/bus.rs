//! The bus: confirmed before it is relied upon, in order, and standing up again by itself.

use std::slice;
use std::time::{Duration, Instant};

use nself_realtime::domain::endings;
use nself_realtime::hot::Metrics;
use nself_realtime::hot::bus::{Bus, Topic};
use nself_realtime::hot::frame::{self, BusEvent};
use prometheus::Registry;

use crate::ear::{Ear, publish, words};
use crate::stage::{ODD_NAMES, Stage, lease, node, room, user};
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::redis_any::AnyRedis;

fn count(number: u64) -> Vec<u8> {
    format!("c {number}\n").into_bytes()
}

async fn is_up(bus: &Bus) {
    eventually("the bus is up", async || bus.is_up()).await;
}

#[tokio::test]
async fn whatever_is_published_after_the_confirmation_arrives_in_order() {
    in_order(&Stage::new().await).await;
}

pub async fn in_order(stage: &Stage) {
    let topics = [
        Topic::Room(room("red")),
        Topic::Room(room("blue")),
        Topic::User(user("red")),
    ];
    let mut ear = Ear::open(stage, &topics).await;
    for number in 0..300 {
        publish(stage, &topics[number as usize % 3], &count(number)).await;
    }
    let mut next = [0, 1, 2];
    for _ in 0..300 {
        let (topic, shards, frame) = ear.frame().await;
        let at = topics.iter().position(|known| *known == topic).unwrap();
        assert_eq!((frame, shards), (count(next[at]), 1), "{topic:?}");
        next[at] += 3;
    }
    assert_eq!(ear.bus.topics(), 5, "three, the node's own, and everybody's");
    is_up(&ear.bus).await;
}

#[tokio::test]
async fn many_topics_at_once_are_all_confirmed() {
    many_topics(&Stage::new().await).await;
}

pub async fn many_topics(stage: &Stage) {
    let mut ear = Ear::open(stage, &[]).await;
    let topics: Vec<_> = (0..1_000)
        .map(|number| Topic::Room(room(&format!("room{number}"))))
        .collect();
    let asked = topics.iter().map(|topic| ear.bus.subscribe(topic.clone(), 0));
    for confirmed in futures_util::future::join_all(asked).await {
        confirmed.unwrap();
    }
    for topic in &topics {
        publish(stage, topic, &count(1)).await;
        assert_eq!(ear.frame().await.0, *topic);
    }
}

#[tokio::test]
async fn odd_names_are_channels_like_others() {
    let stage = Stage::new().await;
    let topics: Vec<_> = ODD_NAMES
        .iter()
        .flat_map(|name| [Topic::Room(room(name)), Topic::User(user(name))])
        .collect();
    let mut ear = Ear::open(&stage, &topics).await;
    for topic in &topics {
        publish(&stage, topic, &count(7)).await;
        assert_eq!(ear.frame().await.0, *topic);
    }
}

#[tokio::test]
async fn two_shards_share_a_topic_and_release_it_each_for_itself() {
    let stage = Stage::new().await;
    let topic = Topic::Room(room("lobby"));
    let mut ear = Ear::open(&stage, &[]).await;
    let shards_of = async |ear: &mut Ear| {
        publish(&stage, &topic, &count(1)).await;
        ear.frame().await.1
    };
    ear.bus.subscribe(topic.clone(), 0).await.unwrap();
    assert_eq!(shards_of(&mut ear).await, 0b1);
    ear.bus.subscribe(topic.clone(), 5).await.unwrap();
    ear.bus.subscribe(topic.clone(), 5).await.unwrap();
    assert_eq!(shards_of(&mut ear).await, 0b10_0001);
    ear.bus.release(topic.clone(), 0);
    // Commands are obeyed in order, so what is confirmed after the release has seen it.
    ear.bus.subscribe(Topic::User(user("marker")), 0).await.unwrap();
    assert_eq!(shards_of(&mut ear).await, 0b10_0000);
    ear.bus.release(topic.clone(), 5);
    ear.bus.subscribe(Topic::User(user("another")), 0).await.unwrap();
    assert_eq!(shards_of(&mut ear).await, 0, "the subscription lingers, for nobody");
    ear.bus.subscribe(topic.clone(), 63).await.unwrap();
    assert_eq!(shards_of(&mut ear).await, 1 << 63, "whoever comes back finds it");
    assert_eq!(ear.bus.topics(), 5);
}

#[tokio::test]
async fn bad_frames_are_no_events_and_harm_no_good_ones() {
    let stage = Stage::new().await;
    let (lobby, alice) = (room("lobby"), user("alice"));
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let topic = Topic::Room(lobby.clone());
    let bad: [&[u8]; 9] = [
        b"",
        b"\xff\xfe",
        b"y 1 2 3\n",
        b"m e one 2\n{",
        b"j e 1 2 3\nalice\n{}",
        b"l e 1 2 3 bored\nalice\n",
        b"p 1 -\nalice\n[",
        b"t\n\n\n\nnot json",
        b"c -1\n",
    ];
    for frame in bad {
        publish(&stage, &topic, frame).await;
        assert_eq!(frame::decode(frame), None, "{:?}", String::from_utf8_lossy(frame));
    }
    assert_eq!(frame::decode(&vec![b'c'; frame::FRAME_MAX_BYTES + 1]), None);
    publish(&stage, &topic, b"p 7 -\nalice\n[]\n{\"status\":\"busy\"}").await;
    let heard = ear.heard_in(&stage, &lobby).await;
    assert!(
        matches!(&heard[..], [BusEvent::Presence { user, .. }] if *user == alice),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_killed_connection_is_made_anew_with_every_subscription() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let topics = [Topic::Room(room("lobby")), Topic::User(user("alice"))];
    let mut ear = Ear::open(&stage, &topics).await;
    for round in 1..=3 {
        let killed: Vec<u64> = stage.ask_all("CLIENT", ("KILL", "TYPE", "pubsub")).await;
        assert!(
            killed.iter().any(|killed| *killed > 0),
            "the bus, and Sentinels: {killed:?}"
        );
        for topic in &topics {
            let channel = channel(&stage, topic);
            eventually("the channel has its listener again", async || {
                listeners(&stage, &channel).await == 1
            })
            .await;
            publish(&stage, topic, &count(round)).await;
            assert_eq!(ear.frame().await, (topic.clone(), 1, count(round)));
        }
        is_up(&ear.bus).await;
    }
}

#[tokio::test]
async fn the_bus_itself_says_where_it_may_have_missed_something() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let topic = Topic::Room(room("lobby"));
    let mut ear = Ear::open(&stage, slice::from_ref(&topic)).await;
    publish(&stage, &topic, &count(1)).await;
    assert_eq!(
        ear.any_frame().await.2,
        count(1),
        "nothing is said of a first subscription"
    );
    let _: Vec<u64> = stage.ask_all("CLIENT", ("KILL", "TYPE", "pubsub")).await;
    // First that nothing is heard any more, then that it is again.
    for word in ["?", "! "] {
        loop {
            let (told, shards, said) = ear.any_frame().await;
            assert!(said.starts_with(b"?") || said.starts_with(b"! "), "{said:?}");
            if told == topic {
                assert!(said.starts_with(word.as_bytes()), "{said:?}");
                assert_eq!(shards, 1);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_heard_again() {
    let redis = Redis::start().await;
    let stage = Stage::on(&redis, |_| {}).await;
    let topic = Topic::Room(room("lobby"));
    let mut ear = Ear::open(&stage, slice::from_ref(&topic)).await;
    is_up(&ear.bus).await;
    redis.kill();
    eventually("the bus is down", async || !ear.bus.is_up()).await;
    let started = Instant::now();
    let unheard = ear.bus.subscribe(Topic::Room(room("den")), 0).await;
    assert!(unheard.is_err() && started.elapsed() < Duration::from_millis(2_500));
    redis.restart().await;
    is_up(&ear.bus).await;
    let again = Stage {
        masters: vec![redis.connection().await],
        ..stage
    };
    for name in ["lobby", "den"] {
        // What was asked for meanwhile is subscribed too: the caller's release is still to come.
        ear.bus.subscribe(Topic::Room(room(name)), 0).await.unwrap();
        publish(&again, &Topic::Room(room(name)), &count(2)).await;
        assert_eq!(ear.frame().await, (Topic::Room(room(name)), 1, count(2)));
    }
}

#[tokio::test]
async fn the_bus_ends_with_its_last_handle() {
    let stage = Stage::new().await;
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let (bus, driver) = Bus::open(
        &stage.url,
        stage.keys().clone(),
        node("n9"),
        Box::new(|_, _, _| {}),
        &metrics,
    )
    .unwrap();
    let driver = tokio::spawn(driver.run());
    bus.subscribe(Topic::Room(room("lobby")), 0).await.unwrap();
    drop(bus);
    tokio::time::timeout(crate::ear::PATIENCE, driver)
        .await
        .expect("it ends")
        .unwrap();
}

#[tokio::test]
async fn two_nodes_hear_the_same_in_the_same_order() {
    two_nodes(&Stage::new().await).await;
}

pub async fn two_nodes(stage: &Stage) {
    let lobby = stage.room("lobby").await;
    let mut ears = [Ear::of_room(stage, &lobby).await, Ear::of_room(stage, &lobby).await];
    let people: Vec<_> = (0..20).map(|number| lease(&format!("user{number}"), 1)).collect();
    let come_and_go = people.iter().map(async |lease| {
        stage.connect(lease).await;
        stage.join(lease, &lobby).await;
        endings::finish(&stage.hot, lease, "asked").await.unwrap();
    });
    futures_util::future::join_all(come_and_go).await;
    let one = ears[0].heard_in(stage, &lobby).await;
    let mut other = ears[1].heard_in(stage, &lobby).await;
    other.retain(|event| !matches!(event, BusEvent::Count { .. })); // the first ear's marker
    assert_eq!(words(&one), words(&other));
    assert_eq!(one.len(), 40);
}

fn channel(stage: &Stage, topic: &Topic) -> String {
    match topic {
        Topic::Room(room) => stage.keys().room_channel(room),
        Topic::User(user) => stage.keys().user_channel(user),
        _ => unreachable!("these tests use rooms and users"),
    }
}

/// On whichever server of the stage.
pub async fn listeners(stage: &Stage, channel: &str) -> u64 {
    let found: Vec<(String, u64)> = stage.ask_all("PUBSUB", ("SHARDNUMSUB", channel)).await;
    found.iter().map(|(_, listeners)| listeners).sum()
}
