//! Plain HTTP next to Socket.IO: health, metrics, and the administration's `/api`. Not here: `/socket.io/` (`engine`).
//!
//! Every route answers within two seconds, whatever Redis and Postgres do: probes must not hang.

mod api;
mod figures;
mod health;
mod kept;
mod metrics;
mod process;

pub use self::api::ApiKeys;
pub use self::figures::Figures;
pub use self::metrics::EngineCollector;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use futures_util::future::BoxFuture;
use prometheus::Registry;
use tower::ServiceExt as _;

use crate::archive::Archive;
use crate::domain::restore::Gate;
use crate::domain::sink::Sink;
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
    /// Whether what Redis has lost is back.
    pub gate: Gate,
    /// What waits for Postgres; `None` without a database.
    pub sink: Option<Sink>,
    /// What `/metrics` prints for Prometheus.
    pub registry: Registry,
    /// What it prints for everybody else.
    pub figures: Figures,
    /// Who may ask `/api`.
    pub api_keys: ApiKeys,
    /// This node.
    pub node: NodeId,
    /// The program's version.
    pub version: &'static str,
    /// When this node started.
    pub started: Instant,
    /// Set once, when this node stops.
    pub draining: Arc<AtomicBool>,
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

/// The routes, as the engine's fallback wants them: whatever is not Socket.IO.
pub fn fallback<B>(state: Arc<State>, routes: &Routes) -> impl Fn(Request<B>) -> BoxFuture<'static, Response> + use<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let router = router(state, routes);
    move |request| {
        // A router is ready at once and never fails.
        let answer = router.clone().oneshot(request.map(Body::new));
        Box::pin(async { answer.await.unwrap_or_else(|never: Infallible| match never {}) })
    }
}

/// The routes.
fn router(state: Arc<State>, routes: &Routes) -> Router {
    let mut router = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready));
    if let Some(path) = &routes.health {
        router = router.route(path, get(health::health));
    }
    if let Some(path) = &routes.metrics {
        router = router.route(path, get(metrics::metrics));
    }
    if !state.api_keys.is_empty() {
        let api = api::router(&state);
        // Nesting leaves out the one path.
        let root = api.clone().with_state(Arc::clone(&state));
        router = router.route_service("/api/", root).nest("/api", api);
    }
    router.with_state(state)
}
