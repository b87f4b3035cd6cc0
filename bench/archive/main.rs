//! How many events per second the sink writes to a local Postgres, from outboxes that are full: every type of event chosen,
//! with their hashes and all projections. Starts a redis-server and a Postgres of its own, which writes through to the disk.
//!
//! `cargo bench --bench archive`, or with another number of events: `cargo bench --bench archive -- 500000`

#[path = "../../tests/support/mod.rs"]
mod support;

mod days;

use std::time::{Duration, Instant};

use nself_realtime::archive::Archive;
use nself_realtime::config::{NamePatterns, SecretUrl};
use nself_realtime::domain::sink::{Chosen, Pump};
use nself_realtime::hot::keys::Partition;
use nself_realtime::hot::{Hot, Metrics, Settings, Terms};
use prometheus::Registry;

use support::postgres::Postgres;
use support::redis::Redis;

const EVENTS: usize = 200_000;

fn open(url: &str) -> Hot {
    let terms = Terms {
        outbox: 10_000_000,
        ..support::terms::terms()
    };
    let settings = Settings {
        url: url.to_owned(),
        prefix: "rt".to_owned(),
        terms,
        metrics: Metrics::new(&Registry::new()).expect("a new registry"),
    };
    Hot::open(settings).expect("the URL is one")
}

/// Writes entries into their outboxes as the scripts do.
async fn fill(redis: &Redis, hot: &Hot, events: usize) {
    let mut connection = redis.connection().await;
    let mut opened = redis::pipe();
    for partition in Partition::all() {
        opened
            .cmd("SET")
            .arg(hot.keys().restored(partition))
            .arg("bench")
            .ignore();
    }
    opened.query_async::<()>(&mut connection).await.expect("redis answers");
    let mut entries = days::entries().take(events).peekable();
    while entries.peek().is_some() {
        let mut pipeline = redis::pipe();
        for (partition, kind, what) in entries.by_ref().take(5_000) {
            let add = pipeline.cmd("XADD").arg(hot.keys().outbox(partition)).arg("*");
            add.arg("k").arg(kind).arg("d").arg(what.to_string()).ignore();
        }
        pipeline
            .query_async::<()>(&mut connection)
            .await
            .expect("redis answers");
    }
}

/// CPU time of a process and the children that it has now, s.
fn cpu(pid: u32) -> f64 {
    let ticks = |pid: &str| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        field(11) + field(12)
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = children.split_whitespace().map(ticks).sum::<f64>() + ticks(&pid.to_string());
    all / 100.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let events: usize = wanted.unwrap_or(EVENTS);
    let redis = Redis::start().await;
    let postgres = Postgres::start().await;
    let database = postgres.database().await;
    let url = SecretUrl::new(database.url().parse().expect("a URL"));
    let archive = Archive::new(Some(&url)).expect("Postgres understands it");
    archive
        .migrate(Duration::from_secs(60))
        .await
        .expect("the migrations run");
    let hot = open(&redis.url());
    fill(&redis, &hot, events).await;

    let mut pump = Pump::new(hot, archive, Chosen::new(true, NamePatterns::new(["*"])));
    pump.connect().await.expect("Postgres is there");
    let (own, before) = (std::process::id(), (cpu(std::process::id()), cpu(postgres.pid())));
    let (started, mut written, mut transactions) = (Instant::now(), 0, Vec::new());
    loop {
        let turn = pump.turn().await.expect("Redis and Postgres are there");
        written += turn.written.events;
        transactions.extend(turn.transactions);
        assert_eq!((turn.written.gaps, turn.written.unreadable), (0, 0));
        if !turn.has_more {
            break;
        }
    }
    let took = started.elapsed().as_secs_f64();
    let after = (cpu(own), cpu(postgres.pid()));
    let client = database.connect().await;
    let row = client.query_one("SELECT count(*) FROM realtime_events", &[]).await;
    let rows: i64 = row.expect("Postgres answers").get(0);
    assert_eq!((rows, written), (events as i64, events as u64), "each event is one row");
    transactions.sort_unstable();
    let at = |share: usize| transactions[(transactions.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    println!(
        "{events} events in {took:.2} s: {:.0} events/s; {} transactions, p50 {:.1} ms, p99 {:.1} ms; CPU per event: sink {:.1} µs, \
         Postgres {:.1} µs",
        events as f64 / took,
        transactions.len(),
        at(50),
        at(99),
        (after.0 - before.0) * 1e6 / events as f64,
        (after.1 - before.1) * 1e6 / events as f64,
    );
}
