//! Events that the gateway has no part in, told to whoever is in a room: one typed function per file of lua/broadcasts. Not
//! here: who may ask for it, and what one event in several rooms comes to (`domain::broadcasts`).

use std::sync::LazyLock;
use std::time::Duration;

use super::keys::{Lease, Partition};
use super::reply::Reply;
use super::script::{self, Call, Script, script};
use super::{Hot, HotError, millis};
use crate::types::RoomName;

script!(EMIT = "broadcasts/emit");
script!(RECALL = "broadcasts/recall");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&EMIT, &RECALL];

/// One event for one room.
#[derive(Debug, Clone, Copy)]
pub struct Emission<'a> {
    pub room: &'a RoomName,
    /// By this the room knows that it was told; letters and digits.
    pub token: &'a str,
    /// How long it is known.
    pub keep: Duration,
    /// The same event goes to other rooms, too.
    pub is_of_many: bool,
    /// Most connections that are named; of a room with more there is only their number.
    pub named_max: u64,
    /// Without control characters.
    pub event: &'a str,
    /// JSON.
    pub payload: &'a str,
}

/// Who is in the room that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Told by this call, not by one before it.
    pub is_new: bool,
    /// Connections in the room.
    pub connections: u64,
    /// Which they are; `None`: more than are named.
    pub leases: Option<Vec<Lease>>,
}

/// Tells each room its event, in the order given; a room that there is not, or that was told before, is told nothing. Calls
/// whose connection broke are made once more: whoever was told knows it.
pub async fn emit(hot: &Hot, emissions: &[Emission<'_>]) -> Result<Vec<Result<Emitted, HotError>>, HotError> {
    let calls = || emissions.iter().map(|emission| emit_call(hot, emission)).collect();
    let replies = run_insisting(hot, calls).await?;
    Ok(replies.into_iter().map(|reply| emitted(reply?)).collect())
}

/// Once more where the connection broke: nothing here is done twice.
async fn run_insisting(hot: &Hot, calls: impl Fn() -> Vec<Call>) -> Result<Vec<Result<Reply, HotError>>, HotError> {
    match script::run_all(hot, calls()).await {
        Err(error) if error.is_broken_off() => script::run_all(hot, calls()).await,
        other => other,
    }
}

fn emit_call(hot: &Hot, emission: &Emission<'_>) -> Call {
    let (keys, room) = (hot.keys(), emission.room);
    let partition = Partition::of_room(room);
    EMIT.call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_emitted(room, emission.token))
        .key(keys.room_channel(room))
        .key(keys.outbox(partition))
        .number(millis(emission.keep))
        .arg(if emission.is_of_many { emission.token } else { "-" })
        .arg(format!("{}\n{}", emission.event, emission.payload))
        .number(hot.terms().outbox)
        .number(emission.named_max)
}

fn emitted(mut reply: Reply) -> Result<Emitted, HotError> {
    EMIT.read(|| {
        let (is_new, connections) = (reply.flag()?, reply.integer()?);
        let are_named = connections == 0 || !reply.is_empty();
        let mut leases = Vec::new();
        while !reply.is_empty() {
            // What a newer version calls its members is none that this one can count.
            leases.extend(Lease::of_member(&reply.text()?));
        }
        Ok(Emitted {
            is_new,
            connections,
            leases: are_named.then_some(leases),
        })
    })
}

/// How many connections the event of each token went to, as far as anybody has said; a count says it, unless that was done.
pub async fn recall(
    hot: &Hot,
    events: &[(&str, Option<u64>)],
    keep: Duration,
) -> Result<Vec<Result<Option<u64>, HotError>>, HotError> {
    let call = |(token, count): &(&str, Option<u64>)| {
        RECALL
            .call()
            .key(hot.keys().emitted(token))
            .arg(count.map(|count| count.to_string()).unwrap_or_default())
            .number(millis(keep))
    };
    let replies = run_insisting(hot, || events.iter().map(call).collect()).await?;
    Ok(replies.into_iter().map(|reply| recalled(reply?)).collect())
}

fn recalled(mut reply: Reply) -> Result<Option<u64>, HotError> {
    RECALL.read(|| {
        if reply.is_empty() {
            Ok(None)
        } else {
            reply.integer().map(Some)
        }
    })
}
