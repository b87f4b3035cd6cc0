//! A key prefix of its own for each test, people to put on it, and a look at what is left behind. Most tests share one
//! Redis; those that kill, pause or empty it bring their own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nself_realtime::domain::endings::{self, Swept};
use nself_realtime::domain::rooms::{self, JoinOptions, JoinRefusal, Joined, NewRoom};
use nself_realtime::hot::keys::{Keys, Lease, Partition};
use nself_realtime::hot::messages::{self, Send, SendRequest};
use nself_realtime::hot::presence::{self, Connect, Facts, Held};
use nself_realtime::hot::{Hot, HotError, Metrics, Settings, Terms};
use nself_realtime::types::{ConnectionId, NodeId, Presence, RoomName, RoomType, UserId, Visibility};
use prometheus::Registry;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, ToRedisArgs, Value};

use crate::again::again;
use crate::support::redis::Redis;
use crate::support::redis_any::AnyRedis;
use crate::support::redis_fleet::{RedisCluster, RedisSentinel};
pub use crate::support::terms::terms;

/// The grace that tests give.
pub const GRACE: Duration = Duration::from_secs(5);

static STAGES: AtomicU32 = AtomicU32::new(0);

/// One test's part of whatever the suite runs on.
pub struct Stage {
    pub url: String,
    pub prefix: String,
    pub hot: Hot,
    pub registry: Registry,
    /// One to each master: to look beside the product, and to put there what other nodes would.
    pub masters: Vec<MultiplexedConnection>,
}

impl Stage {
    /// On the servers that the tests share.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with other durations or bounds.
    pub async fn with(change: impl FnOnce(&mut Terms)) -> Self {
        Self::of(AnyRedis::shared().await, change).await
    }

    /// On servers of the test's own, of the kind that the suite runs on.
    pub async fn of(servers: &AnyRedis, change: impl FnOnce(&mut Terms)) -> Self {
        Self::at(&servers.url(), servers.connections().await, change)
    }

    /// On one Redis, whatever the suite runs on: for a test that kills or pauses it, and is on the list in
    /// `scripts/test-topologies`.
    pub async fn on(redis: &Redis, change: impl FnOnce(&mut Terms)) -> Self {
        Self::at(&redis.url(), vec![redis.connection().await], change)
    }

    pub fn at(url: &str, masters: Vec<MultiplexedConnection>, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = terms();
        change(&mut terms);
        let prefix = format!("test{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let hot = Hot::open(Settings {
            url: url.to_owned(),
            prefix: prefix.clone(),
            terms,
            metrics,
        });
        Self {
            url: url.to_owned(),
            prefix,
            hot: hot.unwrap(),
            registry,
            masters,
        }
    }

    /// Another node's handle, with connections of its own.
    pub fn sibling(&self) -> Hot {
        let settings = Settings {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            terms: self.hot.terms().clone(),
            metrics: Metrics::new(&Registry::new()).unwrap(),
        };
        Hot::open(settings).unwrap()
    }

    /// On a Cluster.
    pub async fn on_cluster(cluster: &RedisCluster) -> Self {
        Self::at(&cluster.url(), cluster.connections().await, |_| {})
    }

    /// On the first master that Sentinels watch.
    pub async fn on_sentinel(sentinel: &RedisSentinel) -> Self {
        Self::at(&sentinel.url(), vec![sentinel.servers[0].connection().await], |_| {})
    }

    pub fn keys(&self) -> &Keys {
        self.hot.keys()
    }

    /// Any command, beside the product.
    pub async fn ask<T: FromRedisValue>(&self, verb: &str, args: impl ToRedisArgs) -> T {
        let mut command = redis::cmd(verb);
        command.arg(args);
        let mut moved = None;
        for mut connection in self.masters.clone() {
            match command.query_async(&mut connection).await {
                Err(error) if error.code() == Some("MOVED") => moved = Some(error),
                other => return other.unwrap(),
            }
        }
        panic!("no master of the Cluster takes {verb}: {moved:?}")
    }

    /// Many commands in one round trip to each master: of each the answer of the master that has its key.
    pub async fn ask_many<T: FromRedisValue>(&self, commands: &Pipeline) -> Vec<T> {
        let mut answers: Vec<Option<T>> = std::iter::repeat_with(|| None).take(commands.len()).collect();
        for mut connection in self.masters.clone() {
            let said = connection.send_packed_commands(commands, 0, answers.len()).await;
            for (answer, value) in answers.iter_mut().zip(said.unwrap()) {
                if !matches!(&value, Value::ServerError(error) if error.code() == "MOVED") {
                    *answer = Some(T::from_redis_value(value).unwrap());
                }
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.expect("somebody has the slot"))
            .collect()
    }

    /// The same, on each master.
    pub async fn ask_all<T: FromRedisValue>(&self, verb: &str, args: impl ToRedisArgs) -> Vec<T> {
        let mut command = redis::cmd(verb);
        command.arg(args);
        let mut answers = Vec::new();
        for mut connection in self.masters.clone() {
            answers.push(command.query_async(&mut connection).await.unwrap());
        }
        answers
    }

    pub async fn score(&self, key: String, member: &str) -> Option<i64> {
        self.ask::<Option<f64>>("ZSCORE", (key, member))
            .await
            .map(|score| score as i64)
    }

    pub async fn connect(&self, lease: &Lease) -> Presence {
        match presence::connect(&self.hot, lease, &Facts::default(), None)
            .await
            .unwrap()
        {
            Connect::Connected { presence, .. } => presence,
            Connect::Full => panic!("{} has too many connections", lease.user),
        }
    }

    pub async fn make_room(&self, name: &str, kind: RoomType, visibility: Visibility, most: Option<u32>) -> RoomName {
        let room = NewRoom {
            name: room(name),
            kind,
            visibility,
            max_members: most,
            owner: None,
        };
        again(async || rooms::create(&self.hot, &room).await).await;
        room.name
    }

    /// A public channel without a bound.
    pub async fn room(&self, name: &str) -> RoomName {
        self.make_room(name, RoomType::Channel, Visibility::Public, None).await
    }

    pub async fn try_join(&self, lease: &Lease, room: &RoomName, autocreate: bool) -> Result<Joined, JoinRefusal> {
        let options = JoinOptions {
            autocreate,
            known: None,
            members: 10,
            since: None,
            toll: None,
        };
        rooms::join(&self.hot, lease, room, options).await.unwrap()
    }

    pub async fn join(&self, lease: &Lease, room: &RoomName) -> Joined {
        self.try_join(lease, room, false).await.unwrap()
    }

    /// What the moderation will write: `{"role":…,"ban":…,"mute":…}`.
    pub async fn policy(&self, room: &RoomName, user: &UserId, policy: &str) {
        let () = self
            .ask("HSET", (self.keys().room_policy(room), user.as_str(), policy))
            .await;
    }

    /// A sweep that comes right after another, as they do while nodes run.
    pub async fn sweep(&self) -> Swept {
        self.sweep_again().await.0
    }

    /// The same, and whether it was repeated.
    pub async fn sweep_again(&self) -> (Swept, bool) {
        for partition in Partition::all() {
            let () = self
                .ask("HSET", (self.keys().swept(partition), "at", now_ms(), "until", 0))
                .await;
        }
        again(async || endings::sweep(&self.hot).await).await
    }

    /// Whatever was left undone is taken over by a sweep, as if it were old.
    pub async fn take_over(&self, users: &[UserId]) {
        for user in users {
            if self.todo_length(user).await > 0 {
                self.make_todos_old(user).await;
            }
        }
        self.sweep().await;
    }

    /// Lets what ends by time end now: the lease, its grace, or an entry of `due`.
    pub async fn let_run_out(&self, key: String, member: &str) {
        let changed: u64 = self.ask("ZADD", (key, "XX", "CH", now_ms() - 1, member)).await;
        assert_eq!(changed, 1, "{member:?} has no end that could come");
    }

    /// Every key of this test, and its time to live in ms; -1 for none.
    pub async fn keys_left(&self) -> Vec<(String, i64)> {
        let keys: Vec<Vec<String>> = self.ask_all("KEYS", format!("{}:*", self.prefix)).await;
        let mut left = Vec::new();
        for key in keys.into_iter().flatten() {
            let ttl = self.ask("PTTL", &key).await;
            left.push((key, ttl));
        }
        left
    }

    /// At the end of a scenario: what has no expiry is on the list of lasting keys (lua/README.md).
    pub async fn assert_only_lasting_keys_last(&self) {
        let lasting = crate::contract::lasting_keys();
        for (key, ttl) in self.keys_left().await {
            let noun = key.split("}:").nth(1).unwrap().split(':').next().unwrap();
            match noun {
                "todo" => assert_eq!(
                    self.ask::<u64>("XLEN", &key).await,
                    0,
                    "{key:?} has steps that nobody took"
                ),
                // What is still to come keeps its entry until a sweep.
                "due" => assert_eq!(
                    self.ask::<u64>("ZCOUNT", (&key, "-inf", now_ms())).await,
                    0,
                    "{key:?} is overdue"
                ),
                _ => assert!(
                    ttl != -1 || lasting.contains(noun),
                    "{key:?} stays for ever, and is not on the list of lasting keys"
                ),
            }
        }
    }

    /// Everybody's end, as the sweep brings it: whatever has a lease or is in grace.
    pub async fn end_everybody(&self) {
        for partition in Partition::all() {
            for key in [self.keys().leases(partition), self.keys().grace(partition)] {
                for lease in self.ask::<Vec<String>>("ZRANGE", (&key, 0, -1)).await {
                    self.let_run_out(key.clone(), &lease).await;
                }
            }
        }
        self.sweep().await;
    }

    /// Members of a room's stored hash of users, sorted.
    pub async fn users_of(&self, room: &RoomName) -> Vec<String> {
        let mut users: Vec<String> = self.ask("HKEYS", self.keys().room_users(room)).await;
        users.sort();
        users
    }

    /// A user's steps, as if whoever should take them had died an hour ago.
    pub async fn make_todos_old(&self, user: &UserId) {
        self.date_todos(user, now_ms() - 3_600_000).await;
    }

    /// Puts a user's steps back under ids of another time: how old a step is, its id says.
    pub async fn date_todos(&self, user: &UserId, at_ms: i64) {
        let key = self.keys().todo(Partition::of_user(user));
        let steps: Vec<(String, Vec<String>)> = self.ask("XRANGE", (&key, "-", "+")).await;
        assert!(!steps.is_empty(), "no step of {user} was left undone");
        let () = self.ask("DEL", &key).await;
        for (number, (_, fields)) in steps.iter().enumerate() {
            let _: String = self.ask("XADD", (&key, format!("{at_ms}-{number}"), fields)).await;
        }
    }

    pub async fn todo_length(&self, user: &UserId) -> u64 {
        self.ask("XLEN", self.keys().todo(Partition::of_user(user))).await
    }
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

/// A user's connection by its number, on node `n1`; odd characters of the user stay out of the connection's id.
pub fn lease(id: &str, number: u32) -> Lease {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let start = if plain { id.to_owned() } else { hex(id) };
    Lease {
        connection: ConnectionId::parse(&format!("{start}-{number}.0")).unwrap(),
        node: node("n1"),
        user: user(id),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A lease as the heartbeat brings it: its client was active right now.
pub fn held(lease: &Lease) -> Held {
    Held {
        lease: lease.clone(),
        idle: Some(Duration::ZERO),
    }
}

pub fn partition(lease: &Lease) -> Partition {
    Partition::of_user(&lease.user)
}

/// Ids that a naive key, pattern, range or JSON would trip over.
pub const ODD_NAMES: &[&str] = &[
    "ünï-çödé-漢字-🚀",
    "a:b:room.live:c",
    "{curly} }{ {0}",
    "with space ",
    "quote\" ' \\ back/slash",
    "glob*?[a-z]",
    "percent%d%%",
    "-",
    "+",
    "@",
    "[(",
    "x}:room:y",
];

/// One message, by itself.
pub async fn send_one(hot: &Hot, request: SendRequest<'_>) -> Result<Send, HotError> {
    Ok(messages::send(hot, &[request], 0).await?.remove(0))
}
