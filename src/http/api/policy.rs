//! `/api/rooms/{name}/roles`, `/bans` and `/mutes`: what a room knows of whom, and keeping somebody out, or silent.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Extract};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Json, Named, OnUser};
use super::members::{Rank, checked, why};
use super::problem::Problems;
use super::schema::{Done, end, term};
use super::{Parameters, Problem, State};
use crate::domain::moderation::{self, Entry, Receipt, Term};
use crate::domain::rooms;
use crate::types::RoomName;

/// Users that one answer names.
const SHOWN_MAX: u32 = 10_000;

/// How long it holds, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sentence {
    /// When it ends, an ISO-8601 date in the future; never where nobody says.
    #[serde(default)]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// For the audit trail; at most 500 bytes.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: Option<String>,
}

impl Sentence {
    fn read(&self) -> Result<(Term, Option<String>), Problem> {
        Ok((term(self.until.as_deref())?, checked(self.reason.as_deref())?))
    }
}

/// A user's role.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holder {
    user_id: String,
    role: Rank,
}

/// Users that have a role, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Roles {
    roles: Vec<Holder>,
    /// `false`: the room knows of so many users that some are left out.
    complete: bool,
}

/// A user who is kept out, or silent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sentenced {
    user_id: String,
    /// When it ends; `null`: never.
    #[schema(required)]
    until: Option<String>,
}

/// Users that are kept out, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Bans {
    bans: Vec<Sentenced>,
    /// `false`: the room knows of so many users that some are left out.
    complete: bool,
}

/// Users that hear, and are not heard, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mutes {
    mutes: Vec<Sentenced>,
    /// `false`: the room knows of so many users that some are left out.
    complete: bool,
}

async fn known(state: &State, room: &RoomName, query: Option<&str>) -> Result<(Vec<Entry>, bool), Problem> {
    Parameters::of(query)?.finish()?;
    rooms::find(&state.hot, room).await?.ok_or(Problem::NoRoom)?;
    let (count, entries) = moderation::policy(&state.hot, room, SHOWN_MAX).await?;
    Ok((entries, count <= u64::from(SHOWN_MAX)))
}

fn sentenced(entries: &[Entry], term: impl Fn(&Entry) -> Option<Term>) -> Vec<Sentenced> {
    let one = |entry: &Entry| {
        Some(Sentenced {
            user_id: entry.user.to_string(),
            until: end(term(entry)?),
        })
    };
    entries.iter().filter_map(one).collect()
}

/// Lists the roles of a room
#[utoipa::path(get, path = "/rooms/{name}/roles", tag = "members", params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Roles), Problems))]
pub(super) async fn roles(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Roles>, Problem> {
    let (entries, complete) = known(&state, &name, query.as_deref()).await?;
    let holder = |entry: &Entry| {
        Some(Holder {
            user_id: entry.user.to_string(),
            role: Rank::of(entry.role?),
        })
    };
    let roles = entries.iter().filter_map(holder).collect();
    Ok(axum::Json(Roles { roles, complete }))
}

/// Lists the bans of a room
#[utoipa::path(get, path = "/rooms/{name}/bans", tag = "members", params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Bans), Problems))]
pub(super) async fn bans(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Bans>, Problem> {
    let (entries, complete) = known(&state, &name, query.as_deref()).await?;
    let bans = sentenced(&entries, |entry| entry.ban);
    Ok(axum::Json(Bans { bans, complete }))
}

/// Lists the mutes of a room
#[utoipa::path(get, path = "/rooms/{name}/mutes", tag = "members", params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Mutes), Problems))]
pub(super) async fn mutes(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Mutes>, Problem> {
    let (entries, complete) = known(&state, &name, query.as_deref()).await?;
    let mutes = sentenced(&entries, |entry| entry.mute);
    Ok(axum::Json(Mutes { mutes, complete }))
}

/// Bans a user from a room
///
/// Out, at once on every node, and not back in until the end.
#[utoipa::path(put, path = "/rooms/{name}/bans/{user}", tag = "members", request_body = Option<Sentence>,
    params(("name" = super::schema::Room, Path), ("user" = super::schema::User, Path)),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn ban(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    Json(sentence): Json<Sentence>,
) -> Result<axum::Json<Done>, Problem> {
    let (term, reason) = sentence.read()?;
    let receipt = moderation::ban(&state.hot, &on.act(reason.as_deref()), term).await??;
    Ok(done(&state, &receipt).await)
}

/// Lifts a ban
#[utoipa::path(delete, path = "/rooms/{name}/bans/{user}", tag = "members",
    params(
        ("name" = super::schema::Room, Path),
        ("user" = super::schema::User, Path),
        ("reason" = Option<String>, Query, max_length = 500, description = "for the audit trail"),
    ),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn unban(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Done>, Problem> {
    let reason = why(query.as_deref())?;
    let receipt = moderation::unban(&state.hot, &on.act(reason.as_deref())).await??;
    Ok(done(&state, &receipt).await)
}

/// Mutes a user in a room
///
/// Hears, and is not heard until the end.
#[utoipa::path(put, path = "/rooms/{name}/mutes/{user}", tag = "members", request_body = Option<Sentence>,
    params(("name" = super::schema::Room, Path), ("user" = super::schema::User, Path)),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn mute(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    Json(sentence): Json<Sentence>,
) -> Result<axum::Json<Done>, Problem> {
    let (term, reason) = sentence.read()?;
    let receipt = moderation::mute(&state.hot, &on.act(reason.as_deref()), term).await??;
    Ok(done(&state, &receipt).await)
}

/// Lifts a mute
#[utoipa::path(delete, path = "/rooms/{name}/mutes/{user}", tag = "members",
    params(
        ("name" = super::schema::Room, Path),
        ("user" = super::schema::User, Path),
        ("reason" = Option<String>, Query, max_length = 500, description = "for the audit trail"),
    ),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn unmute(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Done>, Problem> {
    let reason = why(query.as_deref())?;
    let receipt = moderation::unmute(&state.hot, &on.act(reason.as_deref())).await??;
    Ok(done(&state, &receipt).await)
}

/// A change of the room's policy, which has to outlast Redis.
async fn done(state: &State, receipt: &Receipt) -> axum::Json<Done> {
    let durable = state.lacks_postgres(receipt.record.as_ref()).await;
    axum::Json(Done::of(receipt, durable))
}
