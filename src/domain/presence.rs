//! Presence: who is here, how, and who may know. Not here: how it is said on the wire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::hot::keys::{Lease, Partition};
use crate::hot::presence::Told;
use crate::hot::{self, Hot, HotError};
use crate::types::{Presence, RoomName, UserId};

pub use crate::hot::presence::{Choice, Connect, Facts, Held};

/// Registers a connection; a repeat changes nothing. `known`: what the node knows of the user, where it registers anew.
pub async fn connect(hot: &Hot, lease: &Lease, facts: &Facts, known: Option<&Presence>) -> Result<Connect, HotError> {
    hot::presence::connect(hot, lease, facts, known).await
}

/// A lost transport: the user stays present until the grace runs out.
pub async fn lose(hot: &Hot, lease: &Lease, grace: Duration, cause: &str) -> Result<(), HotError> {
    hot::presence::lose(hot, lease, grace, cause).await.map(drop)
}

/// Stores what a user chose, and tells the rooms. `None`: the connection is not registered.
pub async fn choose(hot: &Hot, lease: &Lease, choice: &Choice) -> Result<Option<Presence>, HotError> {
    let Some(told) = hot::presence::update(hot, lease, choice).await? else {
        return Ok(None);
    };
    tell(hot, &lease.user, &told).await?;
    Ok(Some(told.presence))
}

/// Takes back a custom status that has come to its end, and tells the rooms.
pub async fn expire(hot: &Hot, user: &UserId) -> Result<(), HotError> {
    match hot::presence::expire(hot, user).await? {
        Some(told) => tell(hot, user, &told).await,
        None => Ok(()),
    }
}

/// Nobody was active for long: the user is away where no status was chosen, and the rooms are told.
pub async fn idle(hot: &Hot, user: &UserId) -> Result<(), HotError> {
    match hot::presence::idle(hot, user).await? {
        Some(told) => tell(hot, user, &told).await,
        None => Ok(()),
    }
}

/// A device of a user who is away is active again; the rooms are told. `None`: another was first.
pub async fn wake(hot: &Hot, user: &UserId) -> Result<Option<Presence>, HotError> {
    let Some(told) = hot::presence::wake(hot, user).await? else {
        return Ok(None);
    };
    tell(hot, user, &told).await?;
    Ok(Some(told.presence))
}

/// Redis has lost what the node knows of a user: it is put back, and the rooms that have lost it too hear it again.
pub async fn restore(hot: &Hot, user: &UserId, known: &Presence) -> Result<(), HotError> {
    match hot::presence::restore(hot, user, known).await? {
        Some(told) => tell(hot, user, &told).await,
        None => Ok(()),
    }
}

/// The second step of a change. Whoever dies here leaves the `todo` record to the others; so does whoever finds a join
/// half done, since its second half brings the presence from before the change: the sweep tells it once more.
async fn tell(hot: &Hot, user: &UserId, told: &Told) -> Result<(), HotError> {
    let everywhere =
        hot.terms().presence_to_all || hot::rooms::tell_all(hot, user, &told.presence, &told.rooms).await?;
    match &told.todo {
        Some(id) if everywhere => hot::sweep::done(hot, Partition::of_user(user), id).await,
        _ => Ok(()),
    }
}

/// Tells one room how its users are, those of them of whom it does not know that yet.
pub async fn tell_room(hot: &Hot, room: &RoomName, users: &[(UserId, Arc<Presence>)]) -> Result<(), HotError> {
    hot::rooms::tell_each(hot, room, users).await
}

/// What others see of each user, and the rooms each is in; in the order asked.
pub async fn look_up(hot: &Hot, users: &[UserId]) -> Result<Vec<(Presence, Vec<RoomName>)>, HotError> {
    hot::presence::read_all(hot, users).await
}

/// How a user is, and by how many connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whom it is about.
    pub user: UserId,
    /// Those in grace, too.
    pub connections: u64,
    /// What others see.
    pub presence: Presence,
}

/// How users are, in the order asked.
pub async fn see(hot: &Hot, users: &[UserId]) -> Result<Vec<Seen>, HotError> {
    let counts = hot::connections::count_each(hot, users).await?;
    let presences = look_up(hot, users).await?;
    let seen = users.iter().zip(counts).zip(presences);
    Ok(seen
        .map(|((user, connections), (presence, _))| Seen {
            user: user.clone(),
            connections,
            presence,
        })
        .collect())
}

/// Users among whom the first by id are looked for, where fewer are wanted.
const LOOKED_AT: usize = 100_000;

/// The first `most` users with a connection, by id, without anonymous ones; and whether there are more. In a cluster with more
/// than 100,000 they are the first of as many.
pub async fn whoever_is_here(hot: &Hot, most: usize) -> Result<(Vec<Seen>, bool), HotError> {
    let (mut users, mut place) = (BTreeSet::new(), None);
    loop {
        let (found, next) = hot::connections::users(hot, place.as_ref()).await?;
        users.extend(found.into_iter().filter(|user| !user.is_anonymous()));
        place = next;
        if place.is_none() || users.len() >= most.max(LOOKED_AT) {
            break;
        }
    }
    let is_cut = users.len() > most || place.is_some();
    let users: Vec<UserId> = users.into_iter().take(most).collect();
    let mut seen = Vec::with_capacity(users.len());
    for batch in users.chunks(hot::connections::PAGE_MAX) {
        seen.extend(see(hot, batch).await?);
    }
    // Whoever went meanwhile is not here.
    seen.retain(|user| user.connections > 0);
    Ok((seen, is_cut))
}

/// Keeps the connection's record true: its transport now, and its latency where that is known.
pub async fn note(hot: &Hot, lease: &Lease, transport: &str, latency_ms: Option<u64>) -> Result<(), HotError> {
    hot::presence::refresh(hot, lease, transport, latency_ms).await
}

/// Whether Redis has the connection's lease; asked as a heartbeat asks, and so it is extended.
pub async fn is_registered(hot: &Hot, lease: &Lease) -> Result<bool, HotError> {
    let held = Held {
        lease: lease.clone(),
        idle: None,
    };
    let missing = renew(hot, Partition::of_user(&lease.user), &[held]).await?;
    Ok(missing.is_empty())
}

/// Extends leases of one partition; those that Redis does not have are returned.
pub async fn renew(hot: &Hot, partition: Partition, held: &[Held]) -> Result<Vec<Lease>, HotError> {
    hot::presence::renew(hot, partition, held).await
}
