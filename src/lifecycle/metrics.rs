//! What the node's own work is counted by.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

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
        let ends = Opts::new("realtime_ends_total", "What the sweeps of this node ended, by cause.");
        let sweeps = HistogramOpts::new(
            "realtime_sweep_duration_seconds",
            "Time of one sweep over all partitions.",
        )
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let renewed = HistogramOpts::new("realtime_heartbeat_leases", "Leases in one call that extends them.")
            .buckets(vec![1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0]);
        let ghosts = HistogramOpts::new(
            "realtime_ghost_seconds",
            "Time from a node's death to the word that one of its connections is gone.",
        )
        .buckets(vec![
            0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 13.0, 15.0, 20.0, 30.0, 60.0,
        ]);
        let beats = HistogramOpts::new(
            "realtime_heartbeat_duration_seconds",
            "Time of one call that extends leases.",
        )
        .buckets(vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        ]);
        let leases = Opts::new("realtime_leases", "Connections of the cluster, by what holds them up.");
        let metrics = Self {
            ends: IntCounterVec::new(ends, &["cause"])?,
            amnesties: IntCounter::new(
                "realtime_amnesties_total",
                "Partitions that a sweep spared after a silence.",
            )?,
            taken_over: IntCounter::new(
                "realtime_todo_taken_over_total",
                "Steps that another node had left undone.",
            )?,
            sweeps: Histogram::with_opts(sweeps)?,
            renewed: Histogram::with_opts(renewed)?,
            buried: IntCounter::new(
                "realtime_nodes_buried_total",
                "Dead nodes whose connections this node ended.",
            )?,
            ghosts: Histogram::with_opts(ghosts)?,
            beats: Histogram::with_opts(beats)?,
            leases: IntGaugeVec::new(leases, &["state"])?,
            drift: IntGauge::new(
                "realtime_lease_drift",
                "Derived state that contradicts the leases, as last seen; none is expected.",
            )?,
            key_set_loaded: IntGauge::new(
                "realtime_key_set_loaded_timestamp_seconds",
                "When the tokens' key set was last found up to date, Unix time; 0 before.",
            )?,
            key_set_failures: IntCounter::new(
                "realtime_key_set_failures_total",
                "Loads of the tokens' key set that came to nothing.",
            )?,
            draining: IntGauge::new("realtime_draining", "1 once the node was told to go away.")?,
            left: IntGauge::new(
                "realtime_drain_connections_left",
                "Connections that a node that drains still holds; 0 before.",
            )?,
            missing: IntCounter::new("realtime_leases_missing_total", "Own leases that Redis did not have.")?,
        };
        registry.register(Box::new(metrics.ends.clone()))?;
        registry.register(Box::new(metrics.amnesties.clone()))?;
        registry.register(Box::new(metrics.taken_over.clone()))?;
        registry.register(Box::new(metrics.sweeps.clone()))?;
        registry.register(Box::new(metrics.renewed.clone()))?;
        registry.register(Box::new(metrics.missing.clone()))?;
        registry.register(Box::new(metrics.buried.clone()))?;
        registry.register(Box::new(metrics.ghosts.clone()))?;
        registry.register(Box::new(metrics.beats.clone()))?;
        registry.register(Box::new(metrics.leases.clone()))?;
        registry.register(Box::new(metrics.drift.clone()))?;
        registry.register(Box::new(metrics.draining.clone()))?;
        registry.register(Box::new(metrics.left.clone()))?;
        registry.register(Box::new(metrics.key_set_loaded.clone()))?;
        registry.register(Box::new(metrics.key_set_failures.clone()))?;
        Ok(metrics)
    }
}
