//! Messages: who may speak, in which order it stands, and what was said before. Not here: how a message looks.

use crate::hot::keys::Lease;
use crate::hot::{self, Hot, HotError};
use crate::types::RoomName;

pub use crate::hot::messages::{History, HistoryPage, PageRequest, REPLAY_MAX, Send, SendRequest, Sent};

/// Says something in a room.
pub async fn send(hot: &Hot, request: &SendRequest<'_>) -> Result<Send, HotError> {
    hot::messages::send(hot, request).await
}

/// Reads a page of what was said in a room, for a member.
pub async fn history(hot: &Hot, lease: &Lease, room: &RoomName, page: PageRequest) -> Result<History, HotError> {
    hot::messages::history(hot, lease, room, page).await
}
