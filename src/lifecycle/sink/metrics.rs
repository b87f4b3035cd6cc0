//! What the sink is counted by.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::domain::sink::{Backlog, Turn};
use crate::metrics::Register as _;

/// The collectors; clones share them.
#[derive(Clone)]
pub struct Metrics {
    depth: IntGauge,
    age: Gauge,
    events: IntCounter,
    gaps: IntCounter,
    lost: IntCounter,
    unreadable: IntCounter,
    transactions: Histogram,
    errors: IntCounterVec,
}

/// Of a transaction, seconds.
const TRANSACTION_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
];

impl Metrics {
    /// Registers the collectors; fails when they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            depth: registry.gauge(
                "realtime_outbox_depth",
                "Entries that wait for Postgres, as far as this node has looked; 0 where another one writes.",
            )?,
            age: registry.measure(
                "realtime_outbox_age_seconds",
                "How long the oldest entry that waits for Postgres has waited.",
            )?,
            events: registry.counter(
                "realtime_archive_events_total",
                "Rows of realtime_events that this node wrote.",
            )?,
            gaps: registry.counter("realtime_archive_gaps_total", "Gaps that this node wrote down.")?,
            lost: registry.counter(
                "realtime_archive_lost_total",
                "Entries that are lost to the archive, of gaps whose size is known.",
            )?,
            unreadable: registry.counter(
                "realtime_archive_refused_total",
                "Entries that are no records, or that Postgres refused; each is noted as an error.",
            )?,
            transactions: registry.histogram(
                "realtime_archive_batch_duration_seconds",
                "Time of one transaction of the sink.",
                TRANSACTION_BOUNDS,
            )?,
            errors: registry.counters(
                "realtime_archive_errors_total",
                "Turns of the sink that failed, by what was away or slow.",
                "cause",
                &["redis", "postgres"],
            )?,
        })
    }

    pub(super) fn note_turn(&self, turn: &Turn) {
        self.events.inc_by(turn.written.events);
        self.gaps.inc_by(turn.written.gaps);
        self.lost.inc_by(turn.written.lost);
        self.unreadable.inc_by(turn.written.unreadable);
        for transaction in &turn.transactions {
            self.transactions.observe(transaction.as_secs_f64());
        }
    }

    /// `None`: another node writes, and tells.
    pub(super) fn note_backlog(&self, backlog: Option<Backlog>) {
        let backlog = backlog.unwrap_or_default();
        self.depth.set(i64::try_from(backlog.entries).unwrap_or(i64::MAX));
        self.age.set(backlog.oldest.as_secs_f64());
    }

    pub(super) fn note_failure(&self, cause: &str) {
        self.errors.with_label_values(&[cause]).inc();
    }
}
