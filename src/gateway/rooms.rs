//! The rooms of one shard, by name: joins, leaves, deliveries, and which of them lag behind the others. Not here: the
//! order within one room (`room`).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use tokio::sync::oneshot;

use super::backlog::Backlog;
use super::client::Client;
use super::fanout::{Delivery, Order};
use super::heard_once::{HeardOnce, Hearers};
use super::parcel::Parcel;
use super::room::{Behind, JOINING_PARCELS_MAX, Kept, Member, Room, State};
use crate::domain::offset;
use crate::domain::rooms::{Heard, Known};
use crate::engine::Frame;
use crate::types::{RoomName, UserId};

pub use super::room::{Ack, Position, Turn};

/// How long something waits for the bus to bring the message before it, until the message is read from the history.
const BUS_PATIENCE: Duration = Duration::from_millis(250);
/// How long it waits for that: then it goes all the same, since what it tells of is stored.
const HISTORY_PATIENCE: Duration = Duration::from_secs(3);

/// The rooms in which this shard has clients.
#[derive(Default)]
pub struct Rooms {
    rooms: AHashMap<RoomName, Room>,
    /// Rooms of which the bus may have brought less than of others; while there are any, only a client's own places say
    /// how far it has heard.
    lagging: AHashSet<RoomName>,
    /// Rooms in which something waits, oldest first.
    waiting: VecDeque<(Instant, RoomName)>,
    /// The same, of those that have been asked for.
    late: VecDeque<(Instant, RoomName)>,
    heard_once: HeardOnce,
}

/// What waited for the bus for too long.
#[derive(Debug, Default)]
pub struct Overdue {
    /// Rooms to be healed.
    pub rooms: Vec<RoomName>,
    /// What went without its message.
    pub released: usize,
}

/// How a join came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Completed {
    Done,
    /// Done, and the room has gone into another epoch than the one in which it was heard.
    NewEpoch,
    /// Done, and the user was sent out of the room at once.
    Expelled,
    /// More came than is kept: the client has to join again.
    Failed,
}

/// How a membership that was registered anew goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum GoneOn {
    /// As before.
    Same,
    /// The room has begun anew, which its client is to be told.
    Reset,
    /// It may have: the room is to be healed first.
    Unheard,
}

impl Rooms {
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn names(&self) -> Vec<RoomName> {
        self.rooms.keys().cloned().collect()
    }

    /// Whether the room was heard less far than this, by what is known here.
    pub fn is_behind(&self, name: &RoomName, position: &Heard) -> bool {
        let heard = self.rooms.get(name).and_then(|room| room.heard.as_ref());
        heard.is_some_and(|heard| heard.epoch != position.epoch || heard.seq < position.seq || heard.rev < position.rev)
    }

    /// What the room is, in its epoch: it may have been changed.
    pub fn learn(&mut self, name: &RoomName, known: &Known) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.learn(known);
        }
    }

    /// A join begins. Each call is followed by one [`Rooms::end_join`].
    pub fn begin_join(&mut self, name: &RoomName, client: &Rc<Client>) {
        let room = self.rooms.entry(name.clone()).or_default();
        room.joining += 1;
        let member = || Member::joining(Rc::clone(client));
        room.members.entry(client.key).or_insert_with(member).joining = true;
    }

    /// The join's reply: the ack goes first, then what came meanwhile and stands above the position. A second join of
    /// the same client only gets its ack. Whoever was sent out meanwhile hears that as the last thing.
    pub fn complete_join(
        &mut self,
        name: &RoomName,
        client: &Client,
        position: Position,
        ack: Option<&Frame>,
    ) -> Completed {
        let Some(room) = self.rooms.get_mut(name) else {
            return Completed::Failed;
        };
        // Nobody here waits for what was before the first of them came.
        room.heard.get_or_insert_with(|| Heard {
            epoch: position.known.epoch.clone(),
            seq: position.seq,
            rev: position.rev,
        });
        let is_elsewhere = room.is_elsewhere(&position.known.epoch);
        let Some(member) = room.members.get_mut(&client.key) else {
            return Completed::Failed;
        };
        let mut kept = Vec::new();
        member.since = position.rev;
        member.shown_ms = member.shown_ms.max(position.shown_ms);
        match &mut member.state {
            State::Joining(parcels) => {
                if parcels.len() >= JOINING_PARCELS_MAX {
                    return Completed::Failed;
                }
                kept = std::mem::take(parcels);
                kept.retain(|kept| match kept.expels {
                    true => position.is_outdone_by(&kept.order),
                    false => position.is_before(&kept.order),
                });
                member.state = State::Live(position);
            }
            State::Live(known) if known.known.epoch == position.known.epoch => {}
            // Whether that epoch goes on from the one in which the client was is seen when the room is healed.
            State::Live(_) if is_elsewhere => member.anew = Some(Box::new(position)),
            State::Live(known) => *known = position,
        }
        if let Some(ack) = ack {
            client.socket.send(ack);
        }
        for Kept {
            order,
            parcel,
            token,
            expels,
        } in kept
        {
            let mut hears = |token| self.heard_once.of(token).is_first(client.key);
            if token.as_ref().is_none_or(&mut hears) {
                self.send_late(name, client, &order, &parcel);
            }
            if expels {
                self.remove_member(name, client);
                return Completed::Expelled;
            }
        }
        if is_elsewhere {
            Completed::NewEpoch
        } else {
            Completed::Done
        }
    }

    /// Sends what others have heard before: the offset that is theirs does not hold.
    fn send_late(&self, name: &RoomName, client: &Client, order: &Order, parcel: &Parcel) {
        if parcel.send(client, false) {
            return;
        }
        let here = match order {
            Order::Seq { epoch, seq } => Some((name, epoch.as_str(), *seq)),
            _ => None,
        };
        parcel.send_with(client, &self.offset_of(client, here));
    }

    /// How far a client has heard each of its rooms; of one of them as told.
    pub fn offset_of(&self, client: &Client, here: Option<(&RoomName, &str, u64)>) -> String {
        let joined = client.rooms.borrow();
        let place = |name| {
            let room = self.rooms.get(name)?;
            let State::Live(position) = &room.members.get(&client.key)?.state else {
                return None;
            };
            let epoch = position.known.epoch.as_str();
            let heard = room.heard.as_ref().filter(|heard| heard.epoch == epoch);
            let seq = heard.map_or(position.seq, |heard| heard.seq.max(position.seq));
            Some((name, epoch, seq))
        };
        let others = joined
            .iter()
            .filter(|name| here.is_none_or(|(here, _, _)| here != *name));
        offset::of_places(others.filter_map(place).chain(here))
    }

    /// What is known of a room that the client is in, in the epoch in which it is.
    pub fn known(&self, name: &RoomName, client: &Client) -> Option<Known> {
        match &self.rooms.get(name)?.members.get(&client.key)?.state {
            State::Live(position) => Some(position.known.clone()),
            State::Joining(_) => None,
        }
    }

    /// A membership was registered anew: it goes on from the position, unless it is in the same epoch.
    pub fn go_on(&mut self, name: &RoomName, client: &Client, position: Position) -> GoneOn {
        let Some(room) = self.rooms.get_mut(name) else {
            return GoneOn::Same;
        };
        let is_elsewhere = room.is_elsewhere(&position.known.epoch);
        let Some(member) = room.members.get_mut(&client.key) else {
            return GoneOn::Same;
        };
        member.since = position.rev;
        match &mut member.state {
            State::Live(known) if known.known.epoch != position.known.epoch => {
                if is_elsewhere {
                    member.anew = Some(Box::new(position));
                    return GoneOn::Unheard;
                }
                *known = position;
                GoneOn::Reset
            }
            State::Live(_) | State::Joining(_) => GoneOn::Same,
        }
    }

    /// A join is over, one way or the other. True: nobody of this shard is in the room, release the subscription.
    pub fn end_join(&mut self, name: &RoomName, client: &Client) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        room.joining = room.joining.saturating_sub(1);
        if let Some(member) = room.members.get_mut(&client.key) {
            member.joining = false;
            if matches!(member.state, State::Joining(_)) {
                room.remove(client);
            }
        }
        self.drop_if_empty(name)
    }

    /// The client is no longer in the room. True: release the subscription.
    pub fn leave(&mut self, name: &RoomName, client: &Client) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        room.remove(client);
        self.drop_if_empty(name)
    }

    fn remove_member(&mut self, name: &RoomName, client: &Client) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.remove(client);
        }
    }

    /// The room, as it was in an epoch, is no more: tells and removes those who were in it; who they are.
    pub fn close(
        &mut self,
        name: &RoomName,
        epoch: &str,
        rev: u64,
        word: impl Fn(&UserId) -> Frame,
    ) -> Vec<Rc<Client>> {
        let room = self.rooms.get_mut(name);
        room.map(|room| room.close(epoch, rev, word)).unwrap_or_default()
    }

    /// Tells a user's clients that the user is sent out of the room, and removes them; who they are.
    pub fn expel(&mut self, name: &RoomName, order: &Order, user: &UserId, parcel: &Parcel) -> Vec<Rc<Client>> {
        let room = self.rooms.get_mut(name);
        room.map(|room| room.expel(order, user, parcel)).unwrap_or_default()
    }

    fn drop_if_empty(&mut self, name: &RoomName) -> bool {
        let empty = self.rooms.get(name).is_some_and(Room::is_empty);
        if empty && let Some(mut room) = self.rooms.remove(name) {
            self.lagging.remove(name);
            room.release_all();
        }
        empty
    }

    /// What is to be done with an event; where that is not its turn yet, it is kept here.
    pub fn turn_of(&mut self, name: &RoomName, order: &Order, delivery: &Arc<Delivery>) -> Turn {
        let Some(room) = self.rooms.get_mut(name) else {
            return Turn::Now;
        };
        let turn = room.turn_of(order, delivery);
        if turn == Turn::Gap {
            self.lagging.insert(name.clone());
        }
        turn
    }

    /// The bus brings nothing of the room for a while.
    pub fn interrupt(&mut self, name: &RoomName) {
        if self.rooms.contains_key(name) {
            self.lagging.insert(name.clone());
        }
    }

    /// Healing begins, unless it is under way, or nobody is in the room: from where.
    pub fn begin_healing(&mut self, name: &RoomName) -> Option<Heard> {
        let room = self.rooms.get_mut(name)?;
        if room.healing.is_some() {
            return None;
        }
        let Some(heard) = room.heard.clone() else {
            // Whoever joins hears from there on.
            self.lagging.remove(name);
            return None;
        };
        room.healing = Some(Backlog::default());
        self.lagging.insert(name.clone());
        Some(heard)
    }

    /// How far the room has been heard.
    pub fn heard_so_far(&self, name: &RoomName) -> Option<Heard> {
        self.rooms.get(name)?.heard.clone()
    }

    /// The same, with the epochs that led there.
    pub fn heard_from(&self, name: &RoomName) -> Option<(Heard, Vec<String>)> {
        let room = self.rooms.get(name)?;
        Some((room.heard.clone()?, room.former.clone()))
    }

    /// What was kept, while the room is being healed, and stands before a message without a number of its own: in order, each
    /// with the `seq` behind which it stands.
    pub fn take_kept_before(&mut self, name: &RoomName, before: u64) -> VecDeque<(u64, Arc<Delivery>)> {
        let kept = self.rooms.get_mut(name).and_then(|room| room.healing.as_mut());
        kept.map(|kept| kept.take_before(before)).unwrap_or_default()
    }

    /// Healing is over: the room is this far, and this came meanwhile.
    pub fn end_healing(&mut self, name: &RoomName, heard: Option<Heard>) -> VecDeque<Arc<Delivery>> {
        self.lagging.remove(name);
        let Some(room) = self.rooms.get_mut(name) else {
            return VecDeque::new();
        };
        if let Some(heard) = heard {
            room.go_on_from(heard);
        }
        room.release_heard();
        room.healing.take().unwrap_or_default().into_deliveries()
    }

    /// The room is in an epoch, and nothing was lost; whether that is another than before.
    pub fn turn_epoch(&mut self, name: &RoomName, epoch: &str) -> bool {
        let room = self.rooms.get_mut(name);
        room.is_some_and(|room| room.turn_epoch(epoch))
    }

    /// What was missed cannot be told one by one: who has to be told so.
    pub fn reset(&mut self, name: &RoomName, heard: &Heard) -> Vec<Rc<Client>> {
        let room = self.rooms.get_mut(name);
        room.map(|room| room.reset(heard)).unwrap_or_default()
    }

    /// The room has begun anew: who of those that are registered in it has to be told so, and where it goes on.
    pub fn begin_anew(&mut self, name: &RoomName, epoch: &str) -> Vec<(Rc<Client>, Position)> {
        let room = self.rooms.get_mut(name);
        room.map(|room| room.begin_anew(epoch)).unwrap_or_default()
    }

    /// The clients that are in the room.
    pub fn clients(&self, name: &RoomName) -> Vec<Rc<Client>> {
        let members = self.rooms.get(name).into_iter().flat_map(|room| room.members.values());
        members.map(|member| Rc::clone(&member.client)).collect()
    }

    /// Keys of the clients whose join brought them the members as they were at a time (Unix ms), or later.
    pub fn shown_since(&self, name: &RoomName, at_ms: i64) -> AHashSet<u64> {
        let members = self.rooms.get(name).into_iter().flat_map(|room| &room.members);
        let shown = members.filter(|(_, member)| member.shown_ms >= at_ms);
        shown.map(|(key, _)| *key).collect()
    }

    /// Hands something to everybody in the room whom `hears` allows, and who did not hear it by its token in another; how many
    /// that were.
    pub fn deliver(
        &mut self,
        name: &RoomName,
        order: &Order,
        parcel: &Parcel,
        token: Option<&Arc<str>>,
        mut hears: impl FnMut(&Client) -> bool,
    ) -> usize {
        let in_order = self.lagging.is_empty();
        let Some(room) = self.rooms.get_mut(name) else { return 0 };
        let mut delivered = 0;
        let mut own = Vec::new();
        let mut hearers = token.map(|token| self.heard_once.of(token));
        for member in room.members.values_mut() {
            // Whoever is asked whether it hears is told.
            let is_past = matches!(&member.state, State::Live(position) if !position.is_before(order));
            if is_past || !hears(&member.client) {
                continue;
            }
            match &mut member.state {
                State::Live(_) => {
                    let is_first = |hearers: &mut Hearers<'_>| hearers.is_first(member.client.key);
                    if !hearers.as_mut().is_none_or(is_first) {
                        continue;
                    }
                    if !parcel.send(&member.client, in_order) {
                        own.push(Rc::clone(&member.client));
                    }
                    delivered += 1;
                }
                State::Joining(_) => member.keep(order, parcel, token, false),
            }
        }
        room.hear(order);
        for client in own {
            self.send_late(name, &client, order, parcel);
        }
        if let Some(room) = self.rooms.get_mut(name) {
            room.release_heard();
        }
        delivered
    }

    /// Sends a message's ack behind the message: at once if it came already, else when it comes.
    pub fn ack_behind(&mut self, name: &RoomName, seq: u64, ack: Ack) {
        self.put_behind(name, seq, Behind::Ack(ack));
    }

    /// Resolves when the client has heard everything up to `seq` that is for it, or the bus did not bring it in time.
    pub fn heard(&mut self, name: &RoomName, seq: u64, client: &Client) -> oneshot::Receiver<()> {
        let (signal, heard) = oneshot::channel();
        let behind = Behind::Signal(signal);
        // What was said before its join is not for it, and may never have come to this node.
        let known = self.rooms.get(name).and_then(|room| room.members.get(&client.key));
        if known.is_some_and(|member| member.begins_at(seq)) {
            behind.go();
        } else {
            self.put_behind(name, seq, behind);
        }
        heard
    }

    fn put_behind(&mut self, name: &RoomName, seq: u64, what: Behind) {
        match self.rooms.get_mut(name) {
            Some(room) => {
                if room.put_behind(seq, what) {
                    self.waiting.push_back((Instant::now(), name.clone()));
                }
            }
            None => what.go(),
        }
    }

    /// What the bus did not bring the message of in time: the rooms are to be healed; and what waited even for that goes.
    pub fn overdue(&mut self) -> Overdue {
        let mut overdue = Overdue::default();
        while let Some((since, name)) = self.waiting.pop_front_if(|(since, _)| since.elapsed() >= BUS_PATIENCE) {
            if let Some(room) = self.rooms.get(&name).filter(|room| room.is_waiting()) {
                if room.healing.is_none() && !overdue.rooms.contains(&name) {
                    overdue.rooms.push(name.clone());
                }
                self.late.push_back((since, name));
            }
        }
        while let Some((_, name)) = self.late.pop_front_if(|(since, _)| since.elapsed() >= HISTORY_PATIENCE) {
            if let Some(room) = self.rooms.get_mut(&name) {
                overdue.released += room.release_older(HISTORY_PATIENCE);
            }
        }
        overdue
    }
}
