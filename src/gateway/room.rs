//! One room of a shard: who of its clients is in it, how far the bus has brought it, and what waits for more. A join's
//! reply, taken at `seq` S and `rev` R, enters the room's order: its client hears nothing up to them, and everything above.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::oneshot;

use super::backlog::Backlog;
use super::client::Client;
use super::fanout::{Delivery, Order};
use super::metrics::UntilAck;
use super::parcel::Parcel;
use crate::domain::rooms::{Heard, Joined, Known};
use crate::engine::Frame;
use crate::types::UserId;

/// What a client may miss while its join is under way; beyond, the join fails and is tried again.
pub(super) const JOINING_PARCELS_MAX: usize = 1_000;
/// Former epochs of a room that are remembered; Redis remembers as many.
const FORMER_MAX: usize = 8;

/// A room in which this shard has clients.
#[derive(Default)]
pub(super) struct Room {
    pub members: AHashMap<u64, Member>,
    /// Joins under way: the subscription must stay.
    pub joining: u32,
    /// How far the bus has brought the room.
    pub heard: Option<Heard>,
    /// Epochs that led to the one in which it was heard, oldest first: a failover may lose the latest of them.
    pub former: Vec<String>,
    /// While what was missed is being read: what comes meanwhile.
    pub healing: Option<Backlog>,
    waiting: VecDeque<Waiting>,
}

/// What is to be done with an event of a room's order.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is next.
    Now,
    /// It came before.
    Known,
    /// It waits until what was missed has been read.
    Kept {
        /// For its place another had to go, which nobody can read again.
        is_lossy: bool,
    },
    /// Something before it is missing.
    Gap,
}

pub(super) struct Member {
    pub client: Rc<Client>,
    pub state: State,
    /// Where a membership that was registered anew begins, in an epoch that the room has not been heard in yet.
    pub anew: Option<Box<Position>>,
    /// A join of this client is under way.
    pub joining: bool,
    /// When its last join brought it the members, Unix ms of Redis's clock; 0: none did.
    pub shown_ms: i64,
    /// The `rev` of its last join: what sent it out before is over.
    pub since: u64,
}

pub(super) enum State {
    /// Between the subscription and the reply: whatever comes is kept until the reply says from where.
    Joining(Vec<Kept>),
    Live(Position),
}

/// What came while a join was under way.
pub(super) struct Kept {
    pub order: Order,
    pub parcel: Parcel,
    /// The same may come through other rooms: whether the client heard it there is asked when it is sent, since a join that
    /// fails, or begins behind it, sends nothing.
    pub token: Option<Arc<str>>,
    /// It sends the client out of the room.
    pub expels: bool,
}

/// Where a membership begins in the room's order.
#[derive(Debug, Clone)]
pub struct Position {
    pub known: Known,
    pub seq: u64,
    pub rev: u64,
    /// When the members came with it, Unix ms of Redis's clock; 0: they did not.
    pub shown_ms: i64,
}

impl Position {
    /// Whether an event is in the same life of the room, and above it.
    pub fn is_outdone_by(&self, order: &Order) -> bool {
        matches!(order, Order::Rev { epoch, .. } if *epoch == self.known.epoch) && self.is_before(order)
    }

    /// Where a join was.
    pub fn of(joined: &Joined) -> Self {
        let (kind, visibility, max_members) = (joined.kind, joined.visibility, joined.max_members);
        let known = Known {
            epoch: joined.epoch.clone(),
            kind,
            visibility,
            max_members,
        };
        Self {
            known,
            seq: joined.seq,
            rev: joined.rev,
            shown_ms: if joined.members.is_empty() { 0 } else { joined.now_ms },
        }
    }

    /// Whether an event is above it. The epoch is no concern: the numbers go on from one to the next, and where they do
    /// not, the position has been moved before anything is delivered.
    pub fn is_before(&self, order: &Order) -> bool {
        match order {
            Order::Seq { seq, .. } => *seq > self.seq,
            Order::Rev { rev, .. } => *rev > self.rev,
            Order::Behind { seq, rev, .. } => *seq >= self.seq && *rev >= self.rev,
            Order::None => true,
        }
    }

    /// Moves it forward, or into another epoch. False: it was there already.
    fn move_to(&mut self, heard: &Heard) -> bool {
        let is_same = self.known.epoch == heard.epoch;
        if is_same && self.seq >= heard.seq && self.rev >= heard.rev {
            return false;
        }
        let (seq, rev) = if is_same { (self.seq, self.rev) } else { (0, 0) };
        (self.seq, self.rev) = (seq.max(heard.seq), rev.max(heard.rev));
        self.known.epoch.clone_from(&heard.epoch);
        true
    }
}

/// What has its place behind a message. The epoch is no concern: the numbers go on from one to the next.
struct Waiting {
    seq: u64,
    since: Instant,
    what: Behind,
}

/// An ack that is ready.
pub struct Ack {
    pub client: Rc<Client>,
    pub frame: Frame,
    /// Measures how long it took.
    pub until: Option<UntilAck>,
}

pub(super) enum Behind {
    Ack(Ack),
    Signal(oneshot::Sender<()>),
}

impl Behind {
    pub fn go(self) {
        match self {
            Self::Ack(Ack { client, frame, until }) => {
                client.socket.send(&frame);
                if let Some(until) = until {
                    until.end();
                }
            }
            // Whoever waited may have gone.
            Self::Signal(signal) => signal.send(()).unwrap_or_default(),
        }
    }
}

impl Member {
    pub fn joining(client: Rc<Client>) -> Self {
        Self {
            client,
            state: State::Joining(Vec::new()),
            anew: None,
            joining: false,
            shown_ms: 0,
            since: 0,
        }
    }

    /// Keeps something for the end of the join, within the bound; beyond, the join fails.
    pub fn keep(&mut self, order: &Order, parcel: &Parcel, token: Option<&Arc<str>>, expels: bool) {
        if let State::Joining(kept) = &mut self.state
            && kept.len() < JOINING_PARCELS_MAX
        {
            kept.push(Kept {
                order: order.clone(),
                parcel: parcel.clone(),
                token: token.cloned(),
                expels,
            });
        }
    }

    /// Whether what sends its user out of the room came behind its last join.
    fn is_expelled_by(&self, order: &Order) -> bool {
        let is_above = matches!(&self.state, State::Live(position) if position.is_before(order));
        is_above && matches!(order, Order::Rev { rev, .. } if *rev > self.since)
    }

    /// What sent the client out while it joined again, in vain, it has not heard yet.
    fn tell_expulsion(&self) {
        if let State::Joining(kept) = &self.state
            && self.since > 0
            && let Some(expulsion) = kept.iter().find(|kept| kept.expels)
        {
            expulsion.parcel.send(&self.client, false);
        }
    }

    /// Whether the membership begins at `seq` or behind it.
    pub fn begins_at(&self, seq: u64) -> bool {
        matches!(&self.state, State::Live(position) if position.seq >= seq)
    }
}

impl Room {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.joining == 0
    }

    /// Whether the room was heard in another epoch than the one that a reply speaks of.
    pub fn is_elsewhere(&self, epoch: &str) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.epoch != epoch)
    }

    /// What the room is, in its epoch, is what its members' node would put back of it.
    pub fn learn(&mut self, known: &Known) {
        for member in self.members.values_mut() {
            if let State::Live(position) = &mut member.state
                && position.known.epoch == known.epoch
            {
                position.known.clone_from(known);
            }
        }
    }

    /// The client is no longer here.
    pub fn remove(&mut self, client: &Client) {
        if let Some(member) = self.members.remove(&client.key) {
            member.tell_expulsion();
        }
    }

    /// Tells a user's clients that the user is sent out of the room, and removes them; who they are. One that joins at this
    /// moment is told, and removed, when the reply has said where its join stands: it may have come back already.
    pub fn expel(&mut self, order: &Order, user: &UserId, parcel: &Parcel) -> Vec<Rc<Client>> {
        let mut expelled = Vec::new();
        for member in self.members.values_mut().filter(|member| member.client.user == *user) {
            match member.state {
                State::Live(_) if !member.is_expelled_by(order) => {}
                State::Live(_) if !member.joining => {
                    parcel.send(&member.client, false);
                    expelled.push(Rc::clone(&member.client));
                }
                State::Live(_) => {
                    member.state = State::Joining(Vec::new());
                    member.keep(order, parcel, None, true);
                }
                State::Joining(_) => member.keep(order, parcel, None, true),
            }
        }
        for client in &expelled {
            self.members.remove(&client.key);
        }
        expelled
    }

    /// The room, as it was in an epoch, is no more: tells and removes those who were in it; who they are. Whoever came into
    /// a new room of the name stays.
    pub fn close(&mut self, epoch: &str, rev: u64, word: impl Fn(&UserId) -> Frame) -> Vec<Rc<Client>> {
        let order = Order::Rev {
            epoch: epoch.to_owned(),
            rev,
        };
        let mut expelled = Vec::new();
        for member in self.members.values_mut() {
            let parcel = Parcel::new(word(&member.client.user), None);
            match &member.state {
                State::Live(position) if position.known.epoch != epoch || member.anew.is_some() => {}
                State::Live(_) if !member.joining => {
                    parcel.send(&member.client, false);
                    expelled.push(Rc::clone(&member.client));
                }
                State::Live(_) => {
                    member.state = State::Joining(Vec::new());
                    member.keep(&order, &parcel, None, true);
                }
                State::Joining(_) => member.keep(&order, &parcel, None, true),
            }
        }
        for client in &expelled {
            self.members.remove(&client.key);
        }
        expelled
    }

    /// What is to be done with an event; where that is not its turn yet, it is kept here.
    pub fn turn_of(&mut self, order: &Order, delivery: &Arc<Delivery>) -> Turn {
        if *order == Order::None {
            return Turn::Now;
        }
        if let Some(kept) = &mut self.healing {
            let is_lossy = kept.push(Arc::clone(delivery));
            return Turn::Kept { is_lossy };
        }
        let turn = self.place_of(order);
        if turn == Turn::Gap {
            self.healing.insert(Backlog::default()).push(Arc::clone(delivery));
        }
        turn
    }

    fn place_of(&self, order: &Order) -> Turn {
        let (epoch, number, heard) = match (order, &self.heard) {
            (Order::Seq { epoch, seq }, Some(heard)) => (epoch, *seq, heard.seq),
            (Order::Rev { epoch, rev }, Some(heard)) => (epoch, *rev, heard.rev),
            // Its turn is behind the messages before it; changes of membership a large room does not hear.
            (Order::Behind { epoch, seq, .. }, Some(heard)) => {
                return match self.is_elsewhere(epoch) || *seq > heard.seq {
                    true => Turn::Gap,
                    false => Turn::Now,
                };
            }
            _ => return Turn::Now,
        };
        if self.is_elsewhere(epoch) || number > heard + 1 {
            Turn::Gap
        } else if number <= heard {
            Turn::Known
        } else {
            Turn::Now
        }
    }

    /// Notes that an event has been delivered: the room is that far.
    pub fn hear(&mut self, order: &Order) {
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
            heard.epoch.clone_from(epoch);
        }
        match order {
            Order::Seq { seq, .. } => heard.seq = *seq,
            Order::Rev { rev, .. } => heard.rev = *rev,
            Order::Behind { .. } | Order::None => {}
        }
    }

    /// The room is in an epoch, and nothing was lost: everybody who was in the last one goes on in it. Whoever is in one that
    /// does not lead there is still to be registered anew, and told so then. Whether it is another than before.
    pub fn turn_epoch(&mut self, epoch: &str) -> bool {
        let Some(heard) = self.heard.as_mut().filter(|heard| heard.epoch != epoch) else {
            return false;
        };
        let last = std::mem::replace(&mut heard.epoch, epoch.to_owned());
        self.note_former(&last);
        for member in self.members.values_mut() {
            if let State::Live(position) = &mut member.state
                && position.known.epoch == last
            {
                epoch.clone_into(&mut position.known.epoch);
                member.anew.take_if(|anew| anew.known.epoch == epoch);
            }
        }
        true
    }

    /// The room has been heard this far, in the epoch in which it was or in one that followed.
    pub fn go_on_from(&mut self, heard: Heard) {
        if let Some(last) = self.heard.replace(heard)
            && self.is_elsewhere(&last.epoch)
        {
            self.note_former(&last.epoch);
        }
    }

    fn note_former(&mut self, epoch: &str) {
        if self.former.len() == FORMER_MAX {
            self.former.remove(0);
        }
        self.former.push(epoch.to_owned());
    }

    /// What was missed cannot be told one by one: those whom this moves, to be told so.
    pub fn reset(&mut self, heard: &Heard) -> Vec<Rc<Client>> {
        let moved = |member: &mut Member| match &mut member.state {
            State::Live(position) => position.move_to(heard),
            State::Joining(_) => false,
        };
        let members = self.members.values_mut();
        members
            .filter_map(|member| moved(member).then(|| Rc::clone(&member.client)))
            .collect()
    }

    /// The room has begun anew, in an epoch of which nothing leads back: those who have been registered already go on from
    /// there, or, where it has turned since, from its beginning. The others do when they are registered; until then they
    /// hear whatever comes.
    pub fn begin_anew(&mut self, epoch: &str) -> Vec<(Rc<Client>, Position)> {
        self.former.clear();
        self.heard = Some(Heard {
            epoch: epoch.to_owned(),
            seq: 0,
            rev: 0,
        });
        let mut begun = Vec::new();
        for member in self.members.values_mut() {
            member.since = 0;
            if let Some(mut position) = member.anew.take() {
                if position.known.epoch != epoch {
                    epoch.clone_into(&mut position.known.epoch);
                    (position.seq, position.rev) = (0, 0);
                }
                member.state = State::Live(Position::clone(&position));
                begun.push((Rc::clone(&member.client), *position));
            } else if let State::Live(position) = &mut member.state
                && position.known.epoch != epoch
            {
                (position.seq, position.rev) = (0, 0);
            }
        }
        begun
    }

    /// Lets something go behind a message: at once (false), or when that comes.
    pub fn put_behind(&mut self, seq: u64, what: Behind) -> bool {
        if self.heard.as_ref().is_some_and(|heard| heard.seq >= seq) {
            what.go();
            return false;
        }
        let since = Instant::now();
        self.waiting.push_back(Waiting { seq, since, what });
        true
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lets go whatever waits for what has been heard.
    pub fn release_heard(&mut self) {
        if let Some(seq) = self.heard.as_ref().map(|heard| heard.seq) {
            self.release(|waiting| waiting.seq <= seq);
        }
    }

    /// Lets go what has waited this long; how much that was.
    pub fn release_older(&mut self, age: Duration) -> usize {
        self.release(|waiting| waiting.since.elapsed() >= age)
    }

    /// Lets everything go: nobody is here any more.
    pub fn release_all(&mut self) {
        self.release(|_| true);
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
