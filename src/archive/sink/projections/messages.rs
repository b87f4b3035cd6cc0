//! `realtime_messages`: what was said, where that is kept. Not here: the answer to who asks for it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::archive::sink::cells::{Json, Moment};
use crate::archive::sink::events::{Day, day_of, iso};
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
        let id = format!("{epoch}-{seq}");
        let end = json!({ "messageId": id, "epoch": epoch, "seq": seq, "timestamp": iso(record.at_ms) });
        self.contents
            .push(content(record.text("json").unwrap_or_default(), &end.to_string()));
        self.rooms.push(room.clone());
        self.epochs.push(epoch.to_owned());
        self.seqs.push(seq);
        self.users.push(record.user.clone());
        self.ids.push(id);
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

/// The event's object as clients got it: what the sender's node wrote, without its end, and what the server adds. It is kept as
/// it was written, unless Postgres has no place for something in it; what is no JSON is a text.
fn content(begun: &str, end: &str) -> Json {
    let whole = format!("{begun},{}", &end[1..]);
    match serde_json::from_str::<Value>(&whole) {
        Ok(_) if !whole.contains("\\u0000") => Json(whole),
        Ok(value) => Json(cleaned_value(value).to_string()),
        Err(_) => Json(Value::from(begun).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_clients_got() {
        let end = r#"{"seq":7}"#;
        assert_eq!(
            content(r#"{"content":"a","big":12345678901234567890123"#, end).0,
            r#"{"content":"a","big":12345678901234567890123,"seq":7}"#
        );
        assert_eq!(
            content(r#"{"content":"a\u0000b""#, end).0,
            "{\"content\":\"a\u{fffd}b\",\"seq\":7}"
        );
        assert_eq!(
            content(r#"{"content":"\ud800""#, end).0,
            r#""{\"content\":\"\\ud800\"""#
        );
    }
}
