//! The Redis of a test in any of its three forms: one server, a master with replicas under Sentinels, a Cluster. What a test
//! asks beside the product goes to every master that there is at that moment, each of which answers for what it has.

use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, Value};

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
    /// As `REALTIME_REDIS_URL` takes it.
    pub fn url(&self) -> String {
        match self {
            AnyRedis::One(redis) => redis.url(),
            AnyRedis::Sentinel(sentinel) => sentinel.url(),
            AnyRedis::Cluster(cluster) => cluster.url(),
        }
    }

    /// The server that is alone.
    pub fn one(&self) -> &Redis {
        match self {
            AnyRedis::One(redis) => redis,
            _ => panic!("there are several servers"),
        }
    }

    fn servers(&self) -> Vec<&Redis> {
        match self {
            AnyRedis::One(redis) => vec![redis],
            AnyRedis::Sentinel(sentinel) => sentinel.servers.iter().collect(),
            AnyRedis::Cluster(cluster) => cluster.masters.iter().chain(&cluster.replicas).collect(),
        }
    }

    /// Those that are masters now; in a failover none may be.
    pub async fn masters(&self) -> Vec<&Redis> {
        let mut masters = Vec::new();
        for server in self.servers().into_iter().filter(|server| server.is_running()) {
            let info: String = ask(server, "INFO", &["replication"]).await;
            if info.contains("role:master") {
                masters.push(server);
            }
        }
        masters
    }

    async fn connections(&self) -> Vec<MultiplexedConnection> {
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
                if !matches!(value, Value::ServerError(_)) {
                    *answer = value;
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
                    self.masters().await.len() == before
                })
                .await;
            }
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
