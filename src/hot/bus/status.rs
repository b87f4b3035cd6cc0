//! How the bus is, as its task writes it down for everybody else. Not here: what comes of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::Histogram;

use super::super::canary::Canary;

#[derive(Debug)]
pub(in crate::hot) struct Status {
    pub(super) connected: AtomicBool,
    pub(super) node_confirmed: AtomicBool,
    pub(super) canary: Canary,
    pub(super) topics: AtomicUsize,
    lag: Histogram,
}

impl Status {
    pub(super) fn new(lag: Histogram) -> Self {
        Self {
            connected: AtomicBool::default(),
            node_confirmed: AtomicBool::default(),
            canary: Canary::new(Instant::now()),
            topics: AtomicUsize::default(),
            lag,
        }
    }

    pub(in crate::hot) fn is_up(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
            && self.node_confirmed.load(Ordering::Relaxed)
            && !self.canary.is_lost(Instant::now())
    }

    pub(in crate::hot) fn topics(&self) -> usize {
        self.topics.load(Ordering::Relaxed)
    }

    /// A beat is back, if it tells how long it was under way.
    pub(super) fn note_lag(&self, lag: Option<Duration>) {
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }
}
