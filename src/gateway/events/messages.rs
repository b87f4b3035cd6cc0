//! `message:send`, `message:history`.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::super::outgoing::{self, iso};
use super::super::payload::{Incoming, METADATA_MAX_BYTES};
use super::super::protocol::{ErrorCode, Failure, ack};
use super::super::rooms::Ack;
use super::{Handled, Outcome, Turn};
use crate::domain::limits::Class;
use crate::domain::messages::{self, History, HistoryPage, PageRequest, REPLAY_MAX, Send, SendRequest, Sent};
use crate::types::RoomName;

/// What the rate of a user in one room is called in metrics.
const ROOM_MESSAGES: &str = "room_messages";
/// Messages of a page, where the client does not say how many.
const PAGE_DEFAULT: u32 = 100;

/// `message:send`: says something in a room.
pub async fn send(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let said = decode(turn, incoming)?;
    turn.limit(Class::Messages).await?;
    let listens_only = turn.client.user.is_anonymous() && !turn.shard.node.settings.anonymous_may_send;
    let lease = turn.client.lease();
    let request = SendRequest {
        lease: &lease,
        room: &said.room,
        body: &said.body,
        client_message_id: said.client_message_id.as_deref(),
        listens_only,
        behind: turn.shard.node.latest_us.load(Ordering::Relaxed),
    };
    match messages::send(&turn.shard.hot, &request)
        .await
        .map_err(|error| turn.unavailable(error))?
    {
        Send::Sent(sent) => {
            turn.shard.node.is_barred(ROOM_MESSAGES, sent.is_over);
            Ok(answer(turn, &said.room, &sent))
        }
        Send::Limited(wait) => {
            turn.shard.node.is_barred(ROOM_MESSAGES, true);
            Err(Failure::rate_limited(wait))
        }
        Send::Missing => Err(Failure::room_not_found()),
        Send::Banned => Err(Failure::new(ErrorCode::Banned, "You are banned from this room")),
        Send::Stranger => Err(Failure::not_a_member()),
        Send::Muted => Err(Failure::new(ErrorCode::Muted, "You are muted in this room")),
        Send::Forbidden => Err(Failure::new(ErrorCode::Forbidden, "You may only listen here")),
    }
}

struct Said {
    room: RoomName,
    body: String,
    client_message_id: Option<String>,
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
        room,
        body,
        client_message_id,
    })
}

/// The ack stands behind its own message: the sender hears what it said before it hears that it was said.
fn answer(turn: &Turn<'_>, room: &RoomName, sent: &Sent) -> Outcome {
    let (epoch, seq, at) = (&sent.epoch, sent.seq, iso(sent.sent_ms));
    let duplicate = if sent.duplicate { r#","duplicate":true"# } else { "" };
    // An epoch is hexadecimal: nothing of this needs an escape.
    let data = format!(
        r#"{{"epoch":"{epoch}","messageId":"{id}","seq":{seq},"timestamp":"{at}"{duplicate}}}"#,
        id = outgoing::message_id(epoch, seq)
    );
    if let Some(frame) = turn.ack_frame(&ack(Some(&data))) {
        let ack = Ack {
            client: Rc::clone(turn.client),
            frame,
            until: turn.until_ack.take(),
        };
        turn.shard.rooms.borrow_mut().ack_behind(room, sent.seq, ack);
    }
    Outcome::Answered
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
