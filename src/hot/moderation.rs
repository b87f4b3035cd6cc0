//! Acts on users of a room: one typed function per file of lua/moderation. Not here: what a refusal is called on the wire.

use std::sync::LazyLock;

use super::keys::{Lease, Partition};
use super::outbox::Record;
use super::reply::Reply;
use super::script::{Call, Script, script};
use super::{COUNT_EVERY, Hot, HotError, millis};
use crate::types::{Role, RoomName, UserId};

script!(EXPEL = "moderation/expel");
script!(UNBAN = "moderation/unban");
script!(MUTE = "moderation/mute");
script!(APPOINT = "moderation/appoint");
script!(INVITE = "moderation/invite");
script!(READ = "moderation/read");
script!(CLOSE = "moderation/close");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&EXPEL, &UNBAN, &MUTE, &APPOINT, &INVITE, &READ, &CLOSE];

/// Users of whom one room remembers a role, a ban or a mute; beyond, one has to be lifted first.
pub const POLICY_MAX: u32 = 100_000;

/// Who acts.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// A user, by a connection that has to be in the room.
    Member(&'a Lease),
    /// Above every rank, and in no room.
    Administration,
}

/// An act, and on whom.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub actor: Actor<'a>,
    pub room: &'a RoomName,
    pub user: &'a UserId,
    /// In the actor's words; for the audit trail.
    pub reason: Option<&'a str>,
}

/// How long a ban or a mute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    Forever,
    /// Unix ms, in the future.
    Until(i64),
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .map(|ms| if ms == 0 { Self::Forever } else { Self::Until(ms) })
    }

    fn end_ms(self) -> String {
        match self {
            Self::Forever => "0".to_owned(),
            Self::Until(ms) => ms.to_string(),
        }
    }
}

/// Why an act is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such room, or the actor may not know of it.
    Missing,
    /// The actor is banned.
    Banned,
    /// The actor's connection is not in the room.
    Stranger,
    /// The actor's rank is too low, or the act is on the actor.
    Forbidden,
    /// The end is not in the future.
    Past,
    /// The room remembers [`POLICY_MAX`] users already.
    Full,
}

/// An act that was carried out.
#[derive(Debug)]
pub struct Done {
    /// The connections on which it takes effect.
    pub connections: Vec<Lease>,
    /// Where it stands in the outbox; where nothing had to be changed, how far that is: what was changed before may still
    /// wait there. `None` where there is no archive.
    pub record: Option<Record>,
}

/// What became of an act.
pub type Outcome = Result<Done, Refusal>;

impl Act<'_> {
    fn args(&self, call: Call) -> Call {
        let (actor, member) = match self.actor {
            Actor::Member(lease) => (lease.user.as_str(), lease.member()),
            Actor::Administration => ("", String::new()),
        };
        call.arg(actor).arg(member).arg(self.user.as_str())
    }

    fn partition(&self) -> Partition {
        Partition::of_room(self.room)
    }

    fn why(&self) -> &str {
        self.reason.unwrap_or_default()
    }
}

/// Sends the user out of the room; with a ban the user stays out.
pub async fn expel(hot: &Hot, act: &Act<'_>, ban: Option<Term>) -> Result<Outcome, HotError> {
    let (keys, room) = (hot.keys(), act.room);
    let call = EXPEL
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_users(room))
        .key(keys.room_policy(room))
        .key(keys.room_typing(room))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .key(keys.room_changes(room))
        .arg(room.as_str());
    let reply = act
        .args(call)
        .arg(ban.map(Term::end_ms).unwrap_or_default())
        .number(POLICY_MAX)
        .number(hot.terms().presence_limit)
        .number(millis(COUNT_EVERY))
        .number(millis(hot.terms().keep.max(hot.terms().history.ttl)))
        .master()
        .outbox(hot, act.partition())
        .arg(act.why())
        .run(hot)
        .await?;
    outcome(&EXPEL, reply, act.room)
}

/// Lifts the user's ban.
pub async fn unban(hot: &Hot, act: &Act<'_>) -> Result<Outcome, HotError> {
    let (keys, room) = (hot.keys(), act.room);
    let call = UNBAN
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room));
    let reply = act
        .args(call)
        .outbox(hot, act.partition())
        .arg(room.as_str())
        .arg(act.why())
        .run(hot)
        .await?;
    outcome(&UNBAN, reply, room)
}

/// Mutes the user; `None` lifts that.
pub async fn mute(hot: &Hot, act: &Act<'_>, term: Option<Term>) -> Result<Outcome, HotError> {
    let (keys, room) = (hot.keys(), act.room);
    let call = MUTE
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room))
        .key(keys.room_typing(room))
        .key(keys.room_channel(room));
    let reply = act
        .args(call)
        .arg(term.map(Term::end_ms).unwrap_or_default())
        .number(POLICY_MAX)
        .outbox(hot, act.partition())
        .arg(room.as_str())
        .arg(act.why())
        .run(hot)
        .await?;
    outcome(&MUTE, reply, room)
}

/// Gives the user a role.
pub async fn appoint(hot: &Hot, act: &Act<'_>, role: Role) -> Result<Outcome, HotError> {
    let (keys, room) = (hot.keys(), act.room);
    let call = APPOINT
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room));
    let reply = act
        .args(call)
        .arg(role.as_str())
        .number(POLICY_MAX)
        .outbox(hot, act.partition())
        .arg(room.as_str())
        .arg(act.why())
        .run(hot)
        .await?;
    outcome(&APPOINT, reply, room)
}

/// Lets the administration invite the user, who keeps the role that there is; which one that is.
pub async fn invite(hot: &Hot, act: &Act<'_>) -> Result<Result<(Role, Done), Refusal>, HotError> {
    let (keys, room) = (hot.keys(), act.room);
    let mut reply = INVITE
        .call()
        .key(keys.room(room))
        .key(keys.room_policy(room))
        .arg(act.user.as_str())
        .number(POLICY_MAX)
        .outbox(hot, act.partition())
        .arg(room.as_str())
        .arg(act.why())
        .run(hot)
        .await?;
    INVITE.read(|| {
        Ok(match &*reply.text()? {
            "ok" => {
                let record = reply.record(act.partition())?;
                let role = Role::parse(&reply.text()?).unwrap_or(Role::Member);
                let connections = Vec::new();
                Ok((role, Done { connections, record }))
            }
            "full" => Err(Refusal::Full),
            _ => Err(Refusal::Missing),
        })
    })
}

/// What a room remembers of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub user: UserId,
    pub role: Option<Role>,
    pub ban: Option<Term>,
    pub mute: Option<Term>,
}

/// What a room remembers: of how many users, and some of them, at most `limit`, sorted.
pub async fn read(hot: &Hot, room: &RoomName, limit: u32) -> Result<(u64, Vec<Entry>), HotError> {
    let mut reply = READ
        .call()
        .key(hot.keys().room_policy(room))
        .number(limit)
        .run(hot)
        .await?;
    READ.read(|| {
        let count = reply.integer()?;
        let mut entries = Vec::new();
        while !reply.is_empty() {
            entries.push(Entry {
                user: reply.id()?,
                role: Role::parse(&reply.text()?),
                ban: Term::parse(&reply.text()?),
                mute: Term::parse(&reply.text()?),
            });
        }
        entries.sort_by(|a, b| a.user.cmp(&b.user));
        Ok((count, entries))
    })
}

/// Connections that the receipt of a closed room names; it tells no more of a larger one.
const CLOSED_MAX: u32 = 100_000;

/// Ends a room. `None`: there is none.
pub async fn close(hot: &Hot, room: &RoomName) -> Result<Option<Done>, HotError> {
    let keys = hot.keys();
    let reply = CLOSE
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_users(room))
        .key(keys.room_policy(room))
        .key(keys.room_typing(room))
        .key(keys.room_changes(room))
        .key(keys.room_history(room))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .arg(room.as_str())
        .number(CLOSED_MAX)
        .outbox(hot, Partition::of_room(room))
        .run(hot)
        .await?;
    Ok(outcome(&CLOSE, reply, room)?.ok())
}

fn outcome(script: &Script, mut reply: Reply, room: &RoomName) -> Result<Outcome, HotError> {
    script.read(|| {
        Ok(match &*reply.text()? {
            "ok" => {
                let record = reply.record(Partition::of_room(room))?;
                let mut connections = Vec::new();
                while !reply.is_empty() {
                    connections.extend(Lease::of_member(&reply.text()?));
                }
                Ok(Done { connections, record })
            }
            "missing" => Err(Refusal::Missing),
            "banned" => Err(Refusal::Banned),
            "stranger" => Err(Refusal::Stranger),
            "past" => Err(Refusal::Past),
            "full" => Err(Refusal::Full),
            _ => Err(Refusal::Forbidden),
        })
    })
}
