//! `/api/rooms` and `/api/rooms/{name}`: lists, makes, shows, changes and closes rooms. Not here: who is in one
//! (`members`), and what it knows of whom (`policy`).

use std::sync::Arc;

use axum::extract::{RawQuery, State as Extract};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::body::{Json, Named, of_id};
use super::problem::Problems;
use super::schema::{Done, date};
use super::{Parameters, Problem, State};
use crate::domain::moderation;
use crate::domain::rooms::{self, Created, NewRoom, Settings};
use crate::types::{RoomName, RoomType, UserId, Visibility};

/// A room.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Room {
    name: String,
    #[serde(rename = "type")]
    #[schema(value_type = Kind)]
    kind: &'static str,
    #[schema(value_type = Visible)]
    visibility: &'static str,
    /// Users that it holds; `null`: as many as like.
    #[schema(required)]
    max_members: Option<u32>,
    created_at: String,
    /// Users that are in it.
    member_count: u64,
    /// `false`: Redis has the change, and Postgres does not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    durable: Option<bool>,
}

impl Room {
    fn of(room: &rooms::Room, durable: Option<bool>) -> Self {
        Self {
            name: room.name.to_string(),
            kind: room.kind.as_str(),
            visibility: room.visibility.as_str(),
            max_members: room.max_members,
            created_at: date(room.created_ms),
            member_count: room.members,
            durable,
        }
    }
}

/// What a room is for; in `broadcast` rooms moderators and admins alone speak.
#[derive(ToSchema, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Channel,
    Dm,
    Group,
    Broadcast,
}

/// Who may find and join a room.
#[derive(ToSchema, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Visible {
    Public,
    Private,
    Secret,
}

impl Kind {
    fn of_domain(self) -> RoomType {
        match self {
            Self::Channel => RoomType::Channel,
            Self::Dm => RoomType::Dm,
            Self::Group => RoomType::Group,
            Self::Broadcast => RoomType::Broadcast,
        }
    }
}

impl Visible {
    fn of_domain(self) -> Visibility {
        match self {
            Self::Public => Visibility::Public,
            Self::Private => Visibility::Private,
            Self::Secret => Visibility::Secret,
        }
    }
}

/// Rooms by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomPage {
    rooms: Vec<Room>,
    /// Where the next page goes on; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// Lists the rooms by name
#[utoipa::path(get, path = "/rooms", tag = "rooms",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<super::schema::Room>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = RoomPage), Problems))]
pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<RoomPage>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let limit = parameters.limit()?;
    let after = parameters.take("cursor", RoomName::parse)?;
    parameters.finish()?;
    let (found, more) = rooms::page(&state.hot, after.as_ref(), limit.into()).await?;
    let cursor = found.last().filter(|_| more).map(|room| room.name.to_string());
    let rooms = found.iter().map(|room| Room::of(room, None)).collect();
    Ok(axum::Json(RoomPage { rooms, cursor }))
}

/// A room that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plan {
    #[schema(value_type = super::schema::Room)]
    name: String,
    /// `channel` where nobody says.
    #[serde(rename = "type", default)]
    kind: Option<Kind>,
    /// `public` where nobody says.
    #[serde(default)]
    visibility: Option<Visible>,
    /// Users that it holds; as many as like where nobody says.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2147483647)]
    max_members: Option<u32>,
    /// Its admin; nobody where nobody says, nor where the room exists.
    #[serde(default)]
    #[schema(value_type = Option<super::schema::User>)]
    owner: Option<String>,
}

/// More does not fit into the archive.
const MEMBERS_MAX: u32 = i32::MAX as u32;

fn bound(max_members: Option<u32>) -> Result<Option<u32>, Problem> {
    match max_members {
        Some(most) if !(1..=MEMBERS_MAX).contains(&most) => Err(Problem::invalid(
            "maxMembers",
            format!("must be a number from 1 to {MEMBERS_MAX}, or null"),
        )),
        other => Ok(other),
    }
}

/// Makes a room, or shows the one that has the name
///
/// One that was made by joining it lasts from then on.
#[utoipa::path(post, path = "/rooms", tag = "rooms", request_body = Plan,
    responses((status = 201, body = Room, description = "made"), (status = 200, body = Room, description = "was there"), Problems))]
pub(super) async fn create(
    Extract(state): Extract<Arc<State>>,
    Json(plan): Json<Plan>,
) -> Result<(StatusCode, axum::Json<Room>), Problem> {
    let owner = plan.owner.as_deref().map(UserId::parse).transpose();
    let room = NewRoom {
        name: RoomName::parse(&plan.name).map_err(|rule| of_id("name", rule))?,
        kind: plan.kind.map_or(RoomType::Channel, Kind::of_domain),
        visibility: plan.visibility.map_or(Visibility::Public, Visible::of_domain),
        max_members: bound(plan.max_members)?,
        owner: owner.map_err(|rule| of_id("owner", rule))?,
    };
    let (created, record) = rooms::create(&state.hot, &room).await?;
    let durable = state.lacks_postgres(record.as_ref()).await;
    let (status, made) = match created {
        Created::New(room) => (StatusCode::CREATED, room),
        Created::Existing(room) => {
            let found = rooms::find(&state.hot, &room.name).await?;
            (StatusCode::OK, found.unwrap_or(room))
        }
    };
    Ok((status, axum::Json(Room::of(&made, durable))))
}

/// Shows a room
#[utoipa::path(get, path = "/rooms/{name}", tag = "rooms",
    params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Room), Problems))]
pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Room>, Problem> {
    Parameters::of(query.as_deref())?.finish()?;
    let room = rooms::find(&state.hot, &name).await?.ok_or(Problem::NoRoom)?;
    Ok(axum::Json(Room::of(&room, None)))
}

/// What of a room is to be another than before.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Change {
    #[serde(rename = "type", default)]
    kind: Option<Kind>,
    #[serde(default)]
    visibility: Option<Visible>,
    /// `null`: as many as like.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2147483647)]
    max_members: Option<Option<u32>>,
}

/// What stands there, also where it is `null`.
fn present<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(reader).map(Some)
}

/// Changes a room
///
/// It lasts from then on. Whoever is in it stays; whatever is done there next goes by the new rules.
#[utoipa::path(patch, path = "/rooms/{name}", tag = "rooms", request_body = Change,
    params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Room), Problems))]
pub(super) async fn change(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    Json(change): Json<Change>,
) -> Result<axum::Json<Room>, Problem> {
    let settings = Settings {
        kind: change.kind.map(Kind::of_domain),
        visibility: change.visibility.map(Visible::of_domain),
        max_members: change.max_members.map(bound).transpose()?,
    };
    let changed = rooms::change(&state.hot, &name, &settings).await?;
    let (room, record) = changed.ok_or(Problem::NoRoom)?;
    let durable = state.lacks_postgres(record.as_ref()).await;
    Ok(axum::Json(Room::of(&room, durable)))
}

/// Closes a room
///
/// Everybody is sent out, and nothing of it is left.
#[utoipa::path(delete, path = "/rooms/{name}", tag = "rooms",
    params(("name" = super::schema::Room, Path)),
    responses((status = 200, body = Done), Problems))]
pub(super) async fn close(
    Extract(state): Extract<Arc<State>>,
    Named(name): Named<RoomName>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Done>, Problem> {
    Parameters::of(query.as_deref())?.finish()?;
    let receipt = moderation::close(&state.hot, &name).await?.ok_or(Problem::NoRoom)?;
    let durable = state.lacks_postgres(receipt.record.as_ref()).await;
    Ok(axum::Json(Done::of(&receipt, durable)))
}
