//! `/api/users/{id}` and `/api/tokens/{id}`: makes tokens good for nothing. Not here: what the archive knows of a user
//! (`archive`).

use std::sync::Arc;

use axum::extract::State as Extract;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Named;
use super::problem::Problems;
use super::schema::date;
use super::{Problem, State};
use crate::domain::revocations::{self, Added, REVOCATIONS_MAX, Subject};
use crate::types::{TokenId, UserId};

/// Since when tokens are good for nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revoked {
    /// Redis's time.
    revoked_at: String,
}

/// Revokes every token of a user
///
/// Those that were issued so far; its sockets are sent away on every node.
#[utoipa::path(post, path = "/users/{id}/revoke", tag = "users", params(("id" = super::schema::User, Path)),
    responses((status = 200, body = Revoked), Problems))]
pub(super) async fn revoke(
    Extract(state): Extract<Arc<State>>,
    Named(user): Named<UserId>,
) -> Result<axum::Json<Revoked>, Problem> {
    add(&state, Subject::User(user)).await
}

/// Revokes one token
///
/// By its id (`jti`); its sockets are sent away on every node.
#[utoipa::path(post, path = "/tokens/{id}/revoke", tag = "users", params(("id" = super::schema::User, Path)),
    responses((status = 200, body = Revoked), Problems))]
pub(super) async fn revoke_token(
    Extract(state): Extract<Arc<State>>,
    Named(token): Named<TokenId>,
) -> Result<axum::Json<Revoked>, Problem> {
    add(&state, Subject::Token(token)).await
}

async fn add(state: &State, subject: Subject) -> Result<axum::Json<Revoked>, Problem> {
    match revocations::revoke(&state.hot, &subject).await? {
        Added::At(at_ms) => Ok(axum::Json(Revoked {
            revoked_at: date(at_ms),
        })),
        Added::Full => Err(Problem::Full(format!(
            "{REVOCATIONS_MAX} revocations are kept already; a shorter REALTIME_REVOCATION_KEEP forgets some"
        ))),
    }
}
