//! Messages: one typed function per file of lua/messages. Not here: what a message looks like on the wire.

use std::sync::LazyLock;

use super::keys::Lease;
use super::script::{Script, script};
use super::{Hot, HotError};
use crate::types::RoomName;

script!(SEND = "messages/send");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&SEND];

/// How long a client message id makes a send idempotent.
const DEDUPE_MS: u64 = 300_000;

/// A message to be said.
#[derive(Debug)]
pub struct SendRequest<'a> {
    pub lease: &'a Lease,
    pub room: &'a RoomName,
    /// The event's JSON object without its closing brace; each node adds what Redis gives (see `hot::frame`).
    pub body: &'a str,
    pub client_message_id: Option<&'a str>,
    /// Anonymous, and not allowed to speak: refused, but only after everything else that could be wrong.
    pub listens_only: bool,
}

/// Where a message stands in its room's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub duplicate: bool,
    pub epoch: String,
    pub seq: u64,
    pub sent_ms: i64,
}

/// Outcome of [`send`].
#[derive(Debug)]
pub enum Send {
    Sent(Sent),
    Missing,
    Banned,
    Stranger,
    Muted,
    Forbidden,
}

/// Draws the next number of the room, and publishes.
pub async fn send(hot: &Hot, request: &SendRequest<'_>) -> Result<Send, HotError> {
    let (keys, room, lease) = (hot.keys(), request.room, request.lease);
    let id = request.client_message_id;
    let mut reply = SEND
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room))
        .key(keys.room_dedupe(room, &lease.user, id.unwrap_or_default()))
        .key(keys.room_channel(room))
        .arg(lease.user.as_str())
        .arg(lease.member())
        .arg(request.body)
        .number(id.map_or(0, |_| DEDUPE_MS))
        .flag(request.listens_only)
        .run(hot)
        .await?;
    SEND.read(|| {
        Ok(match &*reply.text()? {
            "ok" => Send::Sent(Sent {
                duplicate: reply.flag()?,
                epoch: reply.text()?,
                seq: reply.integer()?,
                sent_ms: reply.integer()?,
            }),
            "missing" => Send::Missing,
            "banned" => Send::Banned,
            "stranger" => Send::Stranger,
            "muted" => Send::Muted,
            _ => Send::Forbidden,
        })
    })
}
