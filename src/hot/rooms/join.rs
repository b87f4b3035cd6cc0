//! Joining a room: what a join asks, and what it comes to. Not here: leaving, and who is in a room (`super`).

use super::{JOIN, Member, members_call, new_epoch, page, uuid};
use crate::hot::frame::Message;
use crate::hot::keys::{Lease, Partition};
use crate::hot::messages::{REPLAY_MAX, REPLAY_MAX_BYTES};
use crate::hot::reply::Reply;
use crate::hot::{COUNT_EVERY, Hot, HotError, millis, presence, script};
use crate::types::{Presence, Role, RoomName, RoomType, Visibility};

/// A room as its members' nodes know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub epoch: String,
    pub kind: RoomType,
    pub visibility: Visibility,
    /// `None`: no bound.
    pub max_members: Option<u32>,
}

/// What a room is that a join makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    pub kind: RoomType,
    pub visibility: Visibility,
}

impl Making {
    /// What a name that says nothing makes.
    pub const CHANNEL: Self = Self {
        kind: RoomType::Channel,
        visibility: Visibility::Public,
    };
}

/// A join, as the domain asks for it.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    pub lease: &'a Lease,
    pub room: &'a RoomName,
    pub presence: &'a Presence,
    /// Make the room when it is missing; `None`: it is missing then.
    pub autocreate: Option<Making>,
    /// The room's name is an invitation of the user.
    pub is_named: bool,
    /// What the node knows of a membership that is registered anew; where Redis has lost the room, it is put back.
    pub known: Option<&'a Known>,
    /// How many members to return with it; 0 for none.
    pub members: u32,
    /// What the client has heard before: the messages behind it are returned.
    pub since: Option<&'a Since>,
}

/// Up to where a client has heard a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    pub epoch: String,
    pub seq: u64,
}

/// What a client missed of a room, oldest first, or why that cannot be told.
pub type Missed = Result<Vec<Message>, String>;

/// A membership, and where in the room's order it begins.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The user's first connection here.
    pub first: bool,
    pub kind: RoomType,
    pub role: Role,
    pub member_count: u64,
    pub epoch: String,
    pub seq: u64,
    pub rev: u64,
    pub now_ms: i64,
    pub visibility: Visibility,
    pub max_members: Option<u32>,
    pub members: Vec<Member>,
    /// Where the request said since when.
    pub missed: Option<Missed>,
}

/// Outcome of [`join`].
#[derive(Debug)]
pub enum Join {
    Joined(Joined),
    Missing,
    Banned,
    Forbidden,
    Full,
    /// The connection has ended meanwhile.
    Gone,
}

/// Second half of a join, in the room's partition, with the first page of members in the same round trip.
pub async fn join(hot: &Hot, request: &JoinRequest<'_>) -> Result<Join, HotError> {
    let (keys, room, lease) = (hot.keys(), request.room, request.lease);
    let made = request.known.map(|known| (known.kind, known.visibility));
    let made = made.or(request.autocreate.map(|making| (making.kind, making.visibility)));
    let call = JOIN
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_users(room))
        .key(keys.room_policy(room))
        .key(keys.tombstone(room, &lease.connection))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .key(keys.room_changes(room))
        .key(keys.room_history(room))
        .arg(room.as_str())
        .arg(lease.user.as_str())
        .arg(lease.connection.as_str())
        .arg(lease.member())
        .flag(lease.user.is_anonymous())
        .number(request.presence.version)
        .arg(presence::encode(request.presence))
        .arg(request.presence.status.as_str())
        .number(hot.terms().presence_limit)
        .number(millis(COUNT_EVERY))
        .number(match request.autocreate {
            None => 0,
            Some(_) if hot.terms().makers_own => 2,
            // Nobody else could let in whoever made it.
            Some(making) if making.visibility != Visibility::Public && !request.is_named => 3,
            Some(_) => 1,
        })
        .arg(uuid())
        .arg(new_epoch())
        .arg(request.known.map_or("", |known| &known.epoch))
        .arg(made.map_or("", |(kind, _)| kind.as_str()))
        .arg(made.map_or("", |(_, visibility)| visibility.as_str()))
        .number(request.known.and_then(|known| known.max_members).unwrap_or(0))
        .master()
        .arg(request.since.map_or("", |since| &since.epoch))
        .number(request.since.map_or(0, |since| since.seq))
        .number(REPLAY_MAX)
        .number(REPLAY_MAX_BYTES)
        .outbox(hot, Partition::of_room(room))
        .flag(request.is_named);
    let mut calls = vec![call];
    if request.members > 0 {
        calls.push(members_call(hot, room, None, request.members, None).reading());
    }
    let mut replies = script::run_all(hot, calls).await?.into_iter();
    let missing_reply = || HotError::reply(JOIN.name(), Reply::new(redis::Value::Nil).expect_err("nil is no array"));
    let reply = replies.next().ok_or_else(missing_reply)??;
    let mut outcome = joined(reply, request.since.is_some())?;
    if let (Join::Joined(joined), Some(reply)) = (&mut outcome, replies.next())
        && joined.member_count <= hot.terms().presence_limit
    {
        joined.members = page(reply?)?.map(|page| page.members).unwrap_or_default();
    }
    Ok(outcome)
}

fn joined(mut reply: Reply, since: bool) -> Result<Join, HotError> {
    JOIN.read(|| {
        Ok(match &*reply.text()? {
            "ok" => Join::Joined(Joined {
                first: reply.flag()?,
                kind: RoomType::parse(&reply.text()?).unwrap_or(RoomType::Channel),
                role: Role::parse(&reply.text()?).unwrap_or(Role::Member),
                member_count: reply.integer()?,
                epoch: reply.text()?,
                seq: reply.integer()?,
                rev: reply.integer()?,
                now_ms: reply.integer()?,
                visibility: Visibility::parse(&reply.text()?).unwrap_or(Visibility::Secret),
                max_members: Some(reply.integer()?).filter(|&most| most > 0),
                members: Vec::new(),
                missed: {
                    let (lost, messages) = (reply.text()?, reply.messages()?);
                    since.then_some(if lost.is_empty() { Ok(messages) } else { Err(lost) })
                },
            }),
            "missing" => Join::Missing,
            "banned" => Join::Banned,
            "full" => Join::Full,
            "gone" => Join::Gone,
            _ => Join::Forbidden,
        })
    })
}
