//! `/api/connections`, `/api/users/{id}/connections` and `/api/users/{id}/disconnect`: who is connected, and sending
//! somebody away. Not here: tokens that are to be good for nothing (`users`).

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Extract};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::Named;
use super::problem::Problems;
use super::schema::{Reach, date};
use super::{Parameters, Problem, State};
use crate::domain::connections::{self, Dismissed, Filter, Place};
use crate::types::{NodeId, UserId};

/// Longest id in a path, in bytes.
const ID_MAX_BYTES: usize = 255;

/// A connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    /// The cluster's name of it.
    id: String,
    /// The socket's id, as the client knows it.
    socket_id: String,
    /// `anon:<socket>` of whoever showed no token.
    user_id: String,
    node: String,
    /// `live`, or `grace`: its transport is lost, and it may still come back.
    state: &'static str,
    /// websocket or polling.
    transport: String,
    ip: String,
    user_agent: String,
    /// As the client told it.
    #[schema(value_type = Object, required)]
    device: Option<Box<RawValue>>,
    /// What the token calls the session.
    #[schema(required)]
    session_id: Option<String>,
    connected_at: String,
    /// Rooms that it is in.
    rooms: u64,
    /// The way to the client and back.
    #[schema(required)]
    latency_ms: Option<u64>,
}

impl Connection {
    fn of(connection: connections::Connection) -> Self {
        Self {
            id: connection.lease.connection.to_string(),
            socket_id: connection.socket,
            user_id: connection.lease.user.to_string(),
            node: connection.lease.node.to_string(),
            state: connection.state.as_str(),
            transport: connection.transport,
            ip: connection.ip,
            user_agent: connection.agent,
            // Text that is none, or that nobody told, is no device.
            device: RawValue::from_string(connection.device).ok(),
            session_id: Some(connection.session).filter(|session| !session.is_empty()),
            connected_at: date(connection.connected_ms),
            rooms: connection.rooms,
            latency_ms: connection.latency_ms,
        }
    }
}

/// Some connections, in no particular order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionPage {
    connections: Vec<Connection>,
    /// Where the next page goes on, which a short or an empty one may have, too; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// Sockets that were sent away.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sent {
    /// How many each node held.
    nodes: Vec<Reach>,
    /// So many of them were still there after a second: ask again.
    remaining: u64,
}

impl Sent {
    fn of(dismissed: &Dismissed) -> axum::Json<Self> {
        let nodes = dismissed.nodes.iter().map(|(node, sockets)| Reach {
            node: node.to_string(),
            sockets: *sockets,
        });
        axum::Json(Self {
            nodes: nodes.collect(),
            remaining: dismissed.remaining,
        })
    }
}

async fn page(
    state: &State,
    filter: &Filter,
    mut parameters: Parameters,
) -> Result<axum::Json<ConnectionPage>, Problem> {
    let limit = parameters.limit()?;
    let place = parameters.take("cursor", str::parse::<Place>)?;
    parameters.finish()?;
    let page = connections::page(&state.hot, filter, place.as_ref(), limit.into()).await?;
    Ok(axum::Json(ConnectionPage {
        connections: page.connections.into_iter().map(Connection::of).collect(),
        cursor: page.next.map(|place| place.to_string()),
    }))
}

/// Lists the connections of the cluster
#[utoipa::path(get, path = "/connections", operation_id = "listConnections", tag = "connections",
    params(
        ("user" = Option<super::schema::UserFilter>, Query),
        ("node" = Option<String>, Query, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<String>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = ConnectionPage), Problems))]
pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<ConnectionPage>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let filter = Filter {
        user: parameters.take("user", UserId::parse)?,
        node: parameters.take("node", NodeId::parse)?,
    };
    page(&state, &filter, parameters).await
}

/// Lists the connections of a user
#[utoipa::path(get, path = "/users/{id}/connections", operation_id = "listUserConnections", tag = "connections",
    params(
        ("id" = super::schema::User, Path),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<String>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = ConnectionPage), Problems))]
pub(super) async fn of_user(
    Extract(state): Extract<Arc<State>>,
    Named(user): Named<UserId>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<ConnectionPage>, Problem> {
    let filter = Filter {
        user: Some(user),
        node: None,
    };
    page(&state, &filter, Parameters::of(query.as_deref())?).await
}

/// Sends a socket away
///
/// By its own id or its connection's, for good: the stock client does not come back by itself. None that has the id is no
/// error, so that it may be asked again: `nodes` is empty, after a second in which no node has answered to it.
#[utoipa::path(delete, path = "/connections/{id}", operation_id = "disconnectSocket", tag = "connections",
    params(("id" = super::schema::User, Path)),
    responses((status = 200, body = Sent), Problems))]
pub(super) async fn dismiss(
    Extract(state): Extract<Arc<State>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Sent>, Problem> {
    // Only a path that is no UTF-8 is rejected.
    let Path(id) = path.map_err(|_| Problem::NoRoute)?;
    Parameters::of(query.as_deref())?.finish()?;
    if id.len() > ID_MAX_BYTES || id.chars().any(char::is_control) {
        let rule = format!("must be at most {ID_MAX_BYTES} bytes without control characters");
        return Err(Problem::invalid("id", rule));
    }
    Ok(Sent::of(&connections::dismiss_one(&state.hot, &id).await?))
}

/// Sends a user away
///
/// By whatever sockets the user has now, for good: the stock client does not come back by itself. It may, by a token that is
/// good; `revoke` makes it good for nothing.
#[utoipa::path(post, path = "/users/{id}/disconnect", operation_id = "disconnectUser", tag = "connections",
    params(("id" = super::schema::User, Path)),
    responses((status = 200, body = Sent), Problems))]
pub(super) async fn dismiss_user(
    Extract(state): Extract<Arc<State>>,
    Named(user): Named<UserId>,
) -> Result<axum::Json<Sent>, Problem> {
    Ok(Sent::of(&connections::dismiss_user(&state.hot, &user).await?))
}
