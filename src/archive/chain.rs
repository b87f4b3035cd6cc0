//! The evidence: what a batch of rows of `realtime_events` hashes to, and how each hash stands on the one before.
//! The sink writes these hashes, `verify` computes them again. Not here: any SQL.
//!
//! A digest says what Postgres gives back, not what was sent to it: JSON is written here in one form of its own, since
//! `jsonb` keeps neither the order of keys nor the way in which a number was written, and an address goes in as its
//! octets. Whoever hashes hands in what was stored, with nothing in it that Postgres would refuse or cut off.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a partition's chain begins with.
pub const START: Hash = [0; 32];

/// What stands for the length of a field that is NULL.
const NULL: u32 = u32::MAX;

/// One row of `realtime_events`, as far as the chain covers it. The room's name, not its id: ids go with their rooms.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The row's id.
    pub id: [u8; 16],
    /// What happened.
    pub event_type: &'a str,
    /// The socket's id, as its client knows it.
    pub socket_id: Option<&'a str>,
    /// Whom it is about.
    pub user_id: Option<&'a str>,
    /// Where it was.
    pub room_name: Option<&'a str>,
    /// NULL is `None`; JSON's own null is a value.
    pub payload: Option<&'a Value>,
    /// Without a mask.
    pub ip: Option<IpAddr>,
    /// NULL is `None`; JSON's own null is a value.
    pub metadata: Option<&'a Value>,
    /// When, Unix ms; the column holds whole milliseconds.
    pub created_at_ms: i64,
    /// The data that the entry belonged to.
    pub incarnation: &'a str,
    /// The entry's id in its outbox.
    pub stream_id: &'a str,
}

/// The id of the row that an entry of an outbox becomes: always the same, so that no entry can become two rows.
/// A UUID of version 8.
pub fn row_id(partition: u16, incarnation: &str, stream_id: &str) -> [u8; 16] {
    let hash: Hash = Sha256::digest(format!("{partition}/{incarnation}/{stream_id}")).into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

/// The digest of one batch. Rows may come in any order: they are taken in that of their stream, by id where two stand
/// at one place, so that whoever reads them back needs no order of the table's.
pub fn digest(rows: &[Row<'_>]) -> Hash {
    let mut sorted: Vec<(Position<'_>, &Row<'_>)> = rows.iter().map(|row| (Position::of(row.stream_id), row)).collect();
    sorted.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(&other.id)));
    let mut hasher = Sha256::new();
    let mut text = String::new();
    for (_, row) in sorted {
        hash_row(&mut hasher, row, &mut text);
    }
    hasher.finalize().into()
}

/// The hash of a batch, on top of the hash of the batch before it in its partition (at first [`START`]).
pub fn next_hash(previous: &Hash, partition: u16, batch: u64, rows: u32, digest: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(partition.to_be_bytes());
    hasher.update(batch.to_be_bytes());
    hasher.update(rows.to_be_bytes());
    hasher.update(digest);
    hasher.finalize().into()
}

/// Where an entry stands in its stream. An id that no stream gives stands last, so that a forged one changes nothing
/// but itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Position<'a> {
    At(u64, u64),
    Nowhere(&'a str),
}

impl<'a> Position<'a> {
    fn of(stream_id: &'a str) -> Self {
        let parts = stream_id.split_once('-');
        let numbers = parts.and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)));
        numbers.map_or(Self::Nowhere(stream_id), |(ms, seq)| Self::At(ms, seq))
    }
}

/// Compares two stream ids by their place in the stream.
pub fn compare_positions(one: &str, other: &str) -> Ordering {
    Position::of(one).cmp(&Position::of(other))
}

fn hash_row(hasher: &mut Sha256, row: &Row<'_>, text: &mut String) {
    field(hasher, Some(&row.id));
    field(hasher, Some(row.event_type.as_bytes()));
    field(hasher, row.socket_id.map(str::as_bytes));
    field(hasher, row.user_id.map(str::as_bytes));
    field(hasher, row.room_name.map(str::as_bytes));
    json_field(hasher, row.payload, text);
    match row.ip {
        Some(IpAddr::V4(ip)) => field(hasher, Some(&ip.octets())),
        Some(IpAddr::V6(ip)) => field(hasher, Some(&ip.octets())),
        None => field(hasher, None),
    }
    json_field(hasher, row.metadata, text);
    field(hasher, Some(&row.created_at_ms.to_be_bytes()));
    field(hasher, Some(row.incarnation.as_bytes()));
    field(hasher, Some(row.stream_id.as_bytes()));
}

/// The length first, so that no two rows are the same bytes with their ends moved.
fn field(hasher: &mut Sha256, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        hasher.update(NULL.to_be_bytes());
        return;
    };
    let length = u32::try_from(bytes.len()).expect("a field of Postgres has at most 1 GiB");
    hasher.update(length.to_be_bytes());
    hasher.update(bytes);
}

fn json_field(hasher: &mut Sha256, json: Option<&Value>, text: &mut String) {
    let Some(json) = json else {
        field(hasher, None);
        return;
    };
    text.clear();
    write_json(json, text);
    field(hasher, Some(text.as_bytes()));
}

/// The form of JSON that is hashed: no spaces, keys sorted by their bytes, whole numbers without a fraction.
fn write_json(json: &Value, text: &mut String) {
    match json {
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&json.to_string()),
        Value::Number(number) => write_number(number, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_json(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_json(value, text);
            }
            text.push('}');
        }
    }
}

/// Postgres keeps numbers as decimals: `1e16` comes back as a whole number, `-0.0` as `0.0`. What is whole and fits is
/// written as an integer, whichever way it came; the rest with as few digits as tell it from every other number.
fn write_number(number: &Number, text: &mut String) {
    const FITS: f64 = 18_446_744_073_709_551_616.0; // 2^64
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else {
        text.push_str(&number.to_string());
        return;
    };
    let is_whole = value.fract() == 0.0;
    if is_whole && (0.0..FITS).contains(&value) {
        text.push_str(&(value as u64).to_string());
    } else if is_whole && (-FITS / 2.0..0.0).contains(&value) {
        text.push_str(&(value as i64).to_string());
    } else {
        text.push_str(&format!("{value:e}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row<'a>(stream_id: &'a str, payload: Option<&'a Value>) -> Row<'a> {
        Row {
            id: row_id(7, "one", stream_id),
            event_type: "join",
            socket_id: None,
            user_id: Some("ann"),
            room_name: Some("den"),
            payload,
            ip: Some("192.0.2.1".parse().unwrap()),
            metadata: None,
            created_at_ms: 1_700_000_000_123,
            incarnation: "one",
            stream_id,
        }
    }

    fn text(json: &Value) -> String {
        let mut text = String::new();
        write_json(json, &mut text);
        text
    }

    fn hex(hash: &[u8]) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_digest_is_the_same_in_every_version_of_this_program() {
        // Computed by other means: python3's hashlib and struct, over the fields as they stand in `hash_row`.
        let payload = json!({"b": [1, null], "a": "ü"});
        assert_eq!(hex(&row_id(7, "one", "5-1")), "a9680b87822287e9b7a2a323e74257ac");
        let digest = digest(&[row("5-1", Some(&payload))]);
        assert_eq!(
            hex(&digest),
            "8d76a604a7fab851cfe10d7911082a58b0049bc50e2121b086c2ed81ff5b30f0"
        );
        assert_eq!(
            hex(&next_hash(&START, 7, 1, 1, &digest)),
            "7dd489bd3f96ed762e67a05c67dbf21ce33eff598f3473781c15aeee0f763de0"
        );
    }

    #[test]
    fn an_id_is_a_uuid_of_version_8() {
        let id = row_id(0, "x", "1-0");
        assert_eq!((id[6] >> 4, id[8] >> 6), (8, 0b10));
        assert_ne!(id, row_id(1, "x", "1-0"));
        assert_ne!(id, row_id(0, "y", "1-0"));
        assert_ne!(id, row_id(0, "x", "1-1"));
    }

    #[test]
    fn rows_are_taken_in_the_order_of_their_stream() {
        let rows = [row("9-2", None), row("10-0", None), row("9-10", None), row("odd", None)];
        let mut other = rows;
        other.reverse();
        assert_eq!(digest(&rows), digest(&other));
        assert_ne!(digest(&rows), digest(&rows[..3]));
        assert_eq!(compare_positions("9-10", "10-0"), Ordering::Less);
        assert_eq!(compare_positions("9-10", "9-2"), Ordering::Greater);
        assert_eq!(compare_positions("odd", "9-2"), Ordering::Greater);
    }

    #[test]
    fn every_field_counts() {
        let (payload, other) = (json!({"reason": "left"}), json!({"reason": "kicked"}));
        let base = row("1-0", Some(&payload));
        let variants = [
            Row { id: [0; 16], ..base },
            Row {
                event_type: "leave",
                ..base
            },
            Row {
                socket_id: Some(""),
                ..base
            },
            Row { user_id: None, ..base },
            Row {
                room_name: Some("de"),
                ..base
            },
            Row {
                payload: Some(&other),
                ..base
            },
            Row { payload: None, ..base },
            Row {
                payload: Some(&Value::Null),
                ..base
            },
            Row { ip: None, ..base },
            Row {
                ip: Some("::ffff:192.0.2.1".parse().unwrap()),
                ..base
            },
            Row {
                metadata: Some(&payload),
                ..base
            },
            Row {
                created_at_ms: base.created_at_ms + 1,
                ..base
            },
            Row {
                incarnation: "two",
                ..base
            },
            Row {
                stream_id: "1-1",
                ..base
            },
            // The same bytes, with the end of one field moved to the next.
            Row {
                user_id: Some("annd"),
                room_name: Some("en"),
                ..base
            },
        ];
        let mut digests: Vec<Hash> = variants.iter().map(|row| digest(&[*row])).collect();
        digests.push(digest(&[base]));
        let all = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all);
    }

    #[test]
    fn json_has_one_form() {
        assert_eq!(
            text(&json!({"b": {"d": 1, "c": [true, null, "q\"\n"]}, "a": -7})),
            r#"{"a":-7,"b":{"c":[true,null,"q\"\n"],"d":1}}"#
        );
        for (came, form) in [
            ("1e16", "10000000000000000"),
            ("10000000000000000", "10000000000000000"),
            ("1e19", "10000000000000000000"),
            ("1000.0", "1000"),
            ("-0.0", "0"),
            ("-1e3", "-1000"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("0.30000000000000004", "3.0000000000000004e-1"),
            ("1e300", "1e300"),
        ] {
            let json: Value = serde_json::from_str(came).unwrap();
            assert_eq!(text(&json), form, "{came}");
        }
        // As `jsonb` gives them back.
        for value in [1e20, -1e19, 1e300, 123_456_789_012_345_680_000.0] {
            let back: Value = serde_json::from_str(&format!("{value:.0}")).unwrap();
            assert_eq!(text(&back), text(&json!(value)), "{value}");
        }
        for value in [5e-324, 0.1 + 0.2, 1.7976931348623157e-10, 2.2250738585072014e-308] {
            let back: Value = serde_json::from_str(&format!("{value}")).unwrap();
            assert_eq!(text(&back), text(&json!(value)), "{value}");
        }
    }

    #[test]
    fn a_hash_stands_on_everything_before_it() {
        let digest = digest(&[row("1-0", None)]);
        let first = next_hash(&START, 7, 1, 1, &digest);
        let others = [
            next_hash(&first, 7, 1, 1, &digest),
            next_hash(&START, 8, 1, 1, &digest),
            next_hash(&START, 7, 2, 1, &digest),
            next_hash(&START, 7, 1, 2, &digest),
            next_hash(&START, 7, 1, 1, &START),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
