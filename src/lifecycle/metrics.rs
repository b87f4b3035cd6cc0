//! What the node's own work is counted by.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::metrics::Register as _;

/// Of a sweep, seconds.
const SWEEP_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Leases in one call.
const LEASES_BOUNDS: &[f64] = &[1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0];
/// Of a ghost's life, seconds.
const GHOST_BOUNDS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 13.0, 15.0, 20.0, 30.0, 60.0,
];
/// Of a call that extends leases, seconds.
const BEAT_BOUNDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The collectors of this layer; clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub(super) ends: IntCounterVec,
    pub(super) amnesties: IntCounter,
    pub(super) taken_over: IntCounter,
    pub(super) sweeps: Histogram,
    pub(super) renewed: Histogram,
    pub(super) missing: IntCounter,
    pub(super) buried: IntCounter,
    pub(super) ghosts: Histogram,
    pub(super) beats: Histogram,
    pub(super) leases: IntGaugeVec,
    pub(super) drift: IntGauge,
    pub(super) key_set_loaded: IntGauge,
    pub(super) key_set_failures: IntCounter,
    pub(super) draining: IntGauge,
    pub(super) left: IntGauge,
}

impl Metrics {
    /// Registers the collectors; fails when they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ends: registry.counters(
                "realtime_ends_total",
                "What the sweeps of this node ended, by cause.",
                "cause",
                &["lease", "grace", "due"],
            )?,
            amnesties: registry.counter(
                "realtime_amnesties_total",
                "Partitions that a sweep spared after a silence.",
            )?,
            taken_over: registry.counter(
                "realtime_todo_taken_over_total",
                "Steps that another node had left undone.",
            )?,
            sweeps: registry.histogram(
                "realtime_sweep_duration_seconds",
                "Time of one sweep over all partitions.",
                SWEEP_BOUNDS,
            )?,
            renewed: registry.histogram(
                "realtime_heartbeat_leases",
                "Leases in one call that extends them.",
                LEASES_BOUNDS,
            )?,
            missing: registry.counter("realtime_leases_missing_total", "Own leases that Redis did not have.")?,
            buried: registry.counter(
                "realtime_nodes_buried_total",
                "Dead nodes whose connections this node ended.",
            )?,
            ghosts: registry.histogram(
                "realtime_ghost_seconds",
                "Time from a node's death to the word that one of its connections is gone.",
                GHOST_BOUNDS,
            )?,
            beats: registry.histogram(
                "realtime_heartbeat_duration_seconds",
                "Time of one call that extends leases.",
                BEAT_BOUNDS,
            )?,
            leases: registry.gauges(
                "realtime_leases",
                "Connections of the cluster, by what holds them up.",
                "state",
                &["leased", "grace"],
            )?,
            drift: registry.gauge(
                "realtime_lease_drift",
                "Derived state that contradicts the leases, as last seen; none is expected.",
            )?,
            key_set_loaded: registry.gauge(
                "realtime_key_set_loaded_timestamp_seconds",
                "When the tokens' key set was last found up to date, Unix time; 0 before.",
            )?,
            key_set_failures: registry.counter(
                "realtime_key_set_failures_total",
                "Loads of the tokens' key set that came to nothing.",
            )?,
            draining: registry.gauge("realtime_draining", "1 once the node was told to go away.")?,
            left: registry.gauge(
                "realtime_drain_connections_left",
                "Connections that a node that drains still holds; 0 before.",
            )?,
        })
    }
}
