//! Writes what the server says, once per event. Not here: to whom (`fanout`, `shard`).

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::metrics::label_of;
use super::protocol::{Failure, PROTOCOL_VERSION, outgoing as event};
use crate::config::CustomStatusShape;
use crate::engine::Frame;
use crate::hot::frame::Message;
use crate::types::{LeaveReason, Presence, RoomName, UserId};

/// ISO-8601 UTC with milliseconds, as JavaScript writes dates.
pub fn iso(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// Unix ms of this node's clock; only for what is no part of an order.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn frame(name: &str, payload: &Value) -> Frame {
    Frame::event(&json!([name, payload]).to_string()).labelled(label_of(name))
}

/// A JSON string, with its quotes.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// `connected`: the first thing that a socket hears; `lost` is why a session that it asked for is not recovered.
pub fn connected(socket_id: &str, recovered: bool, lost: Option<&str>) -> Frame {
    let mut payload = json!({
        "socketId": socket_id, "serverTime": iso(now_ms()), "protocolVersion": PROTOCOL_VERSION, "recovered": recovered,
    });
    if let Some(reason) = lost {
        payload["reason"] = reason.into();
    }
    frame(event::CONNECTED, &payload)
}

/// `authenticated`: who the socket is, and the user's live rooms.
pub fn authenticated(user: &UserId, session: &str, rooms: &[RoomName]) -> Frame {
    let rooms: Vec<&str> = rooms.iter().map(RoomName::as_str).collect();
    frame(
        event::AUTHENTICATED,
        &json!({ "userId": user.as_str(), "sessionId": session, "rooms": rooms }),
    )
}

/// `auth:error`: why a token is not, or no longer, believed.
pub fn auth_error(failure: &Failure) -> Frame {
    frame(
        event::AUTH_ERROR,
        &json!({ "code": failure.code, "message": failure.message }),
    )
}

/// `error`: a failure that no ack waits for.
pub fn error(failure: &Failure) -> Frame {
    frame(event::ERROR, &json!(failure))
}

/// `pong`: the server's time, Unix ms.
pub fn pong(now_ms: i64) -> Frame {
    frame(event::PONG, &json!({ "timestamp": now_ms }))
}

/// `server:draining`: the node goes away; come back after this many ms.
pub fn draining(reconnect_in_ms: u64) -> Frame {
    frame(event::SERVER_DRAINING, &json!({ "reconnectInMs": reconnect_in_ms }))
}

/// Anonymous users have no name on the wire.
fn named(user: &UserId) -> Option<&str> {
    Some(user.as_str()).filter(|_| !user.is_anonymous())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Membership<'a> {
    room_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    timestamp: String,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// `user:joined`: a user's first connection is in the room.
pub fn user_joined(room: &RoomName, user: &UserId, at_ms: i64, rev: u64) -> Frame {
    let (room_name, user_id, timestamp) = (room.as_str(), named(user), iso(at_ms));
    frame(
        event::USER_JOINED,
        &json!(Membership {
            room_name,
            user_id,
            timestamp,
            rev,
            reason: None
        }),
    )
}

/// `user:left`: a user's last connection is no longer in the room, and why.
pub fn user_left(room: &RoomName, user: &UserId, at_ms: i64, rev: u64, reason: LeaveReason) -> Frame {
    let (room_name, user_id, timestamp) = (room.as_str(), named(user), iso(at_ms));
    frame(
        event::USER_LEFT,
        &json!(Membership {
            room_name,
            user_id,
            timestamp,
            rev,
            reason: Some(reason.as_str())
        }),
    )
}

/// `room:count`: how many users a large room has.
pub fn room_count(room: &RoomName, members: u64) -> Frame {
    frame(
        event::ROOM_COUNT,
        &json!({ "roomName": room.as_str(), "memberCount": members }),
    )
}

/// The room's order has begun anew, or is not known from here on: the client reads members and history again.
pub fn room_reset(room: &RoomName, epoch: &str, seq: u64, rev: u64, reason: &str) -> Frame {
    let payload = json!({ "roomName": room.as_str(), "epoch": epoch, "seq": seq, "rev": rev, "reason": reason });
    frame(event::ROOM_RESET, &payload)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    room_name: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

/// A message's object without its end, for `messages/send.lua`; [`message_new`] completes it on every node.
pub fn message_body(
    room: &RoomName,
    user: &UserId,
    content: &str,
    thread: Option<&str>,
    reply_to: Option<&str>,
    metadata: Option<&str>,
) -> String {
    let metadata = metadata.map(|json| serde_json::from_str(json).expect("metadata is JSON that was written here"));
    let mut body = serde_json::to_string(&Body {
        room_name: room.as_str(),
        content,
        user_id: named(user),
        thread_id: thread,
        reply_to,
        metadata,
    })
    .expect("texts and JSON are always JSON");
    body.pop();
    body
}

/// A message's id: unique, since an epoch is random and a number is used once in it.
pub fn message_id(epoch: &str, seq: u64) -> String {
    format!("{epoch}-{seq}")
}

/// What the server adds to the object that [`message_body`] began, and its end.
fn message_end(message: &Message) -> String {
    format!(
        r#","messageId":"{epoch}-{seq}","epoch":"{epoch}","seq":{seq},"timestamp":"{at}"}}"#,
        epoch = message.epoch,
        seq = message.seq,
        at = iso(message.sent_ms)
    )
}

/// `message:new`, with an offset behind it for those who recover.
pub fn message_new(message: &Message, offset: Option<&str>) -> Frame {
    let mut end = message_end(message);
    if let Some(offset) = offset {
        end.push(',');
        end.push_str(&quoted(offset));
    }
    end.push(']');
    let name = format!(r#"["{}","#, event::MESSAGE_NEW);
    let parts = [name.as_bytes(), message.body.as_bytes(), end.as_bytes()];
    Frame::event_parts(&parts).labelled(label_of(event::MESSAGE_NEW))
}

/// Payloads of `message:new` as one JSON list, for acks.
pub fn messages(messages: &[Message]) -> String {
    let mut list = String::from("[");
    for message in messages {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&message.body);
        list.push_str(&message_end(message));
    }
    list.push(']');
    list
}

/// An event that the gateway has no part in; `payload` is JSON.
pub fn emitted(event: &str, payload: &str) -> Frame {
    let name = format!("[{},", quoted(event));
    Frame::event_parts(&[name.as_bytes(), payload.as_bytes(), b"]"]).labelled(label_of(event))
}

/// `typing:event`: who types now, with the start of each, Unix ms.
pub fn typing_event(room: &RoomName, thread: Option<&str>, room_type: Option<&str>, users: &[(UserId, i64)]) -> Frame {
    let users: Vec<Value> = users
        .iter()
        .map(|(user, started_ms)| json!({ "userId": user.as_str(), "startedAt": iso(*started_ms) }))
        .collect();
    let mut payload = json!({ "roomName": room.as_str(), "users": users });
    if let Some(thread) = thread {
        payload["threadId"] = thread.into();
    }
    if let Some(room_type) = room_type {
        payload["roomType"] = room_type.into();
    }
    frame(event::TYPING_EVENT, &payload)
}

/// One user's presence, as every event and answer writes it.
pub fn presence(user: &UserId, presence: &Presence, shape: CustomStatusShape) -> Value {
    let (text, emoji) = (presence.text.as_deref(), presence.emoji.as_deref());
    let mut written = json!({ "userId": user.as_str(), "status": presence.status.as_str() });
    match shape {
        CustomStatusShape::Flat => {
            written["customStatus"] = text.into();
            written["customEmoji"] = emoji.into();
        }
        CustomStatusShape::Object => {
            let mut custom = json!({});
            if let Some(text) = text {
                custom["text"] = text.into();
            }
            if let Some(emoji) = emoji {
                custom["emoji"] = emoji.into();
            }
            written["customStatus"] = custom;
        }
    }
    if let Some(seen_ms) = presence.seen_ms {
        written["lastSeen"] = iso(seen_ms).into();
    }
    written
}

/// `presence:changed`: how a user is now.
pub fn presence_changed(user: &UserId, changed: &Presence, shape: CustomStatusShape) -> Frame {
    frame(event::PRESENCE_CHANGED, &presence(user, changed, shape))
}

/// `presence:bulk`: presences as [`presence`] writes them.
pub fn presence_bulk(presences: &[Value]) -> Frame {
    frame(event::PRESENCE_BULK, &json!({ "presences": presences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_milliseconds_and_a_z() {
        assert_eq!(iso(1_769_774_400_000), "2026-01-30T12:00:00.000Z");
        assert_eq!(iso(1_769_774_400_007), "2026-01-30T12:00:00.007Z");
    }

    #[test]
    fn a_message_is_whole_json_after_both_halves() {
        let room = RoomName::parse("a\"b").expect("valid");
        let user = UserId::parse("u").expect("valid");
        let body = message_body(&room, &user, "hi\n", Some("t"), None, Some(r#"{"k":1}"#));
        let message = Message {
            epoch: "e".into(),
            seq: 1,
            sent_ms: 0,
            position: "aa.1".parse().expect("a position"),
            body,
        };
        let read: Value = serde_json::from_str(&messages(&[message.clone(), message])).expect("JSON");
        assert_eq!(read[1]["roomName"], "a\"b");
        assert_eq!(read[1]["metadata"]["k"], 1);
        assert_eq!(read[1]["messageId"], "e-1");
        assert_eq!(read[1]["seq"], 1);
    }
}
