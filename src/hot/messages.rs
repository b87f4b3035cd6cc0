//! Messages and their history: one typed function per file of lua/messages. Not here: what a message looks like on the
//! wire.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::frame::{self, BusEvent, Message};
use super::keys::{Bucket, Lease, Partition};
use super::reply::{Reply, UnexpectedReply};
use super::rooms::Since;
use super::script::{self, Call, Script, script};
use super::{Hot, HotError, millis};
use crate::types::{Rate, RoomName};

script!(SEND = "messages/send");
script!(HISTORY = "messages/history");
script!(MISSED = "messages/missed");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&SEND, &HISTORY, &MISSED];

/// How long a client message id makes a send idempotent.
const DEDUPE_MS: u64 = 300_000;
/// Messages of a room among which those of a call are looked for, as lua/messages/send.lua does.
const FOUND_MAX: usize = 1_000;
/// What a client is given at once of what it missed, or of a history: so many messages…
pub const REPLAY_MAX: u32 = 1_000;
/// … and so many bytes.
pub const REPLAY_MAX_BYTES: u32 = 1024 * 1024;

/// A message to be said.
#[derive(Debug, Clone, Copy)]
pub struct SendRequest<'a> {
    pub lease: &'a Lease,
    pub room: &'a RoomName,
    /// The event's JSON object without its closing brace; each node adds what Redis gives (see `hot::frame`).
    pub body: &'a str,
    pub client_message_id: Option<&'a str>,
    /// Anonymous, and not allowed to speak: refused, but only after everything else that could be wrong.
    pub listens_only: bool,
    /// Tokens of the user's rate in the room to be taken, of which the message uses one; 0: it was taken before.
    pub tokens: u32,
}

/// Where a message stands in its room's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub duplicate: bool,
    pub epoch: String,
    pub seq: u64,
    pub sent_ms: i64,
    /// Over the user's rate in the room, where that is only counted.
    pub is_over: bool,
    /// Of the tokens that were taken, those beyond the message's own.
    pub tokens_ahead: u32,
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
    /// Nobody can read what the room's policy says of the user.
    Damaged,
    /// The user says too much in this room; after this time the next may be said.
    Limited(Duration),
    /// The archive has to bring its partition back first.
    Closed,
    /// What Redis has of its room is damaged, and no message can be added.
    Broken,
    /// Nobody knows what became of it.
    Unknown,
}

/// Messages that one call may hold: no more than a room keeps, since a call whose connection broke is found by them.
pub fn most_at_once(hot: &Hot) -> usize {
    match hot.terms().history.size {
        // Nothing would be found of one either.
        0 => FOUND_MAX,
        size => FOUND_MAX.min(size as usize),
    }
}

/// Whether messages of several partitions may go in one call.
pub fn share_calls(hot: &Hot) -> bool {
    !hot.link().parts_slots()
}

/// Says messages in their order: draws the next number of each room, keeps the message, and publishes what
/// is said in a room at once. `behind` is the latest position that the node has heard of: these stand behind it. A call whose
/// connection broke is made once more: messages that it may have stored are found by the names that the node gave them.
pub async fn send(hot: &Hot, requests: &[SendRequest<'_>], behind: u64) -> Result<Vec<Send>, HotError> {
    static SENDS: AtomicU64 = AtomicU64::new(0);
    let number = SENDS.fetch_add(requests.len() as u64, Ordering::Relaxed);
    let call = |again| send_call(hot, requests, (behind, number, again));
    let mut reply = match call(false).run(hot).await {
        Err(error) if error.is_broken_off() => call(true).run(hot).await,
        other => other,
    }?;
    requests
        .iter()
        .map(|_| SEND.read(|| sent(&reply.text()?).ok_or_else(|| reply.unexpected("the outcome of a message"))))
        .collect()
}

fn send_call(hot: &Hot, requests: &[SendRequest<'_>], (behind, number, again): (u64, u64, bool)) -> Call {
    let (keys, terms) = (hot.keys(), hot.terms());
    let (history, rate) = (&terms.history, terms.room_messages);
    let call = SEND.call();
    // The position of the last one is kept once, wherever: who asks for it asks everywhere.
    let call = match requests.first() {
        Some(request) => call.key(keys.said(Partition::of_room(request.room))),
        None => call,
    };
    let call = call
        .master()
        .number(history.size)
        .number(history.bytes)
        .number(millis(history.ttl))
        .number(behind)
        .number(rate.map_or(0, Rate::interval_us))
        .number(rate.map_or(1, Rate::burst))
        .flag(terms.only_counted)
        .flag(terms.keeps_messages)
        .flag(again)
        .number(terms.outbox);
    requests.iter().zip(number..).fold(call, |call, (request, number)| {
        let (room, lease, id) = (request.room, request.lease, request.client_message_id);
        call.key(keys.outbox(Partition::of_room(room)))
            .key(keys.room(room))
            .key(keys.room_live(room))
            .key(keys.room_policy(room))
            .key(keys.room_dedupe(room, &lease.user, id.unwrap_or_default()))
            .key(keys.room_channel(room))
            .key(keys.room_history(room))
            .key(keys.limit(&Bucket::Room(room, &lease.user, "messages")))
            .arg(lease.user.as_str())
            .arg(lease.member())
            .arg(request.body)
            .number(id.map_or(0, |_| DEDUPE_MS))
            .flag(request.listens_only)
            .number(request.tokens)
            .arg([lease.connection.as_str(), "/", itoa::Buffer::new().format(number)].concat())
            .arg(room.as_str())
    })
}

/// Reads what a script says of one message. `None`: nothing that it should say.
fn sent(reply: &str) -> Option<Send> {
    let mut words = reply.split(' ');
    let flag = |word: Option<&str>| word.map(|word| word == "1");
    Some(match words.next()? {
        "ok" => Send::Sent(Sent {
            duplicate: flag(words.next())?,
            is_over: flag(words.next())?,
            tokens_ahead: words.next()?.parse().ok()?,
            epoch: words.next()?.to_owned(),
            seq: words.next()?.parse().ok()?,
            sent_ms: words.next()?.parse().ok()?,
        }),
        "limited" => Send::Limited(Duration::from_micros(words.next()?.parse().ok()?)),
        "missing" => Send::Missing,
        "banned" => Send::Banned,
        "stranger" => Send::Stranger,
        "muted" => Send::Muted,
        "damaged" => Send::Damaged,
        "closed" => Send::Closed,
        "broken" => Send::Broken,
        "forbidden" => Send::Forbidden,
        _ => return None,
    })
}

/// Which page of a history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// The page ends before this number.
    pub before: Option<u64>,
    /// The page begins behind this number; without it, it is the end of what is there.
    pub after: Option<u64>,
    /// Messages.
    pub limit: u32,
}

/// A page of a history, oldest first.
#[derive(Debug)]
pub struct HistoryPage {
    pub epoch: String,
    pub messages: Vec<Message>,
    /// There are more in the direction in which the page was read.
    pub more: bool,
    /// The seq of the room's last message.
    pub last: u64,
    /// When the room was made, Unix ms: what was said before was said in another one.
    pub created_ms: i64,
}

/// Outcome of [`history`].
#[derive(Debug)]
pub enum History {
    Page(HistoryPage),
    Missing,
    Banned,
    Stranger,
}

/// Reads a page for a member.
pub async fn history(hot: &Hot, lease: &Lease, room: &RoomName, page: PageRequest) -> Result<History, HotError> {
    let keys = hot.keys();
    let mut reply = HISTORY
        .call()
        .key(keys.room(room))
        .key(keys.room_live(room))
        .key(keys.room_policy(room))
        .key(keys.room_history(room))
        .arg(lease.user.as_str())
        .arg(lease.member())
        .number(page.before.unwrap_or(0))
        .arg(page.after.map(|seq| seq.to_string()).unwrap_or_default())
        .number(page.limit)
        .number(REPLAY_MAX_BYTES)
        .run(hot)
        .await?;
    HISTORY.read(|| {
        Ok(match &*reply.text()? {
            "ok" => {
                let (epoch, more) = (reply.text()?, reply.flag()?);
                let (last, created_ms) = (reply.integer()?, reply.integer()?);
                let messages = reply.messages()?;
                History::Page(HistoryPage {
                    epoch,
                    messages,
                    more,
                    last,
                    created_ms,
                })
            }
            "missing" => History::Missing,
            "banned" => History::Banned,
            _ => History::Stranger,
        })
    })
}

/// What somebody who comes back has missed of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// It cannot be told, and why.
    Lost(String),
    Messages {
        /// It begins behind this.
        since: Since,
        count: u32,
        bytes: u32,
        /// Masters among the positions that wrote the room before, and whose successor was not heard: what they did not
        /// pass on to it may be among what was heard.
        former: Vec<String>,
    },
}

/// How much was missed of each room behind a place in it and, where there are any, behind the positions up to which the
/// masters were heard; in the order asked.
pub async fn missed_all(
    hot: &Hot,
    places: &[(RoomName, Since)],
    positions: &[String],
) -> Result<Vec<Behind>, HotError> {
    let call = |(room, since): &(RoomName, Since)| {
        MISSED
            .call()
            .key(hot.keys().room(room))
            .key(hot.keys().room_history(room))
            .arg(&since.epoch[..])
            .number(since.seq)
            .number(REPLAY_MAX)
            .number(REPLAY_MAX_BYTES)
            .master()
            .args(positions.iter().cloned())
    };
    let replies = script::run_all(hot, places.iter().map(call).collect()).await?;
    replies.into_iter().map(|reply| behind(reply?)).collect()
}

fn behind(mut reply: Reply) -> Result<Behind, HotError> {
    MISSED.read(|| {
        if reply.text()? == "lost" {
            return Ok(Behind::Lost(reply.text()?));
        }
        let (epoch, seq) = (reply.text()?, reply.integer()?);
        Ok(Behind::Messages {
            since: Since { epoch, seq },
            count: reply.integer()?,
            bytes: reply.integer()?,
            former: {
                let mut former = Vec::new();
                while !reply.is_empty() {
                    former.push(reply.text()?);
                }
                former
            },
        })
    })
}

/// The position of the last message that a former master wrote, as far as Redis still knows, µs.
pub async fn last_said(hot: &Hot, master: &str) -> Result<Option<u64>, HotError> {
    let fail = |error| HotError::of("said", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let mut asked = redis::pipe();
    for partition in Partition::all() {
        asked.hget(hot.keys().said(partition), master);
    }
    asked.ignore_errors();
    let replies = connection.send_pipeline(&asked).await.map_err(fail)?;
    let positions = replies.into_iter().map(redis::from_redis_value::<Option<u64>>);
    // Of a partition that cannot be asked nothing is known.
    let positions: Result<Vec<Option<u64>>, _> = positions.collect();
    Ok(positions
        .map_err(|error| fail(error.into()))?
        .into_iter()
        .flatten()
        .max())
}

impl Reply {
    /// The frames of messages that a reply ends with.
    pub(super) fn messages(&mut self) -> Result<Vec<Message>, UnexpectedReply> {
        let mut messages = Vec::new();
        while !self.is_empty() {
            if let Some(BusEvent::Message(message)) = frame::decode(self.text()?.as_bytes()) {
                messages.push(message);
            }
        }
        Ok(messages)
    }
}
