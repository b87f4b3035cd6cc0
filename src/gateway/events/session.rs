//! `ping`, `pong`, `auth:refresh`: what a connection says of itself.

use serde_json::json;

use super::super::client::transport_name;
use super::super::outgoing::{self, iso, now_ms};
use super::super::payload::Incoming;
use super::super::peer;
use super::super::protocol::{ErrorCode, Failure};
use super::{Handled, Outcome, Turn};
use crate::domain::identity::{Identity, IdentityError};
use crate::domain::journal::Entry;
use crate::domain::limits::Class;
use crate::domain::presence;

/// Longest latency that is believed, in ms.
const LATENCY_MAX_MS: i64 = 60_000;

/// The one ack that is not wrapped: the client's own timestamp, echoed.
pub fn ping(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let timestamp = incoming.optional_object()?.optional_number("timestamp")?;
    turn.limit_locally()?;
    turn.client.socket.send(&outgoing::pong(now_ms()));
    if let Some(id) = turn.ack {
        let mut answer = json!({ "success": true });
        if let Some(timestamp) = timestamp {
            answer["timestamp"] = timestamp.into();
        }
        turn.client.socket.ack(id, &json!([answer]).to_string());
    }
    Ok(Outcome::Answered)
}

/// The client echoes the server's timestamp: the way there and back. What cannot be a latency is not recorded.
pub async fn pong(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let timestamp = incoming.object()?.optional_number("timestamp")?;
    let sent_ms = timestamp
        .and_then(|number| number.as_f64())
        .ok_or_else(|| Failure::field("timestamp", "is missing"))?;
    turn.limit_locally()?;
    let latency_ms = now_ms().saturating_sub(sent_ms as i64);
    if !(0..=LATENCY_MAX_MS).contains(&latency_ms) {
        return Ok(Outcome::Done(None));
    }
    let (shard, client) = (turn.shard, turn.client);
    shard.node.metrics.latency.observe(latency_ms as f64 / 1_000.0);
    let transport = transport_name(client.socket.transport());
    presence::note(&shard.hot, &client.lease(), transport, Some(latency_ms.unsigned_abs()))
        .await
        .map_err(|error| turn.unavailable(error))?;
    Ok(Outcome::Done(None))
}

/// A new token for the same user. A refused one changes nothing: the old one lasts until its end.
pub async fn refresh(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let token = incoming.object()?.text("token")?;
    turn.limit(Class::Refreshes).await?;
    let identity = match verified(turn, &token).await {
        Ok(identity) => identity,
        Err(failure) => return refuse(turn, failure),
    };
    let arriving = turn.shard.arrive(&identity.user, &identity.issued);
    arriving.ask().await.map_err(|error| turn.unavailable(error))?;
    if arriving.is_revoked() {
        return refuse(turn, Failure::new(ErrorCode::Unauthenticated, "Token revoked"));
    }
    turn.shard.forget_expiry(turn.client);
    turn.client.set_issued(identity.issued.clone());
    drop(arriving);
    turn.client.expires_at.set(identity.expires_at);
    turn.shard.watch_expiry(turn.client);
    let rooms = presence::look_up(&turn.shard.hot, std::slice::from_ref(&identity.user)).await;
    let rooms = rooms
        .map_err(|error| turn.unavailable(error))?
        .pop()
        .map(|(_, rooms)| rooms)
        .unwrap_or_default();
    turn.client
        .socket
        .send(&outgoing::authenticated(&identity.user, turn.client.session(), &rooms));
    let expires_at = identity.expires_at.map(|seconds| iso(seconds.saturating_mul(1_000)));
    Ok(Outcome::Done(Some(
        json!({ "userId": identity.user.as_str(), "expiresAt": expires_at }).to_string(),
    )))
}

/// Said by `auth:error`, and by the ack where one is waited for.
fn refuse(turn: &Turn<'_>, failure: Failure) -> Handled {
    if failure.code == ErrorCode::Unauthenticated {
        turn.shard.node.note(|| Entry::AuthFailure {
            code: "refresh".to_owned(),
            ip: turn.client.ip,
            agent: turn.client.about.agent.to_string(),
            user: Some(turn.client.user.clone()),
        });
    }
    turn.client.socket.send(&outgoing::auth_error(&failure));
    if turn.ack.is_some() {
        return Err(failure);
    }
    Ok(Outcome::Answered)
}

async fn verified(turn: &Turn<'_>, token: &str) -> Result<Identity, Failure> {
    let refused = |message: &str| Failure::new(ErrorCode::Unauthenticated, message);
    let client = turn.client;
    let identity = peer::identify(&turn.shard.node, token, client.ip, client.is_local).await;
    let identity = identity.map_err(|error| {
        tracing::info!(error = %error, user = %client.user, "token refused");
        match error {
            IdentityError::Unjudged => Failure::unavailable(),
            _ => refused("Invalid token"),
        }
    })?;
    if identity.user != client.user {
        return Err(refused("The token is another user's"));
    }
    Ok(identity)
}
