//! How the connections to Postgres are. Not here: what is written through them (`lifecycle::sink`).

use std::sync::atomic::Ordering;

use prometheus::{Error, Registry};

use super::{Archive, MAX_CONNECTIONS};
use crate::metrics::{Register as _, View};

impl Archive {
    /// Shows the pool; nothing without a database. Fails when that is shown already.
    pub fn register(&self, registry: &Registry) -> Result<(), Error> {
        if self.pool.is_none() {
            return Ok(());
        }
        let archive = self.clone();
        registry.look_at(move |view| archive.show(view))
    }

    fn show(&self, view: &mut View) {
        let Some(pool) = &self.pool else { return };
        let is_up = self.is_up.load(Ordering::Relaxed);
        view.gauge(
            "realtime_postgres_up",
            "Whether Postgres answers, and has the schema.",
            f64::from(u8::from(is_up)),
        );
        let state = pool.state();
        let (held, idle) = (state.connections, state.idle_connections);
        view.gauges(
            "realtime_postgres_connections",
            "Connections to Postgres, of realtime_postgres_connections_max; the migrations' own are not among them.",
            "state",
            [("busy", f64::from(held - idle.min(held))), ("idle", f64::from(idle))],
        );
        view.gauge(
            "realtime_postgres_connections_max",
            "Connections to Postgres that this node keeps at most.",
            f64::from(MAX_CONNECTIONS),
        );
        let counted = &state.statistics;
        for (name, help, count) in [
            (
                "realtime_postgres_connects_total",
                "Connections to Postgres that were made.",
                counted.connections_created,
            ),
            (
                "realtime_postgres_connect_failures_total",
                "Connections to Postgres that did not come about.",
                self.trouble.count(),
            ),
            (
                "realtime_postgres_broken_total",
                "Connections to Postgres that broke.",
                counted.connections_closed_broken + counted.connections_closed_invalid,
            ),
            (
                "realtime_postgres_waits_total",
                "Times that somebody waited for one of the connections to Postgres.",
                counted.get_waited,
            ),
            (
                "realtime_postgres_timeouts_total",
                "Times that no connection to Postgres became free in time.",
                counted.get_timed_out,
            ),
        ] {
            view.counter(name, help, count as f64);
        }
    }
}
