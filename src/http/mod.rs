//! Plain HTTP next to Socket.IO: health, metrics, and the administration's `/api`. Not here: `/socket.io/` (`engine`).
//!
//! Every route answers within two seconds, whatever Redis and Postgres do: probes must not hang.

mod api;
mod cors;
mod figures;
mod health;
mod kept;
mod listener;
mod metrics;
mod process;

pub use self::api::ApiKeys;
pub use self::figures::Figures;
pub use self::health::unready;
pub use self::listener::Listener;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use futures_util::future::BoxFuture;
use prometheus::Registry;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::archive::Archive;
use crate::domain::drain::Drain;
use crate::domain::restore::Gate;
use crate::domain::sink::{Durability, Sink};
use crate::engine::{Origins, compression_layer};
use crate::hot::Hot;
use crate::hot::bus::Bus;
use crate::hot::outbox::Record;
use crate::types::{NodeId, Presence, UserId};

/// Longest time that a route waits for a dependency: it answers within two seconds.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_millis(1_800);
/// Longest time that a change waits for Postgres.
const DURABLE_WITHIN: Duration = Duration::from_secs(1);

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
    /// Whether a change of a room's is answered once Postgres has it.
    pub durable_policy: bool,
    /// How the gateway says things.
    pub words: Words,
    /// What `/metrics` prints for Prometheus.
    pub registry: Registry,
    /// What it prints for everybody else.
    pub figures: Figures,
    /// Who may ask `/api`.
    pub api_keys: ApiKeys,
    /// Sockets that this node holds now.
    pub sockets: Box<dyn Fn() -> u64 + Send + Sync>,
    /// This node.
    pub node: NodeId,
    /// The program's version.
    pub version: &'static str,
    /// When this node started.
    pub started: Instant,
    /// Whether this node goes away.
    pub drain: Drain,
}

/// Writes one user's presence.
pub type WritePresence = Box<dyn Fn(&UserId, &Presence) -> Value + Send + Sync>;

/// How the gateway says to its sockets what is said here, too.
pub struct Words {
    /// Whether the gateway keeps the name of an event to itself.
    pub is_reserved: fn(&str) -> bool,
    /// One user's presence.
    pub presence: WritePresence,
}

/// Which routes there are.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Path of the health; `None` = not served.
    pub health: Option<String>,
    /// Path of the metrics; `None` = not served.
    pub metrics: Option<String>,
    /// Pages that may read both.
    pub origins: Origins,
    /// Whether answers are compressed for those who accept it.
    pub compression: bool,
}

impl State {
    fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }

    /// `Some(false)`: a change is in Redis, and not yet in Postgres, which was waited for.
    async fn lacks_postgres(&self, record: Option<&Record>) -> Option<bool> {
        let (Some(sink), Some(record)) = (self.sink.as_ref().filter(|_| self.durable_policy), record) else {
            return None;
        };
        let deadline = Instant::now() + DURABLE_WITHIN;
        let durability = sink.flush(record.partition, &record.id, deadline).await;
        (durability != Durability::Durable).then_some(false)
    }
}

/// The routes, as the engine's fallback wants them: whatever is not Socket.IO. `None`: they are elsewhere, and here is nothing.
pub fn fallback<B>(
    routes: Option<(Arc<State>, &Routes)>,
) -> impl Fn(Request<B>) -> BoxFuture<'static, Response> + use<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let router = routes.map_or_else(Router::new, |(state, routes)| router(state, routes));
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
    let mut shown = Router::new();
    if let Some(path) = &routes.health {
        shown = shown.route(path, get(health::health));
    }
    if let Some(path) = &routes.metrics {
        shown = shown.route(path, get(metrics::metrics));
    }
    router = router.merge(cors::readable(shown, &routes.origins));
    if !state.api_keys.is_empty() {
        let api = api::router(&state);
        // Nesting leaves out the one path.
        let root = api.clone().with_state(Arc::clone(&state));
        router = router.route_service("/api/", root).nest("/api", api);
    }
    if routes.compression {
        router = router.layer(compression_layer());
    }
    router.with_state(state)
}
