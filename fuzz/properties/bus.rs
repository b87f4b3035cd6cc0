//! A frame of the bus. The input is what a channel of Redis brought.

use nself_realtime::config::CustomStatusShape;
use nself_realtime::gateway::Encoder;
use nself_realtime::hot::frame::{self, BusEvent, FRAME_MAX_BYTES, Message};
use nself_realtime::hot::presence;
use nself_realtime::hot::revocations::Subject;
use nself_realtime::types::{Presence, RoomName, UserId};
use serde_json::json;

/// An event that was read, written anew, is read as the same; it keeps no more than came; and what the gateway makes of it
/// can be made of every event.
pub fn hold(data: &[u8]) {
    let Some(event) = frame::decode(data) else { return };
    assert!(data.len() <= FRAME_MAX_BYTES);
    assert!(kept(&event) <= data.len(), "{event:?} is more than what came");
    let written = write(&event);
    assert_eq!(frame::decode(written.as_bytes()).as_ref(), Some(&event), "{written:?}");
    assert_eq!(written.as_bytes().first(), data.first(), "a frame of the same kind");
    // Several messages become events one by one.
    let is_of_a_room = !matches!(
        event,
        BusEvent::Messages(_) | BusEvent::Revoked(_) | BusEvent::Dismissed(_)
    );
    let room = RoomName::parse("lobby").expect("a name");
    for shape in [CustomStatusShape::Flat, CustomStatusShape::Object] {
        let encoder = Encoder {
            shape,
            tells_presence: true,
            recovers: true,
        };
        let delivery = encoder.room_delivery(room.clone(), event.clone(), Some("0a1b2c3d.1".to_owned()));
        assert_eq!(delivery.is_some(), is_of_a_room);
    }
}

fn message_len(message: &Message) -> usize {
    message.epoch.len() + message.position.master.len() + message.body.len()
}

/// Bytes of the texts that an event keeps.
fn kept(event: &BusEvent) -> usize {
    let user_len = |user: &UserId| user.as_str().len();
    let text_len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let presence_len = |presence: &Presence| text_len(&presence.text) + text_len(&presence.emoji);
    match event {
        BusEvent::Message(message) => message_len(message),
        BusEvent::Messages(messages) => messages.iter().map(message_len).sum(),
        BusEvent::Joined {
            epoch,
            origin,
            user,
            presence,
            ..
        } => epoch.len() + origin.len() + user_len(user) + presence_len(presence),
        BusEvent::Left {
            epoch, user, presence, ..
        } => epoch.len() + user_len(user) + presence.as_ref().map_or(0, presence_len),
        BusEvent::Presence {
            origin,
            user,
            rooms,
            presence,
        } => {
            let rooms: usize = rooms.iter().map(|room| room.as_str().len()).sum();
            text_len(origin) + user_len(user) + rooms + presence_len(presence)
        }
        BusEvent::Typing {
            thread,
            room_type,
            except,
            users,
        } => {
            let users: usize = users.iter().map(|(user, _)| user_len(user)).sum();
            text_len(thread) + text_len(room_type) + except.as_ref().map_or(0, user_len) + users
        }
        BusEvent::Revoked(revocation) => match &revocation.subject {
            Subject::User(user) => user_len(user),
            Subject::Token(token) => token.as_str().len(),
        },
        BusEvent::Closed { epoch, .. } => epoch.len(),
        BusEvent::Dismissed(connections) => connections.iter().map(|id| id.as_str().len()).sum(),
        BusEvent::Emitted {
            epoch,
            token,
            event,
            payload,
            ..
        } => epoch.len() + text_len(token) + event.len() + payload.len(),
        BusEvent::Interrupted | BusEvent::Restored { .. } | BusEvent::Count { .. } => 0,
    }
}

/// As the scripts write it.
fn write(event: &BusEvent) -> String {
    let blank = |text: &Option<String>| text.clone().unwrap_or_default();
    match event {
        BusEvent::Message(message) => write_message(message),
        BusEvent::Messages(messages) => {
            let frames: Vec<String> = messages.iter().map(write_message).collect();
            let lengths: Vec<String> = frames.iter().map(|frame| frame.len().to_string()).collect();
            format!("s {}\n{}", lengths.join(" "), frames.concat())
        }
        BusEvent::Joined {
            epoch,
            rev,
            at_ms,
            origin,
            user,
            presence,
        } => {
            let (version, json) = (presence.version, presence::encode(presence));
            format!("j {epoch} {rev} {at_ms} {version} {origin}\n{user}\n{json}")
        }
        BusEvent::Left {
            epoch,
            rev,
            at_ms,
            reason,
            user,
            presence,
        } => {
            let version = presence.as_ref().map_or(0, |presence| presence.version);
            let json = presence.as_ref().map(presence::encode).unwrap_or_default();
            format!("l {epoch} {rev} {at_ms} {version} {reason}\n{user}\n{json}")
        }
        BusEvent::Presence {
            origin,
            user,
            rooms,
            presence,
        } => {
            let origin = origin.as_deref().unwrap_or("-");
            let rooms: Vec<&str> = rooms.iter().map(RoomName::as_str).collect();
            let (version, json) = (presence.version, presence::encode(presence));
            format!("p {version} {origin}\n{user}\n{}\n{json}", json!(rooms))
        }
        BusEvent::Typing {
            thread,
            room_type,
            except,
            users,
        } => {
            let except = except.as_ref().map_or("", UserId::as_str);
            let users: Vec<_> = users.iter().map(|(user, ms)| json!([user.as_str(), ms])).collect();
            format!("t\n{}\n{}\n{except}\n{}", blank(thread), blank(room_type), json!(users))
        }
        BusEvent::Interrupted => "?".to_owned(),
        BusEvent::Restored { outage_ms } => format!("! {outage_ms}"),
        BusEvent::Count { members } => format!("c {members}"),
        BusEvent::Revoked(revocation) => {
            let (kind, id) = match &revocation.subject {
                Subject::User(user) => ("user", user.as_str()),
                Subject::Token(token) => ("token", token.as_str()),
            };
            format!("r {} {kind}\n{id}", revocation.at_ms)
        }
        BusEvent::Emitted {
            epoch,
            seq,
            rev,
            token,
            event,
            payload,
        } => {
            let token = token.as_deref().unwrap_or("-");
            format!("e {epoch} {seq} {rev} {token}\n{event}\n{payload}")
        }
        BusEvent::Dismissed(ids) => format!("d\n{}", ids.join("\n")),
        BusEvent::Closed { epoch, rev, at_ms } => format!("x {epoch} {rev} {at_ms}"),
    }
}

fn write_message(message: &Message) -> String {
    format!(
        "m {} {} {} {} token\n{}",
        message.epoch, message.seq, message.sent_ms, message.position, message.body
    )
}
