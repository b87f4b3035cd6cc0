//! `/health` for people, `/livez` and `/readyz` for supervisors and balancers.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{DEPENDENCY_TIMEOUT, State};
use crate::archive::PostgresHealth;
use crate::domain::sink::Sink;
use crate::hot::bus::Trouble;
use crate::hot::presence;

type Answer = (StatusCode, Json<Value>);

/// The process turns; nothing else is asked.
pub(super) async fn live() -> Answer {
    (StatusCode::OK, Json(json!({ "status": "alive" })))
}

/// Whether clients should be sent here: scripts that write run, what every master publishes comes back over the node's own
/// subscription, not draining, not restoring. Where not, `reason` says why in a word, and `detail` in words.
pub(super) async fn ready(Extract(state): Extract<Arc<State>>) -> Answer {
    let Some((reason, detail)) = unready(&state).await else {
        return (StatusCode::OK, Json(json!({ "status": "ready" })));
    };
    let answer = json!({ "status": "unready", "reason": reason, "detail": detail });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer))
}

/// Why no clients should be sent here, in a word and in words; `None` where they should.
pub async fn unready(state: &State) -> Option<(&'static str, String)> {
    if state.is_draining() {
        return Some(("draining", "the node stops".to_owned()));
    }
    // One master has answered; a handshake is turned down until all of a Cluster's do.
    if redis_latency(state).await.is_none() || !state.hot.is_up() {
        return Some(("redis", "Redis does not run a script that writes".to_owned()));
    }
    match state.bus.trouble() {
        Some(trouble @ Trouble::Refused(_)) => return Some(("redis", trouble.to_string())),
        Some(trouble) => return Some(("bus", trouble.to_string())),
        None => {}
    }
    let is_closed = !state.gate.is_open();
    is_closed.then(|| ("restoring", "what Redis had lost is being brought back".to_owned()))
}

/// How the node and what it depends on are. Only Redis makes it unhealthy: that it does not run scripts, or that the bus over it
/// brings nothing.
pub(super) async fn health(Extract(state): Extract<Arc<State>>) -> Answer {
    let (redis, postgres, connections) =
        tokio::join!(redis_latency(&state), state.archive.check(), connections(&state));
    let bus = state.bus.is_up();
    let (code, status) = match (redis.filter(|_| bus), state.gate.is_open(), postgres) {
        (None, ..) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (Some(_), true, PostgresHealth::Off | PostgresHealth::Up) => (StatusCode::OK, "healthy"),
        (Some(_), ..) => (StatusCode::OK, "degraded"),
    };
    let body = json!({
        "status": status,
        "timestamp": format!("{:.3}", jiff::Timestamp::now()),
        "connections": connections,
        "uptime": state.started.elapsed().as_secs_f64(),
        "service": "realtime",
        "version": state.version,
        "node": state.node.as_str(),
        "websocket": { "running": true, "connections": (state.sockets)() },
        "dependencies": {
            "redis": redis_entry(redis),
            "postgres": postgres_entry(postgres, state.sink.as_ref()),
            "bus": { "status": if bus { "connected" } else { "disconnected" } },
        },
    });
    (code, Json(body))
}

fn redis_entry(latency: Option<Duration>) -> Value {
    match latency {
        Some(latency) => json!({ "status": "connected", "latency": latency.as_secs_f64() * 1000.0 }),
        None => json!({ "status": "disconnected" }),
    }
}

/// With what waits for it, where this node is the one that looks, or Postgres is away.
fn postgres_entry(health: PostgresHealth, sink: Option<&Sink>) -> Value {
    let mut entry = json!({ "status": postgres_status(health) });
    if let Some(backlog) = sink.and_then(|sink| sink.status().backlog) {
        entry["outbox"] = json!({ "entries": backlog.entries, "age": backlog.oldest.as_secs_f64() });
    }
    entry
}

fn postgres_status(health: PostgresHealth) -> &'static str {
    match health {
        PostgresHealth::Off => "off",
        PostgresHealth::Up => "connected",
        PostgresHealth::NoSchema => "no schema",
        PostgresHealth::Down => "disconnected",
    }
}

/// How long a script took, or `None` when Redis runs none.
async fn redis_latency(state: &State) -> Option<Duration> {
    match tokio::time::timeout(DEPENDENCY_TIMEOUT, state.hot.check()).await {
        Ok(Ok(latency)) => Some(latency),
        Ok(Err(error)) => {
            tracing::debug!(%error, "Redis runs no script");
            None
        }
        Err(_) => None,
    }
}

/// Live connections of the whole cluster; `None` when Redis cannot say.
async fn connections(state: &State) -> Option<u64> {
    match tokio::time::timeout(DEPENDENCY_TIMEOUT, presence::count_connections(&state.hot)).await {
        Ok(Ok(count)) => Some(count),
        Ok(Err(error)) => {
            tracing::debug!(%error, "connections cannot be counted");
            None
        }
        Err(_) => None,
    }
}
