//! `POST /api/drain`: has a node send its sockets away. Not here: what it does then.

use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::body::Maybe;
use super::problem::Problems;
use super::{DEPENDENCY_TIMEOUT, Problem, State};
use crate::domain::drain::{self, NotAsked};
use crate::types::NodeId;

/// Which node is to drain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// By its name; it may be left out where there is one alone.
    #[schema(min_length = 1, max_length = 64)]
    node: Option<String>,
}

/// A node that was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Asked {
    node: String,
    /// What it held at its last beat.
    connections: u64,
}

/// Has a node send its sockets away
///
/// It begins with its next beat: it is not ready any more, takes nobody new after a while, and stays up until it is stopped. A
/// repeat is asking once.
#[utoipa::path(post, path = "/drain", operation_id = "drainNode", tag = "nodes", request_body = Option<Wanted>,
    responses((status = 202, body = Asked), Problems))]
pub(super) async fn drain(
    Extract(state): Extract<Arc<State>>,
    Maybe(wanted): Maybe<Wanted>,
) -> Result<Response, Problem> {
    let node = wanted.node.as_deref().map(NodeId::parse).transpose();
    let node = node.map_err(|cause| Problem::invalid("node", cause))?;
    let asking = timeout(DEPENDENCY_TIMEOUT, drain::ask(&state.hot, node.as_ref()));
    let away = || Problem::Unavailable("Redis does not answer".into());
    let asked = match asking.await.map_err(|_| away())? {
        Ok(asked) => asked,
        Err(NotAsked::Choice(choice)) => return Err(Problem::invalid("node", choice)),
        Err(NotAsked::Hot(error)) => return Err(error.into()),
    };
    let answer = Asked {
        node: asked.node.to_string(),
        connections: asked.connections.unwrap_or(0),
    };
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}
