//! Outboxes that are filled by hand, and sinks that empty them: what the scripts write is written here by XADD, so that the
//! sink is tested by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nself_realtime::archive::Archive;
use nself_realtime::config::NamePatterns;
use nself_realtime::domain::sink::{Chosen, Durability, Postgres as State, Pump, Retention, Sink, Turn, Written};
use nself_realtime::hot::keys::{Keys, Partition};
use nself_realtime::hot::{Hot, Metrics, Settings, Terms};
use nself_realtime::lifecycle::sink::{self, Running};
use nself_realtime::types::NodeId;
use prometheus::Registry;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::eventually;
use crate::support::postgres::{Database, Postgres};
use crate::support::redis::Redis;
use crate::support::terms::terms as test_terms;
use crate::{archive, migrate, rows};

const PREFIX: &str = "rt";

/// A Redis of its own, and a database.
pub struct World {
    pub redis: Redis,
    pub database: Database,
    pub client: Client,
    keys: Keys,
    told: MultiplexedConnection,
}

/// A sink with its loops.
pub struct Runner {
    pub sink: Sink,
    pub running: Running,
    pub registry: Registry,
}

impl World {
    /// On the server that tests share.
    pub async fn new() -> World {
        World::on(&Postgres::shared().await).await
    }

    /// On a server that is stopped, or killed.
    pub async fn on(postgres: &Arc<Postgres>) -> World {
        let (redis, database) = tokio::join!(Redis::start(), postgres.database());
        migrate(&database).await.expect("the migrations run");
        let world = World {
            client: database.connect().await,
            told: redis.connection().await,
            keys: Keys::new(PREFIX),
            redis,
            database,
        };
        world.begin_life("first").await;
        world
    }

    /// The data that Redis has is this life's.
    pub async fn begin_life(&self, incarnation: &str) {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline
                .cmd("SET")
                .arg(self.keys.restored(partition))
                .arg(incarnation)
                .ignore();
        }
        self.ask::<()>(&pipeline).await;
    }

    pub async fn ask<T: redis::FromRedisValue>(&self, pipeline: &redis::Pipeline) -> T {
        let answer = pipeline.query_async(&mut self.told.clone()).await;
        answer.expect("redis answers")
    }

    pub fn outbox(&self, partition: usize) -> String {
        self.keys.outbox(nth(partition))
    }

    /// Who has the office of the sink.
    pub async fn office(&self) -> Option<String> {
        let mut pipeline = redis::pipe();
        pipeline.get(self.keys.sink());
        self.ask::<(Option<String>,)>(&pipeline).await.0
    }

    /// Appends what happened now; the entry's id.
    pub async fn add(&self, partition: usize, kind: &str, what: Value) -> String {
        self.add_all(partition, [(kind, what)]).await.remove(0)
    }

    /// The same of many things.
    pub async fn add_all(&self, partition: usize, all: impl IntoIterator<Item = (&str, Value)>) -> Vec<String> {
        let mut pipeline = redis::pipe();
        for (kind, mut what) in all {
            if what.get("at").is_none() {
                what["at"] = now_ms().into();
            }
            self.push(&mut pipeline, partition, kind, &what.to_string());
        }
        self.ask(&pipeline).await
    }

    /// Appends what is no record.
    pub async fn add_text(&self, partition: usize, kind: &str, text: &str) -> String {
        let mut pipeline = redis::pipe();
        self.push(&mut pipeline, partition, kind, text);
        self.ask::<Vec<String>>(&pipeline).await.remove(0)
    }

    fn push(&self, pipeline: &mut redis::Pipeline, partition: usize, kind: &str, text: &str) {
        let add = pipeline.cmd("XADD").arg(self.outbox(partition)).arg("*");
        add.arg("k").arg(kind).arg("d").arg(text);
    }

    pub fn archive(&self) -> Archive {
        archive(&self.database)
    }

    pub fn hot(&self) -> Hot {
        Hot::open(self.hot_settings()).expect("the URL is one")
    }

    fn hot_settings(&self) -> Settings {
        Settings {
            url: self.redis.url(),
            prefix: PREFIX.to_owned(),
            terms: terms(),
            metrics: Metrics::new(&Registry::new()).expect("a new registry"),
        }
    }

    /// What moves entries, without the loops; every event is chosen.
    pub fn pump(&self) -> Pump {
        Pump::new(self.hot(), self.archive(), everything())
    }

    /// A node's sink.
    pub fn start_sink(&self, node: &str) -> Runner {
        let settings = sink::Settings {
            hot: self.hot_settings(),
            archive: self.archive(),
            node: NodeId::parse(node).expect("valid"),
            chosen: everything(),
            retention: retention(),
            tidy_every: Duration::from_secs(60),
            farewell: Duration::from_secs(5),
        };
        let registry = Registry::new();
        let metrics = sink::Metrics::new(&registry).expect("a new registry");
        let (sink, demands) = Sink::new();
        let running = Running::start(settings, sink.clone(), demands, metrics).expect("a thread");
        Runner {
            sink,
            running,
            registry,
        }
    }

    /// Writes everything that waits.
    pub async fn drain(&self, pump: &mut Pump) -> Written {
        let mut written = Written::default();
        loop {
            let Turn {
                written: more,
                has_more,
                ..
            } = pump.turn().await.expect("Redis and Postgres are there");
            written.add(more);
            if !has_more {
                return written;
            }
        }
    }

    /// Rows of `realtime_events`, in the order of their streams.
    pub async fn events(&self) -> Vec<Value> {
        rows(
            &self.client,
            "SELECT chain, incarnation, stream_id, event_type, user_id, room_name, payload, metadata, host(ip_address) AS ip, \
                 socket_id, batch FROM realtime_events \
             ORDER BY chain, batch, split_part(stream_id, '-', 1)::numeric, split_part(stream_id, '-', 2)::numeric",
        )
        .await
    }

    /// How often each entry is in the trail: (partition, id).
    pub async fn counts(&self) -> BTreeMap<(usize, String), i64> {
        let rows = self
            .client
            .query(
                "SELECT chain::int8, stream_id, count(*) FROM realtime_events WHERE event_type <> 'gap' GROUP BY 1, 2",
                &[],
            )
            .await
            .expect("Postgres answers");
        rows.iter()
            .map(|row| {
                let partition = usize::try_from(row.get::<_, i64>(0)).expect("a partition");
                ((partition, row.get(1)), row.get(2))
            })
            .collect()
    }

    /// The chain is whole, and every row is as it was written.
    pub async fn verify(&self) {
        let mut found = Vec::new();
        let verified = self
            .archive()
            .verify(&[], |finding| found.push(finding))
            .await
            .expect("Postgres answers");
        assert!(found.is_empty(), "{found:?}");
        assert!(verified.rows > 0, "there is something to verify");
    }

    /// Waits until a question in SQL is answered by true.
    pub async fn holds(&self, question: &str) {
        eventually(question, async || {
            let answer = self.client.query_one(&format!("SELECT ({question})"), &[]).await;
            answer.is_ok_and(|row| row.get::<_, Option<bool>>(0) == Some(true))
        })
        .await;
    }
}

impl Runner {
    pub async fn becomes(&self, what: &str, holds: impl Fn(State) -> bool) {
        eventually(what, async || holds(self.sink.status().postgres)).await;
    }

    pub async fn is_writing(&self) {
        eventually("it has the lease", async || self.sink.status().is_writing).await;
    }

    pub async fn flush(&self, partition: usize, id: &str, patience: Duration) -> Durability {
        let deadline = std::time::Instant::now() + patience;
        self.sink.flush(nth(partition), id, deadline).await
    }

    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect(name);
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

pub fn everything() -> Chosen {
    Chosen::new(true, NamePatterns::new(["*"]))
}

pub fn retention() -> Retention {
    Retention {
        event_days: 30,
        connections: Duration::from_secs(86_400),
        unseen: Duration::from_secs(600),
    }
}

pub fn nth(partition: usize) -> Partition {
    Partition::all().nth(partition).expect("there are 64")
}

pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("in range")
}

fn terms() -> Terms {
    Terms {
        outbox: 100_000,
        keeps_messages: true,
        ..test_terms()
    }
}
