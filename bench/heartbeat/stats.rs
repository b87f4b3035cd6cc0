//! What Redis says that it did: its CPU time, and calls and time per command.

use redis::aio::MultiplexedConnection;

use crate::support::redis::Redis;

/// A question that can be asked again.
pub struct Stats(MultiplexedConnection);

impl Stats {
    pub async fn of(redis: &Redis) -> Stats {
        Stats(redis.connection().await)
    }

    async fn info(&self, section: &str) -> String {
        let asked = redis::cmd("INFO").arg(section).query_async(&mut self.0.clone()).await;
        asked.expect("redis answers")
    }

    /// User and system time of the server so far, ms.
    pub async fn cpu_ms(&self) -> f64 {
        let info = self.info("cpu").await;
        let seconds = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.expect("INFO cpu names it").trim().parse().expect("a number")
        };
        (seconds("used_cpu_user") + seconds("used_cpu_sys")) * 1_000.0
    }

    /// Calls of a command so far, and the time they took, µs.
    pub async fn command(&self, name: &str) -> (u64, f64) {
        let info = self.info("commandstats").await;
        let start = format!("cmdstat_{name}:");
        let Some(line) = info.lines().find_map(|line| line.strip_prefix(&start)) else {
            return (0, 0.0);
        };
        let field = |name: &str| -> f64 {
            let fields = line.split(',').filter_map(|field| field.split_once('='));
            let found = fields.into_iter().find(|(field, _)| *field == name);
            found.expect("commandstats names it").1.parse().expect("a number")
        };
        (field("calls") as u64, field("usec"))
    }
}
