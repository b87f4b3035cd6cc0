//! Events that others than the clients say, to all who are in some rooms: each socket hears one once. They are told, not
//! kept: who is not there misses them. Not here: which names are the gateway's own, and who may say them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::hot::broadcasts::{self, Emission, Emitted};
use crate::hot::{Hot, HotError};
use crate::types::{ConnectionId, RoomName};

/// Rooms of one event.
pub const ROOMS_MAX: usize = 100;
/// Longest name of an event, in bytes.
pub const EVENT_MAX_BYTES: usize = 128;
/// Longest id of an event, in bytes.
pub const ID_MAX_BYTES: usize = 128;
/// Largest payload, in bytes of JSON.
pub const PAYLOAD_MAX_BYTES: usize = 65_536;

/// How long an event with an id is told once.
const KEEP: Duration = Duration::from_secs(120);
/// The same of one without, of which a node alone knows a second try.
const KEEP_NAMELESS: Duration = Duration::from_secs(10);

/// Sockets of one event that are told apart, in all of its rooms together.
const NAMED_MAX: usize = 10_000;

/// What goes to Redis in one go: so many calls, …
const CALLS_MAX: usize = 512;
/// … and so many bytes.
const BYTES_MAX: usize = 4 << 20;

/// An event for everybody in some rooms.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// At most [`EVENT_MAX_BYTES`], no control characters.
    pub event: String,
    /// At most [`ROOMS_MAX`], none twice.
    pub rooms: Vec<RoomName>,
    /// JSON, at most [`PAYLOAD_MAX_BYTES`].
    pub payload: String,
    /// At most [`ID_MAX_BYTES`]: whoever says it again says nothing, and gets the same answer.
    pub id: Option<String>,
}

impl Broadcast {
    /// What Redis and the nodes know it by.
    fn token(&self) -> String {
        let Some(id) = &self.id else {
            return format!("{:032x}", rand::random::<u128>());
        };
        let mut hex = String::with_capacity(32);
        for byte in &Sha256::digest(id)[..16] {
            write!(hex, "{byte:02x}").expect("a String takes every write");
        }
        hex
    }

    fn bytes(&self) -> usize {
        self.rooms.len() * (self.payload.len() + self.event.len())
    }
}

/// An event was not told in all of its rooms, or nobody knows. It may be said again: with an id, no room hears it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not told in all rooms")]
pub struct Untold;

/// Tells each event in its turn; how many sockets of the cluster each goes to. An upper bound where one of several rooms has more
/// than its share of 10,000: its sockets are counted as if they were in no other.
pub async fn emit(hot: &Hot, broadcasts: &[Broadcast]) -> Vec<Result<u64, Untold>> {
    let mut outcomes = Vec::with_capacity(broadcasts.len());
    let mut rest = broadcasts;
    while !rest.is_empty() {
        let (mut calls, mut bytes) = (0, 0);
        let fits = |broadcast: &&Broadcast| {
            calls += broadcast.rooms.len();
            bytes += broadcast.bytes();
            calls <= CALLS_MAX && bytes <= BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        outcomes.extend(emit_some(hot, some).await);
        rest = others;
    }
    outcomes
}

/// What is known of an event before it is told.
enum Before {
    Told(u64),
    Untold,
    Unknown,
}

/// What is told in one go.
async fn emit_some(hot: &Hot, broadcasts: &[Broadcast]) -> Vec<Result<u64, Untold>> {
    let tokens: Vec<String> = broadcasts.iter().map(Broadcast::token).collect();
    let befores = befores(hot, broadcasts, &tokens).await;
    let mut emissions = Vec::new();
    for ((broadcast, token), before) in broadcasts.iter().zip(&tokens).zip(&befores) {
        if matches!(before, Before::Untold) {
            emissions.extend(emissions_of(broadcast, token));
        }
    }
    let mut told = tell(hot, &emissions).await.into_iter();
    let mut outcomes = Vec::with_capacity(broadcasts.len());
    let mut found = Vec::new();
    for (index, (broadcast, before)) in broadcasts.iter().zip(befores).enumerate() {
        outcomes.push(match before {
            Before::Told(count) => Ok(count),
            Before::Unknown => Err(Untold),
            Before::Untold => {
                // Each event takes those of its own rooms, also behind one that failed.
                let rooms: Vec<_> = told.by_ref().take(broadcast.rooms.len()).collect();
                match rooms.into_iter().collect::<Option<Vec<Emitted>>>() {
                    Some(rooms) => {
                        found.extend(broadcast.id.as_ref().map(|_| index));
                        Ok(sockets(&rooms))
                    }
                    None => Err(Untold),
                }
            }
        });
    }
    settle(hot, &tokens, &found, &mut outcomes).await;
    outcomes
}

async fn befores(hot: &Hot, broadcasts: &[Broadcast], tokens: &[String]) -> Vec<Before> {
    let with_id = broadcasts
        .iter()
        .zip(tokens)
        .filter(|(broadcast, _)| broadcast.id.is_some());
    let asked: Vec<_> = with_id.map(|(_, token)| (&**token, None)).collect();
    let mut known = recall(hot, &asked).await.into_iter();
    let before = |broadcast: &Broadcast| match broadcast.id.as_ref().map(|_| known.next()) {
        None | Some(Some(Ok(None))) => Before::Untold,
        Some(Some(Ok(Some(count)))) => Before::Told(count),
        Some(Some(Err(Untold)) | None) => Before::Unknown,
    };
    broadcasts.iter().map(before).collect()
}

/// One outcome for each.
async fn recall(hot: &Hot, events: &[(&str, Option<u64>)]) -> Vec<Result<Option<u64>, Untold>> {
    let unknown = |error: HotError| {
        tracing::warn!(%error, "what an event came to is not known");
        Untold
    };
    match broadcasts::recall(hot, events, KEEP).await {
        Ok(known) => known.into_iter().map(|known| known.map_err(unknown)).collect(),
        Err(error) => vec![Err(unknown(error)); events.len()],
    }
}

fn emissions_of<'a>(broadcast: &'a Broadcast, token: &'a str) -> impl Iterator<Item = Emission<'a>> {
    let is_of_many = broadcast.rooms.len() > 1;
    // In one room alone each socket is once.
    let named_max = if is_of_many {
        NAMED_MAX / broadcast.rooms.len()
    } else {
        0
    };
    let keep = if broadcast.id.is_some() { KEEP } else { KEEP_NAMELESS };
    broadcast.rooms.iter().map(move |room| Emission {
        room,
        token,
        keep,
        is_of_many,
        named_max: named_max as u64,
        event: &broadcast.event,
        payload: &broadcast.payload,
    })
}

/// One outcome for each; `None`: it may or may not have been told.
async fn tell(hot: &Hot, emissions: &[Emission<'_>]) -> Vec<Option<Emitted>> {
    if emissions.is_empty() {
        return Vec::new();
    }
    let note = |error: HotError| tracing::warn!(%error, "an event is not told");
    match broadcasts::emit(hot, emissions).await {
        Ok(told) => told.into_iter().map(|told| told.map_err(note).ok()).collect(),
        Err(error) => {
            note(error);
            emissions.iter().map(|_| None).collect()
        }
    }
}

/// Of those that have an id: the first answer that anybody got is everybody's.
async fn settle(hot: &Hot, tokens: &[String], found: &[usize], outcomes: &mut [Result<u64, Untold>]) {
    let said: Vec<_> = found
        .iter()
        .map(|&index| (&*tokens[index], outcomes[index].ok()))
        .collect();
    for (&index, known) in found.iter().zip(recall(hot, &said).await) {
        outcomes[index] = known.and_then(|known| known.ok_or(Untold));
    }
}

/// Each once, in however many of the rooms it is; but those of a room that does not name them count with all others.
fn sockets(rooms: &[Emitted]) -> u64 {
    let leases = rooms.iter().filter_map(|room| room.leases.as_ref()).flatten();
    let named: HashSet<&ConnectionId> = leases.map(|lease| &lease.connection).collect();
    let unnamed = rooms.iter().filter(|room| room.leases.is_none());
    named.len() as u64 + unnamed.map(|room| room.connections).sum::<u64>()
}
