//! How the bus is, as its task writes it down for everybody else. Not here: what comes of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::Histogram;
use tokio::sync::Notify;

use super::super::canary::{Canaries, Trouble};

#[derive(Debug)]
pub(in crate::hot) struct Status {
    pub(super) connected: AtomicBool,
    pub(super) canaries: Canaries,
    /// A canary is heard anew.
    pub(super) resubscribed: Notify,
    pub(super) topics: AtomicUsize,
    lag: Histogram,
}

impl Status {
    pub(super) fn new(lag: Histogram) -> Self {
        Self {
            connected: AtomicBool::default(),
            canaries: Canaries::default(),
            resubscribed: Notify::new(),
            topics: AtomicUsize::default(),
            lag,
        }
    }

    pub(in crate::hot) fn is_up(&self) -> bool {
        matches!(self.trouble(), None | Some(Trouble::Unproven(_)))
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        if !self.connected.load(Ordering::Relaxed) {
            return Some(Trouble::Disconnected);
        }
        self.canaries.trouble(Instant::now())
    }

    pub(in crate::hot) fn topics(&self) -> usize {
        self.topics.load(Ordering::Relaxed)
    }

    /// What came back, if it tells how long it was under way.
    pub(super) fn note_lag(&self, lag: Option<Duration>) {
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }
}
