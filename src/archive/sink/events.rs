//! Rows of `realtime_events`: of a record, or of a gap in what an outbox brought; and their columns. Not here: which batch
//! they are in (`batch`).

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use tokio_postgres::types::ToSql;

use super::cells::{Json, Moment, Uuid};
use super::record::{Kind, Record, StreamId, cleaned_value};
use crate::archive::chain;

/// Milliseconds of a UTC day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// What a gap is called.
pub(super) const GAP: &str = "gap";

/// Days since 1970-01-01.
pub(super) type Day = i32;

/// The UTC day of a time in Unix ms.
pub(super) fn day_of(at_ms: i64) -> Day {
    // A time ends with the year 9999.
    i32::try_from(at_ms.div_euclid(DAY_MS)).unwrap_or(Day::MAX)
}

/// A row of `realtime_events`.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub id: [u8; 16],
    pub event_type: String,
    pub socket: Option<String>,
    pub user: Option<String>,
    pub room: Option<String>,
    pub payload: Value,
    pub ip: Option<IpAddr>,
    pub metadata: Value,
    pub at_ms: i64,
    pub stream_id: String,
}

/// How entries were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// So many left the stream unread.
    Counted(i64),
    /// Redis was emptied; how many went with it nobody knows.
    Emptied,
    /// Redis has lost the end of the stream, of which Postgres has some; whether there was more nobody knows.
    Failover,
}

impl Lost {
    /// How many, where that is known.
    pub fn count(self) -> Option<i64> {
        match self {
            Self::Counted(count) => Some(count),
            Self::Emptied | Self::Failover => None,
        }
    }
}

/// Entries that are lost to the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub lost: Lost,
    /// The last entry before them.
    pub last: StreamId,
    /// When they were over, Unix ms.
    pub to_ms: i64,
}

impl Event {
    /// The row of a record.
    pub fn of(record: Record, partition: u16, incarnation: &str) -> Self {
        let stream_id = record.id.to_string();
        let mut payload = record.rest;
        match record.kind {
            // The existing plugin's word for it.
            Kind::Disconnect => {
                if let Some(cause) = payload.get("cause").and_then(Value::as_str) {
                    payload.insert("reason".to_owned(), reason(cause).into());
                }
            }
            Kind::Connect => {
                if let Some(device) = payload.get_mut("device") {
                    *device = device_of(device.take());
                }
            }
            _ => {}
        }
        let mut metadata = Map::new();
        let mut add = |name: &str, text: Option<String>| {
            if let Some(text) = text {
                metadata.insert(name.to_owned(), text.into());
            }
        };
        add("connection", record.connection);
        add("node", record.node);
        Self {
            id: chain::row_id(partition, incarnation, &stream_id),
            event_type: record.event_type,
            socket: record.socket,
            user: record.user,
            room: record.room,
            payload: Value::Object(payload),
            ip: record.ip,
            metadata: Value::Object(metadata),
            at_ms: record.at_ms,
            stream_id,
        }
    }

    /// The row of a gap. It stands where the last entry before it stood; `batch` is that of the chain so far, which makes
    /// its id its own.
    pub fn gap(gap: Gap, partition: u16, incarnation: &str, batch: i64) -> Self {
        let mut payload = json!({ "count": gap.lost.count(), "to": iso(gap.to_ms) });
        if gap.last != StreamId::default() {
            payload["from"] = iso(gap.last.at_ms()).into();
        }
        // Behind the one of an emptied Redis, which may come with it.
        let behind = gap.last.max(StreamId { ms: 0, seq: 1 });
        let stream_id = match gap.lost {
            Lost::Counted(_) => behind,
            Lost::Emptied => {
                payload["reason"] = "redis_emptied".into();
                StreamId::default()
            }
            Lost::Failover => {
                payload["reason"] = "failover".into();
                behind
            }
        };
        Self {
            id: chain::row_id(partition, incarnation, &format!("{GAP}/{stream_id}/{batch}")),
            event_type: GAP.to_owned(),
            socket: None,
            user: None,
            room: None,
            payload,
            ip: None,
            metadata: json!({}),
            at_ms: gap.to_ms,
            stream_id: stream_id.to_string(),
        }
    }

    /// What of it is hashed.
    pub fn hashed<'a>(&'a self, incarnation: &'a str) -> chain::Row<'a> {
        chain::Row {
            id: self.id,
            event_type: &self.event_type,
            socket_id: self.socket.as_deref(),
            user_id: self.user.as_deref(),
            room_name: self.room.as_deref(),
            payload: Some(&self.payload),
            ip: self.ip,
            metadata: Some(&self.metadata),
            created_at_ms: self.at_ms,
            incarnation,
            stream_id: &self.stream_id,
        }
    }
}

/// What a client said of its device: JSON, as a text. What is no JSON is a text.
pub(super) fn device_of(device: Value) -> Value {
    match device {
        Value::String(text) => serde_json::from_str(&text).map_or(Value::String(text), cleaned_value),
        other => other,
    }
}

/// As it is written in payloads.
pub(super) fn iso(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// The columns of many rows.
#[derive(Debug, Default)]
pub(super) struct EventColumns {
    pub ids: Vec<Uuid>,
    pub types: Vec<String>,
    pub sockets: Vec<Option<String>>,
    pub users: Vec<Option<String>>,
    pub rooms: Vec<Option<String>>,
    pub payloads: Vec<Json>,
    pub ips: Vec<Option<IpAddr>>,
    pub metadata: Vec<Json>,
    pub times: Vec<Moment>,
    pub chains: Vec<i16>,
    pub incarnations: Vec<String>,
    pub stream_ids: Vec<String>,
    pub batches: Vec<i64>,
}

impl EventColumns {
    pub fn push(&mut self, event: Event, partition: u16, incarnation: &str, batch: i64) {
        self.ids.push(Uuid(event.id));
        self.types.push(event.event_type);
        self.sockets.push(event.socket);
        self.users.push(event.user);
        self.rooms.push(event.room);
        self.payloads.push(Json(event.payload.to_string()));
        self.ips.push(event.ip);
        self.metadata.push(Json(event.metadata.to_string()));
        self.times.push(Moment(event.at_ms));
        self.chains.push(super::signed(partition));
        self.incarnations.push(incarnation.to_owned());
        self.stream_ids.push(event.stream_id);
        self.batches.push(batch);
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.ids,
            &self.types,
            &self.sockets,
            &self.users,
            &self.rooms,
            &self.payloads,
            &self.ips,
            &self.metadata,
            &self.times,
            &self.chains,
            &self.incarnations,
            &self.stream_ids,
            &self.batches,
        ]
    }
}
/// The existing plugin's words for an end, which are Socket.IO's, where it has one; else ours.
fn reason(cause: &str) -> &str {
    match cause {
        "client_disconnect" => "client namespace disconnect",
        "server_disconnect" => "server namespace disconnect",
        "transport_close" => "transport close",
        "transport_error" => "transport error",
        "ping_timeout" => "ping timeout",
        ours => ours,
    }
}
