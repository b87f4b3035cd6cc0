//! What a node has missed of a room: bound to lua/rooms/heal.lua. Not here: telling it (`gateway::healing`).

use std::sync::LazyLock;
use std::time::Duration;

use super::frame::{self, BusEvent};
use super::reply::{Reply, UnexpectedReply};
use super::rooms::Known;
use super::script::{self, Script, script};
use super::{Hot, HotError, millis};
use crate::types::{RoomName, RoomType, UserId, Visibility};

script!(HEAL = "rooms/heal");
script!(POSITION = "rooms/position");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&HEAL, &POSITION];

/// Changes that a node is told one by one; whoever missed more reads the members again.
const CHANGES_MAX: u32 = 500;

/// A place in a room's order: of messages `seq`, of changes of membership `rev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub epoch: String,
    pub seq: u64,
    pub rev: u64,
}

/// What a node missed of a room.
#[derive(Debug, PartialEq)]
pub enum Healed {
    /// The room is no more.
    Gone,
    /// The room was closed, which is to be told.
    Closed(BusEvent),
    /// It has begun anew, in an epoch of which nothing leads back: Redis has lost it.
    Anew(Heard),
    /// It cannot be told one by one: members and history are to be read again.
    Reset { heard: Heard, reason: String },
    /// Messages and changes, in their order, up to `heard`; and users whose presence was told meanwhile, with when, Unix ms.
    Missed {
        heard: Heard,
        events: Vec<BusEvent>,
        users: Vec<(UserId, i64)>,
    },
}

/// What happened in a room behind a place; `former`: epochs that led to that of the place; `outage`: how long the node may
/// have heard nothing.
pub async fn heal(
    hot: &Hot,
    room: &RoomName,
    known: &Heard,
    former: &[String],
    outage: Duration,
) -> Result<Healed, HotError> {
    let history = &hot.terms().history;
    let mut reply = HEAL
        .call()
        .key(hot.keys().room(room))
        .key(hot.keys().room_changes(room))
        .key(hot.keys().room_users(room))
        .key(hot.keys().room_history(room))
        .arg(&known.epoch[..])
        .number(known.rev)
        .number(millis(outage))
        .number(CHANGES_MAX)
        .number(known.seq)
        .number(history.size)
        .number(history.bytes)
        .master()
        .args(former.iter().cloned())
        .run(hot)
        .await?;
    HEAL.read(|| {
        Ok(match &*reply.text()? {
            "gone" => Healed::Gone,
            "closed" => frame::decode(reply.text()?.as_bytes()).map_or(Healed::Gone, Healed::Closed),
            "anew" => Healed::Anew(reply.heard()?),
            "reset" => Healed::Reset {
                heard: reply.heard()?,
                reason: reply.text()?,
            },
            _ => {
                let heard = reply.heard()?;
                let users: Vec<(String, i64)> = reply.json()?;
                let mut events = Vec::new();
                while !reply.is_empty() {
                    events.extend(frame::decode(reply.text()?.as_bytes()));
                }
                let events = merged(events);
                let users = users.iter();
                let users = users.filter_map(|(user, told_ms)| Some((UserId::parse(user).ok()?, *told_ms)));
                let users = users.collect();
                Healed::Missed { heard, events, users }
            }
        })
    })
}

/// How far each of these rooms is, and what it is; `None` of those that are no more.
pub async fn positions(hot: &Hot, rooms: &[RoomName]) -> Result<Vec<Option<(Heard, Known)>>, HotError> {
    let call = |room| POSITION.call().key(hot.keys().room(room));
    let replies = script::run_all(hot, rooms.iter().map(call).collect()).await?;
    let position = |reply: Result<Reply, HotError>| {
        let mut reply = reply?;
        if reply.is_empty() {
            return Ok(None);
        }
        POSITION.read(|| {
            let heard = reply.heard()?;
            let known = Known {
                epoch: heard.epoch.clone(),
                kind: RoomType::parse(&reply.text()?).unwrap_or(RoomType::Channel),
                visibility: Visibility::parse(&reply.text()?).unwrap_or(Visibility::Secret),
                max_members: Some(reply.integer()?).filter(|most| *most > 0),
            };
            Ok(Some((heard, known)))
        })
    };
    replies.into_iter().map(position).collect()
}

impl Reply {
    /// Three values: epoch, seq, rev.
    fn heard(&mut self) -> Result<Heard, UnexpectedReply> {
        Ok(Heard {
            epoch: self.text()?,
            seq: self.integer()?,
            rev: self.integer()?,
        })
    }
}

/// Changes and messages, each kind in its own order, put in between each other by their time.
fn merged(events: Vec<BusEvent>) -> Vec<BusEvent> {
    let is_message = |event: &BusEvent| matches!(event, BusEvent::Message(_));
    let (messages, changes): (Vec<_>, Vec<_>) = events.into_iter().partition(is_message);
    let mut all = Vec::with_capacity(messages.len() + changes.len());
    let mut changes = changes.into_iter().peekable();
    for message in messages {
        while let Some(change) = changes.next_if(|change| change.at_ms() <= message.at_ms()) {
            all.push(change);
        }
        all.push(message);
    }
    all.extend(changes);
    all
}
