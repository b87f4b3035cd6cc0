//! A node dies with 10,000 users, and all of them come to the two others at once, each into ten rooms. The survivors go on
//! beating, renewing and sweeping as the product does, on a connection of their own beside those of the shards. Asserted:
//! no renewal is late by half a lease, and no living connection ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use nself_realtime::domain::drain::Drain;
use nself_realtime::domain::presence::{self, Facts, Held};
use nself_realtime::domain::rooms::{self, JoinOptions};
use nself_realtime::hot::Hot;
use nself_realtime::hot::keys::{Lease, PARTITIONS, Partition};
use nself_realtime::hot::presence::count_connections;
use nself_realtime::lifecycle::Metrics;
use nself_realtime::lifecycle::beat::Beats;
use nself_realtime::lifecycle::heartbeat::{self, Holders};
use nself_realtime::lifecycle::sweep::Sweeper;
use nself_realtime::types::{ConnectionId, NodeId, RoomName};
use prometheus::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::redis::Redis;
use crate::{open, user};

const USERS: usize = 10_000;
const SETTLED: usize = 5_000;
const ROOMS: usize = 1_000;
const ROOMS_EACH: usize = 10;
/// A third of the default, so that a storm of seconds shows in it.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(25);
const GRACE: Duration = Duration::from_secs(5);
/// The heartbeat's own jitter.
const LONGEST_INTERVAL: Duration = Duration::from_secs(12);
const SHARDS: usize = 2;

/// A node: what it holds, and when it renewed each partition.
struct Node {
    name: NodeId,
    shards: Vec<Hot>,
    held: Arc<Mutex<Vec<Vec<Lease>>>>,
    renewed: Arc<Mutex<Vec<Vec<Instant>>>>,
    missing: Arc<Mutex<usize>>,
    registry: Registry,
    stop: CancellationToken,
}

/// What a node does by itself.
async fn live(url: String, name: NodeId, holders: Holders, metrics: Metrics) {
    let (hot, revived) = (open(&url, LEASE), Arc::new(Notify::new()));
    let (beat_every, node_lease) = (Duration::from_secs(2), Duration::from_secs(6));
    let sweeper = Sweeper {
        hot: hot.clone(),
        every: Duration::from_millis(250),
        grace: GRACE,
        metrics: metrics.clone(),
    };
    tokio::join!(
        Beats {
            hot: hot.clone(),
            node: name,
            every: beat_every,
            lease: node_lease,
            grace: GRACE,
            drain: Drain::default(),
            revived: revived.clone(),
        }
        .run(|| 0),
        heartbeat::run(hot, HEARTBEAT, holders, revived, metrics),
        sweeper.run(),
    );
}

/// As a client that was told UNAVAILABLE would come again.
async fn soon() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(250..750))).await;
}

impl Node {
    fn start(redis: &Redis, name: &str) -> Node {
        let node = Node {
            name: NodeId::parse(name).expect("a valid id"),
            shards: (0..SHARDS).map(|_| open(&redis.url(), LEASE)).collect(),
            held: Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS])),
            renewed: Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS])),
            missing: Arc::default(),
            registry: Registry::new(),
            stop: CancellationToken::new(),
        };
        let metrics = Metrics::new(&node.registry).expect("a new registry");
        let (held, renewed, missing) = (node.held.clone(), node.renewed.clone(), node.missing.clone());
        let holders = Holders {
            leases: Box::new(move |partition| {
                let leases = held.lock().expect("nobody panics")[partition.index()].clone();
                renewed.lock().expect("nobody panics")[partition.index()].push(Instant::now());
                let held = leases.into_iter().map(|lease| Held {
                    lease,
                    idle: Some(Duration::ZERO),
                });
                let held = held.collect();
                async move { held }.boxed()
            }),
            missing: Box::new(move |leases| *missing.lock().expect("nobody panics") += leases.len()),
        };
        // On a thread of their own, as in a node: what the shards have to do does not keep them waiting.
        let (url, name, stop) = (redis.url(), node.name.clone(), node.stop.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let living = live(url, name, holders, metrics);
            runtime.expect("a runtime").block_on(stop.run_until_cancelled(living));
        });
        node
    }

    fn die(&self) {
        self.stop.cancel();
    }

    /// All come at once; each task ends when its user is in all rooms, with the number of calls that were repeated.
    fn take_in(&self, users: impl Iterator<Item = usize>) -> JoinSet<u64> {
        let mut coming = JoinSet::new();
        for number in users {
            let (hot, held, name) = (
                self.shards[number % SHARDS].clone(),
                self.held.clone(),
                self.name.clone(),
            );
            coming.spawn(async move {
                let lease = Lease {
                    connection: ConnectionId::parse(&format!("{number:020}@{name}.0")).expect("a valid id"),
                    node: name,
                    user: user(number),
                };
                let mut repeats = 0;
                while presence::connect(&hot, &lease, &Facts::default(), None).await.is_err() {
                    repeats += 1;
                    soon().await;
                }
                let partition = Partition::of_user(&lease.user).index();
                held.lock().expect("nobody panics")[partition].push(lease.clone());
                for turn in 0..ROOMS_EACH {
                    let room = format!("auto:{}", (number * 7 + turn * 101) % ROOMS);
                    let room = RoomName::parse(&room).expect("a valid name");
                    let options = JoinOptions {
                        autocreate: true,
                        known: None,
                        members: 0,
                        since: None,
                        toll: None,
                    };
                    while !matches!(rooms::join(&hot, &lease, &room, options).await, Ok(Ok(_))) {
                        repeats += 1;
                        soon().await;
                    }
                }
                repeats
            });
        }
        coming
    }

    fn ended(&self, cause: &str) -> f64 {
        let families = self.registry.gather();
        let ends = families.iter().find(|family| family.name() == "realtime_ends_total");
        ends.into_iter()
            .flat_map(|family| family.get_metric())
            .filter(|metric| metric.get_label()[0].value() == cause)
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }
}

/// Waits for the nodes' first beats: before, a node still ends what an earlier one of its name left, and this bench
/// registers nobody anew.
async fn begun(redis: &Redis, nodes: u64) {
    let (mut beside, hot) = (redis.connection().await, open(&redis.url(), LEASE));
    loop {
        let asked = redis::cmd("SCARD")
            .arg(hot.keys().nodes())
            .query_async(&mut beside)
            .await;
        let beating: u64 = asked.expect("redis answers");
        if beating == nodes {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await; // no event tells it
    }
}

async fn all(coming: JoinSet<u64>) -> u64 {
    coming.join_all().await.into_iter().sum()
}

/// Waits until nothing of a node that died is left: `living` leases, nobody in grace, no room to leave.
async fn end_of(redis: &Redis, hot: &Hot, died: Instant, living: u64) {
    let mut beside = redis.connection().await;
    loop {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.zcard(hot.keys().leases(partition));
            pipeline.zcard(hot.keys().grace(partition));
            pipeline.cmd("XLEN").arg(hot.keys().todo(partition));
        }
        let counts: Vec<u64> = pipeline.query_async(&mut beside).await.expect("redis answers");
        let sum = |kind: usize| counts.iter().skip(kind).step_by(3).sum::<u64>();
        if [sum(0), sum(1), sum(2)] == [living, 0, 0] {
            return;
        }
        assert!(
            died.elapsed() < Duration::from_secs(300),
            "the dead node's connections do not end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await; // no event tells it
    }
}

/// A node dies with 1,000 connections, and nobody comes back: promised are lease, grace and two seconds.
pub async fn bound(redis: &Redis) {
    const PROMISED: Duration = Duration::from_secs(6 + 5 + 2);
    let [doomed, other] = ["n1", "n2"].map(|name| Node::start(redis, name));
    begun(redis, 2).await;
    all(doomed.take_in(0..1_000)).await;
    let looks = open(&redis.url(), LEASE);
    doomed.die();
    let died = Instant::now();
    end_of(redis, &looks, died, 0).await;
    let took = died.elapsed();
    println!(
        "bound: 1,000 connections in {ROOMS_EACH} rooms each have ended {:.2} s after their node's death",
        took.as_secs_f64()
    );
    assert!(took <= PROMISED, "{PROMISED:?} are promised");
    other.die();
}

pub async fn run(redis: &Redis) {
    let [doomed, one, other] = ["n1", "n2", "n3"].map(|name| Node::start(redis, name));
    begun(redis, 3).await;
    all(doomed.take_in(0..USERS)).await;
    all(one.take_in(USERS..USERS + SETTLED)).await;
    all(other.take_in(USERS + SETTLED..USERS + 2 * SETTLED)).await;
    let looks = open(&redis.url(), LEASE);
    println!(
        "storm: {} connections stand",
        count_connections(&looks).await.expect("redis answers")
    );

    doomed.die();
    let died = Instant::now();
    let (first, second) = (one.take_in(0..USERS / 2), other.take_in(USERS / 2..USERS));
    let (first, second) = tokio::join!(all(first), all(second));
    let took = died.elapsed();
    println!(
        "storm: {USERS} users are back in {ROOMS_EACH} rooms each after {:.1} s; {} calls were repeated",
        took.as_secs_f64(),
        first + second
    );
    // Until the dead node's connections have ended, and everybody was renewed since the storm.
    end_of(redis, &looks, died, (2 * SETTLED + USERS) as u64).await;
    println!(
        "storm: the dead node's connections have ended {:.1} s after its death",
        died.elapsed().as_secs_f64()
    );
    tokio::time::sleep(LONGEST_INTERVAL).await;
    let living = 2 * SETTLED + USERS;
    let found = count_connections(&looks).await.expect("redis answers");
    assert_eq!(found, living as u64, "everybody who lives has a lease, and nobody else");
    let mut longest = Duration::ZERO;
    for node in [&one, &other] {
        assert_eq!(
            *node.missing.lock().expect("nobody panics"),
            0,
            "no living connection was ended"
        );
        let renewed = node.renewed.lock().expect("nobody panics");
        for partition in renewed.iter() {
            let since = partition.windows(2).filter(|pair| pair[1] >= died);
            longest = since.map(|pair| pair[1] - pair[0]).fold(longest, Duration::max);
        }
    }
    let late = longest.saturating_sub(LONGEST_INTERVAL);
    println!(
        "storm: longest time between two renewals {:.2} s, late by {:.2} s (lease {LEASE:?}, heartbeat {HEARTBEAT:?} ± 20 %)",
        longest.as_secs_f64(),
        late.as_secs_f64(),
    );
    println!(
        "storm: the dead node's connections: {} ended by grace, {} by lease",
        one.ended("grace") + other.ended("grace"),
        one.ended("lease") + other.ended("lease"),
    );
    assert!(late <= LEASE / 2, "a renewal was late by {late:?}");
    one.die();
    other.die();
}
