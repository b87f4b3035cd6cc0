//! Rooms: making, joining, leaving, listing. Not here: how it is said on the wire.

use std::time::Duration;

use super::limits::Toll;
use super::names::{self, Standing};
use crate::hot::keys::Lease;
use crate::hot::outbox::Record;
use crate::hot::presence::Enter;
use crate::hot::rooms::{Join, JoinRequest, LeaveRequest, Page};
use crate::hot::{self, Hot, HotError};
use crate::types::{LeaveReason, RoomName, UserId};

pub use crate::hot::healing::{Healed, Heard};
pub use crate::hot::rooms::{Joined, Known, LIST_MAX, Left, Member, Missed, NewRoom, Room, Settings, Since};

/// What [`create`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New(Room),
    Existing(Room),
}

/// A room, and where its making stands in the outbox, if anything changed.
pub type Made = (Created, Option<Record>);

/// Makes a room, unless one of that name exists.
pub async fn create(hot: &Hot, room: &NewRoom) -> Result<Made, HotError> {
    let (made, room, record) = hot::rooms::create(hot, room).await?;
    let created = if made {
        Created::New(room)
    } else {
        Created::Existing(room)
    };
    Ok((created, record))
}

/// Every room, by name; at most [`LIST_MAX`].
pub async fn list(hot: &Hot) -> Result<Vec<Room>, HotError> {
    hot::rooms::list(hot).await
}

/// One room. `None`: there is none of that name.
pub async fn find(hot: &Hot, room: &RoomName) -> Result<Option<Room>, HotError> {
    hot::rooms::read(hot, room).await
}

/// Rooms by name, behind `after`: at most `limit`, and whether there are more.
pub async fn page(hot: &Hot, after: Option<&RoomName>, limit: usize) -> Result<(Vec<Room>, bool), HotError> {
    hot::rooms::list_page(hot, after, limit).await
}

/// Changes a room, which lasts from then on: whoever is in it stays, and every further operation goes by the new rules. `None`:
/// there is none.
pub async fn change(
    hot: &Hot,
    room: &RoomName,
    settings: &Settings,
) -> Result<Option<(Room, Option<Record>)>, HotError> {
    hot::rooms::change(hot, room, settings).await
}

/// Members by id, for the administration, behind `after`: at most `limit`. `None`: there is no such room.
pub async fn look(hot: &Hot, room: &RoomName, after: Option<&UserId>, limit: u32) -> Result<Option<Page>, HotError> {
    if find(hot, room).await?.is_none() {
        return Ok(None);
    }
    hot::rooms::page_of(hot, room, after, limit).await.map(Some)
}

/// Members that the administration sees in one page.
const LOOK_MAX: u32 = 1_000;

/// Everybody in a room, page by page, for the administration.
pub async fn everybody(hot: &Hot, room: &RoomName) -> Result<Vec<Member>, HotError> {
    let mut members: Vec<Member> = Vec::new();
    loop {
        let after = members.last().map(|last| last.user.clone());
        let page = hot::rooms::page_of(hot, room, after.as_ref(), LOOK_MAX).await?;
        members.extend(page.members);
        if !page.more {
            return Ok(members);
        }
    }
}

/// Why somebody may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefusal {
    NotFound,
    Banned,
    Forbidden,
    Full,
    TooManyRooms,
    /// The connection is not registered: it ended, or Redis lost it and it is to be registered anew.
    Unregistered,
}

/// How a connection joins.
#[derive(Debug, Clone, Copy)]
pub struct JoinOptions<'a> {
    /// Make the room when it is missing.
    pub autocreate: bool,
    /// What the node knows, where a membership is registered anew.
    pub known: Option<&'a Known>,
    /// Members to return, at most.
    pub members: u32,
    /// What the client has heard before.
    pub since: Option<&'a Since>,
    /// What it draws for its user's joins.
    pub toll: Option<&'a Toll>,
}

/// Joins, if the room's name does not rule that out: the user's half first, then the room's, so that whatever happens in between is cleaned by the sweep.
pub async fn join(
    hot: &Hot,
    lease: &Lease,
    room: &RoomName,
    options: JoinOptions<'_>,
) -> Result<Result<Joined, JoinRefusal>, HotError> {
    let door = names::door(hot.terms().nchat_names, room, &lease.user);
    if door.standing == Standing::Barred {
        return Ok(Err(JoinRefusal::Forbidden));
    }
    let entered = hot::presence::enter(hot, lease, room, options.toll.map(|toll| (toll.rate, toll.draw))).await;
    if let Some(toll) = options.toll {
        toll.drawn
            .get_or_init(|| entered.as_ref().ok().map(|(_, drawn)| *drawn));
    }
    let presence = match entered?.0 {
        Enter::Entered(presence) => presence,
        Enter::TooManyRooms => return Ok(Err(JoinRefusal::TooManyRooms)),
        Enter::Gone => return Ok(Err(JoinRefusal::Unregistered)),
    };
    let JoinOptions {
        autocreate,
        known,
        members,
        since,
        toll: _,
    } = options;
    let request = JoinRequest {
        lease,
        room,
        presence: &presence,
        autocreate: door.making.filter(|_| autocreate),
        is_named: door.standing == Standing::Named,
        known,
        members,
        since,
    };
    let refusal = match hot::rooms::join(hot, &request).await? {
        Join::Joined(joined) => return Ok(Ok(joined)),
        // Whoever may not make it is told the same, whether it is there or not.
        Join::Missing if door.making.is_none() => JoinRefusal::Forbidden,
        Join::Missing => JoinRefusal::NotFound,
        Join::Banned => JoinRefusal::Banned,
        Join::Forbidden => JoinRefusal::Forbidden,
        Join::Full => JoinRefusal::Full,
        Join::Gone => JoinRefusal::Unregistered,
    };
    // The connection may have been a member until the rules changed: without its room's half it would stay as a ghost.
    leave(hot, lease, room).await?;
    Ok(Err(refusal))
}

/// Leaves, of the connection's own will. `None`: there is no such room.
pub async fn leave(hot: &Hot, lease: &Lease, room: &RoomName) -> Result<Option<Left>, HotError> {
    let request = LeaveRequest {
        lease,
        room,
        reason: LeaveReason::Left,
        presence: None,
        ended: false,
    };
    let left = hot::rooms::leave(hot, &request).await?;
    hot::presence::exit(hot, &lease.user, &lease.connection, room).await?;
    Ok(left)
}

/// What a node has missed of a room behind a place; `former`: epochs that led to that of the place; `outage`: how long it may
/// have heard nothing.
pub async fn heal(
    hot: &Hot,
    room: &RoomName,
    known: &Heard,
    former: &[String],
    outage: Duration,
) -> Result<Healed, HotError> {
    hot::healing::heal(hot, room, known, former, outage).await
}

/// How far each of these rooms is, and what it is; `None` of those that are no more.
pub async fn positions(hot: &Hot, rooms: &[RoomName]) -> Result<Vec<Option<(Heard, Known)>>, HotError> {
    hot::healing::positions(hot, rooms).await
}

/// Which of these connections are no members of a room: their places in the list.
pub async fn strangers(hot: &Hot, room: &RoomName, leases: &[Lease]) -> Result<Vec<usize>, HotError> {
    hot::rooms::strangers(hot, room, leases).await
}

/// Why a page of members is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembersRefusal {
    NotFound,
    NotAMember,
}

/// One page of members, for a connection that is in the room.
pub async fn members(
    hot: &Hot,
    asker: &Lease,
    room: &RoomName,
    after: Option<&UserId>,
    limit: u32,
) -> Result<Result<Page, MembersRefusal>, HotError> {
    Ok(match hot::rooms::members(hot, room, after, limit, asker).await? {
        None => Err(MembersRefusal::NotFound),
        Some(None) => Err(MembersRefusal::NotAMember),
        Some(Some(page)) => Ok(page),
    })
}
