//! The Redis of a test in any of its three forms: one server, a master with replicas under Sentinels, a Cluster. What a test
//! asks beside the product goes to every master that there is at that moment, each of which answers for what it has.
//! `REALTIME_TEST_REDIS` says which form the suites run on; `scripts/test-topologies` runs them on the latter two.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tokio::sync::OnceCell;

use super::eventually;
use super::raw::PATIENCE;
use super::redis::Redis;
use super::redis_fleet::{RedisCluster, RedisSentinel, ask, follows};

pub enum AnyRedis {
    One(Redis),
    Sentinel(RedisSentinel),
    Cluster(RedisCluster),
}

impl AnyRedis {
    /// Empty servers of the form that was asked for. Under Sentinels the first master has been replaced, though it lives:
    /// whatever follows runs on its successor.
    pub async fn start() -> AnyRedis {
        match std::env::var("REALTIME_TEST_REDIS").as_deref() {
            Err(_) | Ok("one") => AnyRedis::One(Redis::start().await),
            Ok("cluster") => AnyRedis::Cluster(RedisCluster::start().await),
            Ok("sentinel") => {
                let sentinel = RedisSentinel::start().await;
                sentinel.fail_over().await;
                sentinel.successor(&sentinel.servers[0]).await;
                sentinel.settle().await;
                AnyRedis::Sentinel(sentinel)
            }
            Ok(other) => panic!("REALTIME_TEST_REDIS takes one, cluster or sentinel, not {other:?}"),
        }
    }

    /// Those that most tests of a binary share.
    pub async fn shared() -> &'static AnyRedis {
        static SHARED: OnceCell<AnyRedis> = OnceCell::const_new();
        SHARED.get_or_init(AnyRedis::start).await
    }

    /// As `REALTIME_REDIS_URL` takes it.
    pub fn url(&self) -> String {
        match self {
            AnyRedis::One(redis) => redis.url(),
            AnyRedis::Sentinel(sentinel) => sentinel.url(),
            AnyRedis::Cluster(cluster) => cluster.url(),
        }
    }

    /// The server that is alone, for a test that holds on to one.
    pub fn one(&self) -> &Redis {
        match self {
            AnyRedis::One(redis) => redis,
            _ => panic!("a test that holds on to one Redis belongs on the list in scripts/test-topologies"),
        }
    }

    fn servers(&self) -> Vec<&Redis> {
        match self {
            AnyRedis::One(redis) => vec![redis],
            AnyRedis::Sentinel(sentinel) => sentinel.servers.iter().collect(),
            AnyRedis::Cluster(cluster) => cluster.masters.iter().chain(&cluster.replicas).collect(),
        }
    }

    /// Those that are masters, at least one: a failover, also one that nobody asked for, is waited for.
    pub async fn masters(&self) -> Vec<&Redis> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let masters = self.masters_now().await;
            if !masters.is_empty() {
                return masters;
            }
            assert!(Instant::now() < deadline, "nobody says that it is the master");
            tokio::time::sleep(Duration::from_millis(20)).await; // no event tells it to who follows no Sentinel
        }
    }

    /// Those that are masters now; in a failover none may be.
    async fn masters_now(&self) -> Vec<&Redis> {
        let mut masters = Vec::new();
        for server in self.servers().into_iter().filter(|server| server.is_running()) {
            let info: String = ask(server, "INFO", &["replication"]).await;
            if info.contains("role:master") {
                masters.push(server);
            }
        }
        if let AnyRedis::Sentinel(sentinel) = self
            && masters.len() > 1
        {
            // One that has just been demoted does not know it for some seconds.
            let agreed = sentinel.agreed().await.filter(|server| server.is_running());
            masters = agreed.into_iter().collect();
        }
        masters
    }

    /// One to each master.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        let mut connections = Vec::new();
        for master in self.masters().await {
            connections.push(master.connection().await);
        }
        connections
    }

    /// Has every master do it.
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

    /// Ends every connection that sends commands; new ones are taken.
    pub async fn cut_commands(&self) {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        self.tell(&kill).await;
    }

    /// Has the master that has the key do it.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let mut moved = None;
        for mut connection in self.connections().await {
            match command.query_async(&mut connection).await {
                Err(error) if error.code() == Some("MOVED") => moved = Some(error),
                other => return other.expect("the test's redis answers"),
            }
        }
        panic!("no master takes it: {moved:?}")
    }

    /// The answers to a pipeline of reads, each by the master that has the key; `T`'s of nil where none has it.
    pub async fn read<T: FromRedisValue>(&self, reads: &Pipeline) -> Vec<T> {
        let deadline = Instant::now() + PATIENCE;
        let answers = loop {
            match self.try_read(reads).await {
                Ok(answers) => break answers,
                // A Sentinel that makes a replica of a server ends its connections.
                Err(cause) => assert!(Instant::now() < deadline, "the test's redis answers: {cause}"),
            }
        };
        let read = |value| redis::from_redis_value(value).expect("an answer of the kind asked for");
        answers.into_iter().map(read).collect()
    }

    async fn try_read(&self, reads: &Pipeline) -> redis::RedisResult<Vec<Value>> {
        let count = reads.len();
        let mut answers = vec![Value::Nil; count];
        for mut connection in self.connections().await {
            let values = connection.send_packed_commands(reads, 0, count).await?;
            for (answer, value) in answers.iter_mut().zip(values) {
                match value {
                    // Another master has it.
                    Value::ServerError(error) if error.code() == "MOVED" => {}
                    // It loads, or has just become a replica.
                    Value::ServerError(error) => return Err(error.into()),
                    value => *answer = value,
                }
            }
        }
        Ok(answers)
    }

    /// Kills a master; returns when another has taken its place, and everybody says so.
    pub async fn lose(&self, master: &Redis) {
        let before = self.masters().await.len();
        master.kill();
        match self {
            AnyRedis::One(_) => panic!("nobody takes the place of one server"),
            AnyRedis::Sentinel(sentinel) => drop(sentinel.successor(master).await),
            AnyRedis::Cluster(_) => {
                eventually("the Cluster has as many masters as before", async || {
                    self.masters_now().await.len() == before
                })
                .await;
            }
        }
    }

    /// How many failovers there were; of a Cluster those are not counted.
    pub async fn failovers(&self) -> u32 {
        match self {
            AnyRedis::Sentinel(sentinel) => sentinel.failovers().await,
            _ => 0,
        }
    }

    /// Brings servers back that were lost: they follow whoever is master now.
    pub async fn complete(&self) {
        for lost in self.servers().into_iter().filter(|server| !server.is_running()) {
            let masters = self.masters().await;
            lost.restart().await;
            if let AnyRedis::Sentinel(_) = self {
                // The Sentinels would say so after some 20 s.
                let () = ask(lost, "REPLICAOF", &["127.0.0.1", &masters[0].port().to_string()]).await;
            }
            follows(lost).await;
        }
    }

    /// From here on no replica hears what its master writes: what is written now is lost with the master.
    pub async fn cut_replication(&self) {
        // They connect again at once, and are refused.
        let refuse = redis::cmd("ACL")
            .arg(&["SETUSER", "default", "-psync", "-sync"])
            .clone();
        self.tell(&refuse).await;
        let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).clone();
        self.tell(&kill).await;
    }

    /// Replicas may follow again.
    pub async fn mend_replication(&self) {
        self.tell(redis::cmd("ACL").arg(&["SETUSER", "default", "+psync", "+sync"]))
            .await;
    }
}
