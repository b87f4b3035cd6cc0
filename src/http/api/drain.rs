//! `POST /api/drain`: has a node send its sockets away. Not here: what it does then.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{DEPENDENCY_TIMEOUT, Problem, State};
use crate::domain::drain::{self, NotAsked};
use crate::types::NodeId;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    node: Option<String>,
}

/// `{node?}`, or nothing: the only node, where there is one; else one has to be named. 202 says that it will: it begins with
/// its next beat. A repeat is asking once.
pub(super) async fn drain(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = match body.trim_ascii() {
        b"" => Wanted::default(),
        body => serde_json::from_slice(body).map_err(|error| {
            Problem::InvalidParameter(format!("the body takes an object with `node`, or nothing: {error}"))
        })?,
    };
    let node = wanted.node.as_deref().map(NodeId::parse).transpose();
    let node = node.map_err(|cause| Problem::InvalidParameter(format!("node: {cause}")))?;
    let asked = match timeout(DEPENDENCY_TIMEOUT, drain::ask(&state.hot, node.as_ref())).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(NotAsked::Choice(choice))) => return Err(Problem::InvalidParameter(format!("node: {choice}"))),
        Ok(Err(NotAsked::Hot(error))) => {
            tracing::debug!(%error, "nobody was asked to drain");
            return Err(Problem::Unavailable("Redis does not answer".into()));
        }
        Err(_) => return Err(Problem::Unavailable("Redis does not answer".into())),
    };
    let answer = json!({ "node": asked.node.as_str(), "connections": asked.connections });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
