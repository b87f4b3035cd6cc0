//! What the scripts of a connection's life cost Redis, for each connect, join, message, mark, renewal and leave. `CPU µs` is the
//! server's CPU with everything around the script: reading, writing, publishing to one node. `script µs` is by the clock
//! (INFO commandstats), so that on a busy machine it holds part of `waited µs`, the time that Redis had no core. Starts a
//! redis-server of its own. Not here: what the gateway adds.
//!
//! `cargo bench --bench scripts [-- <calls of each>]`

#[path = "../heartbeat/stats.rs"]
mod stats;
#[path = "../../tests/support/mod.rs"]
mod support;

mod calls;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use nself_realtime::hot::{Hot, Metrics, Settings, Terms};
use nself_realtime::types::Rate;
use prometheus::Registry;

use stats::Stats;
use support::redis::Redis;

const CALLS: usize = 20_000;
/// Under way at once on the one connection: what a busy node pipelines.
const IN_FLIGHT: usize = 64;

/// The default bounds without an archive; the rate is drawn from, and never reached.
fn terms() -> Terms {
    Terms {
        lease: Duration::from_secs(600),
        room_messages: Rate::new(Rate::MAX, Rate::MAX),
        ..support::terms::terms()
    }
}

fn open(redis: &Redis) -> Hot {
    let settings = Settings {
        url: redis.url(),
        prefix: "rt".to_owned(),
        terms: terms(),
        metrics: Metrics::new(&Registry::new()).expect("a new registry"),
    };
    Hot::open(settings).expect("the URL is one")
}

/// A node that listens to these channels, and has no opinion on what it hears: a publish to nobody would be too cheap.
fn listen(redis: &Redis, channels: &[String]) {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("redis listens");
    for channel in channels {
        let command = format!("*2\r\n$10\r\nSSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
        stream.write_all(command.as_bytes()).expect("redis reads");
        // One at a time: the confirmation begins and ends within one small packet.
        assert!(stream.read(&mut [0; 512]).expect("redis confirms") > 0);
    }
    std::thread::spawn(move || {
        let mut heard = [0; 65_536];
        // Ends with the server.
        while stream.read(&mut heard).is_ok_and(|bytes| bytes > 0) {}
    });
}

/// Measures one kind of call after the other, and prints a line for each.
struct Table {
    stats: Stats,
    redis_pid: u32,
}

impl Table {
    fn head() {
        println!(
            "{:<40} {:>7} {:>6} {:>9} {:>9} {:>9}",
            "script, and what it is counted by", "calls", "each", "script µs", "waited µs", "CPU µs"
        );
    }

    /// Each call says how many of what is counted it carried; the figures are for one of those.
    async fn row<F: Future<Output = usize>>(&self, name: &str, calls: impl Iterator<Item = F>) {
        let (cpu_before, waited_before) = (self.stats.cpu_ms().await, self.waited_us());
        let (calls_before, script_before) = self.stats.command("evalsha").await;
        let carried = stream::iter(calls).map(|call| async { (1, call.await) });
        let add = async |sum: (u64, usize), one: (u64, usize)| (sum.0 + one.0, sum.1 + one.1);
        let (made, items) = carried.buffer_unordered(IN_FLIGHT).fold((0, 0), add).await;
        let (scripts, script_us) = self.stats.command("evalsha").await;
        let (cpu_ms, waited_us) = (self.stats.cpu_ms().await, self.waited_us());
        assert!(items > 0, "{name}: nothing was measured");
        assert_eq!(scripts - calls_before, made, "{name}: one script a call");
        let of_one = |us: f64| us / items as f64;
        println!(
            "{name:<40} {made:>7} {:>6.1} {:>9.2} {:>9.2} {:>9.2}",
            items as f64 / made as f64,
            of_one(script_us - script_before),
            of_one(waited_us - waited_before),
            of_one((cpu_ms - cpu_before) * 1_000.0),
        );
    }

    /// How long Redis's thread was ready to run and had no core, so far.
    fn waited_us(&self) -> f64 {
        let path = format!("/proc/{}/schedstat", self.redis_pid);
        let text = std::fs::read_to_string(path).expect("Linux tells it of a process that runs");
        let waited_ns = text.split(' ').nth(1).and_then(|field| field.parse::<f64>().ok());
        waited_ns.expect("the second number") / 1_000.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let redis = Redis::start().await;
    let hot = open(&redis);
    let life = calls::Life::new(count.unwrap_or(CALLS));
    listen(&redis, &life.channels(&hot));
    // The connection stands, and Redis has the scripts.
    hot.check().await.expect("redis answers");
    let table = Table {
        stats: Stats::of(&redis).await,
        redis_pid: redis.pid(),
    };
    Table::head();
    calls::run(&hot, &table, &life).await;
}
