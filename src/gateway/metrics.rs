//! What the gateway counts. Names of events come from a closed list, so that no client makes a label.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::protocol::incoming;

/// The gateway's collectors; clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub events: IntCounterVec,
    pub failures: IntCounterVec,
    pub durations: HistogramVec,
    pub deliveries: IntCounter,
    pub bad_frames: IntCounter,
    pub lost_deliveries: IntCounter,
    pub late_acks: IntCounter,
    pub latency: Histogram,
    pub healed: IntCounter,
    pub lost_tails: IntCounter,
    pub resets: IntCounterVec,
    pub recoveries: IntCounterVec,
    pub replayed: IntCounter,
    pub refusals: IntCounterVec,
    pub limits: IntCounterVec,
    pub rooms: IntGaugeVec,
    pub flaps: IntCounter,
    pub revoked: IntCounter,
    pub unnoted: IntCounter,
}

impl Metrics {
    /// Registers the collectors; fails when they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            events: counters("realtime_events_total", "Events that clients sent, by name.", "event")?,
            failures: counters(
                "realtime_event_failures_total",
                "Events that failed, by error code.",
                "code",
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "realtime_event_duration_seconds",
                    "Time from an event's turn to its answer.",
                )
                .buckets(vec![
                    0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
                ]),
                &["event"],
            )?,
            deliveries: IntCounter::new(
                "realtime_deliveries_total",
                "Frames handed to sockets by rooms and users.",
            )?,
            bad_frames: IntCounter::new(
                "realtime_bus_bad_frames_total",
                "Frames of the bus that could not be read.",
            )?,
            lost_deliveries: IntCounter::new(
                "realtime_deliveries_lost_total",
                "Events that a shard had no place for.",
            )?,
            late_acks: IntCounter::new(
                "realtime_late_acks_total",
                "Acks of messages that the bus did not bring back in time.",
            )?,
            latency: Histogram::with_opts(
                HistogramOpts::new(
                    "realtime_latency_seconds",
                    "Way to a client and back, by its own pong or the engine's.",
                )
                .buckets(vec![
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
                ]),
            )?,
            healed: IntCounter::new(
                "realtime_rooms_healed_total",
                "Rooms whose missed events were read from Redis.",
            )?,
            lost_tails: IntCounter::new(
                "realtime_lost_tails_total",
                "Rooms that the heartbeat found to be further than the bus had brought them.",
            )?,
            resets: counters(
                "realtime_room_resets_total",
                "Times that a client was told to read a room again, by reason.",
                "reason",
            )?,
            recoveries: counters(
                "realtime_recoveries_total",
                "Clients that came back to a session: recovered, or why not.",
                "outcome",
            )?,
            replayed: IntCounter::new(
                "realtime_messages_replayed_total",
                "Messages that recovered clients had missed.",
            )?,
            limits: counters(
                "realtime_limit_hits_total",
                "Limits that were reached, enforced or only counted.",
                "limit",
            )?,
            refusals: counters(
                "realtime_handshake_refusals_total",
                "Handshakes turned down, by cause.",
                "cause",
            )?,
            flaps: IntCounter::new(
                "realtime_flaps_suppressed_total",
                "Connections of users who came back in their grace, so that nobody saw them go.",
            )?,
            revoked: IntCounter::new(
                "realtime_revoked_connections_total",
                "Connections that ended because their token was revoked.",
            )?,
            unnoted: IntCounter::new(
                "realtime_journal_lost_total",
                "Refusals and errors that the audit trail does not hear of: too many came at once, or Redis took them not.",
            )?,
            rooms: IntGaugeVec::new(
                Opts::new("realtime_local_rooms", "Rooms with sockets of this node."),
                &["shard"],
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.deliveries.clone()))?;
        registry.register(Box::new(metrics.bad_frames.clone()))?;
        registry.register(Box::new(metrics.lost_deliveries.clone()))?;
        registry.register(Box::new(metrics.late_acks.clone()))?;
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.healed.clone()))?;
        registry.register(Box::new(metrics.lost_tails.clone()))?;
        registry.register(Box::new(metrics.resets.clone()))?;
        registry.register(Box::new(metrics.recoveries.clone()))?;
        registry.register(Box::new(metrics.replayed.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.limits.clone()))?;
        registry.register(Box::new(metrics.rooms.clone()))?;
        registry.register(Box::new(metrics.flaps.clone()))?;
        registry.register(Box::new(metrics.revoked.clone()))?;
        registry.register(Box::new(metrics.unnoted.clone()))?;
        Ok(metrics)
    }

    /// The label of an event: its name, or `unknown`.
    pub fn label(name: &str) -> &str {
        if incoming::ALL.contains(&name) { name } else { "unknown" }
    }
}
