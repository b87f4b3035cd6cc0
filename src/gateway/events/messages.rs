//! `message:send`, `message:history`.

use super::super::outgoing;
use super::super::payload::{Incoming, METADATA_MAX_BYTES};
use super::super::protocol::{ErrorCode, Failure};
use super::super::sends::Said;
use super::{Handled, Outcome, Turn};
use crate::domain::limits::Class;
use crate::domain::messages::{self, History, HistoryPage, PageRequest, REPLAY_MAX};
use crate::types::RoomName;

/// Messages of a page, where the client does not say how many.
const PAGE_DEFAULT: u32 = 100;

/// `message:send`: says something in a room. It is on its way, and answered, behind those that its connection sent before.
pub async fn send(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let said = decode(turn, incoming)?;
    turn.limit(Class::Messages).await?;
    Ok(Outcome::Said(said))
}

fn decode(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Result<Said, Failure> {
    let mut fields = incoming.object()?;
    let (room, content) = (fields.room()?, fields.text("content")?);
    let (thread, reply_to, metadata) = (fields.thread()?, fields.reply_to()?, fields.metadata()?);
    let client_message_id = fields.client_message_id()?;
    if content.is_empty() {
        return Err(Failure::field("content", "must not be empty"));
    }
    let max_content = turn.shard.node.settings.max_content;
    if content.len() > max_content {
        return Err(Failure::too_large("content", max_content));
    }
    if metadata
        .as_ref()
        .is_some_and(|metadata| metadata.len() > METADATA_MAX_BYTES)
    {
        return Err(Failure::too_large("metadata", METADATA_MAX_BYTES));
    }
    let user = &turn.client.user;
    let body = outgoing::message_body(
        &room,
        user,
        &content,
        thread.as_deref(),
        reply_to.as_deref(),
        metadata.as_deref(),
    );
    Ok(Said {
        listens_only: user.is_anonymous() && !turn.shard.node.settings.anonymous_may_send,
        room,
        body,
        client_message_id,
    })
}

/// `message:history`: one page of what was said, oldest first.
pub async fn history(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let (room, wanted) = decode_page(incoming)?;
    turn.limit(Class::Requests).await?;
    let archive = turn.shard.node.messages.as_ref();
    let found = messages::history(&turn.shard.hot, archive, &turn.client.lease(), &room, wanted).await;
    match found.map_err(|error| turn.unavailable(error))? {
        History::Page(page) => Ok(Outcome::Done(Some(written(&page)))),
        History::Missing => Err(Failure::room_not_found()),
        History::Banned => Err(Failure::new(ErrorCode::Banned, "You are banned from this room")),
        History::Stranger => Err(Failure::not_a_member()),
    }
}

fn decode_page(incoming: &Incoming<'_>) -> Result<(RoomName, PageRequest), Failure> {
    let mut fields = incoming.object()?;
    let room = fields.room()?;
    let page = PageRequest {
        before: fields.optional_seq("beforeSeq")?,
        after: fields.optional_seq("afterSeq")?,
        limit: fields.limit(PAGE_DEFAULT, REPLAY_MAX)?,
    };
    Ok((room, page))
}

/// The messages are JSON already, and are not read again.
fn written(page: &HistoryPage) -> String {
    format!(
        r#"{{"messages":{},"epoch":{},"more":{}}}"#,
        outgoing::messages(&page.messages),
        outgoing::quoted(&page.epoch),
        page.more
    )
}
