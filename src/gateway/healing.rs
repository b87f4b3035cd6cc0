//! Heals what the bus did not bring: after an interruption, and where a change of membership comes out of turn. The
//! missed changes are delivered in their order before anything newer, or `room:reset` says that they cannot be.

use std::rc::{Rc, Weak};
use std::time::Duration;

use rand::Rng as _;
use tokio::time::sleep;

use super::client::Client;
use super::fanout::Delivery;
use super::outgoing;
use super::rooms::Position;
use super::shard::Shard;
use crate::domain::rooms::{Healed, Heard};
use crate::domain::{presence, rooms};
use crate::hot::HotError;
use crate::hot::frame::BusEvent;
use crate::types::{RoomName, UserId};

/// Tries to read what was missed, before the room goes on without it.
const TRIES: u32 = 60;
/// The same of a room that is not there.
const TRIES_GONE: u32 = 4;
/// Rooms that are asked about in one round trip.
const COMPARED_MAX: usize = 500;
const PAUSE: Duration = Duration::from_millis(250);
/// Why a room is reset that has begun anew.
pub(super) const EPOCH_CHANGED: &str = "epoch_changed";

impl Shard {
    /// Heals a room, unless that is under way.
    pub(super) fn heal_anew(self: &Rc<Self>, room: &RoomName, outage: Duration) {
        if self.rooms.borrow_mut().begin_healing(room).is_some() {
            self.heal(room, outage);
        }
    }

    /// Reads what was missed of a room, on a task of its own; what comes meanwhile is kept by the room. The caller has
    /// begun the healing.
    pub(super) fn heal(self: &Rc<Self>, room: &RoomName, outage: Duration) {
        let (shard, room) = (Rc::clone(self), room.clone());
        tokio::task::spawn_local(async move {
            let mut healed = shard.read_missed(&room, outage).await;
            if let Some(Healed::Anew(heard)) = &healed {
                // It is told from its beginning, each by where it is registered.
                shard.begin_anew(&room, &heard.epoch);
                healed = shard.read_missed(&room, outage).await;
            }
            let is_gone = matches!(healed, Some(Healed::Gone | Healed::Closed(_)));
            let heard = match healed {
                Some(healed) => shard.tell_missed(&room, healed).await,
                None => None,
            };
            let kept = shard.rooms.borrow_mut().end_healing(&room, heard);
            shard.node.metrics.healed.inc();
            // Of a room that is no more nothing can be put in order.
            for delivery in kept.into_iter().filter(|_| !is_gone) {
                shard.deliver(&delivery);
            }
        });
    }

    /// Compares, with every heartbeat, how far the rooms are with how far they were heard: the end of what was said in a room
    /// that is silent since is missed by nobody else. Until the shard is gone.
    pub(super) async fn keep_up(shard: Weak<Self>, every: Duration) {
        loop {
            sleep(every.mul_f64(rand::rng().random_range(0.8..=1.2))).await;
            let Some(shard) = shard.upgrade() else { return };
            let rooms = shard.rooms.borrow().names();
            for rooms in rooms.chunks(COMPARED_MAX) {
                if let Err(error) = shard.compare(rooms).await {
                    tracing::debug!(error = %error, "rooms are compared again with the next heartbeat");
                }
            }
        }
    }

    async fn compare(self: &Rc<Self>, rooms: &[RoomName]) -> Result<(), HotError> {
        let positions = rooms::positions(&self.hot, rooms).await?;
        let is_behind = |(room, position): &(&RoomName, Heard)| self.rooms.borrow().is_behind(room, position);
        let mut ahead = Vec::new();
        for (room, position) in rooms.iter().zip(positions) {
            let Some((heard, known)) = position else { continue };
            self.rooms.borrow_mut().learn(room, &known);
            ahead.extend(Some((room, heard)).filter(is_behind));
        }
        if ahead.is_empty() {
            return Ok(());
        }
        // What is on its way comes by itself.
        sleep(PAUSE).await;
        for (room, _) in ahead.iter().filter(|pair| is_behind(pair)) {
            self.node.metrics.lost_tails.inc();
            self.heal_anew(room, Duration::ZERO);
        }
        Ok(())
    }

    async fn read_missed(&self, room: &RoomName, outage: Duration) -> Option<Healed> {
        for tries in 1..=TRIES {
            let (heard, former) = self.rooms.borrow().heard_from(room)?;
            match rooms::heal(&self.hot, room, &heard, &former, outage).await {
                // Redis may have lost it, and get it back from the nodes in this moment.
                Ok(Healed::Gone) if tries < TRIES_GONE => {}
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
        match healed {
            // Whoever is registered anew goes on from there, and is told by that; twice anew is for the next event to see.
            Healed::Gone | Healed::Anew(_) => None,
            Healed::Closed(end) => {
                if let Some(delivery) = self.node.encoder().room_delivery(room.clone(), end, None) {
                    self.deliver_now(&delivery);
                }
                None
            }
            Healed::Reset { heard, reason } => {
                self.look_at_members(room, reason == EPOCH_CHANGED).await;
                let frame = outgoing::room_reset(room, &heard.epoch, heard.seq, heard.rev, &reason);
                let moved = self.rooms.borrow_mut().reset(room, &heard);
                self.node
                    .metrics
                    .resets
                    .with_label_values(&[&reason])
                    .inc_by(moved.len() as u64);
                moved.iter().for_each(|client| client.socket.send(&frame));
                self.tell_own(room).await;
                Some(heard)
            }
            Healed::Missed { heard, events, users } => {
                let encoder = self.node.encoder();
                let has_turned = self.rooms.borrow_mut().turn_epoch(room, &heard.epoch);
                let last = events.iter().filter_map(seq_of).max().unwrap_or_default();
                // Nothing is kept between here and the end of the events: nobody else has a turn.
                let mut kept = self.rooms.borrow_mut().take_kept_before(room, last);
                for event in events {
                    if let Some(next) = seq_of(&event) {
                        while let Some((_, delivery)) = kept.pop_front_if(|(seq, _)| *seq < next) {
                            self.deliver_now(&delivery);
                        }
                    }
                    if let Some(delivery @ Delivery::Room { .. }) = encoder.room_delivery(room.clone(), event, None) {
                        self.deliver_now(&delivery);
                    }
                }
                self.tell_changed(room, &users).await;
                if has_turned {
                    // A join of one more connection of a user has no number that could be missing.
                    self.look_at_members(room, true).await;
                    self.tell_own(room).await;
                }
                Some(heard)
            }
        }
    }

    /// The room has begun anew: those who are registered in it are told so, the others when they are.
    fn begin_anew(&self, room: &RoomName, epoch: &str) {
        let begun = self.rooms.borrow_mut().begin_anew(room, epoch);
        for (client, position) in begun {
            self.tell_reset(&client, room, &position, EPOCH_CHANGED);
        }
    }

    pub(super) fn tell_reset(&self, client: &Client, room: &RoomName, position: &Position, reason: &str) {
        let frame = outgoing::room_reset(room, &position.known.epoch, position.seq, position.rev, reason);
        client.socket.send(&frame);
        self.node.metrics.resets.with_label_values(&[reason]).inc();
    }

    /// The room may have lost what it was told of the users of this shard: what it does not know is told once more.
    async fn tell_own(&self, room: &RoomName) {
        if self.node.settings.presence_to_all {
            return;
        }
        let clients = self.rooms.borrow().clients(room);
        let mut users: Vec<&UserId> = clients.iter().map(|client| &client.user).collect();
        users.sort_unstable();
        users.dedup();
        let known = |user: &UserId| Some((user.clone(), self.known_presence(user)?));
        let known: Vec<_> = users.into_iter().filter_map(known).collect();
        if let Err(error) = presence::tell_room(&self.hot, room, &known).await {
            tracing::debug!(error = %error, "a room hears of presences when they change");
        }
    }

    /// Tells a room how users are whose presence changed while nothing was heard.
    async fn tell_changed(&self, room: &RoomName, told: &[(UserId, i64)]) {
        let users: Vec<UserId> = told.iter().map(|(user, _)| user.clone()).collect();
        if users.is_empty() || self.node.settings.presence_to_all {
            return;
        }
        match presence::look_up(&self.hot, &users).await {
            Ok(found) => {
                for ((user, told_ms), (presence, _)) in told.iter().zip(found) {
                    if let Some(news) = self.node.encoder().news(user, &presence) {
                        let shown = self.rooms.borrow().shown_since(room, *told_ms);
                        self.tell_room(room, &news, |client| !shown.contains(&client.key));
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error, "presences of a healed room are told when they change"),
        }
    }

    /// Tells those who listen to a user what they have missed, if anything; what Redis has lost of it is put back.
    pub(super) fn look_after(self: &Rc<Self>, user: &UserId) {
        let Some(known) = self.known_presence(user) else { return };
        let (shard, user) = (Rc::clone(self), user.clone());
        tokio::task::spawn_local(async move {
            let found = presence::look_up(&shard.hot, std::slice::from_ref(&user)).await;
            match found.map(|mut found| found.pop()) {
                Ok(Some((presence, _))) if presence.version < known.version => {
                    if let Err(error) = presence::restore(&shard.hot, &user, &known).await {
                        tracing::debug!(error = %error, %user, "what Redis has lost of a user is not put back");
                    }
                }
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

fn seq_of(event: &BusEvent) -> Option<u64> {
    match event {
        BusEvent::Message(message) => Some(message.seq),
        _ => None,
    }
}
