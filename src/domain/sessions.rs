//! Sessions: whether a client that comes back can be told everything that it has missed. Not here: telling it.

use super::offset::Offset;
use crate::hot::keys::Lease;
use crate::hot::messages::{Behind, REPLAY_MAX, REPLAY_MAX_BYTES};
use crate::hot::rooms::Since;
use crate::hot::{self, Hot, HotError};
use crate::types::{Pid, RoomName, UserId};

/// What a client that comes back shows.
#[derive(Debug, Clone)]
pub struct Claim {
    pub pid: Pid,
    /// How far it has heard; `None`: it has heard no message.
    pub offset: Option<Offset>,
}

impl Claim {
    fn heard_us(&self, master: &str) -> u64 {
        match &self.offset {
            Some(Offset::Positions(positions)) => positions.of(master).unwrap_or(0),
            _ => 0,
        }
    }
}

/// What comes of a claim.
#[derive(Debug)]
pub enum Recovery {
    /// The rooms that the client was in, and from where it has missed each.
    Possible(Vec<(RoomName, Since)>),
    /// Something is gone, and what.
    Lost(String),
}

/// Whether everything that was missed is still there, and is not too much.
pub async fn look_back(hot: &Hot, user: &UserId, claim: &Claim) -> Result<Recovery, HotError> {
    let lost = |reason: &str| Ok(Recovery::Lost(reason.to_owned()));
    let Some(mut rooms) = hot::sessions::read(hot, user, &claim.pid).await? else {
        return lost("session_unknown");
    };
    let mut positions = Vec::new();
    match &claim.offset {
        Some(Offset::Positions(heard)) => positions = heard.texts(),
        Some(places) => rooms.iter_mut().for_each(|(room, joined)| {
            if let Some(place) = places.place(room) {
                joined.clone_from(place);
            }
        }),
        None => {}
    }
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let mut masters: Vec<String> = Vec::new();
    let missed = hot::messages::missed_all(hot, &rooms, &positions).await?;
    for ((_, since), behind) in rooms.iter_mut().zip(missed) {
        match behind {
            Behind::Lost(reason) => return Ok(Recovery::Lost(reason)),
            Behind::Messages {
                since: from,
                count: messages,
                bytes: size,
                former,
            } => {
                masters.extend(former);
                *since = from;
                count += u64::from(messages);
                bytes += u64::from(size);
            }
        }
    }
    masters.sort_unstable();
    masters.dedup();
    for master in masters {
        // A master is followed by one that has the beginning of all that it wrote. What was heard from behind the end of
        // that is lost, and nobody has told this client: whoever has heard the successor was told before.
        let survived_us = hot::messages::last_said(hot, &master).await?;
        if survived_us.is_none_or(|end_us| claim.heard_us(&master) > end_us) {
            return lost("epoch_changed");
        }
    }
    if count > u64::from(REPLAY_MAX) || bytes > u64::from(REPLAY_MAX_BYTES) {
        return lost("too_many");
    }
    Ok(Recovery::Possible(rooms))
}

/// Notes that a connection which can be recovered has joined a room, and where.
pub async fn keep(hot: &Hot, lease: &Lease, room: &RoomName, since: &Since) -> Result<(), HotError> {
    // A session that another connection has recovered meanwhile is that one's: this one is about to end.
    hot::sessions::keep(hot, lease, room, since).await.map(drop)
}
