//! Redis in cluster mode: no script slips into another slot, and a slot that moves takes its subscriptions along.

use std::process::{Command, Stdio};
use std::slice;

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::messages;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::ear::{Ear, publish};
use crate::flush::call_every_script;
use crate::stage::{Stage, node, room, user};
use crate::support::eventually;
use crate::support::port::free_port;
use crate::support::process::Process;

/// A cluster of one node that has every slot.
struct Cluster {
    url: String,
    redis: MultiplexedConnection,
    _server: Process,
    _dir: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = TempDir::with_prefix_in("redis-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = free_port();
        let server = Process::spawn(
            "redis-server",
            Command::new("redis-server")
                .args(["--port", &port.to_string(), "--cluster-port", &free_port().to_string()])
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    "--loglevel",
                    "warning",
                ])
                .args(["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"])
                .arg("--dir")
                .arg(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        );
        let url = format!("redis://127.0.0.1:{port}/0");
        let client = redis::Client::open(&*url).unwrap();
        let connect = async || client.get_multiplexed_async_connection().await;
        eventually("redis-server listens", async || connect().await.is_ok()).await;
        let redis = connect().await.unwrap();
        let cluster = Self {
            url,
            redis,
            _server: server,
            _dir: dir,
        };
        let () = cluster.ask(&["ADDSLOTSRANGE", "0", "16383"]).await;
        eventually("the cluster is ready", async || {
            cluster.ask::<String>(&["INFO"]).await.contains("cluster_state:ok")
        })
        .await;
        cluster
    }

    async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.redis.clone();
        redis::cmd("CLUSTER")
            .arg(words)
            .query_async(&mut connection)
            .await
            .unwrap()
    }

    fn stage(&self) -> Stage {
        Stage::at(&self.url, vec![self.redis.clone()], |_| {})
    }
}

#[tokio::test]
async fn no_script_leaves_its_slot() {
    let cluster = Cluster::start().await;
    let stage = cluster.stage();
    call_every_script(&stage, false).await;
    assert!(
        !messages::share_calls(&stage.hot),
        "it is asked as if it were one server"
    );
    stage.make_todos_old(&user("alice")).await;
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_subscription_that_the_server_ends_is_made_again() {
    let cluster = Cluster::start().await;
    let stage = cluster.stage();
    let (topic, own) = (Topic::Room(room("lobby")), Topic::Node(node("ear")));
    let mut ear = Ear::open(&stage, slice::from_ref(&topic)).await;
    eventually("the bus is up", async || ear.bus.is_up()).await;
    for (ended, channel) in [
        (&topic, stage.keys().room_channel(&room("lobby"))),
        (&own, stage.keys().node(&node("ear"))),
    ] {
        let slot: u64 = cluster.ask(&["KEYSLOT", &channel]).await;
        let () = cluster.ask(&["DELSLOTS", &slot.to_string()]).await;
        eventually("the server ended the subscription", async || {
            listeners(&stage, &channel).await == 0
        })
        .await;
        if *ended == own {
            eventually("the bus says so", async || !ear.bus.is_up()).await;
        }
        let () = cluster.ask(&["ADDSLOTS", &slot.to_string()]).await;
        eventually("it is made again", async || listeners(&stage, &channel).await == 1).await;
        publish(&stage, ended, b"c 1\n").await;
        assert_eq!(ear.frame().await.0, *ended);
        eventually("the bus is up again", async || ear.bus.is_up()).await;
    }
}

async fn listeners(stage: &Stage, channel: &str) -> u64 {
    let found: (String, u64) = stage.ask("PUBSUB", ("SHARDNUMSUB", channel)).await;
    found.1
}
