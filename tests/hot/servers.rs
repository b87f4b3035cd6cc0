//! What the suite runs on: one Redis, a Cluster of three masters, or a master that Sentinels have put in the place of
//! another one. `REALTIME_TEST_REDIS` says which; `scripts/test-topologies` runs it on the latter two.

use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

use crate::support::redis::Redis;
use crate::support::redis_fleet::{RedisCluster, RedisSentinel};

/// Servers that belong together, of the kind that was asked for.
pub enum Servers {
    One(Redis),
    Cluster(RedisCluster),
    Sentinel(RedisSentinel),
}

impl Servers {
    /// Empty ones.
    pub async fn start() -> Servers {
        match std::env::var("REALTIME_TEST_REDIS").as_deref() {
            Err(_) | Ok("one") => Servers::One(Redis::start().await),
            Ok("cluster") => Servers::Cluster(RedisCluster::start().await),
            Ok("sentinel") => Servers::Sentinel(RedisSentinel::start().await),
            Ok(other) => panic!("REALTIME_TEST_REDIS takes one, cluster or sentinel, not {other:?}"),
        }
    }

    /// Those that most tests share. Under Sentinels the first master has been replaced, though it lives: whatever
    /// follows runs on its successor.
    pub async fn shared() -> &'static Servers {
        static SHARED: OnceCell<Servers> = OnceCell::const_new();
        let shared = async {
            let servers = Servers::start().await;
            if let Servers::Sentinel(sentinel) = &servers {
                sentinel.fail_over().await;
                sentinel.successor(&sentinel.servers[0]).await;
            }
            servers
        };
        SHARED.get_or_init(|| shared).await
    }

    pub fn url(&self) -> String {
        match self {
            Servers::One(redis) => redis.url(),
            Servers::Cluster(cluster) => cluster.url(),
            Servers::Sentinel(sentinel) => sentinel.url(),
        }
    }

    /// One to each master.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        match self {
            Servers::One(redis) => vec![redis.connection().await],
            Servers::Cluster(cluster) => cluster.connections().await,
            Servers::Sentinel(sentinel) => vec![sentinel.master().await.connection().await],
        }
    }
}
