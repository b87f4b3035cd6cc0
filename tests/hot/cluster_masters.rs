//! A Cluster of three masters: each call and each channel finds the owner of its slot, also when that changes.

use std::time::{Duration, Instant};

use nself_realtime::domain::rooms as domain_rooms;
use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::{nodes, presence};

use crate::bus;
use crate::ear::{Ear, publish};
use crate::flush::call_every_script;
use crate::stage::{Stage, lease, node, room, user};
use crate::support::eventually;
use crate::support::redis_fleet::RedisCluster;

/// Two seconds are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_millis(2_500);

fn topics(count: usize) -> Vec<Topic> {
    (0..count)
        .map(|number| Topic::Room(room(&format!("room{number}"))))
        .collect()
}

#[tokio::test]
async fn everything_works_on_three_masters() {
    let cluster = RedisCluster::start().await;
    let stage = Stage::on_cluster(&cluster).await;
    call_every_script(&stage, true).await;
    stage.make_todos_old(&user("alice")).await;
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
    bus::in_order(&stage).await;
    bus::many_topics(&Stage::on_cluster(&cluster).await).await;
    bus::two_nodes(&Stage::on_cluster(&cluster).await).await;
}

#[tokio::test]
async fn what_is_spread_over_the_masters_is_found_on_all_of_them() {
    let cluster = RedisCluster::start().await;
    let stage = Stage::on_cluster(&cluster).await;
    let people: Vec<_> = (0..100).map(|number| lease(&format!("user{number}"), 1)).collect();
    for (number, lease) in people.iter().enumerate() {
        stage.connect(lease).await;
        stage.room(&format!("room{number}")).await;
    }
    for keys in stage
        .ask_all::<Vec<String>>("KEYS", format!("{}:*", stage.prefix))
        .await
    {
        assert!(!keys.is_empty(), "each master has its part");
    }
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 100);
    assert_eq!(domain_rooms::list(&stage.hot).await.unwrap().len(), 100);
    let users: Vec<_> = people.iter().map(|lease| lease.user.clone()).collect();
    assert_eq!(presence::read_all(&stage.hot, &users).await.unwrap().len(), 100);
    nodes::beat(&stage.hot, &node("n1"), "{}", Duration::from_millis(1))
        .await
        .unwrap();
    eventually("the node is dead", async || {
        nodes::dead(&stage.hot).await.unwrap() == [node("n1")]
    })
    .await;
    let buried = nodes::bury(&stage.hot, &node("n1"), Duration::from_secs(5)).await;
    assert_eq!(buried.unwrap(), 100);
}

#[tokio::test]
async fn calls_and_subscriptions_follow_a_slot_that_moves() {
    let cluster = RedisCluster::start().await;
    let stage = Stage::on_cluster(&cluster).await;
    let (alice, topic) = (lease("alice", 1), Topic::User(user("alice")));
    stage.connect(&alice).await;
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    let channel = stage.keys().user_channel(&alice.user);
    let slot: u16 = stage.ask("CLUSTER", ("KEYSLOT", &channel)).await;
    let from = usize::from(slot / (16_384 / 3)).min(2);
    let mut at = from;
    for round in 1..=3_u64 {
        let to = (at + 1) % 3;
        // Meanwhile nobody is told that Redis is away.
        let calls = async {
            for _ in 0..200 {
                presence::refresh(&stage.hot, &alice, "websocket", None).await.unwrap();
                assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 1);
            }
        };
        tokio::join!(cluster.move_slot(slot, at, to), calls);
        at = to;
        eventually("the channel has its listener at the new owner", async || {
            bus::listeners(&stage, &channel).await == 1
        })
        .await;
        let frame = format!("c {round}\n").into_bytes();
        publish(&stage, &topic, &frame).await;
        assert_eq!(ear.frame().await, (topic.clone(), 1, frame));
        eventually("the bus is up", async || ear.bus.is_up()).await;
    }
}

#[tokio::test]
async fn calls_and_the_bus_follow_a_masters_death() {
    let cluster = RedisCluster::with_replicas(1).await;
    let stage = Stage::on_cluster(&cluster).await;
    let topics = topics(64);
    let mut ear = Ear::open(&stage, &topics).await;
    eventually("the bus is up", async || ear.bus.is_up()).await;
    let people: Vec<_> = (0..100).map(|number| lease(&format!("user{number}"), 1)).collect();
    for lease in &people {
        stage.connect(lease).await;
    }
    let victim = 1;
    let replicated: u64 = redis::cmd("WAIT")
        .arg((1, 5_000))
        .query_async(&mut cluster.masters[victim].connection().await)
        .await
        .unwrap();
    assert!(replicated <= 1, "this connection wrote nothing");
    eventually("the replica has everything", async || {
        let size = async |server: &crate::support::redis::Redis| {
            crate::support::redis_fleet::ask::<u64>(server, "DBSIZE", &[]).await
        };
        size(&cluster.masters[victim]).await == size(&cluster.replicas[victim]).await
    })
    .await;
    cluster.masters[victim].kill();
    eventually("the bus knows", async || !ear.bus.is_up()).await;

    let died = Instant::now();
    let renew = async |lease: &nself_realtime::hot::keys::Lease| {
        let started = Instant::now();
        let renewed = presence::refresh(&stage.hot, lease, "websocket", None).await;
        assert!(started.elapsed() < PROMISED, "a call took {:?}", started.elapsed());
        renewed.is_ok()
    };
    // The others' slots are served all the while, and all of them are in the end.
    let served = futures_util::future::join_all(people.iter().map(renew)).await;
    assert!(served.iter().filter(|served| **served).count() > 30, "{served:?}");
    while !futures_util::future::join_all(people.iter().map(renew))
        .await
        .iter()
        .all(|served| *served)
    {
        assert!(
            died.elapsed() < Duration::from_secs(20),
            "not all slots are served again"
        );
    }
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 100);
    assert!(stage.hot.is_up());
    eventually("the bus is up again", async || ear.bus.is_up()).await;
    let again = Stage {
        masters: vec![
            cluster.replicas[victim].connection().await,
            cluster.masters[0].connection().await,
            cluster.masters[2].connection().await,
        ],
        ..stage
    };
    for topic in &topics {
        let Topic::Room(name) = topic else {
            unreachable!("rooms alone")
        };
        let channel = again.keys().room_channel(name);
        eventually("the channel has its listener again", async || {
            bus::listeners(&again, &channel).await == 1
        })
        .await;
        publish(&again, topic, b"c 1\n").await;
        assert_eq!(ear.frame().await, (topic.clone(), 1, b"c 1\n".to_vec()));
    }
}
