//! Socket.IO packets on the wire. Reading is the core crates' parser plus what it leaves open: which attachments are awaited,
//! and whether an event's payload is an event's. Writing is ours, since frames are made finished, and CONNECT and CONNECT_ERROR
//! carry more than the core's.

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use socketioxide_core::Value;
pub use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::{Parse as _, ParseConfig, ParseError, ParserState};
use socketioxide_parser_common::CommonParser;

use super::{ConnectError, Event, Frame, Message};

/// The packets that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack(u64),
    ConnectError,
}

/// A packet's frame, to be followed by one for each attachment.
pub(super) fn frame(kind: Kind, namespace: &str, attachments: usize, json: &str) -> Frame {
    let digit = match (kind, attachments) {
        (Kind::Connect, _) => '0',
        (Kind::Disconnect, _) => '1',
        (Kind::Event, 0) => '2',
        (Kind::Ack(_), 0) => '3',
        (Kind::ConnectError, _) => '4',
        (Kind::Event, _) => '5',
        (Kind::Ack(_), _) => '6',
    };
    let mut head = format!("4{digit}");
    let written = (|| {
        if attachments > 0 {
            write!(head, "{attachments}-")?;
        }
        if namespace != "/" {
            write!(head, "{namespace},")?;
        }
        if let Kind::Ack(id) = kind {
            write!(head, "{id}")?;
        }
        fmt::Result::Ok(())
    })();
    written.expect("a string takes everything");
    Frame::text(&[head.as_bytes(), json.as_bytes()])
}

/// CONNECT's payload.
pub(super) fn connected(id: &str, pid: Option<&str>) -> String {
    match pid {
        Some(pid) => format!(r#"{{"sid":"{id}","pid":{}}}"#, quoted(pid)),
        None => format!(r#"{{"sid":"{id}"}}"#),
    }
}

/// CONNECT_ERROR's payload.
pub(super) fn connect_error(error: &ConnectError) -> String {
    let message = quoted(&error.message);
    match &error.data {
        Some(data) => format!(r#"{{"message":{message},"data":{data}}}"#),
        None => format!(r#"{{"message":{message}}}"#),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Puts one client's packets together from its messages; between packets it is one empty pointer.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A packet whose attachments are on their way.
    partial: Option<Box<ParserState>>,
}

/// Bounds of one packet's attachments.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub attachments: usize,
    /// Of all of them together.
    pub attachment_bytes: usize,
}

/// Why a message is no packet, and no part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    Malformed,
    TooLarge,
}

impl Decoder {
    /// Takes the next message. `None`: the packet's attachments are still to come.
    pub fn next(&mut self, message: Message, limits: Limits) -> Result<Option<Packet>, Violation> {
        let bounds = ParseConfig {
            max_incoming_binary_buf_size: limits.attachment_bytes,
            max_incoming_binaries: limits.attachments,
            ..ParseConfig::default()
        };
        let decoded = match message {
            Message::Binary(data) => match self.partial.as_deref() {
                Some(state) => CommonParser.decode_bin(&bounds, state, data),
                None => Err(ParseError::UnexpectedBinaryPacket),
            },
            Message::Text(_) if self.partial.is_some() => Err(ParseError::UnexpectedStringPacket),
            Message::Text(text) => {
                let state = ParserState::default();
                let decoded = CommonParser.decode_str(&bounds, &state, text);
                if matches!(decoded, Err(ParseError::NeedsMoreBinaryData)) {
                    self.partial = Some(Box::new(state));
                }
                decoded
            }
        };
        match decoded {
            Ok(packet) => {
                self.partial = None;
                Ok(Some(packet))
            }
            Err(ParseError::NeedsMoreBinaryData) => Ok(None),
            Err(ParseError::AttachmentsTooHeavy { .. }) => Err(Violation::TooLarge),
            Err(_) => Err(Violation::Malformed),
        }
    }
}

/// The event that an EVENT's or a BINARY_EVENT's payload is; `None`: it is none.
pub fn event(payload: Value, ack: Option<i64>) -> Option<Event> {
    let Value::Str(args, attachments) = payload else {
        return None;
    };
    let attachments: Vec<Bytes> = attachments.unwrap_or_default().into();
    is_event(&args, &attachments).then(|| Event {
        args: args.into(),
        attachments,
        ack: ack.and_then(|id| id.try_into().ok()),
    })
}

/// Whether a CONNECT's payload is a JSON object.
pub(super) fn is_object(json: &str) -> bool {
    let raw: Result<&RawValue, _> = serde_json::from_str(json);
    raw.is_ok_and(|raw| raw.get().starts_with('{'))
}

/// Whether an EVENT's payload is a well-formed array that begins with a string, and each of its placeholders names an attachment.
fn is_event(json: &str, attachments: &[Bytes]) -> bool {
    let is_shaped = serde_json::from_str::<EventShape>(json).is_ok();
    is_shaped && (attachments.is_empty() || has_all_attachments(json, attachments.len()))
}

fn has_all_attachments(json: &str, attachments: usize) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    value.is_ok_and(|value| holds(&value, attachments))
}

fn holds(value: &serde_json::Value, attachments: usize) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().all(|item| holds(item, attachments)),
        serde_json::Value::Object(fields) => match fields.get("_placeholder") {
            Some(serde_json::Value::Bool(true)) => {
                let num = fields.get("num").and_then(serde_json::Value::as_u64);
                num.is_some_and(|num| num < attachments as u64)
            }
            _ => fields.values().all(|field| holds(field, attachments)),
        },
        _ => true,
    }
}

/// An array that begins with a string; the rest is skipped, however deep it is.
struct EventShape;

impl<'de> Deserialize<'de> for EventShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = EventShape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array that begins with an event's name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<EventShape, A::Error> {
        let missing = || serde::de::Error::invalid_length(0, &self);
        items.next_element::<Name>()?.ok_or_else(missing)?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(EventShape)
    }
}

/// A string that nobody needs yet.
struct Name;

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyString;
        impl Visitor<'_> for AnyString {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<Name, E> {
                Ok(Name)
            }
        }
        deserializer.deserialize_str(AnyString)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.payload()).unwrap()
    }

    #[test]
    fn each_packet_is_written_as_the_protocol_says() {
        let at = |kind, namespace, attachments, json| text(&frame(kind, namespace, attachments, json)).to_owned();
        assert_eq!(at(Kind::Connect, "/", 0, "{}"), "40{}");
        assert_eq!(at(Kind::Disconnect, "/a", 0, ""), "41/a,");
        assert_eq!(at(Kind::Event, "/a", 0, "[1]"), "42/a,[1]");
        assert_eq!(at(Kind::Ack(12), "/", 0, "[1]"), "4312[1]");
        assert_eq!(at(Kind::Event, "/", 2, "[1]"), "452-[1]");
        assert_eq!(at(Kind::Ack(7), "/a", 1, "[1]"), "461-/a,7[1]");
        assert_eq!(at(Kind::ConnectError, "/a", 0, "{}"), "44/a,{}");
    }

    #[test]
    fn the_answers_to_connect_are_json() {
        assert_eq!(connected("x", None), r#"{"sid":"x"}"#);
        assert_eq!(connected("x", Some("\"")), r#"{"sid":"x","pid":"\""}"#);
        let error = ConnectError {
            message: "no \"entry\"".into(),
            data: Some(r#"{"code":1}"#.into()),
        };
        let json: serde_json::Value = serde_json::from_str(&connect_error(&error)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"message": "no \"entry\"", "data": {"code": 1}})
        );
    }

    #[test]
    fn an_event_begins_with_a_string() {
        let deep = format!(r#"["a",{}{}]"#, "[".repeat(10_000), "]".repeat(10_000));
        for good in [r#"["a"]"#, r#" ["a\n",1,{}] "#, r#"["",null]"#, deep.as_str()] {
            assert!(is_event(good, &[]), "{good}");
        }
        for bad in [
            "",
            "{}",
            "[]",
            "[1]",
            "[null]",
            "[{}]",
            "[[]]",
            r#"["a""#,
            r#"["a"]x"#,
            r#""a""#,
        ] {
            assert!(!is_event(bad, &[]), "{bad}");
        }
    }

    #[test]
    fn placeholders_name_attachments_that_are_there() {
        let one = [Bytes::from_static(b"x")];
        let with = |num: &str| format!(r#"["a",{{"b":[{{"_placeholder":true,"num":{num}}}]}}]"#);
        assert!(is_event(&with("0"), &one));
        for bad in ["1", "-1", "0.5", "\"0\"", "null"] {
            assert!(!is_event(&with(bad), &one), "{bad}");
        }
    }

    #[test]
    fn auth_is_an_object() {
        assert!(is_object("{}") && is_object(r#" {"token":"a"}"#));
        assert!(!is_object("[]") && !is_object("") && !is_object("{") && !is_object("1"));
    }
}
