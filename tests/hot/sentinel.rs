//! A master that Sentinels watch: everything works as on one server, and goes on with its successor.

use std::slice;
use std::time::{Duration, Instant};

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::keys::Perch;

use crate::bus;
use crate::ear::{Ear, publish};
use crate::flush::call_every_script;
use crate::stage::{Stage, lease, room, user};
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::redis_fleet::{RedisSentinel, ask};

/// Two seconds are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn everything_works_on_the_master() {
    let sentinel = RedisSentinel::start().await;
    let stage = Stage::on_sentinel(&sentinel).await;
    call_every_script(&stage, true).await;
    stage.make_todos_old(&user("alice")).await;
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
    bus::in_order(&stage).await;
    bus::two_nodes(&Stage::on_sentinel(&sentinel).await).await;
}

#[tokio::test]
async fn calls_and_the_bus_follow_a_failover() {
    follows_a_failover(Redis::kill).await;
}

#[tokio::test]
async fn calls_and_the_bus_leave_a_master_that_is_silent() {
    follows_a_failover(Redis::pause).await;
}

async fn follows_a_failover(strike: impl Fn(&Redis)) {
    let sentinel = RedisSentinel::start().await;
    let stage = Stage::on_sentinel(&sentinel).await;
    let lobby = Topic::Room(room("lobby"));
    let mut ear = Ear::open(&stage, slice::from_ref(&lobby)).await;
    stage.connect(&lease("alice", 1)).await;
    eventually("the bus is up", async || ear.bus.is_up()).await;
    let replicated: u64 = stage.ask("WAIT", (2, 5_000)).await;
    assert_eq!(replicated, 2);

    let master = &sentinel.servers[0];
    strike(master);
    let died = Instant::now();
    while stage.hot.check().await.is_err() {
        assert!(died.elapsed() < Duration::from_secs(15), "no call succeeds again");
        let started = Instant::now();
        drop(stage.hot.check().await);
        assert!(started.elapsed() < PROMISED, "a call took {:?}", started.elapsed());
    }
    assert!(stage.hot.is_up());
    let successor = sentinel.successor(master).await;
    let again = Stage {
        masters: vec![successor.connection().await],
        ..stage
    };
    let leases: u64 = again
        .ask(
            "ZCARD",
            again.keys().leases(crate::stage::partition(&lease("alice", 1))),
        )
        .await;
    assert_eq!(leases, 1, "the lease came along");
    let channel = again.keys().room_channel(&room("lobby"));
    eventually("the bus listens to the successor", async || {
        bus::listeners(&again, &channel).await == 1
    })
    .await;
    eventually("the bus is up again", async || ear.bus.is_up()).await;
    publish(&again, &lobby, b"c 1\n").await;
    assert_eq!(ear.frame().await, (lobby.clone(), 1, b"c 1\n".to_vec()));
}

#[tokio::test]
async fn a_master_that_is_demoted_is_left() {
    let sentinel = RedisSentinel::start().await;
    let stage = Stage::on_sentinel(&sentinel).await;
    let mut ear = Ear::of_user(&stage, &user("alice")).await;
    stage.hot.check().await.unwrap();
    sentinel.fail_over().await;
    let successor = sentinel.successor(&sentinel.servers[0]).await;
    eventually("calls succeed again", async || stage.hot.check().await.is_ok()).await;
    let again = Stage {
        masters: vec![successor.connection().await],
        ..stage
    };
    let checked: u64 = again.ask("EXISTS", again.keys().check(Perch::Nodes)).await;
    assert_eq!(checked, 1, "the successor was written to");
    let channel = again.keys().user_channel(&user("alice"));
    eventually("the bus listens to the successor", async || {
        bus::listeners(&again, &channel).await == 1
    })
    .await;
    publish(&again, &Topic::User(user("alice")), b"c 1\n").await;
    assert_eq!(ear.frame().await.2, b"c 1\n");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_dialled_anew() {
    let (redis, other) = (Redis::start().await, Redis::start().await);
    let stage = Stage::on(&redis, |_| {}).await;
    stage.hot.check().await.unwrap();
    let () = ask(&redis, "REPLICAOF", &["127.0.0.1", &other.port().to_string()]).await;
    let error = stage.hot.check().await.unwrap_err();
    assert!(error.to_string().contains("read only replica"), "{error}");
    assert!(!stage.hot.is_up(), "whoever is no master is not talked to");
    let () = ask(&redis, "REPLICAOF", &["NO", "ONE"]).await;
    eventually("calls succeed again", async || stage.hot.check().await.is_ok()).await;
}
