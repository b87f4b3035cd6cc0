//! What a shard tells of its clients for the snapshots in Postgres: which live, and who types. Not here: when it is asked
//! (`lifecycle`), and what is written (`archive`).

use std::cell::RefCell;
use std::time::Duration;

use ahash::AHashMap;

use super::client::{Client, transport_name};
use super::shard::Shard;
use crate::archive::snapshot::{Seen, Snapshot, Typed};
use crate::types::{RoomName, UserId};

/// Marks that wait for the next snapshot; beyond, it does not tell them.
const MARKS_MAX: usize = 10_000;

/// Of the connections every so-manieth, so that each comes in its turn.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub number: u64,
    pub of: u64,
}

/// The last word on each typing mark since the last snapshot.
#[derive(Default)]
pub(super) struct Marks(RefCell<AHashMap<(RoomName, UserId, String), Option<Duration>>>);

impl Marks {
    /// Notes a mark; `thread` "" for none, `lasts` `None` where it was taken back.
    pub fn note(&self, room: &RoomName, user: &UserId, thread: &str, lasts: Option<Duration>) {
        let mut marks = self.0.borrow_mut();
        let key = (room.clone(), user.clone(), thread.to_owned());
        if marks.len() < MARKS_MAX || marks.contains_key(&key) {
            marks.insert(key, lasts);
        }
    }

    fn take(&self) -> Vec<Typed> {
        let mark = |((room, user, thread), lasts): ((RoomName, UserId, String), Option<Duration>)| Typed {
            room: room.to_string(),
            user: user.to_string(),
            thread: Some(thread).filter(|thread| !thread.is_empty()),
            lasts,
        };
        self.0.take().into_iter().map(mark).collect()
    }
}

impl Shard {
    /// The clients of a slot, and the marks since the last time.
    pub(super) fn snapshot(&self, slot: Slot) -> Snapshot {
        let clients = self.clients.borrow();
        let clients = clients.iter().flat_map(|partition| partition.values());
        let due = clients.filter(|client| client.key % slot.of == slot.number % slot.of);
        Snapshot {
            seen: due.map(|client| seen(client)).collect(),
            typed: self.marks.take(),
        }
    }
}

fn seen(client: &Client) -> Seen {
    Seen {
        socket: client.socket.id().to_owned(),
        user: (!client.user.is_anonymous()).then(|| client.user.to_string()),
        transport: transport_name(client.socket.transport()),
        latency: client.socket.latency(),
        idle: client.active.get().elapsed(),
    }
}
