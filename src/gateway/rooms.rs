//! The rooms of one shard: who of its clients is in them, and the order in which they hear. A join's reply, taken at
//! `seq` S and `rev` R, enters the room's order: its client hears nothing up to them, and everything above them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::oneshot;

use super::client::Client;
use super::fanout::{Delivery, Order};
pub use super::membership::Position;
use super::membership::{JOINING_FRAMES_MAX, Kept, Member, State, keep, send};
use crate::domain::rooms::Known;
use crate::engine::Frame;
use crate::types::{RoomName, UserId};

/// Events that are kept while a room is being healed.
const HEALING_EVENTS_MAX: usize = 1_000;
/// How long something waits for the bus to bring the message before it.
const BUS_PATIENCE: Duration = Duration::from_millis(250);

/// The rooms in which this shard has clients.
#[derive(Default)]
pub struct Rooms {
    rooms: AHashMap<RoomName, Room>,
    /// Rooms in which something waits, oldest first.
    waiting: VecDeque<(Instant, RoomName)>,
}

#[derive(Default)]
struct Room {
    members: AHashMap<u64, Member>,
    /// Joins under way: the subscription must stay.
    joining: u32,
    /// How far the bus has brought the room.
    heard: Option<Heard>,
    /// While what was missed is being read: what comes meanwhile.
    healing: Option<VecDeque<Arc<Delivery>>>,
    waiting: VecDeque<Waiting>,
}

/// A place in a room's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub epoch: String,
    pub seq: u64,
    pub rev: u64,
}

/// What is to be done with an event of a room's order.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is next.
    Now,
    /// It came before.
    Known,
    /// It waits until what was missed has been read.
    Kept,
    /// Something before it is missing.
    Gap,
}

/// What has its place behind a message.
struct Waiting {
    epoch: String,
    seq: u64,
    since: Instant,
    what: Behind,
}

enum Behind {
    Ack(Rc<Client>, Frame),
    Signal(oneshot::Sender<()>),
}

impl Rooms {
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// A join begins. Each call is followed by one [`Rooms::end_join`].
    pub fn begin_join(&mut self, name: &RoomName, client: &Rc<Client>) {
        let room = self.rooms.entry(name.clone()).or_default();
        room.joining += 1;
        let member = room.members.entry(client.key);
        member.or_insert_with(|| Member::joining(client)).joining = true;
    }

    /// The join's reply: the ack goes first, then what came meanwhile and stands above the position. A second join of
    /// the same client only gets its ack. Whoever was sent out meanwhile hears that as the last thing, and is no longer a
    /// member. False: more came than is kept, and the client has to join again.
    pub fn complete_join(&mut self, name: &RoomName, client: &Client, position: Position, ack: Option<&Frame>) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        let Some(member) = room.members.get_mut(&client.key) else {
            return false;
        };
        // Nobody here waits for what was before the first of them came.
        room.heard.get_or_insert_with(|| Heard {
            epoch: position.known.epoch.clone(),
            seq: position.seq,
            rev: position.rev,
        });
        if let State::Joining(kept) = &member.state
            && kept.len() >= JOINING_FRAMES_MAX
        {
            return false;
        }
        if let Some(ack) = ack {
            client.socket.send(ack);
        }
        member.since = position.rev;
        if let State::Joining(kept) = &mut member.state {
            let kept = std::mem::take(kept);
            member.state = State::Live(position);
            for Kept {
                order,
                frame,
                key,
                expels,
            } in kept
            {
                if expels && member.is_expelled_by(&order) {
                    client.socket.send(&frame);
                    room.members.remove(&client.key);
                    break;
                }
                if !expels && member.is_before(&order) {
                    send(client, &frame, key);
                }
            }
        }
        true
    }

    /// What is known of a room that the client is in, in the epoch in which it is.
    pub fn known(&self, name: &RoomName, client: &Client) -> Option<Known> {
        match &self.rooms.get(name)?.members.get(&client.key)?.state {
            State::Live(position) => Some(position.known.clone()),
            State::Joining(_) => None,
        }
    }

    /// A membership was registered anew: it goes on from the position. True: in another epoch than the one known.
    pub fn go_on(&mut self, name: &RoomName, client: &Client, position: Position) -> bool {
        let Some(member) = self
            .rooms
            .get_mut(name)
            .and_then(|room| room.members.get_mut(&client.key))
        else {
            return false;
        };
        match &mut member.state {
            State::Live(known) if known.known.epoch != position.known.epoch => {
                member.since = position.rev;
                *known = position;
                true
            }
            State::Live(_) | State::Joining(_) => false,
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
        }
        if room
            .members
            .get(&client.key)
            .is_some_and(|member| matches!(member.state, State::Joining(_)))
        {
            room.remove(client);
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

    fn drop_if_empty(&mut self, name: &RoomName) -> bool {
        let empty = self
            .rooms
            .get(name)
            .is_some_and(|room| room.members.is_empty() && room.joining == 0);
        if empty && let Some(mut room) = self.rooms.remove(name) {
            room.release(|_| true);
        }
        empty
    }

    /// What is to be done with an event; where that is not its turn yet, it is kept here.
    pub fn turn_of(&mut self, name: &RoomName, order: &Order, delivery: &Arc<Delivery>) -> Turn {
        let Some(room) = self.rooms.get_mut(name) else {
            return Turn::Now;
        };
        if *order == Order::None {
            return Turn::Now;
        }
        if let Some(kept) = &mut room.healing {
            // Beyond the bound the oldest is let go: whoever reads the room again finds it there.
            if kept.len() == HEALING_EVENTS_MAX {
                kept.pop_front();
            }
            kept.push_back(Arc::clone(delivery));
            return Turn::Kept;
        }
        let turn = room.turn_of(order);
        if turn == Turn::Gap {
            room.healing = Some(VecDeque::from([Arc::clone(delivery)]));
        }
        turn
    }

    /// Healing begins, unless it is under way, or nobody is in the room: from where.
    pub fn begin_healing(&mut self, name: &RoomName) -> Option<Heard> {
        let room = self.rooms.get_mut(name)?;
        let heard = room.heard.clone()?;
        if room.healing.is_some() {
            return None;
        }
        room.healing = Some(VecDeque::new());
        Some(heard)
    }

    /// How far the room has been heard.
    pub fn heard_so_far(&self, name: &RoomName) -> Option<Heard> {
        self.rooms.get(name)?.heard.clone()
    }

    /// Healing is over: the room is this far, and this came meanwhile.
    pub fn end_healing(&mut self, name: &RoomName, heard: Option<Heard>) -> VecDeque<Arc<Delivery>> {
        let Some(room) = self.rooms.get_mut(name) else {
            return VecDeque::new();
        };
        if heard.is_some() {
            room.heard = heard;
        }
        room.healing.take().unwrap_or_default()
    }

    /// What was missed cannot be told one by one: everybody in the room hears of it, and goes on from there.
    pub fn reset(&mut self, name: &RoomName, heard: &Heard, frame: &Frame) -> usize {
        let Some(room) = self.rooms.get_mut(name) else { return 0 };
        let mut told = 0;
        for member in room.members.values_mut() {
            if let State::Live(position) = &mut member.state
                && position.known.epoch == heard.epoch
            {
                (position.seq, position.rev) = (position.seq.max(heard.seq), position.rev.max(heard.rev));
                member.client.socket.send(frame);
                told += 1;
            }
        }
        told
    }

    /// Hands a frame to everybody in the room whom `hears` allows; how many that were.
    pub fn deliver(
        &mut self,
        name: &RoomName,
        order: &Order,
        key: Option<u64>,
        frame: &Frame,
        mut hears: impl FnMut(&Client) -> bool,
    ) -> usize {
        let Some(room) = self.rooms.get_mut(name) else { return 0 };
        let mut delivered = 0;
        for member in room.members.values_mut() {
            if !hears(&member.client) {
                continue;
            }
            match &mut member.state {
                State::Live(position) if position.is_before(order) => {
                    send(&member.client, frame, key);
                    delivered += 1;
                }
                State::Live(_) => {}
                State::Joining(kept) => keep(kept, order, frame, key, false),
            }
        }
        room.hear(order);
        delivered
    }

    /// Tells a user's clients that the user is sent out of the room, and removes them; who was. A client that joins at this
    /// moment is told, and removed, when its join is complete, if it still applies: it may have come back already.
    pub fn expel(&mut self, name: &RoomName, order: &Order, user: &UserId, frame: &Frame) -> Vec<Rc<Client>> {
        let Some(room) = self.rooms.get_mut(name) else {
            return Vec::new();
        };
        let mut expelled = Vec::new();
        for member in room.members.values_mut().filter(|member| member.client.user == *user) {
            if let State::Live(_) = member.state {
                if !member.is_expelled_by(order) {
                    continue;
                }
                if !member.joining {
                    member.client.socket.send(frame);
                    expelled.push(Rc::clone(&member.client));
                    continue;
                }
                member.state = State::Joining(Vec::new());
            }
            if let State::Joining(kept) = &mut member.state {
                keep(kept, order, frame, None, true);
            }
        }
        for client in &expelled {
            room.members.remove(&client.key);
        }
        expelled
    }

    /// Sends a message's ack behind the message: at once if it came already, else when it comes.
    pub fn ack_behind(&mut self, name: &RoomName, epoch: &str, seq: u64, client: &Rc<Client>, frame: Frame) {
        self.put_behind(name, epoch, seq, Behind::Ack(Rc::clone(client), frame));
    }

    /// Resolves when the client has heard everything up to `seq` that is for it, or the bus did not bring it in time.
    pub fn heard(&mut self, name: &RoomName, epoch: &str, seq: u64, client: &Client) -> oneshot::Receiver<()> {
        let (signal, heard) = oneshot::channel();
        let behind = Behind::Signal(signal);
        // What was said before its join is not for it, and may never have come to this node.
        let known = self.rooms.get(name).and_then(|room| room.members.get(&client.key));
        if known.is_some_and(|member| member.begins_at(epoch, seq)) {
            behind.go();
        } else {
            self.put_behind(name, epoch, seq, behind);
        }
        heard
    }

    fn put_behind(&mut self, name: &RoomName, epoch: &str, seq: u64, what: Behind) {
        match self.rooms.get_mut(name) {
            Some(room) if !room.has_heard(epoch, seq) => {
                let (epoch, since) = (epoch.to_owned(), Instant::now());
                room.waiting.push_back(Waiting {
                    epoch,
                    seq,
                    since,
                    what,
                });
                self.waiting.push_back((since, name.clone()));
            }
            _ => what.go(),
        }
    }

    /// Lets go what the bus did not bring the message of in time; how much that was.
    pub fn release_overdue(&mut self) -> usize {
        let mut released = 0;
        while let Some((since, name)) = self.waiting.front() {
            if since.elapsed() < BUS_PATIENCE {
                break;
            }
            if let Some(room) = self.rooms.get_mut(name) {
                released += room.release(|waiting| waiting.since.elapsed() >= BUS_PATIENCE);
            }
            self.waiting.pop_front();
        }
        released
    }
}

impl Room {
    /// Removes a client. One that was sent out while it joined again, in vain, has not heard of it yet.
    fn remove(&mut self, client: &Client) {
        if let Some(member) = self.members.remove(&client.key) {
            member.tell_expulsion();
        }
    }

    /// Whether everything up to `seq` came, or was before every member's time.
    fn has_heard(&self, epoch: &str, seq: u64) -> bool {
        self.heard
            .as_ref()
            .is_some_and(|heard| heard.epoch == epoch && heard.seq >= seq)
    }

    /// An event has been delivered: the room is that far.
    fn hear(&mut self, order: &Order) {
        let (Order::Seq { epoch, .. } | Order::Rev { epoch, .. }) = order else {
            return;
        };
        let begin = || Heard {
            epoch: epoch.clone(),
            seq: 0,
            rev: 0,
        };
        let heard = self.heard.get_or_insert_with(begin);
        if heard.epoch != *epoch {
            *heard = begin();
        }
        match order {
            Order::Seq { seq, .. } => {
                heard.seq = *seq;
                self.release(|waiting| waiting.epoch != *epoch || waiting.seq <= *seq);
            }
            Order::Rev { rev, .. } => heard.rev = *rev,
            Order::None => {}
        }
    }

    /// Whether a change of membership is the next one. (Messages without their place are the next stage's.)
    fn turn_of(&self, order: &Order) -> Turn {
        let (Order::Rev { epoch, rev }, Some(heard)) = (order, &self.heard) else {
            return Turn::Now;
        };
        if heard.epoch != *epoch {
            Turn::Now
        } else if *rev <= heard.rev {
            Turn::Known
        } else if *rev == heard.rev + 1 {
            Turn::Now
        } else {
            Turn::Gap
        }
    }

    fn release(&mut self, ready: impl Fn(&Waiting) -> bool) -> usize {
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(&ready) {
            if let Some(waiting) = self.waiting.pop_front() {
                waiting.what.go();
            }
        }
        before - self.waiting.len()
    }
}

impl Behind {
    fn go(self) {
        match self {
            Self::Ack(client, frame) => client.socket.send(&frame),
            // Whoever waited may have gone.
            Self::Signal(signal) => signal.send(()).unwrap_or_default(),
        }
    }
}
