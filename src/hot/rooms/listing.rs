//! Rooms as the administration sees them: one, or all. Not here: who is in them.

use std::collections::HashSet;

use futures_util::StreamExt as _;

use super::{READ, Room};
use crate::hot::reply::Reply;
use crate::hot::{Hot, HotError, script};
use crate::types::RoomName;

/// One room. `None`: there is none of that name.
pub async fn read(hot: &Hot, room: &RoomName) -> Result<Option<Room>, HotError> {
    let call = READ.call().key(hot.keys().room(room)).key(hot.keys().room_users(room));
    listed(call.run(hot).await?)
}

fn listed(mut reply: Reply) -> Result<Option<Room>, HotError> {
    if reply.is_empty() {
        return Ok(None);
    }
    READ.read(|| {
        let name = reply.id()?;
        let mut room = reply.room(name)?;
        room.members = reply.integer()?;
        Ok(Some(room))
    })
}

/// Most rooms that one listing returns.
pub const LIST_MAX: usize = 10_000;

/// Every room, by name; reads keys in a scan over its own connection, so that no client waits. At most [`LIST_MAX`].
pub async fn list(hot: &Hot) -> Result<Vec<Room>, HotError> {
    let fail = |error| HotError::of("list rooms", error);
    let mut rooms: HashSet<RoomName> = HashSet::new();
    for pool in hot.pools().await? {
        let mut connection = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
        let options = redis::ScanOptions::default()
            .with_pattern(hot.keys().room_pattern())
            .with_count(1_000);
        let mut found = redis::AsyncCommands::scan_options::<String>(&mut *connection, options)
            .await
            .map_err(fail)?;
        while let Some(key) = found.next().await {
            rooms.extend(hot.keys().room_of(&key.map_err(fail)?));
            if rooms.len() >= LIST_MAX {
                break;
            }
        }
    }
    let call = |room| READ.call().key(hot.keys().room(room)).key(hot.keys().room_users(room));
    let mut found = Vec::with_capacity(rooms.len());
    for reply in script::run_all(hot, rooms.iter().map(call).collect()).await? {
        found.extend(listed(reply?)?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
