//! More than one redis-server that belong together: a Cluster, and a master with replicas under Sentinels. Timeouts are
//! short, so that a failover takes seconds. Under the test's control, as a single one is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use redis::IntoConnectionInfo as _;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::eventually;
use super::port::free_port;
use super::process::Process;
use super::raw::PATIENCE;
use super::redis::Redis;

/// A Cluster: three masters that share the slots evenly, and as many replicas if asked for.
pub struct RedisCluster {
    pub masters: Vec<Redis>,
    /// In the order of their masters.
    pub replicas: Vec<Redis>,
}

const MASTERS: u16 = 3;
const SLOTS: u16 = 16_384;

impl RedisCluster {
    /// Three masters alone.
    pub async fn start() -> RedisCluster {
        RedisCluster::with_replicas(0).await
    }

    /// Three masters, of which each is followed by so many replicas.
    pub async fn with_replicas(each: u16) -> RedisCluster {
        let mut servers = Vec::new();
        for _ in 0..MASTERS * (1 + each) {
            let bus = free_port();
            let server = Redis::configured(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus.to_string(),
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ]);
            server.restart().await;
            servers.push((server, bus));
        }
        let (first, bus) = (&servers[0].0, servers[0].1);
        for (server, _) in &servers[1..] {
            let met: String = ask(
                server,
                "CLUSTER",
                &["MEET", "127.0.0.1", &first.port().to_string(), &bus.to_string()],
            )
            .await;
            assert_eq!(met, "OK");
        }
        let per_master = SLOTS / MASTERS;
        for index in 0..MASTERS {
            let last = if index + 1 == MASTERS {
                SLOTS
            } else {
                (index + 1) * per_master
            } - 1;
            let range = [(index * per_master).to_string(), last.to_string()];
            let () = ask(
                &servers[usize::from(index)].0,
                "CLUSTER",
                &["ADDSLOTSRANGE", &range[0], &range[1]],
            )
            .await;
        }
        let mut servers: Vec<Redis> = servers.into_iter().map(|(server, _)| server).collect();
        for server in &servers {
            eventually("a member knows the others", async || {
                let info: String = ask(server, "CLUSTER", &["INFO"]).await;
                let all = format!("cluster_known_nodes:{}\r", servers.len());
                info.contains(&all) && info.contains("cluster_slots_assigned:16384")
            })
            .await;
        }
        let replicas = servers.split_off(usize::from(MASTERS));
        for (index, replica) in replicas.iter().enumerate() {
            let master: String = ask(&servers[index % usize::from(MASTERS)], "CLUSTER", &["MYID"]).await;
            let () = ask(replica, "CLUSTER", &["REPLICATE", &master]).await;
        }
        let cluster = RedisCluster {
            masters: servers,
            replicas,
        };
        for replica in &cluster.replicas {
            follows(replica).await;
        }
        for server in cluster.masters.iter().chain(&cluster.replicas) {
            eventually("the Cluster is well", async || {
                let info: String = ask(server, "CLUSTER", &["INFO"]).await;
                let members: String = ask(server, "CLUSTER", &["NODES"]).await;
                info.contains("cluster_state:ok") && members.matches("slave ").count() == cluster.replicas.len()
            })
            .await;
        }
        cluster
    }

    /// `redis-cluster://127.0.0.1:<port>,…`, without the last master: it is learnt.
    pub fn url(&self) -> String {
        let seeds: Vec<String> = self.masters[..2]
            .iter()
            .map(|master| format!("127.0.0.1:{}", master.port()))
            .collect();
        format!("redis-cluster://{}", seeds.join(","))
    }

    /// One to each master.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        futures_util::future::join_all(self.masters.iter().map(Redis::connection)).await
    }

    /// Moves a slot, with all that is in it, from one master to another.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let slot = slot.to_string();
        let source_id: String = ask(source, "CLUSTER", &["MYID"]).await;
        let target_id: String = ask(target, "CLUSTER", &["MYID"]).await;
        let () = ask(target, "CLUSTER", &["SETSLOT", &slot, "IMPORTING", &source_id]).await;
        let () = ask(source, "CLUSTER", &["SETSLOT", &slot, "MIGRATING", &target_id]).await;
        loop {
            let keys: Vec<String> = ask(source, "CLUSTER", &["GETKEYSINSLOT", &slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            let port = target.port().to_string();
            let mut words = vec!["127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            let _: String = ask(source, "MIGRATE", &words).await;
        }
        for server in [target, source] {
            let () = ask(server, "CLUSTER", &["SETSLOT", &slot, "NODE", &target_id]).await;
        }
    }
}

/// A master, two replicas, and three Sentinels that watch them as `main`.
pub struct RedisSentinel {
    /// The first is the master to begin with.
    pub servers: Vec<Redis>,
    sentinels: Vec<(u16, Process)>,
    guarded: bool,
    _dir: TempDir,
}

/// Of the servers that hold data, and of the Sentinels: the password of everybody, and that of [`DATA_USER`] and
/// [`SENTINEL_USER`].
pub const DATA_PASSWORD: &str = "d@ta-pass";
pub const SENTINEL_PASSWORD: &str = "watch+pass/";
pub const DATA_USER: &str = "gateway";
pub const SENTINEL_USER: &str = "eye";

impl RedisSentinel {
    /// Without any password.
    pub async fn start() -> RedisSentinel {
        RedisSentinel::with(false).await
    }

    /// With passwords for everything; the users have no others.
    pub async fn guarded() -> RedisSentinel {
        RedisSentinel::with(true).await
    }

    async fn with(guarded: bool) -> RedisSentinel {
        let mut arguments = vec!["--repl-diskless-sync-delay", "0"];
        let user = format!(">{DATA_PASSWORD}");
        if guarded {
            arguments.extend(["--requirepass", DATA_PASSWORD, "--masterauth", DATA_PASSWORD]);
            arguments.extend(["--user", DATA_USER, "on", &user, "~*", "&*", "+@all"]);
        }
        let mut servers = Vec::new();
        for _ in 0..3 {
            let server = Redis::configured(&arguments);
            server.restart().await;
            servers.push(server);
        }
        let master = servers[0].port();
        for replica in &servers[1..] {
            let () = ask(replica, "REPLICAOF", &["127.0.0.1", &master.to_string()]).await;
            follows(replica).await;
        }
        let dir = TempDir::with_prefix_in("sentinel-", env!("CARGO_TARGET_TMPDIR")).expect("cargo made its directory");
        let sentinels = (0..3).map(|_| sentinel(dir.path(), master, guarded)).collect();
        let sentinel = RedisSentinel {
            servers,
            sentinels,
            guarded,
            _dir: dir,
        };
        for (port, _) in &sentinel.sentinels {
            eventually("a Sentinel knows the others and the replicas", async || {
                let facts = sentinel.said_by(*port, "MASTER").await.unwrap_or_default();
                let is = |name: &str, value: &str| facts.chunks(2).any(|fact| fact[0] == name && fact[1] == value);
                is("num-slaves", "2") && is("num-other-sentinels", "2") && is("flags", "master")
            })
            .await;
        }
        sentinel
    }

    /// `redis+sentinel://127.0.0.1:<port>,…/main`, without any login.
    pub fn url(&self) -> String {
        self.url_with("", "")
    }

    /// The same with `user:password@` before the hosts, and `?…` at the end.
    pub fn url_with(&self, login: &str, query: &str) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis+sentinel://{login}{}/main{query}", hosts.join(","))
    }

    /// How often the Sentinels have begun a failover.
    pub async fn failovers(&self) -> u32 {
        let mut latest = 0;
        for (port, _) in &self.sentinels {
            let facts = self.said_by(*port, "MASTER").await.unwrap_or_default();
            let epoch = facts.chunks(2).find(|fact| fact[0] == "config-epoch");
            let epoch = epoch.map_or(0, |fact| fact[1].parse().expect("an epoch is a number"));
            latest = latest.max(epoch);
        }
        latest
    }

    /// Has the Sentinels choose another master, though the present one lives: it becomes a replica.
    pub async fn fail_over(&self) {
        let said = self.ask_sentinel(self.sentinels[0].0, &["FAILOVER", "main"]).await;
        let () = said.expect("the Sentinel finds a replica to promote");
    }

    /// No further failover, however busy the machine is: a master counts as down after half a minute.
    pub async fn settle(&self) {
        for (port, _) in &self.sentinels {
            let () = self
                .ask_sentinel(*port, &["SET", "main", "down-after-milliseconds", "30000"])
                .await
                .expect("the Sentinel answers");
        }
    }

    /// Whichever server the Sentinels agree to be the master, and that is no longer `former`.
    pub async fn successor(&self, former: &Redis) -> &Redis {
        let current = async || self.agreed().await.filter(|server| server.port() != former.port());
        eventually("the Sentinels have another master", async || current().await.is_some()).await;
        current().await.expect("they agreed a moment ago")
    }

    async fn said_by(&self, sentinel: u16, question: &str) -> redis::RedisResult<Vec<String>> {
        self.ask_sentinel(sentinel, &[question, "main"]).await
    }

    async fn ask_sentinel<T: redis::FromRedisValue>(&self, sentinel: u16, words: &[&str]) -> redis::RedisResult<T> {
        let mut info = format!("redis://127.0.0.1:{sentinel}").into_connection_info()?;
        if self.guarded {
            let login = info.redis_settings().clone().set_password(SENTINEL_PASSWORD);
            info = info.set_redis_settings(login);
        }
        let mut connection = redis::Client::open(info)?.get_multiplexed_async_connection().await?;
        redis::cmd("SENTINEL").arg(words).query_async(&mut connection).await
    }

    /// Whichever server the Sentinels agree to be the master.
    pub async fn agreed(&self) -> Option<&Redis> {
        let mut named = Vec::new();
        for (port, _) in &self.sentinels {
            let said = self.said_by(*port, "GET-MASTER-ADDR-BY-NAME").await.ok()?;
            named.push(said.get(1)?.parse::<u16>().ok()?);
        }
        named.dedup();
        let [port] = named[..] else { return None };
        self.servers.iter().find(|server| server.port() == port)
    }
}

fn sentinel(dir: &Path, master: u16, guarded: bool) -> (u16, Process) {
    let port = free_port();
    let file = dir.join(format!("{port}.conf"));
    let mut settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nloglevel warning\n\
         sentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 3000\n",
        dir.display()
    );
    if guarded {
        settings += &format!(
            "sentinel auth-pass main {DATA_PASSWORD}\nrequirepass {SENTINEL_PASSWORD}\n\
             sentinel sentinel-pass {SENTINEL_PASSWORD}\nuser {SENTINEL_USER} on >{SENTINEL_PASSWORD} allchannels +@all\n"
        );
    }
    std::fs::write(&file, settings).expect("the directory is ours");
    let process = Process::spawn(
        "redis-sentinel",
        Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    );
    (port, process)
}

/// Waits until a replica has all that its master has.
pub async fn follows(replica: &Redis) {
    eventually("the replica follows its master", async || {
        let info: String = ask(replica, "INFO", &["replication"]).await;
        info.contains("role:slave") && info.contains("master_link_status:up")
    })
    .await;
}

/// A command to one server, which may be repeated: a Sentinel that makes a replica of it ends its connections.
pub async fn ask<T: redis::FromRedisValue>(server: &Redis, verb: &str, words: &[&str]) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut connection: MultiplexedConnection = server.connection().await;
        match redis::cmd(verb).arg(words).query_async(&mut connection).await {
            Ok(answer) => return answer,
            Err(cause) => assert!(
                cause.is_connection_dropped() && Instant::now() < deadline,
                "{verb}: {cause}"
            ),
        }
    }
}
