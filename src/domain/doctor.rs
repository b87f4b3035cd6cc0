//! Whether everything that is derived agrees with the leases, and how what does not is ended: like everything else, so
//! that rooms hear of it. Not here: what a script must do so that nothing ever drifts.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{endings, presence};
use crate::hot::doctor::{self, Piece};
use crate::hot::keys::{Due, Lease, Partition};
use crate::hot::rooms::LeaveRequest;
use crate::hot::{self, Hot, HotError};
use crate::types::{ConnectionId, LeaveReason, NodeId, RoomName, UserId};

pub use crate::hot::doctor::census;

/// Steps that follow an end in other partitions are taken by then: what still differs is no step under way.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Who holds a user in a room of whom no connection is known, for as long as it takes to leave.
const DOCTOR: &str = "doctor";

/// Something that contradicts the leases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// Some of a connection is there, and some is not.
    Connection(String),
    /// A user is in a room by a connection that the user does not have.
    StrayRoom(UserId, ConnectionId, RoomName),
    /// A room has a connection without a lease: room, and the lease that should be.
    Ghost(RoomName, String),
    /// A room disagrees with itself: room, kind, user.
    Room(RoomName, String, UserId),
    /// Something is to end that has no owner.
    Due(Partition, String),
    /// A key should expire, and does not.
    Lasting(String),
}

impl fmt::Display for Drift {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.replace('\0', " ");
        match self {
            Self::Connection(lease) => write!(out, "connection: only a part of {} is there", shown(lease)),
            Self::StrayRoom(user, connection, room) => {
                write!(
                    out,
                    "stray room: {user} is in {room} by {connection}, which does not exist"
                )
            }
            Self::Ghost(room, lease) => write!(out, "ghost: {room} has {}, which has no lease", shown(lease)),
            Self::Room(room, kind, user) => write!(out, "{kind}: {user} in {room}"),
            Self::Due(partition, member) => {
                write!(
                    out,
                    "due: {} has no owner (partition {})",
                    shown(member),
                    partition.index()
                )
            }
            Self::Lasting(key) => write!(out, "lasting: {} never expires", shown(key)),
        }
    }
}

/// Everything that drifted: what is found twice, with [`PATIENCE`] between where anything is found at all.
pub async fn examine(hot: &Hot) -> Result<BTreeSet<Drift>, HotError> {
    examine_telling(hot, |_| {}).await
}

/// The same; tells of each partition that is done, and of each step of the scan behind them, how many there were so far.
pub async fn examine_telling(hot: &Hot, tell: impl Fn(Progress)) -> Result<BTreeSet<Drift>, HotError> {
    let first = look(hot, &tell).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(PATIENCE).await;
    Ok(&first & &look(hot, &tell).await?)
}

/// How far a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Partitions whose leases and ends were looked at.
    Partitions(usize),
    /// Steps of the scan over all keys.
    Steps(usize),
}

/// The same of the leases and the ends of one partition alone, without a scan.
pub async fn examine_partition(hot: &Hot, partition: Partition) -> Result<BTreeSet<Drift>, HotError> {
    let nodes = doctor::nodes(hot).await?;
    let first = look_at(hot, partition, &nodes).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(PATIENCE).await;
    Ok(&first & &look_at(hot, partition, &nodes).await?)
}

async fn look(hot: &Hot, tell: &impl Fn(Progress)) -> Result<BTreeSet<Drift>, HotError> {
    let nodes = doctor::nodes(hot).await?;
    let mut found = BTreeSet::new();
    for partition in Partition::all() {
        found.extend(look_at(hot, partition, &nodes).await?);
        tell(Progress::Partitions(partition.index() + 1));
    }
    let (mut place, mut steps) = (Some(doctor::Place::default()), 0);
    while let Some(here) = place {
        tell(Progress::Steps(steps));
        steps += 1;
        let (next, pieces) = doctor::scan(hot, here).await?;
        let (mut leases, mut rooms) = (Vec::new(), BTreeSet::new());
        for piece in pieces {
            match piece {
                Piece::Connection(lease) => leases.push(lease),
                Piece::Room(room) => drop(rooms.insert(room)),
                Piece::StrayRoom(user, connection, room) => {
                    found.insert(Drift::StrayRoom(user, connection, room));
                }
                Piece::Lasting(key) => drop(found.insert(Drift::Lasting(key))),
            }
        }
        broken(hot, &leases, &mut found).await?;
        for room in rooms {
            look_into(hot, &room, &mut found).await?;
        }
        place = next;
    }
    Ok(found)
}

async fn look_at(hot: &Hot, partition: Partition, nodes: &[NodeId]) -> Result<BTreeSet<Drift>, HotError> {
    let mut found = BTreeSet::new();
    for grace in [false, true] {
        for page in 0.. {
            let leases = doctor::leases(hot, partition, grace, page).await?;
            if leases.is_empty() {
                break;
            }
            broken(hot, &leases, &mut found).await?;
        }
    }
    for node in nodes {
        let leases = hot::presence::node_leases(hot, partition, node).await?;
        broken(hot, &leases, &mut found).await?;
    }
    for page in 0.. {
        let due = doctor::due(hot, partition, page).await?;
        if due.is_empty() {
            break;
        }
        let orphans = due.into_iter().filter(|(_, owned)| !owned);
        found.extend(orphans.map(|(member, _)| Drift::Due(partition, member)));
    }
    Ok(found)
}

async fn broken(hot: &Hot, leases: &[Lease], found: &mut BTreeSet<Drift>) -> Result<(), HotError> {
    for batch in leases.chunks(doctor::BATCH) {
        let pieces = doctor::connections(hot, batch, false).await?;
        let broken = batch.iter().zip(pieces).filter(|(_, pieces)| !pieces.is_whole());
        found.extend(broken.map(|(lease, _)| Drift::Connection(lease.encode())));
    }
    Ok(())
}

async fn look_into(hot: &Hot, room: &RoomName, found: &mut BTreeSet<Drift>) -> Result<(), HotError> {
    let said = doctor::room(hot, room, false).await?;
    found.extend(
        said.into_iter()
            .map(|(kind, user)| Drift::Room(room.clone(), kind, user)),
    );
    for page in 0.. {
        let members = doctor::members(hot, room, page).await?;
        if members.is_empty() {
            break;
        }
        let pieces = doctor::connections(hot, &members, false).await?;
        let ghosts = members.iter().zip(pieces).filter(|(_, pieces)| !pieces.leased);
        found.extend(ghosts.map(|(lease, _)| Drift::Ghost(room.clone(), lease.encode())));
    }
    Ok(())
}

/// Ends what drifted. A connection that lives is registered anew by its node's next beat.
pub async fn repair(hot: &Hot, drift: &Drift) -> Result<(), HotError> {
    match drift {
        Drift::Connection(lease) => {
            let Some(lease) = Lease::decode(lease) else {
                return Ok(());
            };
            let pieces = doctor::connections(hot, std::slice::from_ref(&lease), true).await?;
            if pieces.iter().all(|pieces| pieces.is_whole()) {
                return Ok(());
            }
            endings::finish(hot, &lease, DOCTOR).await.map(drop)
        }
        Drift::StrayRoom(user, connection, room) => hot::presence::exit(hot, user, connection, room).await,
        Drift::Ghost(room, lease) => match Lease::decode(lease) {
            Some(lease) => leave(hot, room, &lease).await,
            None => Ok(()),
        },
        Drift::Room(room, kind, user) if kind == "unheld" => {
            let lease = Lease {
                connection: ConnectionId::parse(DOCTOR).expect("a plain word is an id"),
                node: NodeId::parse(DOCTOR).expect("a plain word is an id"),
                user: user.clone(),
            };
            // Whoever joins meanwhile is there by another connection, and stays.
            let said = doctor::room(hot, room, false).await?;
            if !said.contains(&(kind.clone(), user.clone())) {
                return Ok(());
            }
            doctor::hold(hot, room, &lease).await?;
            leave(hot, room, &lease).await
        }
        Drift::Room(room, ..) => doctor::room(hot, room, true).await.map(drop),
        Drift::Due(partition, member) => {
            doctor::let_end(hot, *partition, member).await?;
            match Due::decode(member) {
                Some(Due::Typing(room)) => hot::typing::expire(hot, &room).await.map(drop),
                Some(Due::Count(room)) => hot::rooms::count(hot, &room).await,
                Some(Due::CustomStatus(user)) => presence::expire(hot, &user).await,
                Some(Due::Away(user)) => presence::idle(hot, &user).await,
                None => Ok(()),
            }
        }
        Drift::Lasting(key) => doctor::bury(hot, key).await,
    }
}

async fn leave(hot: &Hot, room: &RoomName, lease: &Lease) -> Result<(), HotError> {
    let request = LeaveRequest {
        lease,
        room,
        reason: LeaveReason::Disconnected,
        presence: None,
        ended: true,
    };
    hot::rooms::leave_all(hot, &[request]).await
}
