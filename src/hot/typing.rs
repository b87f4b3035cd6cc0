//! Typing marks: one typed function per file of lua/typing. Not here: who hears of them (`gateway`).

use std::sync::LazyLock;
use std::time::Duration;

use super::keys::{Lease, Partition};
use super::script::{Script, script};
use super::{Hot, HotError, millis};
use crate::types::RoomName;

script!(START = "typing/start");
script!(STOP = "typing/stop");
script!(EXPIRE = "typing/expire");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&START, &STOP, &EXPIRE];

/// Marks that one room holds at once; more are silently not shown: nobody reads a list of that length.
const MARKS_MAX: u32 = 100;

/// Where a user types.
#[derive(Debug, Clone)]
pub struct Mark<'a> {
    pub lease: &'a Lease,
    pub room: &'a RoomName,
    /// Empty: the room itself.
    pub thread: &'a str,
    /// The client's own word, echoed.
    pub room_type: &'a str,
}

/// Outcome of [`start`] and [`stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    Done,
    Missing,
    Banned,
    /// The connection is not in the room.
    Stranger,
    Muted,
}

/// Sets or extends a mark, and tells the room who types.
pub async fn start(hot: &Hot, mark: &Mark<'_>, lasts: Duration) -> Result<Typing, HotError> {
    let (keys, room) = (hot.keys(), mark.room);
    let mut reply = START
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room))
        .key(keys.room_typing(room))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .arg(room.as_str())
        .arg(mark.lease.user.as_str())
        .arg(mark.lease.member())
        .arg(mark.thread)
        .arg(mark.room_type)
        .number(millis(lasts))
        .number(MARKS_MAX)
        .run(hot)
        .await?;
    START.read(|| reply.text().map(|text| outcome(&text)))
}

/// Takes a mark back, and tells the room, if there was one.
pub async fn stop(hot: &Hot, mark: &Mark<'_>) -> Result<Typing, HotError> {
    let (keys, room) = (hot.keys(), mark.room);
    let mut reply = STOP
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_typing(room))
        .key(keys.room_channel(room))
        .arg(mark.lease.user.as_str())
        .arg(mark.lease.member())
        .arg(mark.thread)
        .arg(mark.room_type)
        .run(hot)
        .await?;
    STOP.read(|| reply.text().map(|text| outcome(&text)))
}

fn outcome(text: &str) -> Typing {
    match text {
        "missing" => Typing::Missing,
        "banned" => Typing::Banned,
        "stranger" => Typing::Stranger,
        "muted" => Typing::Muted,
        _ => Typing::Done,
    }
}

/// Ends the marks of a room that have run out; their number.
pub async fn expire(hot: &Hot, room: &RoomName) -> Result<u64, HotError> {
    let keys = hot.keys();
    let mut reply = EXPIRE
        .call()
        .key(keys.room_typing(room))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .arg(room.as_str())
        .run(hot)
        .await?;
    EXPIRE.read(|| reply.integer())
}
