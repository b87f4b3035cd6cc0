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

/// Tells each event in its turn; how many sockets of the cluster each goes to.
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
    let mut befores = Vec::with_capacity(broadcasts.len());
    let mut emissions = Vec::new();
    for (broadcast, token) in broadcasts.iter().zip(&tokens) {
        let before = before(hot, broadcast, token).await;
        if matches!(before, Before::Untold) {
            emissions.extend(emissions_of(broadcast, token));
        }
        befores.push(before);
    }
    let mut told = tell(hot, &emissions).await.into_iter();
    let mut outcomes = Vec::with_capacity(broadcasts.len());
    for ((broadcast, token), before) in broadcasts.iter().zip(&tokens).zip(befores) {
        outcomes.push(match before {
            Before::Told(count) => Ok(count),
            Before::Unknown => Err(Untold),
            Before::Untold => {
                // Each event takes those of its own rooms, also behind one that failed.
                let rooms: Vec<_> = told.by_ref().take(broadcast.rooms.len()).collect();
                match rooms.into_iter().collect::<Option<Vec<Emitted>>>() {
                    Some(rooms) => settle(hot, broadcast, token, sockets(&rooms)).await,
                    None => Err(Untold),
                }
            }
        });
    }
    outcomes
}

async fn before(hot: &Hot, broadcast: &Broadcast, token: &str) -> Before {
    if broadcast.id.is_none() {
        return Before::Untold;
    }
    match broadcasts::recall(hot, token, None, KEEP).await {
        Ok(Some(count)) => Before::Told(count),
        Ok(None) => Before::Untold,
        Err(error) => {
            tracing::debug!(%error, "whether an event was told is not known");
            Before::Unknown
        }
    }
}

fn emissions_of<'a>(broadcast: &'a Broadcast, token: &'a str) -> impl Iterator<Item = Emission<'a>> {
    let is_of_many = broadcast.rooms.len() > 1;
    let keep = if broadcast.id.is_some() { KEEP } else { KEEP_NAMELESS };
    broadcast.rooms.iter().map(move |room| Emission {
        room,
        token,
        keep,
        is_of_many,
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

/// Where the event has an id: the first answer that anybody got is everybody's.
async fn settle(hot: &Hot, broadcast: &Broadcast, token: &str, sockets: u64) -> Result<u64, Untold> {
    if broadcast.id.is_none() {
        return Ok(sockets);
    }
    let known = broadcasts::recall(hot, token, Some(sockets), KEEP).await;
    known.map(|known| known.unwrap_or(sockets)).map_err(|error| {
        tracing::warn!(%error, "what an event came to is not kept");
        Untold
    })
}

/// Each once, in however many of the rooms it is.
fn sockets(rooms: &[Emitted]) -> u64 {
    if let [room] = rooms {
        return room.connections;
    }
    let leases = rooms.iter().flat_map(|room| &room.leases);
    let connections: HashSet<&ConnectionId> = leases.map(|lease| &lease.connection).collect();
    connections.len() as u64
}
