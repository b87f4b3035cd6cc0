//! What a user is shown as: chosen, or by activity; one typed function per file of lua/presence that changes it. Not here: the
//! leases that decide whether somebody is here at all.

use std::sync::LazyLock;

use super::super::keys::{Lease, Partition};
use super::super::reply::{Reply, UnexpectedReply};
use super::super::script::{Call, Script, script};
use super::super::{Hot, HotError, millis};
use super::{away_ms, presence_channel};
use crate::types::{Presence, RoomName, Status, UserId};

script!(UPDATE = "presence/update");
script!(EXPIRE = "presence/expire");
script!(IDLE = "presence/idle");
script!(WAKE = "presence/wake");
script!(RESTORE = "presence/restore");

impl Call {
    /// Six arguments: what a node knows of a user.
    pub(super) fn known(self, known: &Presence) -> Self {
        self.number(known.version)
            .arg(known.chosen.map_or("", Status::as_str))
            .arg(known.text.as_deref().unwrap_or_default())
            .arg(known.emoji.as_deref().unwrap_or_default())
            .number(known.until_ms.unwrap_or(0))
            .flag(known.is_idle())
    }
}

/// What a user chose; times in Unix ms.
#[derive(Debug, Clone)]
pub struct Choice {
    pub status: Status,
    pub text: Option<String>,
    pub emoji: Option<String>,
    pub until_ms: Option<i64>,
}

/// A presence, and the rooms that must hear of it where it changed.
#[derive(Debug)]
pub struct Told {
    pub changed: bool,
    pub presence: Presence,
    pub rooms: Vec<RoomName>,
    pub todo: Option<String>,
}

fn change_call(script: &'static LazyLock<Script>, hot: &Hot, user: &UserId) -> Call {
    let (keys, partition) = (hot.keys(), Partition::of_user(user));
    script
        .call()
        .key(keys.user(user))
        .key(keys.user_connections(user))
        .key(keys.user_rooms(user))
        .key(keys.due(partition))
        .key(keys.todo(partition))
        .key(presence_channel(hot, user))
        .key(keys.user_log(user))
        .arg(user.as_str())
}

/// Stores a choice; `None` where the connection is not registered.
pub async fn update(hot: &Hot, lease: &Lease, choice: &Choice) -> Result<Option<Told>, HotError> {
    let mut reply = change_call(&UPDATE, hot, &lease.user)
        .arg(lease.connection.as_str())
        .arg(choice.status.as_str())
        .arg(choice.text.as_deref().unwrap_or_default())
        .arg(choice.emoji.as_deref().unwrap_or_default())
        .number(choice.until_ms.unwrap_or(0))
        .number(away_ms(hot))
        .outbox(hot, Partition::of_user(&lease.user))
        .run(hot)
        .await?;
    UPDATE.read(|| {
        if reply.text()? != "ok" {
            return Ok(None);
        }
        let changed = reply.flag()?;
        told(&mut reply, changed).map(Some)
    })
}

/// Ends a custom status whose time has come; `None` where there is nothing to end.
pub async fn expire(hot: &Hot, user: &UserId) -> Result<Option<Told>, HotError> {
    let reply = change_call(&EXPIRE, hot, user)
        .number(millis(hot.terms().keep))
        .outbox(hot, Partition::of_user(user))
        .run(hot)
        .await?;
    told_or_none(&EXPIRE, reply)
}

/// Turns a user away whom no device was active for; `None` where there is nothing to tell.
pub async fn idle(hot: &Hot, user: &UserId) -> Result<Option<Told>, HotError> {
    let reply = change_call(&IDLE, hot, user)
        .outbox(hot, Partition::of_user(user))
        .run(hot)
        .await?;
    told_or_none(&IDLE, reply)
}

/// Notes an activity of a user who is away; `None` where there is nothing to tell.
pub async fn wake(hot: &Hot, user: &UserId) -> Result<Option<Told>, HotError> {
    let reply = change_call(&WAKE, hot, user)
        .number(away_ms(hot))
        .outbox(hot, Partition::of_user(user))
        .run(hot)
        .await?;
    told_or_none(&WAKE, reply)
}

/// Puts back what the node knows of a user who is connected, where Redis has lost it; `None` where it has not.
pub async fn restore(hot: &Hot, user: &UserId, known: &Presence) -> Result<Option<Told>, HotError> {
    let reply = RESTORE
        .call()
        .key(hot.keys().user(user))
        .key(hot.keys().user_connections(user))
        .key(hot.keys().user_rooms(user))
        .key(hot.keys().due(Partition::of_user(user)))
        .arg(user.as_str())
        .known(known)
        .outbox(hot, Partition::of_user(user))
        .run(hot)
        .await?;
    told_or_none(&RESTORE, reply)
}

fn told_or_none(script: &Script, mut reply: Reply) -> Result<Option<Told>, HotError> {
    script.read(|| {
        if reply.flag()? {
            told(&mut reply, true).map(Some)
        } else {
            Ok(None)
        }
    })
}

fn told(reply: &mut Reply, changed: bool) -> Result<Told, UnexpectedReply> {
    let presence = reply.presence()?;
    let todo = Some(reply.text()?).filter(|id| !id.is_empty());
    Ok(Told {
        changed,
        presence,
        rooms: reply.rooms()?,
        todo,
    })
}
