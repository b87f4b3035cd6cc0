//! What a node has missed of a room: bound to lua/rooms/heal.lua. Not here: telling it (`gateway::healing`).

use std::sync::LazyLock;
use std::time::Duration;

use super::frame::{self, BusEvent};
use super::script::{Script, script};
use super::{Hot, HotError, millis};
use crate::types::{RoomName, UserId};

script!(HEAL = "rooms/heal");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&HEAL];

/// Changes that a node is told one by one; whoever missed more reads the members again.
const HEAL_MAX: u32 = 500;

/// What a node missed of a room.
#[derive(Debug, PartialEq)]
pub enum Healed {
    /// The room is no more.
    Gone,
    /// It cannot be told one by one: members and history are to be read again.
    Reset {
        epoch: String,
        seq: u64,
        rev: u64,
        reason: String,
    },
    /// The changes, in their order, up to `rev`; and users whose presence was told meanwhile.
    Missed {
        epoch: String,
        rev: u64,
        changes: Vec<BusEvent>,
        users: Vec<UserId>,
    },
}

/// What happened in a room behind `rev` of `epoch`; `outage`: how long the node may have heard nothing.
pub async fn heal(hot: &Hot, room: &RoomName, epoch: &str, rev: u64, outage: Duration) -> Result<Healed, HotError> {
    let mut reply = HEAL
        .call()
        .key(hot.keys().room(room))
        .key(hot.keys().room_changes(room))
        .key(hot.keys().room_users(room))
        .arg(epoch)
        .number(rev)
        .number(millis(outage))
        .number(HEAL_MAX)
        .run(hot)
        .await?;
    HEAL.read(|| {
        Ok(match &*reply.text()? {
            "gone" => Healed::Gone,
            "reset" => Healed::Reset {
                epoch: reply.text()?,
                seq: reply.integer()?,
                rev: reply.integer()?,
                reason: reply.text()?,
            },
            _ => {
                let (epoch, rev) = (reply.text()?, reply.integer()?);
                let users: Vec<String> = reply.json()?;
                let mut changes = Vec::new();
                while !reply.is_empty() {
                    changes.extend(frame::decode(reply.text()?.as_bytes()));
                }
                let users = users.iter().filter_map(|user| UserId::parse(user).ok()).collect();
                Healed::Missed {
                    epoch,
                    rev,
                    changes,
                    users,
                }
            }
        })
    })
}
