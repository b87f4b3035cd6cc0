//! Sweeps again and again. Every node does; whoever comes second finds nothing to do.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Metrics;
use crate::domain::endings;
use crate::hot::Hot;

/// Sweeps until it is dropped.
pub async fn run(hot: Hot, every: Duration, metrics: Metrics) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let started = Instant::now();
        match endings::sweep(&hot).await {
            Ok(swept) => {
                failing = false;
                metrics.sweeps.observe(started.elapsed().as_secs_f64());
                metrics.ends.with_label_values(&["lease"]).inc_by(swept.leases);
                metrics.ends.with_label_values(&["grace"]).inc_by(swept.graces);
                metrics.ends.with_label_values(&["due"]).inc_by(swept.due);
                metrics.taken_over.inc_by(swept.taken_over);
                metrics.amnesties.inc_by(swept.amnesties);
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %error, "the sweep cannot reach Redis; nothing ends by time until it can");
                }
                failing = true;
            }
        }
    }
}
