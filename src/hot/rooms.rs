//! Rooms and who is in them: one typed function per file of lua/rooms. Not here: what a refusal is called on the wire.

mod change;
mod join;
mod listing;

use std::sync::{Arc, LazyLock};

use super::keys::{Lease, Partition};
use super::outbox::Record;
use super::reply::{Reply, UnexpectedReply};
use super::script::{self, Call, Script, script};
use super::{COUNT_EVERY, Hot, HotError, millis, presence};
use crate::types::{LeaveReason, Presence, RoomName, RoomType, Status, UserId, Visibility};

pub use change::{Settings, change};
pub use join::{Join, JoinRequest, Joined, Known, Making, Missed, Since, join};
pub use listing::{LIST_MAX, list, list_page, read};

script!(CREATE = "rooms/create");
script!(JOIN = "rooms/join");
script!(LEAVE = "rooms/leave");
script!(TELL = "rooms/tell");
script!(MEMBERS = "rooms/members");
script!(COUNT = "rooms/count");
script!(READ = "rooms/read");
script!(STRANGERS = "rooms/strangers");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[
    &CREATE,
    &JOIN,
    &LEAVE,
    &TELL,
    &MEMBERS,
    &COUNT,
    &READ,
    &STRANGERS,
    &change::CHANGE,
];

/// How long a late join of an ended connection is refused.
const TOMBSTONE_MS: u64 = 120_000;

/// What is asked of a new room.
#[derive(Debug, Clone)]
pub struct NewRoom {
    pub name: RoomName,
    pub kind: RoomType,
    pub visibility: Visibility,
    /// `None`: no bound.
    pub max_members: Option<u32>,
    /// Its admin from the start; who is there already stays as it is.
    pub owner: Option<UserId>,
}

/// A room as the administration sees it; `members` are live users. What makes or changes one says neither its id nor its
/// connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub name: RoomName,
    pub kind: RoomType,
    pub visibility: Visibility,
    pub max_members: Option<u32>,
    pub created_ms: i64,
    pub members: u64,
    /// By which the archive knows it, a UUID.
    pub id: Option<String>,
    /// Through which its members are in it.
    pub connections: u64,
}

impl Reply {
    /// Four values: type, visibility, most members, created_ms.
    fn room(&mut self, name: RoomName) -> Result<Room, UnexpectedReply> {
        Ok(Room {
            name,
            kind: RoomType::parse(&self.text()?).unwrap_or(RoomType::Channel),
            visibility: Visibility::parse(&self.text()?).unwrap_or(Visibility::Secret),
            max_members: Some(self.integer()?).filter(|&most| most > 0),
            created_ms: self.integer()?,
            members: 0,
            id: None,
            connections: 0,
        })
    }
}

/// Makes a room; true where it is new, false where one of that name was there, which is returned as it is. With it where
/// that stands in the outbox; where nothing changed, how far that is. `None` where there is no archive.
pub async fn create(hot: &Hot, room: &NewRoom) -> Result<(bool, Room, Option<Record>), HotError> {
    let mut reply = CREATE
        .call()
        .key(hot.keys().room(&room.name))
        .key(hot.keys().room_changes(&room.name))
        .key(hot.keys().room_history(&room.name))
        .key(hot.keys().room_policy(&room.name))
        .arg(room.name.as_str())
        .arg(uuid())
        .arg(room.kind.as_str())
        .arg(room.visibility.as_str())
        .number(room.max_members.unwrap_or(0))
        .arg(new_epoch())
        .arg(room.owner.as_ref().map(UserId::as_str).unwrap_or_default())
        .outbox(hot, Partition::of_room(&room.name))
        .run(hot)
        .await?;
    let partition = Partition::of_room(&room.name);
    CREATE.read(|| Ok((reply.flag()?, reply.room(room.name.clone())?, reply.record(partition)?)))
}

/// A random version 4 UUID: rooms are known by one in the archive.
pub(super) fn uuid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A room's epoch: random, so that no two lives of a room share one.
pub(super) fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// One user in a room.
#[derive(Debug, Clone)]
pub struct Member {
    pub user: UserId,
    pub joined_ms: i64,
    pub status: Status,
}

/// Why and how a connection leaves.
#[derive(Debug, Clone)]
pub struct LeaveRequest<'a> {
    pub lease: &'a Lease,
    pub room: &'a RoomName,
    pub reason: LeaveReason,
    /// The presence that changed with it, told with the leave.
    pub presence: Option<&'a Presence>,
    /// The connection has ended: a late join of it must find out.
    pub ended: bool,
}

fn leave_call(hot: &Hot, request: &LeaveRequest<'_>) -> Call {
    let (keys, room, lease) = (hot.keys(), request.room, request.lease);
    LEAVE
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_users(room))
        .key(keys.room_typing(room))
        .key(keys.tombstone(room, &lease.connection))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .key(keys.room_changes(room))
        .key(keys.room_policy(room))
        .arg(room.as_str())
        .arg(lease.user.as_str())
        .arg(lease.member())
        .arg(request.reason.as_str())
        .number(request.presence.map_or(0, |presence| presence.version))
        .arg(request.presence.map(presence::encode).unwrap_or_default())
        .number(hot.terms().presence_limit)
        .number(millis(COUNT_EVERY))
        .number(if request.ended { TOMBSTONE_MS } else { 0 })
        .number(millis(hot.terms().keep.max(hot.terms().history.ttl)))
        .master()
        .outbox(hot, Partition::of_room(room))
}

/// Where in the room's order a leave stands: what is behind it is not for who left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The user's last connection here.
    pub last: bool,
    pub epoch: String,
    pub seq: u64,
}

/// First half of a leave, in the room's partition. `None`: there is no such room.
pub async fn leave(hot: &Hot, request: &LeaveRequest<'_>) -> Result<Option<Left>, HotError> {
    let mut reply = leave_call(hot, request).run(hot).await?;
    LEAVE.read(|| {
        if reply.text()? == "missing" {
            return Ok(None);
        }
        let _removed = reply.flag()?;
        let last = reply.flag()?;
        let _rev: u64 = reply.integer()?;
        Ok(Some(Left {
            last,
            epoch: reply.text()?,
            seq: reply.integer()?,
        }))
    })
}

/// Many leaves in few round trips; the first failure is returned after all were tried.
pub async fn leave_all(hot: &Hot, requests: &[LeaveRequest<'_>]) -> Result<(), HotError> {
    let replies = script::run_all(hot, requests.iter().map(|request| leave_call(hot, request)).collect()).await?;
    replies.into_iter().try_for_each(|reply| reply.map(drop))
}

fn tell_call(hot: &Hot, room: &RoomName, user: &UserId, presence: &Presence) -> Call {
    TELL.call()
        .key(hot.keys().room_users(room))
        .key(hot.keys().room_channel(room))
        .arg(user.as_str())
        .number(presence.version)
        .arg(presence::encode(presence))
        .arg(presence.status.as_str())
        .number(hot.terms().presence_limit)
}

/// Tells rooms a user's presence, each once per version. False: in one of them the user is not, or not yet.
pub async fn tell_all(hot: &Hot, user: &UserId, presence: &Presence, rooms: &[RoomName]) -> Result<bool, HotError> {
    let calls = rooms.iter().map(|room| tell_call(hot, room, user, presence));
    let replies = script::run_all(hot, calls.collect()).await?;
    replies.into_iter().try_fold(true, |everywhere, reply| {
        let mut reply = reply?;
        let _told = TELL.read(|| reply.flag())?;
        Ok(everywhere & TELL.read(|| reply.flag())?)
    })
}

/// Tells one room the presences of its users, each once per version.
pub async fn tell_each(hot: &Hot, room: &RoomName, users: &[(UserId, Arc<Presence>)]) -> Result<(), HotError> {
    let call = |(user, presence): &(UserId, Arc<Presence>)| tell_call(hot, room, user, presence);
    let replies = script::run_all(hot, users.iter().map(call).collect()).await?;
    replies.into_iter().try_for_each(|reply| reply.map(drop))
}

/// A page of members, in the order of their ids.
#[derive(Debug)]
pub struct Page {
    pub members: Vec<Member>,
    /// There are more behind the last.
    pub more: bool,
}

fn members_call(hot: &Hot, room: &RoomName, after: Option<&UserId>, limit: u32, asker: Option<&Lease>) -> Call {
    MEMBERS
        .call()
        .key(hot.keys().room_live(room))
        .key(hot.keys().room_users(room))
        .arg(after.map(UserId::as_str).unwrap_or_default())
        .number(limit)
        .arg(asker.map(Lease::member).unwrap_or_default())
}

fn page(mut reply: Reply) -> Result<Option<Page>, HotError> {
    MEMBERS.read(|| {
        let is_member = reply.flag()?;
        let more = reply.flag()?;
        let mut members = Vec::new();
        while !reply.is_empty() {
            members.push(Member {
                user: reply.id()?,
                joined_ms: reply.integer()?,
                status: Status::parse(&reply.text()?).unwrap_or(Status::Online),
            });
        }
        Ok(is_member.then_some(Page { members, more }))
    })
}

/// Reads a page for a member; the outer `None`: there is no such room, the inner: the asker is not in it.
pub async fn members(
    hot: &Hot,
    room: &RoomName,
    after: Option<&UserId>,
    limit: u32,
    asker: &Lease,
) -> Result<Option<Option<Page>>, HotError> {
    let calls = vec![
        listing::read_call(hot, room),
        members_call(hot, room, after, limit, Some(asker)),
    ];
    let mut replies = script::run_all(hot, calls).await?.into_iter();
    let (Some(room), Some(found)) = (replies.next(), replies.next()) else {
        return Ok(None);
    };
    let mut room = room?;
    if room.is_empty() {
        return Ok(None);
    }
    let is_secret = READ.read(|| {
        let name = room.id()?;
        Ok(room.room(name)?.visibility == Visibility::Secret)
    })?;
    let page = page(found?)?;
    // Who is not in a secret room does not learn that there is one.
    Ok(if is_secret && page.is_none() { None } else { Some(page) })
}

/// Most members that one call is asked about.
const STRANGERS_MAX: usize = 1_000;

/// Which of these connections are no members of a room: their places in the list.
pub async fn strangers(hot: &Hot, room: &RoomName, leases: &[Lease]) -> Result<Vec<usize>, HotError> {
    let call = |leases: &[Lease]| {
        STRANGERS
            .call()
            .key(hot.keys().room_live(room))
            .args(leases.iter().map(Lease::member))
    };
    let calls = leases.chunks(STRANGERS_MAX).map(call).collect();
    let mut strangers = Vec::new();
    for (chunk, reply) in script::run_all(hot, calls).await?.into_iter().enumerate() {
        let mut reply = reply?;
        while !reply.is_empty() {
            let index: usize = STRANGERS.read(|| reply.integer())?;
            strangers.extend((chunk * STRANGERS_MAX + index).checked_sub(1));
        }
    }
    strangers.retain(|index| *index < leases.len());
    Ok(strangers)
}

/// A page of members, for whoever need not be one.
pub async fn page_of(hot: &Hot, room: &RoomName, after: Option<&UserId>, limit: u32) -> Result<Page, HotError> {
    let found = page(members_call(hot, room, after, limit, None).run(hot).await?)?;
    Ok(found.expect("without an asker every page is given"))
}

/// Tells a large room how many it is, if that is due.
pub async fn count(hot: &Hot, room: &RoomName) -> Result<(), HotError> {
    COUNT
        .call()
        .key(hot.keys().room(room))
        .key(hot.keys().room_users(room))
        .key(hot.keys().due(Partition::of_room(room)))
        .key(hot.keys().room_channel(room))
        .arg(room.as_str())
        .number(millis(COUNT_EVERY))
        .run(hot)
        .await
        .map(drop)
}
