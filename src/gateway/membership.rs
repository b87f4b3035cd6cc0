//! One client's membership in a room of its shard: from where in the room's order it hears, and what is kept for it while
//! its join is under way. Not here: the room (`rooms`).

use std::rc::Rc;

use super::client::Client;
use super::fanout::Order;
use crate::domain::rooms::{Joined, Known};
use crate::engine::Frame;

/// What a client may miss while its join is under way; beyond, the join fails and is tried again.
pub const JOINING_FRAMES_MAX: usize = 1_000;

/// One client in a room of its shard.
pub struct Member {
    pub client: Rc<Client>,
    pub state: State,
    /// A join of this client is under way.
    pub joining: bool,
    /// The `rev` of its last join: an earlier expulsion is not for it.
    pub since: u64,
}

/// Whether the reply of its join has come.
pub enum State {
    /// Between the subscription and the reply: whatever comes is kept until the reply says from where.
    Joining(Vec<Kept>),
    Live(Position),
}

/// What came while a join was under way.
pub struct Kept {
    pub order: Order,
    pub frame: Frame,
    pub key: Option<u64>,
    /// It sends the client out of the room.
    pub expels: bool,
}

/// Where a membership begins in the room's order.
#[derive(Debug, Clone)]
pub struct Position {
    pub known: Known,
    pub seq: u64,
    pub rev: u64,
}

impl Position {
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
        }
    }

    pub fn is_before(&self, order: &Order) -> bool {
        match order {
            Order::Seq { epoch, seq } => *epoch != self.known.epoch || *seq > self.seq,
            Order::Rev { epoch, rev } => *epoch != self.known.epoch || *rev > self.rev,
            Order::None => true,
        }
    }
}

impl Member {
    /// A client whose join begins.
    pub fn joining(client: &Rc<Client>) -> Self {
        Self {
            client: Rc::clone(client),
            state: State::Joining(Vec::new()),
            joining: true,
            since: 0,
        }
    }

    pub fn is_before(&self, order: &Order) -> bool {
        matches!(&self.state, State::Live(position) if position.is_before(order))
    }

    /// Whether an expulsion of its user came behind its last join.
    pub fn is_expelled_by(&self, order: &Order) -> bool {
        let (State::Live(position), Order::Rev { epoch, rev }) = (&self.state, order) else {
            return false;
        };
        *epoch == position.known.epoch && *rev > self.since
    }

    /// Whether the membership begins at `seq` or behind it.
    pub fn begins_at(&self, epoch: &str, seq: u64) -> bool {
        matches!(&self.state, State::Live(position) if position.known.epoch == epoch && position.seq >= seq)
    }

    /// An expulsion that was kept for the end of a join is told without it, to whoever was in the room.
    pub fn tell_expulsion(&self) {
        if let State::Joining(kept) = &self.state
            && self.since > 0
            && let Some(expulsion) = kept.iter().find(|kept| kept.expels)
        {
            self.client.socket.send(&expulsion.frame);
        }
    }
}

/// Beyond the bound nothing is kept, and the join fails.
pub fn keep(kept: &mut Vec<Kept>, order: &Order, frame: &Frame, key: Option<u64>, expels: bool) {
    if kept.len() < JOINING_FRAMES_MAX {
        kept.push(Kept {
            order: order.clone(),
            frame: frame.clone(),
            key,
            expels,
        });
    }
}

/// Hands a frame to a client; one with a key takes the place of an unsent one.
pub fn send(client: &Client, frame: &Frame, key: Option<u64>) {
    match key {
        Some(key) => client.socket.send_latest(key, frame),
        None => client.socket.send(frame),
    }
}
