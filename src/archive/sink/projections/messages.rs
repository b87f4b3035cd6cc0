//! `realtime_messages`: what was said, where that is kept. Not here: the answer to who asks for it.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::archive::sink::cells::{Json, Moment};
use crate::archive::sink::events::{Day, day_of};
use crate::archive::sink::record::{Record, cleaned_value};

/// An entry that is read twice is one message.
pub(in crate::archive::sink) const MESSAGES: &str = "
INSERT INTO realtime_messages (room_name, epoch, seq, user_id, message_id, content, created_at)
SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::INT8[], $4::TEXT[], $5::TEXT[], $6::JSONB[], $7::TIMESTAMPTZ[])
ON CONFLICT DO NOTHING";

/// The columns of [`MESSAGES`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct MessageColumns {
    rooms: Vec<String>,
    epochs: Vec<String>,
    seqs: Vec<i64>,
    users: Vec<Option<String>>,
    ids: Vec<String>,
    contents: Vec<Json>,
    times: Vec<Moment>,
}

impl MessageColumns {
    /// Takes in a message; what has no place in a room is none.
    pub fn push(&mut self, record: &Record) {
        let (Some(room), Some(epoch), Some(seq)) = (&record.room, record.text("epoch"), record.whole("seq")) else {
            return;
        };
        self.contents.push(content(record.text("json").unwrap_or_default()));
        self.rooms.push(room.clone());
        self.epochs.push(epoch.to_owned());
        self.seqs.push(seq);
        self.users.push(record.user.clone());
        self.ids.push(format!("{epoch}-{seq}"));
        self.times.push(Moment(record.at_ms));
    }

    pub fn days(&self) -> BTreeSet<Day> {
        self.times.iter().map(|time| day_of(time.0)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.rooms,
            &self.epochs,
            &self.seqs,
            &self.users,
            &self.ids,
            &self.contents,
            &self.times,
        ]
    }
}

/// The event's object as the sender's node wrote it: what the server adds stands in columns. It is kept as it is, unless Postgres
/// has no place for something in it; what is no JSON is a text.
fn content(object: &str) -> Json {
    match serde_json::from_str::<Value>(object) {
        Ok(_) if !object.contains("\\u0000") => Json(object.to_owned()),
        Ok(value) => Json(cleaned_value(value).to_string()),
        Err(_) => Json(Value::from(object).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_as_it_was_written() {
        let as_it_is = r#"{"content":"a","big":12345678901234567890123}"#;
        assert_eq!(content(as_it_is).0, as_it_is);
        assert_eq!(content(r#"{"content":"a\u0000b"}"#).0, "{\"content\":\"a\u{fffd}b\"}");
        assert_eq!(content(r#"{"content":"\ud800"}"#).0, r#""{\"content\":\"\\ud800\"}""#);
    }
}
