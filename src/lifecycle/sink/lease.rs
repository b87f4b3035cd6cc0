//! Which node writes: a lease that whoever has it keeps, so that the entries of a node that died are written by the next. Two
//! that write at once, since one did not hear that it has lost it, do no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::hot::{Hot, HotError, archive};

/// How long it lasts.
const LEASE: Duration = Duration::from_secs(3);
/// Between two tries to take or keep it.
const EVERY: Duration = Duration::from_millis(500);

/// The office of the node that writes.
pub(super) struct Lease {
    pub hot: Hot,
    /// This process.
    pub who: String,
    /// Postgres can be reached from here: else another node should have it.
    pub wanted: Arc<AtomicBool>,
    pub held: Arc<AtomicBool>,
}

impl Lease {
    /// Takes it, keeps it, or gives it up, until it is dropped.
    pub async fn run(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = Instant::now();
        loop {
            ticks.tick().await;
            let (wanted, held) = (self.wanted.load(Ordering::Relaxed), self.held.load(Ordering::Relaxed));
            let asked = Instant::now();
            let outcome = match (wanted, held) {
                (true, _) => archive::claim(&self.hot, &self.who, LEASE).await,
                (false, true) => self.resign().await.map(|()| false),
                (false, false) => continue,
            };
            match outcome {
                Ok(is_held) => {
                    kept = asked;
                    if self.held.swap(is_held, Ordering::Relaxed) != is_held {
                        let what = if is_held { "writes" } else { "no longer writes" };
                        tracing::info!("this node {what} the archive");
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "the office of the sink was not asked for");
                    if kept.elapsed() >= LEASE {
                        self.held.store(false, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Gives it up, if it is held.
    pub async fn resign(&self) -> Result<(), HotError> {
        archive::resign(&self.hot, &self.who).await
    }
}
