//! The steps of a node that goes away, whoever told it to: not ready, then closed, then nobody left. It stays up behind
//! that; only a signal ends it (`app`). Not here: what a socket is told (`gateway`), what is written at the end.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Metrics;
use crate::domain::drain::{Drain, Phase};

/// Between two looks at how many are left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long each step takes, all of them within the time that stopping may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Not ready, and serving on.
    pub wait: Duration,
    /// Sockets are sent away over this long.
    pub window: Duration,
    /// From the signal: whoever has not been sent away by now is not waited for.
    pub gone_by: Duration,
    /// From the signal: now the last transports are given up.
    pub transports_by: Duration,
    /// From the signal: now whatever is written at the end is left to other nodes.
    pub written_by: Duration,
    /// From the signal: now the process ends whatever it was doing. A little before the limit, since ending takes time too.
    pub over_by: Duration,
}

impl Plan {
    /// The last quarter of `limit` is for ending, and a little before it for telling everybody; where wait and window leave less
    /// than that, they are shortened: the window first, then the wait.
    pub fn new(wait: Duration, window: Duration, limit: Duration) -> Self {
        let leaving = limit * 23 / 32;
        let wait = wait.min(leaving);
        Self {
            wait,
            window: window.min(leaving - wait),
            gone_by: limit * 3 / 4,
            transports_by: limit * 13 / 16,
            written_by: limit * 15 / 16,
            over_by: limit * 31 / 32,
        }
    }
}

/// What the steps need.
pub struct Steps {
    pub drain: Drain,
    pub plan: Plan,
    /// Tells every socket when its transport is closed within that time, and sees to it; returns when all are told.
    pub send_away: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Sockets that the node holds now.
    pub connections: Box<dyn Fn() -> u64 + Send + Sync>,
    pub metrics: Metrics,
}

impl Steps {
    /// Waits until the node is told to go away, takes the steps, and shows how many are left until it is dropped.
    pub async fn run(self) {
        let Self { drain, plan, .. } = &self;
        drain.reached(Phase::Draining).await;
        self.metrics.draining.set(1);
        tracing::info!(
            connections = self.look(),
            wait_ms = plan.wait.as_millis(),
            "draining: not ready any more"
        );
        tokio::select! {
            () = sleep(plan.wait) => {}
            () = self.watch() => {}
        }
        drain.advance(Phase::Leaving);
        let began = Instant::now();
        let told = self.look();
        tracing::info!(
            connections = told,
            window_ms = plan.window.as_millis() as u64,
            "draining: everybody is sent away"
        );
        tokio::join!((self.send_away)(plan.window), self.empty_by(began + plan.window));
        drain.advance(Phase::Drained);
        tracing::info!(
            connections = told,
            left = self.look(),
            took_ms = began.elapsed().as_millis() as u64,
            "drained"
        );
        self.watch().await;
    }

    /// How many are left, which is shown.
    fn look(&self) -> u64 {
        let left = (self.connections)();
        self.metrics.left.set(i64::try_from(left).unwrap_or(i64::MAX));
        left
    }

    async fn empty_by(&self, end: Instant) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.look() == 0 || Instant::now() >= end {
                return;
            }
        }
    }

    async fn watch(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(wait_ms: u64, window_ms: u64, limit_ms: u64) -> [u128; 2] {
        let ms = Duration::from_millis;
        let plan = Plan::new(ms(wait_ms), ms(window_ms), ms(limit_ms));
        assert!(
            plan.wait + plan.window < plan.gone_by && plan.gone_by < plan.transports_by,
            "{plan:?}"
        );
        assert!(
            plan.transports_by < plan.written_by && plan.written_by < plan.over_by,
            "{plan:?}"
        );
        assert!(plan.over_by < ms(limit_ms));
        [plan.wait.as_millis(), plan.window.as_millis()]
    }

    #[test]
    fn what_is_configured_is_kept_where_it_leaves_time_to_end() {
        assert_eq!(plan(5_000, 20_000, 35_000), [5_000, 20_000]);
        assert_eq!(plan(0, 0, 2_000), [0, 0]);
    }

    #[test]
    fn the_window_is_shortened_first_and_then_the_wait() {
        assert_eq!(plan(5_000, 20_000, 25_000), [5_000, 12_968]);
        assert_eq!(plan(20_000, 0, 20_000), [14_375, 0]);
    }
}
