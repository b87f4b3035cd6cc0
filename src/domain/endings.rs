//! The one way in which anything ends: a connection at once, or whatever the sweep finds due. Every step is idempotent,
//! so any node may take it, twice too; each end is told once. Not here: when to sweep (`lifecycle`).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::seq::SliceRandom as _;

use super::presence;
use crate::hot::keys::{Due, Lease, Partition};
use crate::hot::presence::Finished;
use crate::hot::rooms::LeaveRequest;
use crate::hot::sweep::{self, Found, Todo};
use crate::hot::{self, Hot, HotError};
use crate::types::{LeaveReason, NodeId, Presence, RoomName, UserId};

/// Connections that are ended together: enough to fill a pipeline with what follows, and few enough that nobody else's
/// calls wait long.
const BATCH: usize = 64;
/// What else has come to its end, at once.
const AT_ONCE: usize = 16;

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

/// Ends a connection now: its rooms hear of it at once. `cause` is for the audit trail. False: it had ended.
pub async fn finish(hot: &Hot, lease: &Lease, cause: &str) -> Result<bool, HotError> {
    let Some(finished) = hot::presence::finish(hot, lease, cause).await? else {
        return Ok(false);
    };
    leave_rooms(hot, &[(lease, finished)]).await?;
    Ok(true)
}

/// Looks at every partition, in random order so that nodes do not do the same at the same time, and ends what is due.
pub async fn sweep(hot: &Hot) -> Result<Swept, HotError> {
    let mut partitions: Vec<Partition> = Partition::all().collect();
    partitions.shuffle(&mut rand::rng());
    let looked = Instant::now();
    let Found {
        leases,
        graces,
        due,
        todo,
        amnesties,
        now_ms,
    } = sweep::look(hot, &partitions).await?;
    let (of_leases, of_graces) = (
        finish_all(hot, &leases, looked).await?,
        finish_all(hot, &graces, looked).await?,
    );
    let swept = Swept {
        leases: of_leases.len() as u64,
        graces: of_graces.len() as u64,
        due: due.len() as u64,
        taken_over: todo.len() as u64,
        amnesties: u64::from(amnesties),
        ghosts_ms: ghosts(hot, of_leases.into_iter().chain(of_graces), now_ms).await?,
    };
    // One entry that fails must not keep the others waiting; whatever failed is found again by the next sweep.
    let mut failure = None;
    for some in due.chunks(AT_ONCE) {
        let outcomes = join_all(some.iter().map(|due| end(hot, due))).await;
        failure = failure.or(outcomes.into_iter().find_map(Result::err));
    }
    for some in todo.chunks(AT_ONCE) {
        let outcomes = join_all(some.iter().map(|step| take(hot, step))).await;
        failure = failure.or(outcomes.into_iter().find_map(Result::err));
    }
    failure.map_or(Ok(swept), Err)
}

async fn end(hot: &Hot, due: &Due) -> Result<(), HotError> {
    match due {
        Due::Typing(room) => hot::typing::expire(hot, room).await.map(drop),
        Due::Count(room) => hot::rooms::count(hot, room).await,
        Due::CustomStatus(user) => presence::expire(hot, user).await,
        Due::Away(user) => presence::idle(hot, user).await,
    }
}

/// A connection's end: whose it was, and how long after the look everybody was told.
type End = (NodeId, Duration);

/// How long the connections of dead nodes were shown after the death; `looked_ms` is Redis's time of the look.
async fn ghosts(hot: &Hot, ended: impl Iterator<Item = End>, looked_ms: i64) -> Result<Vec<u64>, HotError> {
    let ended: Vec<End> = ended.collect();
    let mut nodes: Vec<NodeId> = ended.iter().map(|(node, _)| node.clone()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let ends = hot::nodes::ends(hot, &nodes).await?;
    let death_ms = |node: &NodeId| nodes.binary_search(node).ok().and_then(|index| ends[index]);
    let shown_ms = |(node, told): &End| {
        let told_ms = looked_ms + i64::try_from(told.as_millis()).unwrap_or(0);
        u64::try_from(told_ms - death_ms(node)?).ok()
    };
    Ok(ended.iter().filter_map(shown_ms).collect())
}

/// Ends what the look found, a batch of connections after the other; those that this ended.
async fn finish_all(hot: &Hot, due: &[(Lease, i64)], looked: Instant) -> Result<Vec<End>, HotError> {
    let (mut ended, mut failure) = (Vec::new(), None);
    let mut due = due;
    while !due.is_empty() {
        let (batch, rest) = due.split_at(due.len().min(BATCH));
        let outcomes = hot::presence::finish_due(hot, batch).await?;
        let mut finished = Vec::with_capacity(batch.len());
        for ((lease, _), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(Some(outcome)) => finished.push((lease, outcome)),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure = failure.or(leave_rooms(hot, &finished).await.err());
        due = if finished.is_empty() {
            behind_partition(rest, &batch[batch.len() - 1].0)
        } else {
            rest
        };
        ended.extend(finished.iter().map(|(lease, _)| (lease.node.clone(), looked.elapsed())));
    }
    failure.map_or(Ok(ended), Err)
}

/// Where a whole batch had ended, another node is at work: the rest of the partition is left to it. If it dies, the
/// next look finds what remains.
fn behind_partition<'a>(due: &'a [(Lease, i64)], last: &Lease) -> &'a [(Lease, i64)] {
    let partition = Partition::of_user(&last.user);
    let others = due
        .iter()
        .position(|(lease, _)| Partition::of_user(&lease.user) != partition);
    &due[others.unwrap_or(due.len())..]
}

/// What follows from ends, in as few round trips as there are pipelines to fill. Where a leave failed, no step is struck
/// off: the next sweeps take them all once more, which changes nothing that is done.
async fn leave_rooms(hot: &Hot, finished: &[(&Lease, Finished)]) -> Result<(), HotError> {
    let requests = finished
        .iter()
        .flat_map(|(lease, finished)| leaves(lease, finished.changed.as_ref(), &finished.rooms));
    hot::rooms::leave_all(hot, &requests.collect::<Vec<_>>()).await?;
    let steps = finished
        .iter()
        .filter_map(|(lease, finished)| Some((Partition::of_user(&lease.user), finished.todo.as_deref()?)));
    sweep::done_all(hot, &steps.collect::<Vec<_>>()).await
}

fn leaves<'a>(
    lease: &'a Lease,
    presence: Option<&'a Presence>,
    rooms: &'a [RoomName],
) -> impl Iterator<Item = LeaveRequest<'a>> {
    rooms.iter().map(move |room| LeaveRequest {
        lease,
        room,
        reason: LeaveReason::Disconnected,
        presence,
        ended: true,
    })
}

/// A step that whoever should have taken it left undone.
async fn take(hot: &Hot, step: &Todo) -> Result<(), HotError> {
    match (&step.lease, &step.presence) {
        (Some(lease), presence) => {
            let requests = leaves(lease, presence.as_ref(), &step.rooms);
            hot::rooms::leave_all(hot, &requests.collect::<Vec<_>>()).await?;
        }
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
