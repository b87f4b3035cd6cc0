//! What a suite runs on: one Redis, a Cluster of three masters, or a master that Sentinels have put in the place of
//! another one. `REALTIME_TEST_REDIS` says which; `scripts/test-topologies` runs it on the latter two.

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tokio::sync::OnceCell;

use super::redis::Redis;
use super::redis_fleet::{RedisCluster, RedisSentinel};

/// Servers that belong together, of the kind that was asked for.
pub enum Servers {
    One(Redis),
    Cluster(RedisCluster),
    Sentinel(RedisSentinel),
}

impl Servers {
    /// Empty ones. Under Sentinels the first master has been replaced, though it lives: whatever follows runs on its
    /// successor.
    pub async fn start() -> Servers {
        match std::env::var("REALTIME_TEST_REDIS").as_deref() {
            Err(_) | Ok("one") => Servers::One(Redis::start().await),
            Ok("cluster") => Servers::Cluster(RedisCluster::start().await),
            Ok("sentinel") => {
                let sentinel = RedisSentinel::start().await;
                sentinel.fail_over().await;
                sentinel.successor(&sentinel.servers[0]).await;
                Servers::Sentinel(sentinel)
            }
            Ok(other) => panic!("REALTIME_TEST_REDIS takes one, cluster or sentinel, not {other:?}"),
        }
    }

    /// Those that most tests of a binary share.
    pub async fn shared() -> &'static Servers {
        static SHARED: OnceCell<Servers> = OnceCell::const_new();
        SHARED.get_or_init(Servers::start).await
    }

    pub fn url(&self) -> String {
        match self {
            Servers::One(redis) => redis.url(),
            Servers::Cluster(cluster) => cluster.url(),
            Servers::Sentinel(sentinel) => sentinel.url(),
        }
    }

    /// The one there is, for a test that does with it what needs just one, and is on the list in
    /// `scripts/test-topologies`.
    pub fn one(&self) -> &Redis {
        match self {
            Servers::One(redis) => redis,
            _ => panic!("this test holds on to one Redis: it belongs on the list in scripts/test-topologies"),
        }
    }

    /// Has whichever master has the key carry a command out.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let mut moved = None;
        for mut connection in self.connections().await {
            match command.query_async(&mut connection).await {
                Err(error) if error.code() == Some("MOVED") => moved = Some(error),
                other => return other.expect("the test's redis answers"),
            }
        }
        panic!("no master of the Cluster takes it: {moved:?}")
    }

    /// Has every master carry a command out.
    pub async fn tell(&self, command: &Cmd) {
        for mut connection in self.connections().await {
            command
                .exec_async(&mut connection)
                .await
                .expect("the test's redis answers");
        }
    }

    /// Ends the connections of all who subscribe.
    pub async fn cut_bus(&self) {
        self.tell(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"])).await;
    }

    pub async fn masters(&self) -> Vec<&Redis> {
        match self {
            Servers::One(redis) => vec![redis],
            Servers::Cluster(cluster) => cluster.masters.iter().collect(),
            Servers::Sentinel(sentinel) => vec![sentinel.master().await],
        }
    }

    /// One to each master.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        join_all(self.masters().await.into_iter().map(Redis::connection)).await
    }
}
