//! The figures of the whole cluster, as the existing plugin's `/metrics` has them. They are asked of Redis and Postgres seldom,
//! however many poll them. Not here: the node's own metrics (`metrics`).

use std::time::Duration;

use serde_json::{Value, json};

use super::State;
use super::kept::Kept;
use super::process::{self, Cpu};
use crate::archive::query::{EventCounts, QueryError};
use crate::domain::stats;

/// A look that takes longer is given up.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// What is known of the cluster, and of this process.
#[derive(Debug)]
pub struct Figures {
    cluster: Kept<stats::Figures>,
    events: Kept<EventCounts>,
    cpu: Cpu,
}

impl Default for Figures {
    /// On the current runtime.
    fn default() -> Self {
        Self {
            cluster: Kept::new(),
            events: Kept::new(),
            cpu: Cpu::new(),
        }
    }
}

/// The figures; what nobody can say now is `null`. Returns within 1.5 s.
pub(super) async fn figures(state: &State) -> Value {
    let (cluster, events) = tokio::join!(cluster(state), events(state));
    let memory = process::memory();
    let of_cluster = |figure: fn(&stats::Figures) -> u64| cluster.as_ref().map(figure);
    json!({
        "uptime": state.started.elapsed().as_secs_f64(),
        "connections": {
            "total": of_cluster(|all| all.live + all.in_grace),
            "active": of_cluster(|all| all.live),
            "authenticated": of_cluster(|all| all.live + all.in_grace - all.anonymous),
            "anonymous": of_cluster(|all| all.anonymous),
        },
        "rooms": { "total": of_cluster(|all| all.rooms), "active": of_cluster(|all| all.active_rooms) },
        "presence": {
            "online": of_cluster(|all| all.presence.online),
            "away": of_cluster(|all| all.presence.away),
            "busy": of_cluster(|all| all.presence.busy),
            "offline": of_cluster(|all| all.presence.offline),
        },
        "events": {
            "total": events.map(|events| events.total),
            "lastHour": events.map(|events| events.last_hour),
        },
        "memory": {
            "used": memory.map(|memory| memory.used),
            "total": memory.map(|memory| memory.total),
            "percentage": memory.map(|memory| 100.0 * memory.used as f64 / memory.total as f64),
        },
        "cpu": { "usage": state.figures.cpu.percent() },
    })
}

async fn cluster(state: &State) -> Option<stats::Figures> {
    let hot = state.hot.clone();
    let look = || async move {
        match tokio::time::timeout(LOOK_TIMEOUT, stats::figures(&hot)).await {
            Ok(Ok(figures)) => Some(figures),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the cluster is not counted");
                None
            }
            Err(_) => {
                tracing::warn!(timeout = ?LOOK_TIMEOUT, "the cluster is not counted: there is too much of it");
                None
            }
        }
    };
    state.figures.cluster.get(look).await
}

/// Without an archive there are none.
async fn events(state: &State) -> Option<EventCounts> {
    let archive = state.archive.clone();
    let count = || async move {
        match archive.count_events(LOOK_TIMEOUT).await {
            Ok(counts) => Some(counts),
            Err(QueryError::Off) => Some(EventCounts::default()),
            Err(error) => {
                tracing::debug!(%error, "events are not counted");
                None
            }
        }
    };
    state.figures.events.get(count).await
}
