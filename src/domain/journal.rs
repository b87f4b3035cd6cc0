//! What no script sees, for the audit trail: handshakes that were refused, limits that were hit, errors. Noted without waiting,
//! written down together, once a second. Not here: the loop that writes (`lifecycle`).

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::hot::keys::Partition;
use crate::hot::outbox::{self, Note};
use crate::hot::{Hot, HotError};
use crate::types::{ConnectionId, NodeId, UserId};

/// Entries that wait to be written; beyond, the newest are lost, and counted.
const WAITING_MAX: usize = 4_096;
/// Refused handshakes that are written one by one in one go; further ones of an address are one record with a count.
const SINGLE_MAX: usize = 100;
/// Records of one go.
const RECORDS_MAX: usize = 1_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A token was not taken.
    AuthFailure {
        code: String,
        ip: IpAddr,
        agent: String,
        user: Option<UserId>,
    },
    /// Somebody was over a rate.
    RateLimited {
        class: String,
        ip: IpAddr,
        user: Option<UserId>,
    },
    /// An event was not carried out, and it is not its sender's fault.
    Error {
        code: String,
        event: String,
        connection: ConnectionId,
        user: UserId,
    },
}

impl Entry {
    fn kind(&self) -> &'static str {
        match self {
            Self::AuthFailure { .. } => "auth_failure",
            Self::RateLimited { .. } => "rate_limited",
            Self::Error { .. } => "error",
        }
    }

    /// In the partition of the user, or of the address.
    fn partition(&self) -> Partition {
        match self {
            Self::Error { user, .. } => Partition::of_user(user),
            Self::AuthFailure { user, ip, .. } | Self::RateLimited { user, ip, .. } => match user {
                Some(user) => Partition::of_user(user),
                None => Partition::of_address(*ip),
            },
        }
    }

    fn what(&self, node: &NodeId, count: u64) -> Value {
        match self {
            Self::AuthFailure { code, ip, agent, user } => json!({
                "code": code, "ip": ip.to_string(), "agent": agent, "user": user.as_ref().map(UserId::as_str),
                "node": node.as_str(), "count": count,
            }),
            Self::RateLimited { class, ip, user } => json!({
                "class": class, "ip": ip.to_string(), "user": user.as_ref().map(UserId::as_str), "node": node.as_str(),
                "count": count,
            }),
            Self::Error {
                code,
                event,
                connection,
                user,
            } => json!({
                "code": code, "event": event, "conn": connection.as_str(), "user": user.as_str(), "node": node.as_str(),
                "count": count,
            }),
        }
    }
}

/// Where entries are noted; clones share it. Without an archive nothing is.
#[derive(Debug, Clone)]
pub struct Journal(Option<mpsc::Sender<Entry>>);

impl Journal {
    /// With the entries that are to be written, where there is an archive.
    pub fn new(has_archive: bool) -> (Self, Option<mpsc::Receiver<Entry>>) {
        if !has_archive {
            return (Self(None), None);
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(Some(sender)), Some(receiver))
    }

    /// Notes an entry. False: there is no place for it.
    pub fn note(&self, entry: impl FnOnce() -> Entry) -> bool {
        match &self.0 {
            Some(sender) => sender.try_send(entry()).is_ok(),
            None => true,
        }
    }
}

/// Writes entries down, those that say the same as one with a count; how many records that made.
pub async fn write(hot: &Hot, node: &NodeId, entries: Vec<Entry>) -> Result<usize, HotError> {
    let notes = notes(node, entries);
    outbox::note_all(hot, &notes).await?;
    Ok(notes.len())
}

fn notes(node: &NodeId, entries: Vec<Entry>) -> Vec<Note> {
    let mut records: Vec<(Entry, u64)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let is_single = matches!(entry, Entry::AuthFailure { .. }) && records.len() < SINGLE_MAX;
        let key = format!("{entry:?}");
        match places.get(&key) {
            Some(&place) if !is_single => records[place].1 += 1,
            _ if records.len() >= RECORDS_MAX => {
                // So many different ones are a flood: the last record stands for the rest.
                records[RECORDS_MAX - 1].1 += 1;
            }
            _ => {
                places.insert(key, records.len());
                records.push((entry, 1));
            }
        }
    }
    let note = |(entry, count): (Entry, u64)| Note {
        partition: entry.partition(),
        kind: entry.kind(),
        what: without_nulls(entry.what(node, count)).to_string(),
    };
    records.into_iter().map(note).collect()
}

fn without_nulls(mut what: Value) -> Value {
    if let Some(fields) = what.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && *value != "");
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(user: &str) -> Entry {
        Entry::RateLimited {
            class: "messages".to_owned(),
            ip: IpAddr::from([192, 0, 2, 1]),
            user: UserId::parse(user).ok(),
        }
    }

    fn counts(entries: Vec<Entry>) -> Vec<u64> {
        let node = NodeId::parse("n1").expect("valid");
        let count = |note: &Note| {
            let what: Value = serde_json::from_str(&note.what).expect("JSON");
            what["count"].as_u64().expect("a count")
        };
        notes(&node, entries).iter().map(count).collect()
    }

    #[test]
    fn refusals_that_say_the_same_are_one_record_with_a_count() {
        let entries = vec![limited("alice"), limited("bob"), limited("alice"), limited("alice")];
        assert_eq!(counts(entries), [3, 1]);
    }

    #[test]
    fn refused_handshakes_are_written_one_by_one_up_to_a_bound() {
        let refused = Entry::AuthFailure {
            code: "token".to_owned(),
            ip: IpAddr::from([192, 0, 2, 1]),
            agent: String::new(),
            user: None,
        };
        let counts = counts(vec![refused; 150]);
        assert_eq!(counts.len(), SINGLE_MAX);
        assert_eq!(counts.iter().sum::<u64>(), 150);
    }

    #[test]
    fn a_flood_of_different_ones_is_bounded_and_counted() {
        let counts = counts((0..1_500).map(|number| limited(&format!("user{number}"))).collect());
        assert_eq!(counts.len(), RECORDS_MAX);
        assert_eq!(counts.iter().sum::<u64>(), 1_500);
    }
}
