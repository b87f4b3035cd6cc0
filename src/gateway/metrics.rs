//! What the gateway counts. Names of events come from closed lists, so that nobody makes a label. Not here: what the engine
//! counts of the gateway's events (`app::metrics` shows it).

mod shards;

use std::sync::Arc;
use std::time::Instant;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use self::shards::Shards;
use super::protocol::{ErrorCode, incoming, outgoing};
use crate::engine::Label;
use crate::metrics::{Child, Register as _};
use crate::types::Status;

/// Why the gateway turns somebody away, before or at CONNECT.
const REFUSALS: &[&str] = &[
    "draining",
    "full",
    "key_set",
    "no_token",
    "rate",
    "redis",
    "restoring",
    "revoked",
    "token",
    "unregistered",
    "user_connections",
];
/// What may be reached, each by the name that its own place gives it.
const LIMITS: &[&str] = &[
    "connections",
    "creations",
    "events",
    "handshakes",
    "joins",
    "messages",
    "presence",
    "refreshes",
    "requests",
    "room_messages",
    "rooms",
    "typing",
    "user_connections",
];
/// The label of all events of the administration's own.
const BROADCAST: &str = "broadcast";
/// The label of an event that is none of ours.
const UNKNOWN: &str = "unknown";
/// From an event's turn to its answer, seconds.
const ANSWER_BOUNDS: &[f64] = &[
    0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];
/// To a client and back, seconds.
const LATENCY_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The gateway's collectors; clones share them.
#[derive(Clone)]
pub struct Metrics {
    events: Arc<[EventMetrics]>,
    /// Shown together with the engine's, by `app::metrics`.
    refusals: Arc<[(&'static str, IntCounter)]>,
    pub shards: Shards,
    pub connects: IntCounter,
    pub disconnects: IntCounter,
    /// Users with sockets, by what others see of them.
    pub users: IntGaugeVec,
    pub failures: IntCounterVec,
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
    pub limits: IntCounterVec,
    pub rooms: IntGaugeVec,
    pub flaps: IntCounter,
    pub revoked: IntCounter,
    pub unnoted: IntCounter,
}

impl Metrics {
    /// Registers the collectors; fails when they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refusal = |cause: &&'static str| Ok((*cause, IntCounter::new("refusals", "By one cause.")?));
        Ok(Self {
            events: events(registry)?,
            refusals: REFUSALS.iter().map(refusal).collect::<Result<_, prometheus::Error>>()?,
            shards: Shards::new(registry)?,
            connects: registry.counter("realtime_connects_total", "Sockets let in.")?,
            disconnects: registry.counter("realtime_disconnects_total", "Ends of sockets that were let in.")?,
            users: registry.gauges(
                "realtime_local_users",
                "Users with sockets of this node, by presence; once for each shard that has some.",
                "status",
                Status::NAMES,
            )?,
            failures: registry.counters(
                "realtime_event_failures_total",
                "Events that failed, by error code.",
                "code",
                &ErrorCode::ALL.map(ErrorCode::as_str),
            )?,
            deliveries: registry.counter(
                "realtime_deliveries_total",
                "Frames handed to sockets by rooms and users.",
            )?,
            bad_frames: registry.counter(
                "realtime_bus_bad_frames_total",
                "Frames of the bus that could not be read.",
            )?,
            lost_deliveries: registry.counter(
                "realtime_deliveries_lost_total",
                "Events that a shard had no place for.",
            )?,
            late_acks: registry.counter(
                "realtime_late_acks_total",
                "Acks of messages that the bus did not bring back in time.",
            )?,
            latency: registry.histogram(
                "realtime_latency_seconds",
                "Way to a client and back, by its own pong or the engine's.",
                LATENCY_BOUNDS,
            )?,
            healed: registry.counter(
                "realtime_rooms_healed_total",
                "Rooms whose missed events were read from Redis.",
            )?,
            lost_tails: registry.counter(
                "realtime_lost_tails_total",
                "Rooms that the heartbeat found to be further than the bus had brought them.",
            )?,
            resets: registry.counters(
                "realtime_room_resets_total",
                "Times that a client was told to read a room again, by reason.",
                "reason",
                &["epoch_changed", "history_trimmed", "changes_trimmed", "too_many"],
            )?,
            recoveries: registry.counters(
                "realtime_recoveries_total",
                "Clients that came back to a session: recovered, or why not.",
                "outcome",
                &[
                    "recovered",
                    "session_unknown",
                    "offset_unknown",
                    "epoch_changed",
                    "too_many",
                ],
            )?,
            replayed: registry.counter(
                "realtime_messages_replayed_total",
                "Messages that recovered clients had missed.",
            )?,
            limits: registry.counters(
                "realtime_limit_hits_total",
                "Limits that were reached, enforced or only counted.",
                "limit",
                LIMITS,
            )?,
            flaps: registry.counter(
                "realtime_flaps_suppressed_total",
                "Connections of users who came back in their grace, so that nobody saw them go.",
            )?,
            revoked: registry.counter(
                "realtime_revoked_connections_total",
                "Connections that ended because their token was revoked.",
            )?,
            unnoted: registry.counter(
                "realtime_journal_lost_total",
                "Refusals and errors that the audit trail does not hear of: too many came at once, or Redis took them not.",
            )?,
            rooms: registry.gauges(
                "realtime_local_rooms",
                "Rooms with sockets of this node, by shard.",
                "shard",
                &[],
            )?,
        })
    }

    /// What is counted of an event, whatever a client calls it.
    pub fn event(&self, name: &str) -> &EventMetrics {
        let known = incoming::ALL.iter().position(|known| *known == name);
        &self.events[known.unwrap_or(incoming::ALL.len())]
    }

    /// Somebody was turned away, for one of a few causes.
    pub fn refuse(&self, cause: &str) {
        debug_assert!(REFUSALS.contains(&cause), "{cause} is on no list");
        if let Some((_, count)) = self.refusals.iter().find(|(known, _)| *known == cause) {
            count.inc();
        }
    }

    /// How many were turned away, by cause.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.refusals.iter().map(|(cause, count)| (*cause, count.get() as f64))
    }

    /// How many events came, by name.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.events
            .iter()
            .map(|event| (event.label, event.received.get() as f64))
    }

    /// Bytes of those events.
    pub fn received_bytes(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.events.iter().map(|event| (event.label, event.bytes.get() as f64))
    }
}

/// What is counted of the events of one name.
pub struct EventMetrics {
    pub label: &'static str,
    received: IntCounter,
    bytes: IntCounter,
    duration: Child,
    ack: Child,
}

impl EventMetrics {
    pub fn receive(&self, bytes: usize) {
        self.received.inc();
        self.bytes.inc_by(bytes as u64);
    }

    /// The handler is done.
    pub fn done(&self, began: Instant) {
        self.duration.get().observe(began.elapsed().as_secs_f64());
    }

    /// What runs until the event's ack is on its way.
    pub fn until_ack(&self, began: Instant) -> UntilAck {
        UntilAck {
            began,
            histogram: self.ack.get().clone(),
        }
    }
}

/// The time from an event's turn to its ack, which may have its place behind a message.
pub struct UntilAck {
    began: Instant,
    histogram: Histogram,
}

impl UntilAck {
    pub fn end(self) {
        self.histogram.observe(self.began.elapsed().as_secs_f64());
    }
}

fn events(registry: &Registry) -> Result<Arc<[EventMetrics]>, prometheus::Error> {
    let label = "event";
    let (received, bytes) = (
        registry.counters(
            "realtime_events_received_total",
            "Events that clients sent, by name.",
            label,
            &[],
        )?,
        registry.counters(
            "realtime_events_received_bytes_total",
            "Bytes of the events that clients sent, by name.",
            label,
            &[],
        )?,
    );
    let duration = registry.histograms(
        "realtime_event_duration_seconds",
        "Time from an event's turn to the end of its handler, by name.",
        label,
        ANSWER_BOUNDS,
    )?;
    let ack = registry.histograms(
        "realtime_ack_duration_seconds",
        "Time from an event's turn to its ack, by name; a message's comes behind the message itself.",
        label,
        ANSWER_BOUNDS,
    )?;
    let labels = incoming::ALL.iter().copied().chain([UNKNOWN]);
    let events: Arc<[EventMetrics]> = labels
        .map(|label| EventMetrics {
            label,
            received: received.with_label_values(&[label]),
            bytes: bytes.with_label_values(&[label]),
            duration: Child::new(&duration, label),
            ack: Child::new(&ack, label),
        })
        .collect();
    // Shown from the start: what alerts are about.
    for event in events.iter().filter(|event| event.label == incoming::MESSAGE_SEND) {
        event.duration.get();
        event.ack.get();
    }
    Ok(events)
}

/// The label by which the engine counts what is sent under a name; names of the administration's own are one.
pub fn label_of(name: &str) -> Label {
    let known = outgoing::ALL.iter().position(|known| *known == name);
    // 0 is what has no name at all.
    Label::new(1 + known.unwrap_or(outgoing::ALL.len())).unwrap_or_default()
}

/// What the engine counted by label, by the names that they stand for.
pub fn sent(labelled: &[u64]) -> impl Iterator<Item = (&'static str, f64)> {
    let labels = outgoing::ALL.iter().copied().chain([BROADCAST]);
    labels.zip(&labelled[1..]).map(|(label, count)| (label, *count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_label_of_its_own_and_others_share_one() {
        let mut labels: Vec<usize> = outgoing::ALL.iter().map(|name| label_of(name).index()).collect();
        labels.push(label_of("anything else").index());
        let expected: Vec<usize> = (1..=outgoing::ALL.len() + 1).collect();
        assert_eq!(labels, expected);
        assert_eq!(label_of("one more"), label_of("anything else"));
        let mut labelled = [0; 32];
        labelled[label_of(outgoing::MESSAGE_NEW).index()] = 7;
        labelled[label_of("announcement").index()] = 2;
        let sent: Vec<_> = sent(&labelled).filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(sent, [(outgoing::MESSAGE_NEW, 7.0), (BROADCAST, 2.0)]);
    }

    #[test]
    fn what_a_client_calls_an_event_makes_no_label() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        metrics.event("made-up").receive(10);
        metrics.event(incoming::PING).receive(4);
        let received: Vec<_> = metrics.received().filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(received, [(incoming::PING, 1.0), (UNKNOWN, 1.0)]);
        assert_eq!(metrics.received_bytes().map(|(_, bytes)| bytes).sum::<f64>(), 14.0);
    }
}
