//! Heals what the bus did not bring: after an interruption, and where a change of membership comes out of turn. The
//! missed changes are delivered in their order before anything newer, or `room:reset` says that they cannot be.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::fanout::Delivery;
use super::outgoing;
use super::rooms::Heard;
use super::shard::Shard;
use crate::domain::rooms::Healed;
use crate::domain::{presence, rooms};
use crate::types::{RoomName, UserId};

/// Tries to read what was missed, before the room goes on without it.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(250);

impl Shard {
    /// Reads what was missed of a room, on a task of its own; what comes meanwhile is kept by the room. The caller has
    /// begun the healing.
    pub(super) fn heal(self: &Rc<Self>, room: &RoomName, outage: Duration) {
        let (shard, room) = (Rc::clone(self), room.clone());
        tokio::task::spawn_local(async move {
            let healed = shard.read_missed(&room, outage).await;
            let heard = match healed {
                Some(healed) => shard.tell_missed(&room, healed).await,
                None => None,
            };
            let kept = shard.rooms.borrow_mut().end_healing(&room, heard);
            shard.node.metrics.healed.inc();
            for delivery in kept {
                shard.deliver(&delivery);
            }
        });
    }

    async fn read_missed(&self, room: &RoomName, outage: Duration) -> Option<Healed> {
        for _ in 0..TRIES {
            let heard = self.rooms.borrow().heard_so_far(room)?;
            match rooms::heal(&self.hot, room, &heard.epoch, heard.rev, outage).await {
                Ok(healed) => return Some(healed),
                Err(error) => tracing::debug!(error = %error, "a room is not healed yet"),
            }
            sleep(PAUSE).await;
        }
        tracing::warn!("a room could not be healed; it goes on from what comes");
        None
    }

    /// Delivers what was missed; how far the room is then.
    async fn tell_missed(self: &Rc<Self>, room: &RoomName, healed: Healed) -> Option<Heard> {
        let before = self.rooms.borrow().heard_so_far(room)?;
        match healed {
            // Whoever is registered anew goes on from there, and is told by that.
            Healed::Gone => None,
            Healed::Reset { epoch, .. } if epoch != before.epoch => None,
            Healed::Reset {
                epoch,
                seq,
                rev,
                reason,
            } => {
                let frame = outgoing::room_reset(room, &epoch, seq, rev, &reason);
                let heard = Heard {
                    epoch,
                    seq: before.seq,
                    rev,
                };
                self.rooms
                    .borrow_mut()
                    .reset(room, &Heard { seq, ..heard.clone() }, &frame);
                Some(heard)
            }
            Healed::Missed {
                rev, changes, users, ..
            } => {
                let encoder = self.node.encoder();
                for change in changes {
                    if let Some(delivery @ Delivery::Room { .. }) = encoder.room_delivery(room.clone(), change) {
                        self.deliver_now(&delivery);
                    }
                }
                self.tell_changed(room, &users).await;
                Some(Heard { rev, ..before })
            }
        }
    }

    /// Tells a room how users are whose presence changed while nothing was heard.
    async fn tell_changed(&self, room: &RoomName, users: &[UserId]) {
        if users.is_empty() || self.node.settings.presence_to_all {
            return;
        }
        match presence::look_up(&self.hot, users).await {
            Ok(found) => {
                for (user, (presence, _)) in users.iter().zip(found) {
                    if let Some(news) = self.node.encoder().news(user, &presence) {
                        self.tell_room(room, &news, None);
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error, "presences of a healed room are told when they change"),
        }
    }

    /// Tells those who listen to a user what they have missed, if anything.
    pub(super) fn look_after(self: &Rc<Self>, user: &UserId) {
        let Some(known) = self.known_presence(user) else { return };
        let (shard, user) = (Rc::clone(self), user.clone());
        tokio::task::spawn_local(async move {
            let found = presence::look_up(&shard.hot, std::slice::from_ref(&user)).await;
            match found.map(|mut found| found.pop()) {
                Ok(Some((presence, rooms))) if presence.version > known.version => {
                    if let Some(news) = shard.node.encoder().news(&user, &presence) {
                        shard.deliver_now(&Delivery::UserPresence {
                            origin: None,
                            rooms,
                            news,
                        });
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(error = %error, "a presence is told when it changes"),
            }
        });
    }
}
