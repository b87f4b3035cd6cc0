//! Rooms as the administration sees them: one, or all. Not here: who is in them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{READ, Room};
use crate::hot::reply::Reply;
use crate::hot::script::{self, Call};
use crate::hot::{Hot, HotError};
use crate::types::RoomName;

/// One room. `None`: there is none of that name.
pub async fn read(hot: &Hot, room: &RoomName) -> Result<Option<Room>, HotError> {
    listed(read_call(hot, room).run(hot).await?)
}

pub(super) fn read_call(hot: &Hot, room: &RoomName) -> Call {
    READ.call()
        .key(hot.keys().room(room))
        .key(hot.keys().room_users(room))
        .key(hot.keys().room_live(room))
}

fn listed(mut reply: Reply) -> Result<Option<Room>, HotError> {
    if reply.is_empty() {
        return Ok(None);
    }
    READ.read(|| {
        let name = reply.id()?;
        let mut room = reply.room(name)?;
        room.members = reply.integer()?;
        room.id = Some(reply.text()?).filter(|id| !id.is_empty());
        room.connections = reply.integer()?;
        Ok(Some(room))
    })
}

/// Most rooms that one listing returns.
pub const LIST_MAX: usize = 10_000;

/// A scan reads every key there is: Redis has one at a time of each process.
static TURN: Semaphore = Semaphore::const_new(1);
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first rooms by name. At most [`LIST_MAX`].
pub async fn list(hot: &Hot) -> Result<Vec<Room>, HotError> {
    let names = Vec::from_iter(names(hot, None, LIST_MAX).await?);
    read_all(hot, &names).await
}

/// Rooms by name, behind `after`: at most `limit`, and whether there are more.
pub async fn list_page(hot: &Hot, after: Option<&RoomName>, limit: usize) -> Result<(Vec<Room>, bool), HotError> {
    let mut names = Vec::from_iter(names(hot, after, limit.saturating_add(1)).await?);
    let more = names.len() > limit;
    names.truncate(limit);
    // What has ended since it was found is left out: the page is shorter, and goes on behind it.
    Ok((read_all(hot, &names).await?, more))
}

/// Those in the order of their names that there are still.
async fn read_all(hot: &Hot, names: &[RoomName]) -> Result<Vec<Room>, HotError> {
    let call = |room| read_call(hot, room);
    let mut found = Vec::with_capacity(names.len());
    for reply in script::run_all(hot, names.iter().map(call).collect()).await? {
        found.extend(listed(reply?)?);
    }
    Ok(found)
}

/// The `most` smallest names of rooms behind `after`; reads keys in a scan over its own connection, so that no client waits.
async fn names(hot: &Hot, after: Option<&RoomName>, most: usize) -> Result<BTreeSet<RoomName>, HotError> {
    let fail = |error| HotError::of("list rooms", error);
    let turn = timeout(PATIENCE, TURN.acquire());
    let late = || HotError::Pool("other listings of rooms have their turn".to_owned());
    let _turn = turn.await.map_err(|_| late())?.map_err(|_| late())?;
    let mut rooms: BTreeSet<RoomName> = BTreeSet::new();
    for pool in hot.pools().await? {
        let mut connection = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
        let options = redis::ScanOptions::default()
            .with_pattern(hot.keys().room_pattern())
            .with_count(1_000);
        let mut found = redis::AsyncCommands::scan_options::<String>(&mut *connection, options)
            .await
            .map_err(fail)?;
        while let Some(key) = found.next().await {
            let name = hot.keys().room_of(&key.map_err(fail)?);
            rooms.extend(name.filter(|name| after.is_none_or(|after| name > after)));
            if rooms.len() > most {
                rooms.pop_last();
            }
        }
    }
    Ok(rooms)
}
