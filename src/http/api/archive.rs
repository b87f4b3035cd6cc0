//! What the archive is asked: `/api/events`, `/api/who`, `/api/users/{id}/sessions`. In pages: an answer's `cursor` is
//! where the next one goes on, `null` at the end.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State as Extract};
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body::Named;
use super::problem::Problems;
use super::{DEPENDENCY_TIMEOUT, Parameters, Problem, State};
use crate::archive::query::{BadMoment, EventFilter, Place, parse_moment};
use crate::hot::keys::Partition;
use crate::types::{RoomName, UserId};

type Answer = Result<Json<Value>, Problem>;

/// A page of what the archive knows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written of the archive's own rows")]
struct EventPage {
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// Where the next page goes on; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// Who was in a room.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is written of the archive's own rows")]
struct WhoPage {
    room_name: String,
    at: String,
    /// Whether nothing speaks against the answer.
    complete: bool,
    #[schema(value_type = Vec<Object>)]
    caveats: Vec<Value>,
    #[schema(value_type = Vec<Object>)]
    users: Vec<Value>,
    /// Where the next page goes on; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// When a user was connected.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is written of the archive's own rows")]
struct SessionPage {
    user_id: String,
    #[schema(value_type = Vec<Object>)]
    sessions: Vec<Value>,
    /// Where the next page goes on; `null` at the end.
    #[schema(required)]
    cursor: Option<String>,
}

/// Says what happened, newest first
///
/// Moments are ISO-8601 dates, or how long ago: 90s, 15m, 2h, 7d.
#[utoipa::path(get, path = "/events", tag = "archive",
    params(
        ("type" = Option<String>, Query, description = "at most 64, separated by commas"),
        ("user" = Option<super::schema::User>, Query),
        ("room" = Option<super::schema::Room>, Query),
        ("since" = Option<String>, Query, example = "15m"),
        ("until" = Option<String>, Query, example = "2026-01-30T12:00:00Z"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<String>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = EventPage), Problems))]
pub(super) async fn events(Extract(state): Extract<Arc<State>>, RawQuery(query): RawQuery) -> Answer {
    let mut parameters = Parameters::of(query.as_deref())?;
    let filter = EventFilter {
        kinds: parameters.take("type", kinds)?.unwrap_or_default(),
        user: parameters.take("user", UserId::parse)?,
        room: parameters.take("room", RoomName::parse)?,
        since: parameters.take("since", moment)?,
        until: parameters.take("until", moment)?,
    };
    let limit = parameters.limit()?;
    let place = parameters.take("cursor", place)?;
    parameters.finish()?;
    let events = state
        .archive
        .events(&filter, place.as_ref(), limit, DEPENDENCY_TIMEOUT)
        .await?;
    let next = events.last().filter(|_| is_full(events.len(), limit));
    let cursor = next.map(|event| event.place().to_string());
    Ok(Json(json!({ "events": events, "cursor": cursor })))
}

/// Says who was in a room, by user id
#[utoipa::path(get, path = "/who", tag = "archive",
    params(
        ("room" = super::schema::Room, Query),
        ("at" = String, Query, description = "an ISO-8601 date, or how long ago", example = "15m"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<super::schema::User>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = WhoPage), Problems))]
pub(super) async fn who(Extract(state): Extract<Arc<State>>, RawQuery(query): RawQuery) -> Answer {
    let mut parameters = Parameters::of(query.as_deref())?;
    let room = parameters.need("room", RoomName::parse)?;
    let at = parameters.need("at", moment)?;
    let limit = parameters.limit()?;
    let after = parameters.take("cursor", UserId::parse)?;
    parameters.finish()?;
    let partition = Partition::of_room(&room).index();
    let after = after.as_ref().map(UserId::as_str);
    let who = state
        .archive
        .who(&room, partition, at, after, limit, DEPENDENCY_TIMEOUT)
        .await?;
    let next = who.users.last().filter(|_| is_full(who.users.len(), limit));
    let cursor = next.map(|user| user.user_id.clone());
    Ok(Json(json!({
        "roomName": room.as_str(),
        "at": format!("{at:.3}"),
        "complete": who.caveats.is_empty(),
        "caveats": who.caveats,
        "users": who.users,
        "cursor": cursor,
    })))
}

/// Says when a user was connected, the latest first
#[utoipa::path(get, path = "/users/{id}/sessions", tag = "archive",
    params(
        ("id" = super::schema::User, Path),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "100 where nobody says"),
        ("cursor" = Option<String>, Query, description = "of the page before"),
    ),
    responses((status = 200, body = SessionPage), Problems))]
pub(super) async fn sessions(
    Extract(state): Extract<Arc<State>>,
    Named(user): Named<UserId>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut parameters = Parameters::of(query.as_deref())?;
    let limit = parameters.limit()?;
    let place = parameters.take("cursor", place)?;
    parameters.finish()?;
    let sessions = state
        .archive
        .sessions(&user, place.as_ref(), limit, DEPENDENCY_TIMEOUT)
        .await?;
    let next = sessions.last().filter(|_| is_full(sessions.len(), limit));
    let cursor = next.map(|session| session.place().to_string());
    Ok(Json(
        json!({ "userId": user.as_str(), "sessions": sessions, "cursor": cursor }),
    ))
}

fn is_full(rows: usize, limit: u16) -> bool {
    rows >= usize::from(limit)
}

fn kinds(text: &str) -> Result<Vec<String>, &'static str> {
    let kinds: Vec<String> = text.split(',').map(|kind| kind.trim().to_owned()).collect();
    let are_sound = kinds.len() <= 64 && kinds.iter().all(|kind| !kind.is_empty() && !kind.contains('\0'));
    are_sound
        .then_some(kinds)
        .ok_or("takes a comma list of at most 64 types")
}

fn moment(text: &str) -> Result<Timestamp, BadMoment> {
    parse_moment(text, Timestamp::now())
}

fn place(text: &str) -> Result<Place, &'static str> {
    Place::parse(text).ok_or("is none that this route gave")
}
