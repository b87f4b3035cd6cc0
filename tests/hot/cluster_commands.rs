//! The commands of the administration on a Cluster: what lies on any of its masters is found, explained and repaired.

use std::collections::BTreeSet;
use std::process::Output;

use nself_realtime::domain::doctor::{Drift, examine};
use nself_realtime::hot::nodes;
use nself_realtime::types::Status;

use crate::stage::{GRACE, Stage, lease, partition, room, user};
use crate::support::node::binary;
use crate::support::redis_fleet::RedisCluster;

/// The first of `numbers` whose key each master has.
async fn one_on_each(stage: &Stage, key: impl Fn(u32) -> String) -> Vec<u32> {
    let mut found = Vec::new();
    for master in &stage.masters {
        let mut number = 0;
        loop {
            let mut exists = redis::cmd("EXISTS");
            let there: redis::RedisResult<u64> = exists.arg(key(number)).query_async(&mut master.clone()).await;
            if there == Ok(1) {
                break found.push(number);
            }
            number += 1;
            assert!(number < 100, "a master has nothing of a hundred");
        }
    }
    found
}

fn run(stage: &Stage, args: &[&str]) -> Output {
    let mut command = binary();
    command
        .args(args)
        .env("REALTIME_REDIS_URL", &stage.url)
        .env("REALTIME_REDIS_PREFIX", &stage.prefix);
    command.output().unwrap()
}

fn text(output: Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn drift_is_found_and_repaired_on_every_master() {
    let cluster = RedisCluster::start().await;
    let stage = Stage::on_cluster(&cluster).await;
    let keys = stage.keys();
    let of = |number: u32| lease(&format!("user{number}"), 1);
    let den = |number: u32| room(&format!("room{number}"));
    nodes::beat(&stage.hot, &of(0).node, "{}", GRACE).await.unwrap();
    for number in 0..100 {
        stage.connect(&of(number)).await;
        stage.room(den(number).as_str()).await;
    }
    assert_eq!(examine(&stage.hot).await.unwrap(), BTreeSet::new());

    let users = one_on_each(&stage, |number| keys.leases(partition(&of(number)))).await;
    let rooms = one_on_each(&stage, |number| keys.room(&den(number))).await;
    let mut drift = BTreeSet::new();
    for (one, other) in users.iter().zip(&rooms) {
        let (lost, haunted) = (of(*one), den(*other));
        let () = stage.ask("ZREM", (keys.leases(partition(&lost)), lost.encode())).await;
        let () = stage
            .ask("HSET", (keys.room_users(&haunted), "shade", "1 0 online"))
            .await;
        drift.insert(Drift::Connection(lost.encode()));
        drift.insert(Drift::Room(haunted, "unheld".to_owned(), user("shade")));
    }
    assert_eq!(drift.len(), 6, "two on each master");
    assert_eq!(examine(&stage.hot).await.unwrap(), drift);

    let repaired = text(run(&stage, &["doctor", "--repair"]));
    for drift in &drift {
        assert!(repaired.contains(&format!("repaired {drift}\n")), "{drift}: {repaired}");
    }
    let healthy = run(&stage, &["doctor"]);
    assert_eq!(healthy.status.code(), Some(0));
    assert_eq!(text(healthy), "97 connections are leased, 0 in grace; 0 drifted\n");
    for number in rooms {
        assert_eq!(stage.users_of(&den(number)).await, [] as [&str; 0]);
    }
    for number in users {
        let gone = of(number).user;
        let (seen, _) = nself_realtime::hot::presence::read_all(&stage.hot, &[gone])
            .await
            .unwrap()[0]
            .clone();
        assert_eq!(seen.status, Status::Offline);
    }
}

#[tokio::test]
async fn a_user_is_explained_on_whichever_master() {
    let cluster = RedisCluster::start().await;
    let stage = Stage::on_cluster(&cluster).await;
    let of = |number: u32| lease(&format!("user{number}"), 1);
    let lobby = stage.room("lobby").await;
    nodes::beat(&stage.hot, &of(0).node, "{}", GRACE).await.unwrap();
    for number in 0..100 {
        stage.connect(&of(number)).await;
        stage.join(&of(number), &lobby).await;
    }
    for number in one_on_each(&stage, |number| stage.keys().leases(partition(&of(number)))).await {
        let name = format!("user{number}");
        let told = text(run(&stage, &["explain", &name]));
        assert!(told.starts_with(&format!("{name} is online: ")), "{told}");
        for word in ["lobby", "handshake", &of(number).connection.to_string()] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
