//! `POST /api/broadcast` and `/api/broadcast/batch`: what an application's server has to say to the sockets in some rooms.
//! Told to whoever is there, and not kept.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State as Extract;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{Json, of_id};
use super::problem::{Document, Problems};
use super::{Problem, State};
use crate::domain::broadcasts::{self, Broadcast, EVENT_MAX_BYTES, ID_MAX_BYTES, PAYLOAD_MAX_BYTES, ROOMS_MAX, Untold};
use crate::types::RoomName;

/// Events of one batch.
const EVENTS_MAX: usize = 100;
/// Rooms of all events of one batch.
const BATCH_ROOMS_MAX: usize = 1_000;

/// An event for everybody in some rooms.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// What the sockets hear; none of the names that the gateway itself says, nor of Socket.IO's.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "notification")]
    event_type: String,
    /// Whoever is in one of them; in several, once.
    #[serde(alias = "roomNames")]
    #[schema(min_items = 1, max_items = 100, value_type = Vec<super::schema::Room>)]
    rooms: Vec<String>,
    /// Anything but a text, at most 65536 bytes.
    #[schema(value_type = super::schema::Payload)]
    payload: Box<RawValue>,
    /// Within two minutes the same id again says nothing, and gets the same answer.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128, pattern = "^[ -~]+$")]
    event_id: Option<String>,
}

/// Several events, told in their order.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Batch {
    /// At most 1000 rooms in all.
    #[schema(max_items = 100, value_type = Vec<BatchEvent>)]
    events: Vec<Event>,
}

/// An event of a batch.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes how the existing client writes an `Event` here")]
pub(super) struct BatchEvent {
    /// As of one event.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "notification")]
    event_type: String,
    /// Whoever is in one of them; `rooms` does, too.
    #[schema(min_items = 1, max_items = 100, value_type = Vec<super::schema::Room>)]
    room_names: Vec<String>,
    /// Anything but a text, at most 65536 bytes.
    #[schema(value_type = super::schema::Payload)]
    payload: Box<RawValue>,
    /// As of one event.
    #[schema(min_length = 1, max_length = 128, pattern = "^[ -~]+$")]
    event_id: Option<String>,
    /// Of no consequence here: the payload says when it was.
    timestamp: Option<serde_json::Value>,
}

/// To whom an event goes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// Sockets of the whole cluster, each once; an upper bound where one of several rooms is large.
    recipient_count: u64,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    Told(Told),
    Untold { error: Document },
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchTold {
    /// Of all events together.
    recipient_count: u64,
    /// One for each event, in their order.
    results: Vec<Outcome>,
}

/// Tells an event to everybody in some rooms
#[utoipa::path(post, path = "/broadcast", operation_id = "broadcast", tag = "broadcast", request_body = Event,
    responses((status = 200, body = Told), Problems))]
pub(super) async fn one(
    Extract(state): Extract<Arc<State>>,
    Json(event): Json<Event>,
) -> Result<axum::Json<Told>, Problem> {
    let broadcast = event.check(&state, "")?;
    let told = broadcasts::emit(&state.hot, &[broadcast]).await.pop();
    let recipient_count = told.unwrap_or(Err(Untold)).map_err(untold)?;
    Ok(axum::Json(Told { recipient_count }))
}

/// Tells several events
///
/// What is wrong with one of them is its own result, and the others are told.
#[utoipa::path(post, path = "/broadcast/batch", operation_id = "broadcastBatch", tag = "broadcast", request_body = Batch,
    responses((status = 200, body = BatchTold), Problems))]
pub(super) async fn batch(
    Extract(state): Extract<Arc<State>>,
    Json(batch): Json<Batch>,
) -> Result<axum::Json<BatchTold>, Problem> {
    if batch.events.len() > EVENTS_MAX {
        return Err(Problem::invalid("events", format!("must be at most {EVENTS_MAX}")));
    }
    if batch.events.iter().map(|event| event.rooms.len()).sum::<usize>() > BATCH_ROOMS_MAX {
        return Err(Problem::invalid(
            "events",
            format!("must have at most {BATCH_ROOMS_MAX} rooms in all"),
        ));
    }
    let mut sound = Vec::with_capacity(batch.events.len());
    let checked: Vec<Result<(), Problem>> = batch
        .events
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            sound.push(event.check(&state, &format!("events[{index}]."))?);
            Ok(())
        })
        .collect();
    let mut told = broadcasts::emit(&state.hot, &sound).await.into_iter();
    let mut recipient_count = 0;
    let mut outcome = |checked: Result<(), Problem>| {
        let told = checked.and_then(|()| told.next().unwrap_or(Err(Untold)).map_err(untold));
        match told {
            Ok(count) => {
                recipient_count += count;
                let recipient_count = count;
                Outcome::Told(Told { recipient_count })
            }
            Err(problem) => Outcome::Untold {
                error: problem.document(),
            },
        }
    };
    let results = checked.into_iter().map(&mut outcome).collect();
    Ok(axum::Json(BatchTold {
        recipient_count,
        results,
    }))
}

fn untold(_: Untold) -> Problem {
    Problem::Unavailable("not told in all rooms; with an eventId it may be said again".into())
}

impl Event {
    /// What may be told; `at` stands before the names of its fields.
    fn check(self, state: &State, at: &str) -> Result<Broadcast, Problem> {
        let field = |name: &str| format!("{at}{name}");
        let event = self.event_type;
        if event.is_empty() || event.len() > EVENT_MAX_BYTES || !event.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rule = format!("must be 1 to {EVENT_MAX_BYTES} printable characters of ASCII without blanks");
            return Err(Problem::invalid(field("eventType"), rule));
        }
        if (state.words.is_reserved)(&event) {
            let rule = "is a name that the gateway keeps to itself";
            return Err(Problem::invalid(field("eventType"), rule));
        }
        if self.rooms.is_empty() || self.rooms.len() > ROOMS_MAX {
            let rule = format!("must be 1 to {ROOMS_MAX} rooms");
            return Err(Problem::invalid(field("rooms"), rule));
        }
        let mut seen = HashSet::new();
        let mut rooms = Vec::with_capacity(self.rooms.len());
        for (index, room) in self.rooms.iter().enumerate() {
            let room = RoomName::parse(room).map_err(|rule| of_id(&format!("{at}rooms[{index}]"), rule))?;
            if seen.insert(room.clone()) {
                rooms.push(room);
            }
        }
        if let Some(id) = &self.event_id
            && (id.is_empty() || id.len() > ID_MAX_BYTES || !id.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        {
            let rule = format!("must be 1 to {ID_MAX_BYTES} printable characters of ASCII");
            return Err(Problem::invalid(field("eventId"), rule));
        }
        Ok(Broadcast {
            event,
            rooms,
            payload: payload(self.payload, &field("payload"))?,
            id: self.event_id,
        })
    }
}

/// As it was written, where clients can read it.
fn payload(payload: Box<RawValue>, field: &str) -> Result<String, Problem> {
    if payload.get().len() > PAYLOAD_MAX_BYTES {
        let rule = format!("must be at most {PAYLOAD_MAX_BYTES} bytes");
        return Err(Problem::too_large(field, rule));
    }
    // The stock client takes a text at the end of an event for the place that it has come to.
    if payload.get().starts_with('"') {
        return Err(Problem::invalid(field, "must be no text: an object, say"));
    }
    // As deep as every reader of JSON goes.
    serde_json::from_str::<serde_json::Value>(payload.get())
        .map_err(|_| Problem::invalid(field, "is nested too deeply, or has a number that is none"))?;
    Ok(Box::<str>::from(payload).into_string())
}
