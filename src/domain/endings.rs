//! The one way in which anything ends: a connection at once, or whatever the sweep finds due. Every step is idempotent,
//! so any node may take it, twice too; each end is told once. Not here: when to sweep (`lifecycle`).

use std::time::{Duration, Instant};

use rand::seq::SliceRandom as _;

use super::presence;
use crate::hot::keys::{Due, Lease, Partition};
use crate::hot::presence::Finished;
use crate::hot::rooms::LeaveRequest;
use crate::hot::sweep::{self, Found, Todo};
use crate::hot::{self, Hot, HotError};
use crate::types::{LeaveReason, NodeId, Presence, RoomName, UserId};

/// What one sweep did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Leases that ran out without a word: their node is dead.
    pub leases: u64,
    /// Transports that were lost and did not come back.
    pub graces: u64,
    /// Typing marks, custom statuses, counts.
    pub due: u64,
    /// Steps that another node had left undone.
    pub taken_over: u64,
    /// Partitions whose leases were spared, since Redis had been silent.
    pub amnesties: u64,
    /// Of each connection that ended since its node died: the time from that death until everybody was told, ms.
    pub ghosts_ms: Vec<u64>,
}

/// Passes the connections of dead nodes into grace; the nodes, and how many connections each still held.
pub async fn bury_dead(hot: &Hot, grace: Duration) -> Result<Vec<(NodeId, u64)>, HotError> {
    let mut buried = Vec::new();
    for node in hot::nodes::dead(hot).await? {
        let held = hot::nodes::bury(hot, &node, grace).await?;
        buried.push((node, held));
    }
    Ok(buried)
}

/// Ends a connection now: its rooms hear of it at once. False: it had ended.
pub async fn finish(hot: &Hot, lease: &Lease) -> Result<bool, HotError> {
    let Some(finished) = hot::presence::finish(hot, lease).await? else {
        return Ok(false);
    };
    leave_rooms(hot, lease, &finished).await?;
    Ok(true)
}

/// Looks at every partition, in random order so that nodes do not do the same at the same time, and ends what is due.
pub async fn sweep(hot: &Hot) -> Result<Swept, HotError> {
    let mut partitions: Vec<Partition> = Partition::all().collect();
    partitions.shuffle(&mut rand::rng());
    let started = Instant::now();
    let Found {
        leases,
        graces,
        due,
        todo,
        amnesties,
        now_ms,
    } = sweep::look(hot, &partitions).await?;
    let (of_leases, of_graces) = (finish_all(hot, &leases).await?, finish_all(hot, &graces).await?);
    let told_ms = now_ms + i64::try_from(started.elapsed().as_millis()).unwrap_or(0);
    let swept = Swept {
        leases: of_leases.len() as u64,
        graces: of_graces.len() as u64,
        due: due.len() as u64,
        taken_over: todo.len() as u64,
        amnesties: u64::from(amnesties),
        ghosts_ms: ghosts(hot, of_leases.into_iter().chain(of_graces), told_ms).await?,
    };
    // One entry that fails must not keep the others waiting; whatever failed is found again by the next sweep.
    let mut failure = None;
    for due in &due {
        let ended = match due {
            Due::Typing(room) => hot::typing::expire(hot, room).await.map(drop),
            Due::Count(room) => hot::rooms::count(hot, room).await,
            Due::CustomStatus(user) => presence::expire(hot, user).await,
            Due::Away(user) => presence::idle(hot, user).await,
        };
        failure = failure.or(ended.err());
    }
    for step in &todo {
        failure = failure.or(take(hot, step).await.err());
    }
    failure.map_or(Ok(swept), Err)
}

/// How long the connections of dead nodes were shown after the death.
async fn ghosts(hot: &Hot, ended: impl Iterator<Item = NodeId>, told_ms: i64) -> Result<Vec<u64>, HotError> {
    let ended: Vec<NodeId> = ended.collect();
    let mut nodes = ended.clone();
    nodes.sort_unstable();
    nodes.dedup();
    let ends = hot::nodes::ends(hot, &nodes).await?;
    let death_ms = |node: &NodeId| {
        nodes
            .binary_search(node)
            .ok()
            .and_then(|index| ends[index])
            .filter(|&end_ms| end_ms < told_ms)
    };
    Ok(ended
        .iter()
        .filter_map(|node| u64::try_from(told_ms - death_ms(node)?).ok())
        .collect())
}

/// The nodes of the connections that this ended.
async fn finish_all(hot: &Hot, due: &[(Lease, i64)]) -> Result<Vec<NodeId>, HotError> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let (mut ended, mut failure) = (Vec::new(), None);
    for ((lease, _), finished) in due.iter().zip(hot::presence::finish_due(hot, due).await?) {
        let left = match finished {
            Ok(Some(finished)) => {
                ended.push(lease.node.clone());
                leave_rooms(hot, lease, &finished).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        failure = failure.or(left.err());
    }
    failure.map_or(Ok(ended), Err)
}

async fn leave_rooms(hot: &Hot, lease: &Lease, finished: &Finished) -> Result<(), HotError> {
    leave_each(hot, lease, finished.changed.as_ref(), &finished.rooms).await?;
    match &finished.todo {
        Some(id) => sweep::done(hot, Partition::of_user(&lease.user), id).await,
        None => Ok(()),
    }
}

async fn leave_each(hot: &Hot, lease: &Lease, presence: Option<&Presence>, rooms: &[RoomName]) -> Result<(), HotError> {
    let request = |room| LeaveRequest {
        lease,
        room,
        reason: LeaveReason::Disconnected,
        presence,
        ended: true,
    };
    let requests: Vec<_> = rooms.iter().map(request).collect();
    if requests.is_empty() {
        Ok(())
    } else {
        hot::rooms::leave_all(hot, &requests).await
    }
}

/// A step that whoever should have taken it left undone.
async fn take(hot: &Hot, step: &Todo) -> Result<(), HotError> {
    match (&step.lease, &step.presence) {
        (Some(lease), presence) => leave_each(hot, lease, presence.as_ref(), &step.rooms).await?,
        (None, Some(presence)) => tell(hot, &step.user, presence, &step.rooms).await?,
        (None, None) => {}
    }
    sweep::done(hot, step.partition, &step.id).await
}

async fn tell(hot: &Hot, user: &UserId, presence: &Presence, rooms: &[RoomName]) -> Result<(), HotError> {
    if hot.terms().presence_to_all {
        Ok(())
    } else {
        hot::rooms::tell_all(hot, user, presence, rooms).await.map(drop)
    }
}
