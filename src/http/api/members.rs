//! `/api/rooms/{name}/members`: who is in a room, invitations and roles, and sending somebody out. Not here: keeping somebody
//! out, or silent (`policy`).

use std::sync::Arc;

use axum::extract::{RawQuery, State as Extract};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Json, Maybe, Named, OnUser, reason};
use super::problem::Problems;
use super::schema::{Done, date};
use super::{Parameters, Problem, State};
use crate::domain::moderation::{self, Act, Actor, Receipt};
use crate::domain::rooms;
use crate::types::{Role, RoomName, UserId};

/// A user who is in a room.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    user_id: String,
    /// online, away, busy or offline.
    status: &'static str,
    joined_at: String,
}

/// Users by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberPage {
    members: Vec<Member>,
    /// Where the next page goes on; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// Lists who is in a room
#[utoipa::path(get, path = "/rooms/{name}/members", operation_id = "listMembers", tag = "members",
    params(
        ("name" = super::schema::Room, Path),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<super::schema::UserFilter>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = MemberPage), Problems))]
pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<MemberPage>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let limit = parameters.limit()?;
    let after = parameters.take("cursor", UserId::parse)?;
    parameters.finish()?;
    let page = rooms::look(&state.hot, &name, after.as_ref(), limit.into()).await?;
    let page = page.ok_or(Problem::NoRoom)?;
    let cursor = page.members.last().filter(|_| page.more);
    let cursor = cursor.map(|member| member.user.to_string());
    let members = page.members.iter().map(|member| Member {
        user_id: member.user.to_string(),
        status: member.status.as_str(),
        joined_at: date(member.joined_ms),
    });
    Ok(axum::Json(MemberPage {
        members: members.collect(),
        cursor,
    }))
}

/// What a user may do in a room.
#[derive(ToSchema, Deserialize, Serialize, Debug, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rank {
    Admin,
    Moderator,
    Member,
    Guest,
}

impl Rank {
    pub fn of(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Moderator => Self::Moderator,
            Role::Member => Self::Member,
            Role::Guest => Self::Guest,
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Admin => Role::Admin,
            Self::Moderator => Role::Moderator,
            Self::Member => Role::Member,
            Self::Guest => Role::Guest,
        }
    }
}

/// Why somebody acts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    /// For the audit trail; at most 500 bytes.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// A role, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Appointment {
    role: Rank,
    /// For the audit trail; at most 500 bytes.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// What was given.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Given {
    user_id: String,
    role: Rank,
    /// `false`: Redis has it, and Postgres does not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    durable: Option<bool>,
}

/// Invites a user
///
/// Who has no role gets the one of a member, which lets into a private or secret room; who has one keeps it, and it is the answer.
#[utoipa::path(put, path = "/rooms/{name}/members/{user}", operation_id = "inviteMember", tag = "members", request_body = Option<Why>,
    params(("name" = super::schema::Room, Path), ("user" = super::schema::User, Path)),
    responses((status = 200, body = Given), Problems))]
pub(super) async fn invite(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    Maybe(why): Maybe<Why>,
) -> Result<axum::Json<Given>, Problem> {
    let why = checked(why.reason.as_deref())?;
    let (role, receipt) = moderation::invite(&state.hot, &on.act(why.as_deref())).await??;
    Ok(given(&state, &on, Rank::of(role), &receipt).await)
}

/// Gives a user a role
///
/// Any is an invitation.
#[utoipa::path(put, path = "/rooms/{name}/members/{user}/role", operation_id = "setRole", tag = "members", request_body = Appointment,
    params(("name" = super::schema::Room, Path), ("user" = super::schema::User, Path)),
    responses((status = 200, body = Given), Problems))]
pub(super) async fn give_role(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    Json(asked): Json<Appointment>,
) -> Result<axum::Json<Given>, Problem> {
    appoint(&state, &on, asked.role, asked.reason.as_deref()).await
}

async fn appoint(state: &State, on: &OnUser, rank: Rank, why: Option<&str>) -> Result<axum::Json<Given>, Problem> {
    let why = checked(why)?;
    let appointed = moderation::appoint(&state.hot, &on.act(why.as_deref()), rank.role()).await?;
    Ok(given(state, on, rank, &appointed?).await)
}

async fn given(state: &State, on: &OnUser, role: Rank, receipt: &Receipt) -> axum::Json<Given> {
    axum::Json(Given {
        user_id: on.1.to_string(),
        role,
        durable: state.lacks_postgres(receipt.record.as_ref()).await,
    })
}

/// Sends a user out of a room
///
/// By whatever connections; coming back is not forbidden.
#[utoipa::path(delete, path = "/rooms/{name}/members/{user}", operation_id = "kickMember", tag = "members",
    params(
        ("name" = super::schema::Room, Path),
        ("user" = super::schema::User, Path),
        ("reason" = Option<String>, Query, max_length = 500, description = "for the audit trail"),
    ),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn kick(
    Extract(state): Extract<Arc<State>>,
    on: OnUser,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Done>, Problem> {
    let why = why(query.as_deref())?;
    let receipt = moderation::kick(&state.hot, &on.act(why.as_deref())).await??;
    // Nothing of it has to outlast Redis.
    Ok(axum::Json(Done::of(&receipt, None)))
}

impl OnUser {
    pub fn act<'a>(&'a self, reason: Option<&'a str>) -> Act<'a> {
        Act {
            actor: Actor::Administration,
            room: &self.0,
            user: &self.1,
            reason,
        }
    }
}

/// The reason of what is taken back, behind the `?`, since that has no body.
pub(super) fn why(query: Option<&str>) -> Result<Option<String>, Problem> {
    let mut parameters = Parameters::of(query)?;
    let why = parameters.take("reason", reason)?;
    parameters.finish()?;
    Ok(why)
}

/// A reason of a body, within its bound.
pub(super) fn checked(why: Option<&str>) -> Result<Option<String>, Problem> {
    let why = why.map(reason).transpose();
    why.map_err(|rule| Problem::invalid("reason", rule))
}
