//! What is counted of Redis: scripts by name, and how the connections are. Not here: the bus's own (`bus`).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use prometheus::{Histogram, IntCounter, IntCounterVec, Registry};

use super::bus::Status;
use super::link::Link;
use super::{Hot, HotError, Inner, script};
use crate::metrics::{Child, Register as _, View};

/// From a call to its reply, seconds.
const SCRIPT_BOUNDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];
/// From the publishing to the delivery, seconds.
const LAG_BOUNDS: &[f64] = &[
    0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// What may go wrong with a call, as [`HotError::cause`] says it.
const CAUSES: &[&str] = &["away", "lost", "refused", "reply", "restoring", "timeout"];

/// The collectors of this layer; clones share them.
#[derive(Clone)]
pub struct Metrics {
    scripts: Arc<AHashMap<&'static str, Script>>,
    errors: IntCounterVec,
    pub(super) calls: Dials,
    pub(super) bus: Dials,
    /// From the call that publishes a beat of the node to its return over the bus.
    pub(super) lag: Histogram,
    handles: Arc<Mutex<Vec<Weak<Inner>>>>,
    status: Arc<OnceLock<Weak<Status>>>,
}

struct Script {
    duration: Child,
    failures: IntCounter,
}

/// How often a connection was made, and was not.
#[derive(Debug, Clone)]
pub struct Dials {
    pub(super) made: IntCounter,
    pub(super) failed: IntCounter,
}

impl Metrics {
    /// Registers the collectors; fails when they are registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let durations = registry.histograms(
            "realtime_script_duration_seconds",
            "Time from the call of a Lua script to its reply.",
            "script",
            SCRIPT_BOUNDS,
        )?;
        let failures = registry.counters(
            "realtime_script_failures_total",
            "Calls of Lua scripts without a valid reply.",
            "script",
            &[],
        )?;
        let scripts = script::all().into_iter().map(|script| {
            let name = script.name();
            let script = Script {
                duration: Child::new(&durations, name),
                failures: failures.with_label_values(&[name]),
            };
            (name, script)
        });
        let made = registry.counters(
            "realtime_redis_connects_total",
            "Connections to Redis that were made, for calls or for the bus; each beyond the first ones replaces one that was lost.",
            "link",
            &[],
        )?;
        let failed = registry.counters(
            "realtime_redis_connect_failures_total",
            "Connections to Redis that did not come about.",
            "link",
            &[],
        )?;
        let dials = |link: &str| Dials {
            made: made.with_label_values(&[link]),
            failed: failed.with_label_values(&[link]),
        };
        let metrics = Self {
            scripts: Arc::new(scripts.collect()),
            errors: registry.counters(
                "realtime_redis_errors_total",
                "Calls of Lua scripts that failed, by cause.",
                "cause",
                CAUSES,
            )?,
            calls: dials("calls"),
            bus: dials("bus"),
            lag: registry.histogram(
                "realtime_bus_lag_seconds",
                "Time from the call that publishes a beat of this node to its return over the bus.",
                LAG_BOUNDS,
            )?,
            handles: Arc::default(),
            status: Arc::default(),
        };
        let (handles, status) = (Arc::clone(&metrics.handles), Arc::clone(&metrics.status));
        registry.look_at(move |view| {
            show(view, &living(&handles));
            show_bus(view, status.get().and_then(Weak::upgrade).as_deref());
        })?;
        Ok(metrics)
    }

    /// A node has one bus; of others nothing is shown.
    pub(super) fn watch_bus(&self, status: &Arc<Status>) {
        self.status.get_or_init(|| Arc::downgrade(status));
    }

    pub(super) fn watch(&self, handle: &Arc<Inner>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(Arc::downgrade(handle));
    }
}

impl Hot {
    /// Measures a call of a script, until what it returns is told how that ended.
    pub(super) fn begin(&self, script: &'static str) -> Running<'_> {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        Running {
            hot: self,
            script,
            since: Instant::now(),
        }
    }
}

/// A call that is under way; a caller that goes away ends it unmeasured.
pub(super) struct Running<'a> {
    hot: &'a Hot,
    script: &'static str,
    since: Instant,
}

impl Running<'_> {
    pub(super) fn end<T>(self, outcome: &Result<T, HotError>) {
        self.note(self.since.elapsed());
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn note(&self, took: Duration) {
        if let Some(script) = self.hot.0.metrics.scripts.get(self.script) {
            script.duration.get().observe(took.as_secs_f64());
        }
    }

    fn fail(&self, error: &HotError) {
        let metrics = &self.hot.0.metrics;
        if let Some(script) = metrics.scripts.get(self.script) {
            script.failures.inc();
        }
        metrics.errors.with_label_values(&[error.cause()]).inc();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.hot.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn living(handles: &Mutex<Vec<Weak<Inner>>>) -> Vec<Arc<Inner>> {
    let handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
    handles.iter().filter_map(Weak::upgrade).collect()
}

fn show(view: &mut View, handles: &[Arc<Inner>]) {
    let masters = Link::standing(handles.iter().map(|handle| &handle.link));
    view.gauges(
        "realtime_redis_up",
        "Whether all connections of this node to a master stand and are answered.",
        "master",
        masters
            .iter()
            .map(|(master, up)| (master.clone(), f64::from(u8::from(*up)))),
    );
    let in_flight = handles.iter().map(|handle| handle.in_flight.load(Ordering::Relaxed));
    view.gauge(
        "realtime_redis_calls_in_flight",
        "Calls of Lua scripts that wait for their reply, or for a connection.",
        in_flight.sum::<u64>() as f64,
    );
    let (mut held, mut idle) = (0, 0);
    for handle in handles {
        for (_, pool) in &*handle.pools.lock().unwrap_or_else(PoisonError::into_inner) {
            let state = pool.state();
            held += state.connections;
            idle += state.idle_connections;
        }
    }
    view.gauges(
        "realtime_redis_pool_connections",
        "Connections to Redis for scans and administration.",
        "state",
        [("busy", f64::from(held - idle.min(held))), ("idle", f64::from(idle))],
    );
}

fn show_bus(view: &mut View, status: Option<&Status>) {
    let is_up = status.is_some_and(Status::is_up);
    view.gauge(
        "realtime_bus_up",
        "Whether the bus is connected to every master, and brings this node's beats back.",
        f64::from(u8::from(is_up)),
    );
    view.gauge(
        "realtime_bus_subscriptions",
        "Channels that this node listens to.",
        status.map_or(0, Status::topics) as f64,
    );
}
