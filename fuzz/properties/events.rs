//! What a client says to the gateway: Socket.IO packets, and the payloads of the events in them. The input is a row of
//! Engine.IO messages, separated like a polling payload; one that begins with `b` is binary, the rest of it as it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use nself_realtime::config::Profile;
use nself_realtime::domain::offset::Offset;
use nself_realtime::engine::packet::{self, Decoder, Limits, Packet, PacketData};
use nself_realtime::engine::{Event, Message};
use nself_realtime::gateway::outgoing::message_body;
use nself_realtime::gateway::payload::{Fields, Incoming};
use nself_realtime::gateway::protocol::{ErrorCode, Failure};
use nself_realtime::types::{ROOM_NAME_MAX_BYTES, USER_ID_MAX_BYTES, UserId};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits {
    attachments: 3,
    attachment_bytes: 100,
};
const SEPARATOR: u8 = 0x1E;
/// Users that one call names.
const USERS: usize = 4;
/// Longest error that a client is told, in bytes of JSON; it repeats nothing of what came.
const FAILURE_BYTES: usize = 300;

type Reader = fn(&mut Fields) -> Result<(), Failure>;

/// Every field of every event, with what holds when it was read.
const READERS: &[(&str, Reader)] = &[
    ("roomName", |fields| {
        fields.room().map(|room| plain(room.as_str(), ROOM_NAME_MAX_BYTES))
    }),
    ("userId", |fields| {
        fields.user().map(|user| plain(user.as_str(), USER_ID_MAX_BYTES))
    }),
    ("userIds", |fields| {
        fields.users(USERS).map(|users| {
            assert!(users.len() <= USERS);
            users.iter().for_each(|user| plain(user.as_str(), USER_ID_MAX_BYTES));
        })
    }),
    ("threadId", |fields| fields.thread().map(|text| optional(text, 255))),
    ("replyTo", |fields| fields.reply_to().map(|text| optional(text, 255))),
    ("roomType", |fields| fields.room_type().map(|text| optional(text, 32))),
    ("clientMessageId", |fields| {
        fields.client_message_id().map(|id| {
            let id = id.unwrap_or_else(|| "none".to_owned());
            assert!((1..=128).contains(&id.len()));
        })
    }),
    ("cursor", |fields| {
        fields
            .optional_text("cursor", 9)
            .map(|text| assert!(text.unwrap_or_default().len() <= 9))
    }),
    ("reason", |fields| {
        fields
            .reason()
            .map(|text| assert!(text.unwrap_or_default().len() <= 500))
    }),
    ("content", |fields| fields.text("content").map(drop)),
    ("token", |fields| fields.text("token").map(drop)),
    ("role", |fields| fields.text("role").map(drop)),
    ("status", |fields| fields.text("status").map(drop)),
    ("until", |fields| {
        fields.until().map(|ms| assert!(ms.is_none_or(|ms| ms > 0)))
    }),
    ("limit", |fields| {
        fields.limit(5, 50).map(|limit| assert!((1..=50).contains(&limit)))
    }),
    ("beforeSeq", |fields| fields.optional_seq("beforeSeq").map(safe_seq)),
    ("afterSeq", |fields| fields.optional_seq("afterSeq").map(safe_seq)),
    ("timestamp", |fields| fields.optional_number("timestamp").map(drop)),
    ("metadata", |fields| {
        fields.metadata().map(|json| {
            let json = json.unwrap_or_else(|| "{}".to_owned());
            assert!(
                serde_json::from_str::<&RawValue>(&json).is_ok_and(|raw| raw.get().starts_with('{')),
                "{json}"
            );
        })
    }),
    ("since", |fields| {
        fields.since().map(|since| {
            let Some(since) = since else { return };
            assert!((1..=64).contains(&since.epoch.len()));
            safe_seq(Some(since.seq));
        })
    }),
    ("customStatus", |fields| {
        fields.custom_status().map(|custom| {
            assert!(custom.text.is_none_or(|text| (1..=1_024).contains(&text.len())));
            assert!(custom.emoji.is_none_or(|emoji| (1..=100).contains(&emoji.len())));
            assert!(custom.until_ms.is_none_or(|ms| ms > 0 && ms < 1 << 52));
        })
    }),
];

/// What the engine lets through the gateway can read; packets, written anew, are read as the same; a wrong field is named,
/// briefly; and what a client says cannot leave its place in the message that others get.
pub fn hold(data: &[u8]) {
    let mut decoder = Decoder::default();
    for message in data.split(|byte| *byte == SEPARATOR).filter_map(message) {
        if let Message::Text(text) = &message {
            connect(text);
        }
        match decoder.next(message, LIMITS) {
            Ok(Some(packet)) => packet_holds(packet),
            Ok(None) => {}
            // The connection ends.
            Err(_) => return,
        }
    }
}

fn message(bytes: &[u8]) -> Option<Message> {
    match bytes.strip_prefix(b"b") {
        Some(data) => Some(Message::Binary(Bytes::copy_from_slice(data))),
        // Text that is none is refused by the transport.
        None => std::str::from_utf8(bytes)
            .ok()
            .map(|text| Message::Text(text.to_owned().into())),
    }
}

/// How far a stock client says that it has heard.
fn connect(text: &str) {
    let auth: Option<Value> = text.strip_prefix('0').and_then(|json| serde_json::from_str(json).ok());
    let offset = auth
        .as_ref()
        .and_then(|auth| auth["offset"].as_str())
        .and_then(Offset::parse);
    if let Some(Offset::Positions(positions)) = offset {
        let text = positions.to_string();
        assert_eq!(Offset::parse(&text), Some(Offset::Positions(positions)), "{text}");
    }
}

fn packet_holds(packet: Packet) {
    let namespace = packet.ns.clone();
    let Some(event) = event(packet) else { return };
    assert!(event.attachments.len() <= LIMITS.attachments);
    assert!(event.attachments.iter().map(Bytes::len).sum::<usize>() <= LIMITS.attachment_bytes);
    let mut decoder = Decoder::default();
    let mut again = None;
    for message in write(&namespace, &event) {
        again = decoder.next(message, LIMITS).expect("what was a packet is one");
    }
    let again = again.expect("all attachments came");
    assert_eq!(again.ns, namespace, "written anew");
    assert_eq!(self::event(again).as_ref(), Some(&event), "written anew");
    let incoming = Incoming::parse(&event.args).expect("the engine lets through only what has a name");
    incoming_holds(&incoming);
    nchats_words_hold(&incoming.in_words_of(Some(Profile::Nchat)));
}

fn event(packet: Packet) -> Option<Event> {
    match packet.inner {
        PacketData::Event(payload, ack) | PacketData::BinaryEvent(payload, ack) => packet::event(payload, ack),
        _ => None,
    }
}

fn write(namespace: &str, event: &Event) -> Vec<Message> {
    let head = match event.attachments.len() {
        0 => "2".to_owned(),
        count => format!("5{count}-"),
    };
    let namespace = if namespace == "/" {
        String::new()
    } else {
        format!("{namespace},")
    };
    let ack = event.ack.map(|id| id.to_string()).unwrap_or_default();
    let text = Message::Text(format!("{head}{namespace}{ack}{}", event.args).into());
    let attachments = event.attachments.iter().cloned().map(Message::Binary);
    std::iter::once(text).chain(attachments).collect()
}

fn incoming_holds(incoming: &Incoming<'_>) {
    if let Err(failure) = incoming.optional_object() {
        names(&failure, "payload");
    }
    for (field, read) in READERS {
        match incoming.object() {
            Ok(mut fields) => {
                if let Err(failure) = read(&mut fields) {
                    names(&failure, field);
                }
            }
            Err(failure) => names(&failure, "payload"),
        }
    }
    if let Ok(mut fields) = incoming.object() {
        // Whatever is wrong with it was named above.
        let _is_said = said(&mut fields);
    }
}

/// In its words a room has two fields, and metadata four; whichever is wrong is named.
fn nchats_words_hold(incoming: &Incoming<'_>) {
    if let Ok(mut fields) = incoming.object() {
        if let Err(failure) = fields.room() {
            names_one_of(&failure, &["roomName", "channelId"]);
        }
        if let Err(failure) = fields.metadata() {
            names_one_of(&failure, &["metadata", "type", "attachments", "mentions"]);
        }
    }
    if let Ok(mut fields) = incoming.object() {
        // Whatever is wrong with it was named above.
        let _is_said = said(&mut fields);
    }
}

/// The message that others get is JSON, and each field holds what was said in it.
fn said(fields: &mut Fields) -> Result<(), Failure> {
    let (room, content) = (fields.room()?, fields.text("content")?);
    let (thread, reply_to, metadata) = (fields.thread()?, fields.reply_to()?, fields.metadata()?);
    let user = UserId::parse("alice \"}").expect("a user");
    let body = message_body(
        &room,
        &user,
        &content,
        thread.as_deref(),
        reply_to.as_deref(),
        metadata.as_deref(),
    ) + "}";
    let found: BTreeMap<&str, &RawValue> = serde_json::from_str(&body).expect("the body is an object without its end");
    let found: BTreeMap<&str, &str> = found.into_iter().map(|(name, raw)| (name, raw.get())).collect();
    let quoted = |text: &str| json!(text).to_string();
    let mut expected = BTreeMap::from([
        ("roomName", quoted(room.as_str())),
        ("content", quoted(&content)),
        ("userId", quoted(user.as_str())),
    ]);
    expected.extend(thread.map(|text| ("threadId", quoted(&text))));
    expected.extend(reply_to.map(|text| ("replyTo", quoted(&text))));
    expected.extend(metadata.map(|json| ("metadata", json)));
    assert!(
        found
            .iter()
            .map(|(name, raw)| (*name, *raw))
            .eq(expected.iter().map(|(name, raw)| (*name, raw.as_str()))),
        "{body}"
    );
    Ok(())
}

#[track_caller]
fn names_one_of(failure: &Failure, fields: &[&str]) {
    let is_named = |field: &&&str| failure.details == Some(json!({ "field": field }));
    let field = fields.iter().find(is_named);
    names(
        failure,
        field.unwrap_or_else(|| panic!("none of {fields:?}: {failure:?}")),
    );
}

#[track_caller]
fn names(failure: &Failure, field: &str) {
    assert_eq!(failure.code, ErrorCode::InvalidPayload);
    assert_eq!(failure.details, Some(json!({ "field": field })), "{failure:?}");
    assert!(failure.message.starts_with(field), "{failure:?}");
    let ack: Value = serde_json::from_str(&failure.ack()).expect("an ack is JSON");
    assert_eq!(ack[0]["error"]["details"]["field"], field);
    assert!(failure.ack().len() <= FAILURE_BYTES, "{failure:?}");
}

fn plain(text: &str, max: usize) {
    assert!(
        (1..=max).contains(&text.len()) && !text.chars().any(char::is_control),
        "{text:?}"
    );
}

fn optional(text: Option<String>, max: usize) {
    if let Some(text) = text {
        plain(&text, max);
    }
}

/// No larger than what JavaScript counts exactly.
fn safe_seq(seq: Option<u64>) {
    assert!(seq.is_none_or(|seq| seq < 1 << 53));
}
