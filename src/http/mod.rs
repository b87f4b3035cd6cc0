//! Plain HTTP next to Socket.IO: health, metrics. Not here: `/socket.io/` (`engine`).
//!
//! Every route answers within two seconds, whatever Redis and Postgres do: probes must not hang.

mod health;
mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use prometheus::Registry;

use crate::archive::Archive;
use crate::hot::Hot;
use crate::hot::bus::Bus;
use crate::types::NodeId;

/// Longest time that a route waits for a dependency.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the routes show. Shared by all requests.
pub struct State {
    /// Asked whether it runs scripts, and how many connections there are.
    pub hot: Hot,
    /// Asked whether the subscription stands.
    pub bus: Bus,
    /// Asked whether it answers.
    pub archive: Archive,
    /// What `/metrics` prints.
    pub registry: Registry,
    /// This node.
    pub node: NodeId,
    /// The program's version.
    pub version: &'static str,
    /// When this node started.
    pub started: Instant,
    /// Set once, when this node stops.
    pub draining: AtomicBool,
}

/// Which routes there are.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Path of the health; `None` = not served.
    pub health: Option<String>,
    /// Path of the metrics; `None` = not served.
    pub metrics: Option<String>,
}

impl State {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The routes, ready to be the engine's fallback.
pub fn router(state: Arc<State>, routes: &Routes) -> Router {
    let mut router = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready));
    if let Some(path) = &routes.health {
        router = router.route(path, get(health::health));
    }
    if let Some(path) = &routes.metrics {
        router = router.route(path, get(metrics::metrics));
    }
    router.with_state(state)
}
