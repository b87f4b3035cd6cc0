//! What no script sees, for the audit trail: handshakes that were refused, limits that were hit, errors. Noted without waiting,
//! written down together, once a second. Not here: the loop that writes (`lifecycle`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::hot::Hot;
use crate::hot::keys::Partition;
use crate::hot::outbox::{self, Note};
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
pub struct Journal(Option<Pen>);

#[derive(Debug, Clone)]
struct Pen {
    sender: mpsc::Sender<Entry>,
    closing: CancellationToken,
    /// Cancelled when nothing is written any more.
    ended: CancellationToken,
}

/// The entries that are to be written.
#[derive(Debug)]
pub struct Noted {
    entries: mpsc::Receiver<Entry>,
    closing: CancellationToken,
    _ended: DropGuard,
}

impl Journal {
    /// With the entries that are to be written, where there is an archive.
    pub fn new(has_archive: bool) -> (Self, Option<Noted>) {
        if !has_archive {
            return (Self(None), None);
        }
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let noted = Noted {
            entries,
            closing: closing.clone(),
            _ended: ended.clone().drop_guard(),
        };
        let pen = Pen { sender, closing, ended };
        (Self(Some(pen)), Some(noted))
    }

    /// Notes an entry. False: there is no place for it, or it comes too late.
    pub fn note(&self, entry: impl FnOnce() -> Entry) -> bool {
        match &self.0 {
            Some(pen) => pen.sender.try_send(entry()).is_ok(),
            None => true,
        }
    }

    /// Takes no more entries, and returns once those that wait are written, or after `patience`.
    pub async fn close(&self, patience: Duration) {
        let Some(pen) = &self.0 else { return };
        pen.closing.cancel();
        if timeout(patience, pen.ended.cancelled()).await.is_err() {
            tracing::warn!("entries of the audit trail were not written before the stop");
        }
    }
}

impl Noted {
    /// Returns when the journal is closed.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// What waits, at most `limit` of it; never nothing. `None`: nothing does. Of a journal that is closed, nothing will.
    pub fn take(&mut self, limit: usize) -> Option<Vec<Entry>> {
        if self.closing.is_cancelled() {
            self.entries.close();
        }
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Ok(entry) = self.entries.try_recv()
        {
            taken.push(entry);
        }
        (!taken.is_empty()).then_some(taken)
    }
}

/// Writes entries down, those that say the same as one with a count; how many are lost, since Redis is away or their
/// partitions are closed.
pub async fn write(hot: &Hot, node: &NodeId, entries: Vec<Entry>) -> u64 {
    let records = summed(entries);
    let counts: Vec<u64> = records.iter().map(|(_, count)| *count).collect();
    let notes: Vec<Note> = records.into_iter().map(|record| note(node, record)).collect();
    match outbox::note_all(hot, &notes).await {
        Ok(written) => {
            let of = counts.iter().zip(written);
            of.filter(|(_, is_written)| !is_written).map(|(count, _)| count).sum()
        }
        Err(error) => {
            // What had no answer may have been written all the same.
            tracing::debug!(error = %error, "the audit trail is not written");
            counts.iter().sum()
        }
    }
}

/// Each with how many it stands for.
fn summed(entries: Vec<Entry>) -> Vec<(Entry, u64)> {
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
    records
}

fn note(node: &NodeId, (entry, count): (Entry, u64)) -> Note {
    Note {
        partition: entry.partition(),
        kind: entry.kind(),
        what: without_nulls(entry.what(node, count)).to_string(),
    }
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
        let count = |record| {
            let what: Value = serde_json::from_str(&note(&node, record).what).expect("JSON");
            what["count"].as_u64().expect("a count")
        };
        summed(entries).into_iter().map(count).collect()
    }

    #[tokio::test]
    async fn a_closed_journal_takes_no_more_and_waits_until_what_it_has_is_written() {
        let (journal, noted) = Journal::new(true);
        let mut noted = noted.expect("there is an archive");
        assert_eq!(noted.take(10), None);
        for user in ["alice", "bob", "carol"] {
            assert!(journal.note(|| limited(user)));
        }
        assert_eq!(noted.take(2).map(|taken| taken.len()), Some(2));
        let closed = tokio::spawn({
            let journal = journal.clone();
            async move { journal.close(Duration::from_secs(60)).await }
        });
        noted.closing().await;
        assert_eq!(noted.take(2), Some(vec![limited("carol")]));
        assert!(!journal.note(|| limited("late")));
        assert!(noted.take(2).is_none() && !closed.is_finished());
        drop(noted);
        closed.await.expect("it does not panic");
        // Where nobody writes, nobody waits for ever.
        let (journal, _noted) = Journal::new(true);
        journal.close(Duration::from_millis(1)).await;
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
