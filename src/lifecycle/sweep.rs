//! Sweeps again and again: what has run out, and who has died. Every node does; whoever comes second finds nothing to do.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Metrics;
use crate::domain::endings;
use crate::hot::{Hot, HotError};

/// A node that could not look at Redis for this long does not know whether the others are dead or Redis was silent.
const SILENCE: Duration = Duration::from_secs(3);
/// After such a silence nobody is taken for dead: whoever lives has beaten again by then.
const AMNESTY: Duration = Duration::from_secs(10);

/// Who sweeps.
pub struct Sweeper {
    pub hot: Hot,
    /// Time between two sweeps.
    pub every: Duration,
    /// From the death of a node to the end of its connections.
    pub grace: Duration,
    pub metrics: Metrics,
}

impl Sweeper {
    /// Sweeps until it is dropped.
    pub async fn run(self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // At the start too, nothing is known yet of who lives.
        let (mut looked, mut spared_until) = (Instant::now(), Instant::now() + SILENCE);
        let mut failing = false;
        loop {
            ticks.tick().await;
            if looked.elapsed() > SILENCE {
                spared_until = Instant::now() + AMNESTY;
            }
            match self.sweep(Instant::now() >= spared_until).await {
                Ok(()) => (looked, failing) = (Instant::now(), false),
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %error, "the sweep cannot reach Redis; nothing ends by time until it can");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn sweep(&self, bury: bool) -> Result<(), HotError> {
        let started = Instant::now();
        if bury {
            for (node, held) in endings::bury_dead(&self.hot, self.grace).await? {
                tracing::warn!(dead = %node, connections = held, "a node is dead; its connections pass into grace");
                self.metrics.buried.inc();
            }
        }
        let swept = endings::sweep(&self.hot).await?;
        self.metrics.sweeps.observe(started.elapsed().as_secs_f64());
        self.metrics.ends.with_label_values(&["lease"]).inc_by(swept.leases);
        self.metrics.ends.with_label_values(&["grace"]).inc_by(swept.graces);
        self.metrics.ends.with_label_values(&["due"]).inc_by(swept.due);
        for ghost_ms in &swept.ghosts_ms {
            self.metrics.ghosts.observe(*ghost_ms as f64 / 1_000.0);
        }
        self.metrics.taken_over.inc_by(swept.taken_over);
        self.metrics.amnesties.inc_by(swept.amnesties);
        Ok(())
    }
}
