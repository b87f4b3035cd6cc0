//! Brings back what an emptied Redis has lost: one typed function per file of lua/archive that does. Not here: where it
//! comes from (`archive`), and in which order (`domain`).

use std::sync::LazyLock;

use super::keys::Partition;
use super::moderation::POLICY_MAX;
use super::rooms::new_epoch;
use super::script::{self, Script, script};
use super::{Hot, HotError, millis};
use crate::types::{RoomName, UserId};

script!(ROOM = "archive/room");
script!(STATUS = "archive/status");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&ROOM, &STATUS];

/// Entries of a policy in one call: what a script walks over stays short.
const ENTRIES_MAX: usize = 500;

/// A room as it was; times in Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRoom {
    pub name: RoomName,
    /// A UUID.
    pub id: String,
    pub kind: String,
    pub visibility: String,
    /// 0: no bound.
    pub max_members: u32,
    pub created_ms: i64,
    /// Made by joining it: it runs out when it is empty.
    pub is_auto: bool,
    /// Who made it by joining, and owns it by that.
    pub owner: Option<UserId>,
    /// The number of its last message, where messages are kept in Postgres: those to come are numbered on.
    pub seq: u64,
    /// Of each user the entry, JSON as `room.policy` has it.
    pub policy: Vec<(UserId, String)>,
}

/// What a user had chosen; times in Unix ms, 0 for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostStatus {
    pub user: UserId,
    pub version: u64,
    pub chosen: Option<String>,
    pub text: Option<String>,
    pub emoji: Option<String>,
    pub until_ms: i64,
    pub seen_ms: i64,
}

/// Writes rooms that Redis does not know, and entries of policies that it does not know. Which of the rooms it did not know, in
/// their order.
pub async fn rooms(hot: &Hot, rooms: &[LostRoom]) -> Result<Vec<bool>, HotError> {
    let keep_ms = millis(hot.terms().keep.max(hot.terms().history.ttl));
    let call = |room: &LostRoom, entries: &[(UserId, String)]| {
        ROOM.call()
            .key(hot.keys().room(&room.name))
            .key(hot.keys().room_policy(&room.name))
            .arg(room.name.as_str())
            .arg(&room.id[..])
            .arg(&room.kind[..])
            .arg(&room.visibility[..])
            .number(room.max_members)
            .arg(new_epoch())
            .number(room.created_ms)
            .flag(room.is_auto)
            .number(keep_ms)
            .arg(room.owner.as_ref().map_or("", UserId::as_str))
            .number(room.seq)
            .number(POLICY_MAX)
            .args(
                entries
                    .iter()
                    .flat_map(|(user, entry)| [user.to_string(), entry.clone()]),
            )
    };
    let (mut calls, mut firsts) = (Vec::with_capacity(rooms.len()), Vec::with_capacity(rooms.len()));
    for room in rooms {
        let mut entries = room.policy.chunks(ENTRIES_MAX);
        firsts.push(calls.len());
        calls.push(call(room, entries.next().unwrap_or_default()));
        calls.extend(entries.map(|entries| call(room, entries)));
    }
    let mut made = Vec::with_capacity(calls.len());
    for reply in script::run_all(hot, calls).await? {
        let mut reply = reply?;
        made.push(ROOM.read(|| reply.flag())?);
    }
    Ok(firsts.into_iter().map(|first| made[first]).collect())
}

/// Writes what was chosen by users whom Redis does not know.
pub async fn statuses(hot: &Hot, statuses: &[LostStatus]) -> Result<(), HotError> {
    let call = |status: &LostStatus| {
        STATUS
            .call()
            .key(hot.keys().user(&status.user))
            .key(hot.keys().due(Partition::of_user(&status.user)))
            .arg(status.user.as_str())
            .number(status.version)
            .arg(status.chosen.as_deref().unwrap_or_default())
            .arg(status.text.as_deref().unwrap_or_default())
            .arg(status.emoji.as_deref().unwrap_or_default())
            .number(status.until_ms)
            .number(status.seen_ms)
            .number(millis(hot.terms().keep))
    };
    let replies = script::run_all(hot, statuses.iter().map(call).collect()).await?;
    replies.into_iter().try_for_each(|reply| reply.map(drop))
}
