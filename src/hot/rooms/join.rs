//! Joining a room: what a join asks, and what it comes to. Not here: leaving, and who is in a room (`super`).

use super::{JOIN, Member, new_epoch, uuid};
use crate::hot::frame::Message;
use crate::hot::keys::{Lease, Partition};
use crate::hot::messages::{REPLAY_MAX, REPLAY_MAX_BYTES};
use crate::hot::reply::Reply;
use crate::hot::{COUNT_EVERY, Hot, HotError, millis, presence};
use crate::types::{Presence, Role, RoomName, RoomType, Status, UserId, Visibility};

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
    /// There was no such room before.
    pub made: bool,
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

/// Second half of a join, in the room's partition, with the first page of members.
pub async fn join(hot: &Hot, request: &JoinRequest<'_>) -> Result<Join, HotError> {
    let (keys, room, lease) = (hot.keys(), request.room, request.lease);
    let made = request.known.map(|known| (known.kind, known.visibility));
    let made = made.or(request.autocreate.map(|making| (making.kind, making.visibility)));
    let reply = JOIN
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
        .flag(request.is_named)
        .number(request.members)
        .run(hot)
        .await?;
    joined(reply, request.since.is_some())
}

fn joined(mut reply: Reply, since: bool) -> Result<Join, HotError> {
    JOIN.read(|| {
        Ok(match &*reply.text()? {
            "ok" => {
                let mut words = reply.words()?;
                Join::Joined(Joined {
                    first: words.number::<u8>()? == 1,
                    made: words.number::<u8>()? == 1,
                    kind: RoomType::parse(words.text()?).unwrap_or(RoomType::Channel),
                    role: Role::parse(words.text()?).unwrap_or(Role::Member),
                    member_count: words.number()?,
                    epoch: words.text()?.to_owned(),
                    seq: words.number()?,
                    rev: words.number()?,
                    now_ms: words.number()?,
                    visibility: Visibility::parse(words.text()?).unwrap_or(Visibility::Secret),
                    max_members: Some(words.number()?).filter(|&most| most > 0),
                    members: members(&reply.text()?),
                    missed: {
                        let (lost, messages) = (reply.text()?, reply.messages()?);
                        since.then_some(if lost.is_empty() { Ok(messages) } else { Err(lost) })
                    },
                })
            }
            "missing" => Join::Missing,
            "banned" => Join::Banned,
            "full" => Join::Full,
            "gone" => Join::Gone,
            _ => Join::Forbidden,
        })
    })
}

/// Lines in turns, a user and the user's entry of `room.users`; in the order of their ids. Whose id no longer parses is nobody.
fn members(lines: &str) -> Vec<Member> {
    let mut lines = lines.split('\n');
    let mut members = Vec::new();
    while let (Some(user), Some(entry)) = (lines.next(), lines.next()) {
        let mut words = entry.split(' ');
        let (joined_ms, status) = (words.next().and_then(|at| at.parse().ok()), words.nth(1));
        members.extend(UserId::parse(user).ok().map(|user| Member {
            user,
            joined_ms: joined_ms.unwrap_or(0),
            status: status.and_then(Status::parse).unwrap_or(Status::Online),
        }));
    }
    members.sort_unstable_by(|one, other| one.user.cmp(&other.user));
    members
}
