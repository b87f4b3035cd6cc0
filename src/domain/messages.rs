//! Messages: who may speak, in which order it stands, and what was said before. Not here: how a message looks.

use crate::archive::Archive;
use crate::archive::messages::{KeptMessage, Side};
use crate::archive::query::QueryError;
use crate::hot::frame::{Message, Position};
use crate::hot::keys::Lease;
use crate::hot::{self, Hot, HotError};
use crate::types::RoomName;

pub use crate::hot::messages::{History, HistoryPage, PageRequest, REPLAY_MAX, Send, SendRequest, Sent};

/// Messages that may be said at once.
pub fn most_at_once(hot: &Hot) -> usize {
    hot::messages::most_at_once(hot)
}

/// Whether messages of several partitions may go in one call.
pub fn share_calls(hot: &Hot) -> bool {
    hot::messages::share_calls(hot)
}

/// Says messages in their order; each has its own outcome.
pub async fn send(hot: &Hot, requests: &[SendRequest<'_>], behind: u64) -> Result<Vec<Send>, HotError> {
    hot::messages::send(hot, requests, behind).await
}

/// Why a page cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Hot(#[from] HotError),
    #[error("Postgres: {0}")]
    Archive(#[from] QueryError),
}

/// Reads a page of what was said in a room, for a member. What Redis no longer keeps comes from `archive`, where messages are
/// kept there.
pub async fn history(
    hot: &Hot,
    archive: Option<&Archive>,
    lease: &Lease,
    room: &RoomName,
    request: PageRequest,
) -> Result<History, HistoryError> {
    match (archive, hot::messages::history(hot, lease, room, request).await?) {
        (Some(archive), History::Page(page)) => Ok(History::Page(match request.after {
            Some(after) => behind(archive, room, after, request, page).await?,
            None => before(archive, room, request, page).await?,
        })),
        (_, found) => Ok(found),
    }
}

/// Older ones in front of a page that Redis could not fill. Where Postgres does not say now whether there are any, what Redis
/// has is the page, and there may be more.
async fn before(
    archive: &Archive,
    room: &RoomName,
    request: PageRequest,
    mut page: HistoryPage,
) -> Result<HistoryPage, QueryError> {
    let first = page.messages.first().map(|message| message.seq);
    let first = first
        .or(request.before)
        .map_or(page.last + 1, |first| first.min(page.last + 1));
    let lacking = request.limit.saturating_sub(page.messages.len() as u32);
    if page.more || first <= 1 {
        return Ok(page);
    }
    // One more than wanted shows whether there are still older ones.
    let side = Side::Before(first);
    let mut older = match archive
        .messages(room.as_str(), page.created_ms, side, lacking + 1)
        .await
    {
        Ok(older) => older,
        Err(error) if page.messages.is_empty() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "a page ends where Redis' history does");
            page.more = true;
            return Ok(page);
        }
    };
    page.more = older.len() > lacking as usize;
    older.drain(..older.len().saturating_sub(lacking as usize));
    page.messages.splice(..0, older.into_iter().map(message));
    Ok(page)
}

/// What lies between a number and the first message that Redis still has of those behind it. Without it the page would have a
/// hole, so it fails where Postgres does.
async fn behind(
    archive: &Archive,
    room: &RoomName,
    after: u64,
    request: PageRequest,
    mut page: HistoryPage,
) -> Result<HistoryPage, QueryError> {
    let first = page.messages.first().map(|message| message.seq);
    let first = first
        .or(request.before)
        .map_or(page.last + 1, |first| first.min(page.last + 1));
    if first <= after + 1 {
        return Ok(page);
    }
    let limit = request.limit as usize;
    let side = Side::Between(after, first);
    let asked = archive.messages(room.as_str(), page.created_ms, side, request.limit + 1);
    let mut missing = asked.await?;
    page.more |= missing.len() + page.messages.len() > limit;
    missing.truncate(limit);
    page.messages.splice(..0, missing.into_iter().map(message));
    page.messages.truncate(limit);
    Ok(page)
}

/// As Redis would have it: without the object's end, in front of which the server adds what it adds.
fn message(kept: KeptMessage) -> Message {
    let mut body = kept.content;
    body.truncate(body.rfind('}').unwrap_or(0));
    Message {
        epoch: kept.epoch,
        seq: kept.seq,
        sent_ms: kept.sent_ms,
        // Nobody recovers by it: what Redis no longer keeps is no recovery.
        position: Position {
            master: String::new(),
            at_us: 0,
        },
        body,
    }
}
