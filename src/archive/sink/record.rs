//! One entry of an outbox, read: what happened, when, to whom and where. Whatever an entry holds becomes something that
//! Postgres takes; what cannot be read becomes an error that says so, since no entry may hold up those behind it.
//! Not here: which columns it goes to (`events`), what it changes (`projections`).

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// Longest text of a column that holds an id or a name, in characters.
pub(super) const TEXT_MAX: usize = 255;
/// Longest name of an event, in characters.
const KIND_MAX: usize = 100;
/// What is kept of an entry that cannot be read, in characters.
const EXCERPT_MAX: usize = 1_000;
/// The end of the year 9999, Unix ms.
const LATEST_MS: i64 = 253_402_300_799_999;

/// An entry as it stands in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The stream's id.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// A JSON object.
    pub what: String,
    /// Why Postgres does not take it, where that is known by now: then it becomes an error that says so.
    pub refused: Option<String>,
}

/// Where an entry stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Unix ms of Redis's clock.
    pub ms: u64,
    /// Which of that millisecond.
    pub seq: u64,
}

impl StreamId {
    /// `<ms>-<seq>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, seq) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    }

    /// Its time, as far as Postgres and a calendar can hold it; Unix ms.
    pub(super) fn at_ms(self) -> i64 {
        i64::try_from(self.ms).unwrap_or(LATEST_MS).min(LATEST_MS)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    /// A connection whose transport was lost is back.
    Regained,
    Lost,
    Disconnect,
    Status,
    /// What a user chose, where nobody sees that it changed.
    Presence,
    RoomCreated,
    RoomKept,
    /// Its type, visibility or bound.
    RoomChanged,
    RoomClosed,
    Join,
    Leave,
    /// A role, a mute, or the end of a mute or ban.
    Policy,
    Kick,
    Ban,
    Message,
    Restored,
    /// Changes nothing beside that it happened.
    Other,
}

impl Kind {
    fn of(kind: &str) -> Self {
        match kind {
            "connect" => Self::Connect,
            "regained" => Self::Regained,
            "lost" => Self::Lost,
            "disconnect" => Self::Disconnect,
            "status" => Self::Status,
            "presence" => Self::Presence,
            "room_created" => Self::RoomCreated,
            "room_kept" => Self::RoomKept,
            "room_changed" => Self::RoomChanged,
            "room_closed" => Self::RoomClosed,
            "join" => Self::Join,
            "leave" => Self::Leave,
            "role" | "mute" | "unmute" | "unban" => Self::Policy,
            "kick" => Self::Kick,
            "ban" => Self::Ban,
            "message" => Self::Message,
            "restored" => Self::Restored,
            _ => Self::Other,
        }
    }

    /// Whether it is a row of `realtime_events`: the others are steps of what is one, or of the archive itself.
    pub fn is_event(self) -> bool {
        !matches!(
            self,
            Self::Regained | Self::Lost | Self::Presence | Self::RoomKept | Self::Message | Self::Restored
        )
    }
}

/// A record. Every text in it is one that Postgres takes, and fits its column.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub id: StreamId,
    pub kind: Kind,
    /// What the event is called.
    pub event_type: String,
    /// It is written whichever events are chosen: the trail would lack something, and not say so.
    pub is_forced: bool,
    pub at_ms: i64,
    pub user: Option<String>,
    pub room: Option<String>,
    /// The gateway's name of the connection.
    pub connection: Option<String>,
    /// The socket's id, as its client knows it.
    pub socket: Option<String>,
    pub node: Option<String>,
    pub ip: Option<IpAddr>,
    /// Everything else.
    pub rest: Map<String, Value>,
}

impl Record {
    /// Reads an entry that stands at `id`.
    pub fn read(id: StreamId, entry: &Entry) -> Self {
        if let Some(why) = &entry.refused {
            return Self::unreadable(id, entry, "REFUSED", Some(why));
        }
        match serde_json::from_str(&entry.what) {
            Ok(Value::Object(fields)) if !entry.kind.is_empty() => Self::of(id, &entry.kind, fields),
            _ => Self::unreadable(id, entry, "UNREADABLE", None),
        }
    }

    fn of(id: StreamId, kind: &str, fields: Map<String, Value>) -> Self {
        let mut fields = cleaned_fields(fields);
        let at_ms = fields.remove("at").as_ref().and_then(whole);
        let mut text = |name: &str| {
            let text = fields.get(name)?.as_str().map(|text| shortened(text, TEXT_MAX))?;
            fields.remove(name);
            (!text.is_empty()).then_some(text)
        };
        let (user, room) = (text("user"), text("room"));
        let (connection, socket, node) = (text("conn"), text("socket"), text("node"));
        let ip = fields.get("ip").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
        if ip.is_some() {
            fields.remove("ip");
        }
        let event_type = match kind {
            "status" => "status_change".to_owned(),
            kind => shortened(&cleaned(kind.to_owned()), KIND_MAX),
        };
        Self {
            id,
            kind: Kind::of(kind),
            event_type,
            is_forced: false,
            at_ms: at_ms
                .filter(|at_ms| (0..=LATEST_MS).contains(at_ms))
                .unwrap_or(id.at_ms()),
            user,
            room,
            connection,
            socket,
            node,
            ip,
            rest: fields,
        }
    }

    /// An entry that is no record, or none that Postgres takes: what is known of it.
    fn unreadable(id: StreamId, entry: &Entry, code: &str, why: Option<&str>) -> Self {
        let excerpt = |text: &str| shortened(&cleaned(text.to_owned()), EXCERPT_MAX);
        let mut rest = json!({
            "code": code, "count": 1, "kind": excerpt(&entry.kind), "excerpt": excerpt(&entry.what),
        });
        if let Some(why) = why {
            rest["why"] = excerpt(why).into();
        }
        let Value::Object(rest) = rest else {
            unreachable!("it was written as an object")
        };
        Self {
            id,
            kind: Kind::Other,
            event_type: "error".to_owned(),
            is_forced: true,
            at_ms: id.at_ms(),
            user: None,
            room: None,
            connection: None,
            socket: None,
            node: None,
            ip: None,
            rest,
        }
    }

    /// A text of the rest, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.rest.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A whole number of the rest.
    pub fn whole(&self, name: &str) -> Option<i64> {
        self.rest.get(name).and_then(whole)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.rest.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// A whole number, also one that Lua wrote with a fraction or as a text.
pub(super) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number.round() as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// At most so many characters.
pub(super) fn shortened(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// Postgres has no place for U+0000 in a text.
pub(super) fn cleaned(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// The same of every text in a value.
pub(super) fn cleaned_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cleaned(text)),
        Value::Array(items) => items.into_iter().map(cleaned_value).collect(),
        Value::Object(fields) => Value::Object(cleaned_fields(fields)),
        plain => plain,
    }
}

fn cleaned_fields(mut fields: Map<String, Value>) -> Map<String, Value> {
    if fields.keys().any(|key| key.contains('\0')) {
        return fields
            .into_iter()
            .map(|(key, value)| (cleaned(key), cleaned_value(value)))
            .collect();
    }
    for value in fields.values_mut() {
        *value = cleaned_value(value.take());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, what: &str) -> Record {
        let id = StreamId {
            ms: 1_700_000_000_000,
            seq: 3,
        };
        let entry = Entry {
            id: id.to_string(),
            kind: kind.to_owned(),
            what: what.to_owned(),
            refused: None,
        };
        Record::read(id, &entry)
    }

    #[test]
    fn what_has_a_column_is_taken_out_of_the_rest() {
        let record = read(
            "connect",
            r#"{"at":1700000000005,"user":"ann","conn":"p.1","socket":"s","node":"n","ip":"192.0.2.1","transport":"websocket"}"#,
        );
        assert_eq!(record.at_ms, 1_700_000_000_005);
        assert_eq!(record.user.as_deref(), Some("ann"));
        assert_eq!(record.connection.as_deref(), Some("p.1"));
        assert_eq!(record.ip, "192.0.2.1".parse().ok());
        assert_eq!(Value::Object(record.rest), json!({"transport": "websocket"}));
    }

    #[test]
    fn what_postgres_would_refuse_is_replaced_or_shortened() {
        let long = "ü".repeat(300);
        let record = read(
            "join\0",
            &format!(
                r#"{{"user":"a\u0000b","room":"{long}","ip":"nowhere","deep":{{"k\u0000":["\u0000"]}},"at":1e300}}"#
            ),
        );
        assert_eq!(record.event_type, "join\u{fffd}");
        assert_eq!(record.user.as_deref(), Some("a\u{fffd}b"));
        assert_eq!(record.room.as_deref(), Some(&*"ü".repeat(255)));
        assert_eq!(
            record.at_ms, 1_700_000_000_000,
            "a time that is none is that of the stream"
        );
        assert_eq!(record.rest["ip"], "nowhere");
        assert_eq!(record.rest["deep"]["k\u{fffd}"][0], "\u{fffd}");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_so() {
        for (kind, what) in [
            ("join", "no JSON"),
            ("join", "[]"),
            ("", "{}"),
            ("join", r#"{"user":"\ud800"}"#),
            ("join", &"[".repeat(100_000)),
        ] {
            let record = read(kind, what);
            assert_eq!((&*record.event_type, record.is_forced), ("error", true), "{what:.20}");
            assert_eq!(record.rest["code"], "UNREADABLE");
            assert_eq!(record.rest["kind"], kind);
        }
    }

    #[test]
    fn kinds_that_are_not_known_are_events_by_their_names() {
        let record = read("levitated", r#"{"user":"ann","height":3}"#);
        assert_eq!((&*record.event_type, record.kind.is_event()), ("levitated", true));
        assert_eq!(record.rest["height"], 3);
    }

    #[test]
    fn ids_are_compared_as_numbers() {
        let id = |text| StreamId::parse(text).unwrap();
        assert!(id("9-10") < id("10-0") && id("9-2") < id("9-10"));
        assert_eq!(StreamId::parse("9"), None);
        assert_eq!(id("7-1").to_string(), "7-1");
    }
}
