//! What the archive is asked: `/api/events`, `/api/who`, `/api/users/{id}/sessions`. In pages: an answer's `cursor` is
//! where the next one goes on, `null` at the end.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Extract};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DEPENDENCY_TIMEOUT, Parameters, Problem, State};
use crate::archive::query::{BadMoment, EventFilter, PAGE_MAX, Place, parse_moment};
use crate::hot::keys::Partition;
use crate::types::{RoomName, UserId};

type Answer = Result<Json<Value>, Problem>;

/// Rows of a page where nobody says how many.
const LIMIT: u16 = 100;

/// `GET /api/events?type=&user=&room=&since=&until=&limit=&cursor=`: newest first; `type` is a comma list.
pub(super) async fn events(Extract(state): Extract<Arc<State>>, RawQuery(query): RawQuery) -> Answer {
    let mut parameters = Parameters::of(query.as_deref())?;
    let filter = EventFilter {
        kinds: parameters.take("type", kinds)?.unwrap_or_default(),
        user: parameters.take("user", UserId::parse)?,
        room: parameters.take("room", RoomName::parse)?,
        since: parameters.take("since", moment)?,
        until: parameters.take("until", moment)?,
    };
    let limit = parameters.take("limit", limit)?.unwrap_or(LIMIT);
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

/// `GET /api/who?room=&at=&limit=&cursor=`: by user id.
pub(super) async fn who(Extract(state): Extract<Arc<State>>, RawQuery(query): RawQuery) -> Answer {
    let mut parameters = Parameters::of(query.as_deref())?;
    let room = parameters.need("room", RoomName::parse)?;
    let at = parameters.need("at", moment)?;
    let limit = parameters.take("limit", limit)?.unwrap_or(LIMIT);
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

/// `GET /api/users/{id}/sessions?limit=&cursor=`: the latest first.
pub(super) async fn sessions(
    Extract(state): Extract<Arc<State>>,
    user: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Answer {
    // Only a path that is no UTF-8 is rejected.
    let user = user.map_err(|_| Problem::NotFound)?;
    let user = UserId::parse(&user).map_err(|cause| Problem::InvalidParameter(format!("user: {cause}")))?;
    let mut parameters = Parameters::of(query.as_deref())?;
    let limit = parameters.take("limit", limit)?.unwrap_or(LIMIT);
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

fn limit(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    number.ok_or_else(|| format!("takes a number from 1 to {PAGE_MAX}"))
}

fn place(text: &str) -> Result<Place, &'static str> {
    Place::parse(text).ok_or("is none that this route gave")
}
