//! Reads what clients send: strict types, named fields, bounds. Not here: whether somebody may do it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::protocol::Failure;
use crate::config::Profile;
use crate::domain::moderation::REASON_MAX_BYTES;
use crate::domain::rooms::Since;
use crate::types::{RoomName, UserId};

/// Longest `threadId` and `replyTo`, in bytes.
const REFERENCE_MAX_BYTES: usize = 255;
/// Longest `roomType` that is echoed, in bytes.
const ROOM_TYPE_MAX_BYTES: usize = 32;
/// Longest `clientMessageId`, in bytes.
const CLIENT_MESSAGE_ID_MAX_BYTES: usize = 128;
/// Longest date, in bytes.
const DATE_MAX_BYTES: usize = 64;
/// Longest `type` of a message that nchat sends, in bytes.
const MESSAGE_TYPE_MAX_BYTES: usize = 32;
/// Lists that nchat sends beside a message.
const MESSAGE_LISTS: [&str; 2] = ["attachments", "mentions"];
/// Largest `metadata`, in bytes of JSON.
pub const METADATA_MAX_BYTES: usize = 16 * 1024;
/// Longest custom status text, in bytes.
const STATUS_TEXT_MAX_BYTES: usize = 1_024;
/// Longest custom emoji, in bytes; the archive's column holds 100 characters.
const EMOJI_MAX_BYTES: usize = 100;

/// Longest epoch, in bytes.
const EPOCH_MAX_BYTES: usize = 64;
/// Largest number of a message: JavaScript and Lua have no larger whole ones.
const SEQ_MAX: u64 = (1 << 53) - 1;

/// An event's name and its first argument.
#[derive(Debug)]
pub struct Incoming<'a> {
    pub name: String,
    payload: Option<&'a RawValue>,
    profile: Option<Profile>,
}

impl<'a> Incoming<'a> {
    /// Reads the JSON array of an event. `None`: it has no name.
    pub fn parse(args: &'a str) -> Option<Self> {
        let args: Vec<&RawValue> = serde_json::from_str(args).ok()?;
        let name = serde_json::from_str(args.first()?.get()).ok()?;
        Some(Self {
            name,
            payload: args.get(1).copied(),
            profile: None,
        })
    }

    /// The same, in the words of a profile.
    pub fn in_words_of(self, profile: Option<Profile>) -> Self {
        Self { profile, ..self }
    }

    /// The payload as an object; whatever else it is, is an error.
    pub fn object(&self) -> Result<Fields, Failure> {
        let rule = "must be an object";
        let raw = self.payload.ok_or_else(|| Failure::field("payload", rule))?;
        match serde_json::from_str(raw.get()) {
            Ok(Value::Object(fields)) => Ok(self.fields(fields)),
            Ok(_) => Err(Failure::field("payload", rule)),
            // The engine lets through what looks like JSON: half a surrogate pair is left, and depth beyond all need.
            Err(_) => Err(Failure::field("payload", "is no valid JSON, or nested too deeply")),
        }
    }

    /// The payload where it may be left out.
    pub fn optional_object(&self) -> Result<Fields, Failure> {
        match self.payload {
            None => Ok(self.fields(Map::new())),
            Some(raw) if raw.get() == "null" => Ok(self.fields(Map::new())),
            Some(_) => self.object(),
        }
    }

    fn fields(&self, fields: Map<String, Value>) -> Fields {
        Fields {
            fields,
            profile: self.profile,
        }
    }
}

/// The fields of a payload. `null` is the same as missing.
#[derive(Debug)]
pub struct Fields {
    fields: Map<String, Value>,
    profile: Option<Profile>,
}

impl Fields {
    /// The fields of a field.
    fn inner(&self, fields: Map<String, Value>) -> Self {
        Self {
            fields,
            profile: self.profile,
        }
    }

    fn is_nchats(&self) -> bool {
        self.profile == Some(Profile::Nchat)
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, field: &str) -> Result<String, Failure> {
        match self.take(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Failure::field(field, "must be a string")),
            None => Err(Failure::field(field, "is missing")),
        }
    }

    pub fn optional_text(&mut self, field: &str, max_bytes: usize) -> Result<Option<String>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= max_bytes => Ok(Some(text)),
            Some(Value::String(_)) => Err(Failure::field(field, format_args!("must be at most {max_bytes} bytes"))),
            Some(_) => Err(Failure::field(field, "must be a string")),
        }
    }

    fn reference(&mut self, field: &str, max_bytes: usize) -> Result<Option<String>, Failure> {
        let text = self.optional_text(field, max_bytes)?.filter(|text| !text.is_empty());
        match text {
            Some(text) if text.chars().any(char::is_control) => {
                Err(Failure::field(field, "must not contain control characters"))
            }
            text => Ok(text),
        }
    }

    /// `roomName`; nchat's queue says `channelId` instead.
    pub fn room(&mut self) -> Result<RoomName, Failure> {
        let is_given = |fields: &Self, name| fields.fields.get(name).is_some_and(|value| !value.is_null());
        if self.is_nchats() && !is_given(self, "roomName") && is_given(self, "channelId") {
            let id = self.text("channelId")?;
            if id.is_empty() {
                return Err(Failure::field("channelId", "must not be empty"));
            }
            return RoomName::parse(&format!("channel:{id}")).map_err(|rule| Failure::field("channelId", rule));
        }
        let name = self.text("roomName")?;
        RoomName::parse(&name).map_err(|rule| Failure::field("roomName", rule))
    }

    pub fn thread(&mut self) -> Result<Option<String>, Failure> {
        self.reference("threadId", REFERENCE_MAX_BYTES)
    }

    pub fn reply_to(&mut self) -> Result<Option<String>, Failure> {
        self.reference("replyTo", REFERENCE_MAX_BYTES)
    }

    pub fn room_type(&mut self) -> Result<Option<String>, Failure> {
        self.reference("roomType", ROOM_TYPE_MAX_BYTES)
    }

    pub fn client_message_id(&mut self) -> Result<Option<String>, Failure> {
        let id = self.optional_text("clientMessageId", CLIENT_MESSAGE_ID_MAX_BYTES)?;
        if id.as_deref() == Some("") {
            Err(Failure::field("clientMessageId", "must not be empty"))
        } else {
            Ok(id)
        }
    }

    /// `metadata` as JSON text. What nchat's queue sends beside it goes into it, since that is what reaches the others.
    pub fn metadata(&mut self) -> Result<Option<String>, Failure> {
        let mut metadata = match self.take("metadata") {
            None => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(_) => return Err(Failure::field("metadata", "must be an object")),
        };
        if self.is_nchats() {
            let beside = self.beside()?;
            if !beside.is_empty() {
                let metadata = metadata.get_or_insert_default();
                for (field, value) in beside {
                    metadata.entry(field).or_insert(value);
                }
            }
        }
        Ok(metadata.map(|metadata| Value::Object(metadata).to_string()))
    }

    /// `type`, `attachments` and `mentions` of a message.
    fn beside(&mut self) -> Result<Vec<(&'static str, Value)>, Failure> {
        let mut beside = Vec::new();
        if let Some(kind) = self.optional_text("type", MESSAGE_TYPE_MAX_BYTES)? {
            beside.push(("type", kind.into()));
        }
        for field in MESSAGE_LISTS {
            match self.take(field) {
                None => {}
                Some(list @ Value::Array(_)) => beside.push((field, list)),
                Some(_) => return Err(Failure::field(field, "must be a list")),
            }
        }
        Ok(beside)
    }

    pub fn users(&mut self, max: usize) -> Result<Vec<UserId>, Failure> {
        let Some(Value::Array(ids)) = self.take("userIds") else {
            return Err(Failure::field("userIds", "must be a list of strings"));
        };
        if ids.len() > max {
            return Err(Failure::field("userIds", format_args!("must be at most {max} ids")));
        }
        ids.iter()
            .map(|id| {
                let id = id
                    .as_str()
                    .ok_or_else(|| Failure::field("userIds", "must be a list of strings"))?;
                UserId::parse(id).map_err(|rule| Failure::field("userIds", format_args!("has an id that {rule}")))
            })
            .collect()
    }

    /// `userId`: whom an act is about.
    pub fn user(&mut self) -> Result<UserId, Failure> {
        let user = self.text("userId")?;
        UserId::parse(&user).map_err(|rule| Failure::field("userId", rule))
    }

    pub fn reason(&mut self) -> Result<Option<String>, Failure> {
        self.optional_text("reason", REASON_MAX_BYTES)
    }

    /// `until`: an ISO-8601 date, as Unix ms.
    pub fn until(&mut self) -> Result<Option<i64>, Failure> {
        let Some(text) = self.optional_text("until", DATE_MAX_BYTES)? else {
            return Ok(None);
        };
        let date = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond);
        match date {
            Ok(ms) if ms > 0 => Ok(Some(ms)),
            Ok(_) => Err(Failure::field("until", "must be in the future")),
            Err(_) => Err(Failure::field("until", "must be an ISO-8601 date")),
        }
    }

    /// A whole number from 1 to `max`; `default` where it is missing.
    pub fn limit(&mut self, default: u32, max: u32) -> Result<u32, Failure> {
        match self.take("limit") {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|limit| u32::try_from(limit).ok())
                .filter(|limit| (1..=max).contains(limit))
                .ok_or_else(|| Failure::field("limit", format_args!("must be a whole number from 1 to {max}"))),
        }
    }

    /// A place in a room's order.
    pub fn optional_seq(&mut self, field: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let seq = value.as_u64().filter(|seq| *seq <= SEQ_MAX);
        seq.map(Some)
            .ok_or_else(|| Failure::field(field, "must be a whole number from 0"))
    }

    /// `since`: how far the client has heard the room before.
    pub fn since(&mut self) -> Result<Option<Since>, Failure> {
        let mut since = match self.take("since") {
            None => return Ok(None),
            Some(Value::Object(fields)) => self.inner(fields),
            Some(_) => return Err(Failure::field("since", "must be an object of epoch and seq")),
        };
        let inner = |failure: Failure| Failure::field("since", failure.message);
        let epoch = since.text("epoch").map_err(inner)?;
        if epoch.is_empty() || epoch.len() > EPOCH_MAX_BYTES {
            return Err(Failure::field(
                "since",
                format_args!("epoch must be 1 to {EPOCH_MAX_BYTES} bytes"),
            ));
        }
        let seq = since.optional_seq("seq").map_err(inner)?;
        let seq = seq.ok_or_else(|| Failure::field("since", "seq is missing"))?;
        Ok(Some(Since { epoch, seq }))
    }

    /// A number, as it came.
    pub fn optional_number(&mut self, field: &str) -> Result<Option<serde_json::Number>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(Failure::field(field, "must be a number")),
        }
    }

    /// `customStatus`: an object of text, emoji and end, or nothing.
    pub fn custom_status(&mut self) -> Result<CustomStatus, Failure> {
        let mut custom = match self.take("customStatus") {
            None => return Ok(CustomStatus::default()),
            Some(Value::Object(fields)) => self.inner(fields),
            Some(_) => return Err(Failure::field("customStatus", "must be an object")),
        };
        let inner = |failure: Failure| Failure::field("customStatus", failure.message);
        Ok(CustomStatus {
            text: custom
                .optional_text("text", STATUS_TEXT_MAX_BYTES)
                .map_err(inner)?
                .filter(|text| !text.is_empty()),
            emoji: custom
                .optional_text("emoji", EMOJI_MAX_BYTES)
                .map_err(inner)?
                .filter(|emoji| !emoji.is_empty()),
            until_ms: custom.take("expiresAt").map(instant).transpose()?,
        })
    }
}

/// What stands beside a status.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CustomStatus {
    pub text: Option<String>,
    pub emoji: Option<String>,
    /// Unix ms.
    pub until_ms: Option<i64>,
}

/// A date as JavaScript writes it, or Unix ms.
fn instant(value: Value) -> Result<i64, Failure> {
    let ms = match &value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
        Value::Number(number) => number.as_i64(),
        _ => None,
    };
    ms.filter(|&ms| ms > 0 && ms < 1 << 52)
        .ok_or_else(|| Failure::field("customStatus", "expiresAt must be an ISO-8601 date"))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::ErrorCode;
    use super::*;

    fn room(args: &str) -> Result<RoomName, Failure> {
        Incoming::parse(args).expect("an event").object()?.room()
    }

    #[test]
    fn a_bad_payload_names_the_field() {
        for (args, field) in [
            (r#"["e"]"#, "payload"),
            (r#"["e",null]"#, "payload"),
            (r#"["e","x"]"#, "payload"),
            (r#"["e",["x"]]"#, "payload"),
            (r#"["e",{}]"#, "roomName"),
            (r#"["e",{"roomName":null}]"#, "roomName"),
            (r#"["e",{"roomName":7}]"#, "roomName"),
            (r#"["e",{"roomName":""}]"#, "roomName"),
            (r#"["e",{"roomName":"a\u0000b"}]"#, "roomName"),
        ] {
            let failure = room(args).expect_err(args);
            assert_eq!(failure.code, ErrorCode::InvalidPayload, "{args}");
            assert_eq!(failure.details, Some(serde_json::json!({ "field": field })), "{args}");
            assert!(failure.message.starts_with(field), "{}", failure.message);
        }
        assert!(room(&format!(r#"["e",{{"roomName":"{}"}}]"#, "x".repeat(256))).is_err());
        assert!(room(&format!(r#"["e",{{"roomName":"{}"}}]"#, "x".repeat(255))).is_ok());
    }

    fn nchats(args: &str) -> Fields {
        let incoming = Incoming::parse(args).expect("an event");
        incoming.in_words_of(Some(Profile::Nchat)).object().expect("an object")
    }

    #[test]
    fn nchats_channel_is_a_room() {
        for (args, name) in [
            (r#"["e",{"channelId":"7"}]"#, "channel:7"),
            (r#"["e",{"channelId":"7","roomName":null}]"#, "channel:7"),
            (r#"["e",{"channelId":"7","roomName":"thread:8"}]"#, "thread:8"),
        ] {
            assert_eq!(nchats(args).room().expect(args).as_str(), name);
        }
        for (args, field) in [
            (r#"["e",{"channelId":7}]"#, "channelId"),
            (r#"["e",{"channelId":""}]"#, "channelId"),
            (r#"["e",{"channelId":"7","roomName":""}]"#, "roomName"),
            (r#"["e",{}]"#, "roomName"),
        ] {
            let failure = nchats(args).room().expect_err(args);
            assert_eq!(failure.details, Some(serde_json::json!({ "field": field })), "{args}");
        }
        let failure = room(r#"["e",{"channelId":"7"}]"#).expect_err("without the profile it is no room");
        assert_eq!(failure.details, Some(serde_json::json!({ "field": "roomName" })));
    }

    #[test]
    fn what_nchat_says_beside_a_message_is_metadata() {
        let said = |args: &str| -> Option<Value> {
            let text = nchats(args).metadata().expect(args)?;
            Some(serde_json::from_str(&text).expect("it is JSON"))
        };
        let all =
            r#"["e",{"type":"image","attachments":[{"id":"a"}],"mentions":["bob"],"metadata":{"type":"own","x":1}}]"#;
        assert_eq!(
            said(all),
            Some(serde_json::json!({ "type": "own", "x": 1, "attachments": [{"id": "a"}], "mentions": ["bob"] }))
        );
        assert_eq!(
            said(r#"["e",{"type":"text","attachments":null}]"#),
            Some(serde_json::json!({ "type": "text" }))
        );
        assert_eq!(said(r#"["e",{"content":"x"}]"#), None);
        let wrong = nchats(r#"["e",{"mentions":"bob"}]"#).metadata().expect_err("no list");
        assert_eq!(wrong.details, Some(serde_json::json!({ "field": "mentions" })));
        let plain = Incoming::parse(all)
            .expect("an event")
            .object()
            .expect("an object")
            .metadata();
        assert_eq!(plain.expect("valid").as_deref(), Some(r#"{"type":"own","x":1}"#));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(
            r#"["e",{{"roomName":"r","metadata":{}1{}}}]"#,
            r#"{"a":"#.repeat(1_000),
            "}".repeat(1_000)
        );
        assert_eq!(room(&deep).expect_err("too deep").code, ErrorCode::InvalidPayload);
    }

    #[test]
    fn a_custom_status_is_read_whole() {
        let args = r#"["e",{"customStatus":{"text":"Lunch","emoji":"🍔","expiresAt":"2026-01-30T12:00:00.000Z"}}]"#;
        let custom = Incoming::parse(args)
            .expect("an event")
            .object()
            .expect("an object")
            .custom_status()
            .expect("valid");
        let until_ms = Some(1_769_774_400_000);
        assert_eq!(
            custom,
            CustomStatus {
                text: Some("Lunch".into()),
                emoji: Some("🍔".into()),
                until_ms
            }
        );
    }
}
