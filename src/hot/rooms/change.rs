//! What the administration changes of a room. Not here: who may do what in it (`hot::moderation`).

use super::Room;
use crate::hot::keys::Partition;
use crate::hot::outbox::Record;
use crate::hot::script::script;
use crate::hot::{Hot, HotError};
use crate::types::{RoomName, RoomType, Visibility};

script!(CHANGE = "rooms/change");

/// What of a room is to be another than before; `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    pub kind: Option<RoomType>,
    pub visibility: Option<Visibility>,
    /// `Some(None)`: no bound from now on.
    pub max_members: Option<Option<u32>>,
}

/// Changes a room, which lasts from then on; the room as it is then, and where that stands in the outbox. `None`: there is none.
pub async fn change(
    hot: &Hot,
    room: &RoomName,
    settings: &Settings,
) -> Result<Option<(Room, Option<Record>)>, HotError> {
    let partition = Partition::of_room(room);
    let max_members = settings.max_members.map(|most| most.unwrap_or(0).to_string());
    let mut reply = CHANGE
        .call()
        .key(hot.keys().room(room))
        .key(hot.keys().room_users(room))
        .key(hot.keys().room_policy(room))
        .arg(room.as_str())
        .arg(settings.kind.map_or("", RoomType::as_str))
        .arg(settings.visibility.map_or("", Visibility::as_str))
        .arg(max_members.unwrap_or_default())
        .outbox(hot, partition)
        .run(hot)
        .await?;
    if reply.is_empty() {
        return Ok(None);
    }
    CHANGE.read(|| {
        let mut changed = reply.room(room.clone())?;
        changed.members = reply.integer()?;
        Ok(Some((changed, reply.record(partition)?)))
    })
}
