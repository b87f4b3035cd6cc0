//! `room:join`, `room:leave`, `room:members`.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::limits::Carried;
use super::super::outgoing::{self, iso};
use super::super::payload::Incoming;
use super::super::protocol::{ErrorCode, Failure, ack};
use super::super::rooms::{Completed, Position};
use super::{Handled, Outcome, Turn};
use crate::config::Limits;
use crate::domain::limits::Class;
use crate::domain::rooms::{self, JoinOptions, JoinRefusal, Joined, Member, MembersRefusal, Since};
use crate::hot::HotError;
use crate::hot::bus::Topic;
use crate::types::{RoomName, UserId};

/// Members that an ack of `room:join` brings.
const JOIN_MEMBERS: u32 = 100;
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// `room:join`: in the room from now on; the ack enters the room's order.
pub async fn join(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let mut fields = incoming.object()?;
    let (room, since) = (fields.room()?, fields.since()?);
    let carried = turn.limit_by_call(Class::Joins).await?;
    require_room_for(turn, &room)?;
    turn.shard.rooms.borrow_mut().begin_join(&room, turn.client);
    let outcome = subscribe_and_join(turn, &room, since.as_ref(), carried).await;
    let answered = match outcome {
        Ok(Ok(joined)) => complete(turn, &room, &joined),
        Ok(Err(refusal)) => {
            // Whoever was in the room and may no longer be hears nothing more of it.
            turn.client.rooms.borrow_mut().remove(&room);
            turn.shard.leave_room(&room, turn.client);
            Err(refusal)
        }
        Err(error) => Err(turn.unavailable(error)),
    };
    turn.shard.end_join(&room, turn.client);
    answered
}

/// The script holds the bound; here it is counted, and a socket that is over it costs Redis nothing.
fn require_room_for(turn: &Turn<'_>, room: &RoomName) -> Result<(), Failure> {
    let joined = turn.client.rooms.borrow();
    let is_reached = joined.len() >= turn.shard.node.settings.max_rooms && !joined.contains(room);
    if turn.shard.node.is_barred("rooms", is_reached) {
        return Err(refused(JoinRefusal::TooManyRooms));
    }
    Ok(())
}

/// The subscription stands before the membership, so that nothing of the room is missed. Only Redis knows whether a room is
/// there, and making one alone has to be paid for: a token is held ready, and kept where one was made. Where none is at hand,
/// a second join makes the room that the first did not find.
async fn subscribe_and_join(
    turn: &Turn<'_>,
    room: &RoomName,
    since: Option<&Since>,
    carried: Option<Carried>,
) -> Result<Result<Joined, Failure>, HotError> {
    let (shard, settings) = (turn.shard, &turn.shard.node.settings);
    shard.node.bus.subscribe(Topic::Room(room.clone()), shard.index).await?;
    let may_make = !turn.client.user.is_anonymous() && settings.room_autocreate.matches(room.as_str());
    let is_free = settings.limits == Limits::Off;
    let reserved = (may_make && !is_free).then(|| turn.reserve(Class::Creations)).flatten();
    let makes = may_make && (is_free || reserved.is_some());
    let joined = join_registered(turn, room, since, makes, carried).await;
    let mut joined = match (joined, reserved) {
        (Ok(joined), Some(reserved)) => {
            if joined.as_ref().is_ok_and(|joined| joined.made) {
                reserved.keep();
            }
            return Ok(joined.map_err(refused));
        }
        (Err(error), Some(reserved)) => {
            // It may have been made.
            reserved.keep();
            return Err(error);
        }
        (joined, None) => joined?,
    };
    if matches!(joined, Err(JoinRefusal::NotFound)) && may_make && !is_free {
        if let Err(failure) = turn.limit_also(Class::Creations).await {
            return Ok(Err(failure));
        }
        joined = join_registered(turn, room, since, true, None).await?;
    }
    Ok(joined.map_err(refused))
}

async fn join_registered(
    turn: &Turn<'_>,
    room: &RoomName,
    since: Option<&Since>,
    autocreate: bool,
    carried: Option<Carried>,
) -> Result<Result<Joined, JoinRefusal>, HotError> {
    let shard = turn.shard;
    let options = JoinOptions {
        autocreate,
        known: None,
        members: if since.is_some() { 0 } else { JOIN_MEMBERS },
        since,
        toll: carried.as_ref().map(|carried| &carried.toll),
    };
    let mut joined = rooms::join(&shard.hot, &turn.client.lease(), room, options).await?;
    if matches!(joined, Err(JoinRefusal::Unregistered)) {
        let options = JoinOptions { toll: None, ..options };
        shard.renew_registration(turn.client).await?;
        joined = rooms::join(&shard.hot, &turn.client.lease(), room, options).await?;
    }
    if let Ok(joined) = &joined {
        shard.keep_session(turn.client, room, joined).await?;
    }
    Ok(joined)
}

fn complete(turn: &Turn<'_>, room: &RoomName, joined: &Joined) -> Handled {
    turn.client.rooms.borrow_mut().insert(room.clone());
    let answer = turn.ack_frame(&ack(Some(&answer_of(turn, room, joined))));
    let position = Position::of(joined);
    let completed = turn
        .shard
        .rooms
        .borrow_mut()
        .complete_join(room, turn.client, position, answer.as_ref());
    match completed {
        Completed::Done => Ok(Outcome::Answered),
        Completed::NewEpoch => {
            turn.shard.heal_anew(room, Duration::ZERO);
            Ok(Outcome::Answered)
        }
        Completed::Expelled => {
            turn.shard.forget_room(room, turn.client);
            Ok(Outcome::Answered)
        }
        Completed::Failed => {
            turn.client.rooms.borrow_mut().remove(room);
            Err(Failure::unavailable())
        }
    }
}

/// The ack's data as JSON text; missed messages are that already, and are not read again.
fn answer_of(turn: &Turn<'_>, room: &RoomName, joined: &Joined) -> String {
    let mut data = json!({
        "roomName": room.as_str(), "type": joined.kind.as_str(), "role": joined.role.as_str(),
        "memberCount": joined.member_count, "epoch": joined.epoch, "seq": joined.seq, "rev": joined.rev,
    });
    let messages = match &joined.missed {
        None => {
            if joined.member_count <= turn.shard.hot.terms().presence_limit {
                data["members"] = written(&joined.members);
            }
            return data.to_string();
        }
        Some(Ok(messages)) => {
            data["recovered"] = true.into();
            outgoing::messages(messages)
        }
        Some(Err(reason)) => {
            data["recovered"] = false.into();
            data["reason"] = reason.as_str().into();
            return data.to_string();
        }
    };
    let mut text = data.to_string();
    text.truncate(text.len() - 1);
    text + r#","messages":"# + &messages + "}"
}

/// Why somebody may not join, in the words of the wire.
pub fn refused(refusal: JoinRefusal) -> Failure {
    match refusal {
        JoinRefusal::NotFound => Failure::room_not_found(),
        JoinRefusal::Banned => Failure::new(ErrorCode::Banned, "You are banned from this room"),
        JoinRefusal::Forbidden => Failure::new(ErrorCode::Forbidden, "This room is by invitation"),
        JoinRefusal::Full => Failure::new(ErrorCode::RoomFull, "The room is full"),
        JoinRefusal::TooManyRooms => Failure::new(ErrorCode::TooManyRooms, "Leave another room first"),
        JoinRefusal::Unregistered => Failure::unavailable(),
    }
}

/// `room:leave`: out of the room, behind what was said before.
pub async fn leave(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let room = incoming.object()?.room()?;
    turn.limit(Class::Requests).await?;
    let left = rooms::leave(&turn.shard.hot, &turn.client.lease(), &room).await;
    let left = left.map_err(|error| turn.unavailable(error))?;
    if let Some(left) = &left {
        // What was said before the leave is still for this client, its own messages first of all.
        let (rooms, client) = (&turn.shard.rooms, turn.client);
        let heard = rooms.borrow_mut().heard(&room, left.seq, client);
        // The shard answers every time, so there is no error to be told.
        heard.await.unwrap_or_default();
    }
    turn.client.rooms.borrow_mut().remove(&room);
    turn.shard.leave_room(&room, turn.client);
    if left.is_some() {
        Ok(Outcome::Done(None))
    } else {
        Err(Failure::room_not_found())
    }
}

/// `room:members`: one page of who is in the room.
pub async fn members(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let mut fields = incoming.object()?;
    let (room, limit) = (fields.room()?, fields.limit(PAGE_DEFAULT, PAGE_MAX)?);
    let cursor = fields.optional_text("cursor", crate::types::USER_ID_MAX_BYTES)?;
    let after = cursor
        .map(|cursor| UserId::parse(&cursor).map_err(|rule| Failure::field("cursor", rule)))
        .transpose()?;
    turn.limit(Class::Requests).await?;
    let page = rooms::members(&turn.shard.hot, &turn.client.lease(), &room, after.as_ref(), limit).await;
    let page = match page.map_err(|error| turn.unavailable(error))? {
        Ok(page) => page,
        Err(MembersRefusal::NotFound) => return Err(Failure::room_not_found()),
        Err(MembersRefusal::NotAMember) => return Err(Failure::not_a_member()),
    };
    let mut data = json!({ "members": written(&page.members) });
    if let Some(last) = page.members.last().filter(|_| page.more) {
        data["cursor"] = last.user.as_str().into();
    }
    Ok(Outcome::Done(Some(data.to_string())))
}

/// Anonymous listeners count, and have no name to show.
fn written(members: &[Member]) -> Value {
    members
        .iter()
        .filter(|member| !member.user.is_anonymous())
        .map(|member| {
            json!({ "userId": member.user.as_str(), "status": member.status.as_str(), "joinedAt": iso(member.joined_ms) })
        })
        .collect()
}
