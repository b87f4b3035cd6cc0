//! `typing:start`, `typing:stop`.

use std::time::Duration;

use super::super::payload::Incoming;
use super::super::protocol::{ErrorCode, Failure};
use super::{Handled, Outcome, Turn};
use crate::domain::limits::Class;
use crate::domain::typing::{self, Mark, Typing};
use crate::hot::HotError;
use crate::types::RoomName;

/// `typing:start`: sets or extends the user's mark.
pub async fn start(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let place = decode(turn, incoming)?;
    turn.limit(Class::Typing).await?;
    let lease = turn.client.lease();
    let lasts = turn.shard.node.settings.typing_timeout;
    let outcome = typing::start(&turn.shard.hot, &place.mark(&lease), lasts).await;
    place.note(turn, &outcome, Some(lasts));
    answer(turn, outcome)
}

/// `typing:stop`: takes the mark back.
pub async fn stop(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let place = decode(turn, incoming)?;
    turn.limit(Class::Typing).await?;
    let lease = turn.client.lease();
    let outcome = typing::stop(&turn.shard.hot, &place.mark(&lease)).await;
    place.note(turn, &outcome, None);
    answer(turn, outcome)
}

struct Place {
    room: RoomName,
    thread: Option<String>,
    room_type: Option<String>,
}

impl Place {
    /// For the next snapshot.
    fn note(&self, turn: &Turn<'_>, outcome: &Result<Typing, HotError>, lasts: Option<Duration>) {
        if turn.shard.node.has_archive && matches!(outcome, Ok(Typing::Done)) {
            let thread = self.thread.as_deref().unwrap_or_default();
            turn.shard.marks.note(&self.room, &turn.client.user, thread, lasts);
        }
    }

    fn mark<'a>(&'a self, lease: &'a crate::hot::keys::Lease) -> Mark<'a> {
        let thread = self.thread.as_deref().unwrap_or_default();
        Mark {
            lease,
            room: &self.room,
            thread,
            room_type: self.room_type.as_deref().unwrap_or_default(),
        }
    }
}

fn decode(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Result<Place, Failure> {
    let mut fields = incoming.object()?;
    let place = Place {
        room: fields.room()?,
        thread: fields.thread()?,
        room_type: fields.room_type()?,
    };
    if !turn.shard.node.settings.enable_typing {
        return Err(Failure::new(ErrorCode::FeatureDisabled, "Typing is disabled"));
    }
    turn.require_user()?;
    Ok(place)
}

fn answer(turn: &Turn<'_>, outcome: Result<Typing, HotError>) -> Handled {
    match outcome.map_err(|error| turn.unavailable(error))? {
        Typing::Done => Ok(Outcome::Done(None)),
        Typing::Missing => Err(Failure::room_not_found()),
        Typing::Banned => Err(Failure::new(ErrorCode::Banned, "You are banned from this room")),
        Typing::Stranger => Err(Failure::not_a_member()),
        Typing::Muted => Err(Failure::new(ErrorCode::Muted, "You are muted in this room")),
    }
}
