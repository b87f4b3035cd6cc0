//! Recovery with the stock client: whoever shows the `pid` that CONNECT gave it, and the offset that it heard last, is back
//! in its rooms before it is told that it is connected, and hears what it missed right behind that. Not here: whether that
//! is possible (`domain::sessions`).

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;

use super::client::Client;
use super::events::refused;
use super::handshake::Guest;
use super::outgoing;
use super::rooms::{Completed, Position};
use super::shard::Shard;
use crate::domain::offset::{Offset, Positions};
use crate::domain::rooms::{self, JoinOptions, JoinRefusal, Joined, Since};
use crate::domain::sessions::{self, Recovery};
use crate::engine::Socket;
use crate::hot::HotError;
use crate::hot::bus::Topic;
use crate::hot::frame::Message;
use crate::types::{Pid, RoomName, UserId};

/// How a client comes: anew, or back to its session.
pub(super) struct Arrival {
    pub pid: Pid,
    /// The rooms that it comes back to, and from where in each.
    rooms: Option<Vec<(RoomName, Since)>>,
    /// Why it cannot.
    lost: Option<String>,
    /// How far it has heard each master.
    heard: Positions,
}

/// What became of the rooms that a client comes back to.
pub(super) type Rejoined = Vec<(RoomName, Result<Joined, JoinRefusal>)>;

impl Shard {
    /// Looks whether a guest can come back to what it claims; without a claim it comes anew.
    pub(super) async fn look_back(&self, socket: &Socket, guest: &Guest, user: &UserId) -> Result<Arrival, HotError> {
        let mut arrival = Arrival {
            pid: Pid::parse(socket.id()).expect("a socket id is short and has no control characters"),
            rooms: None,
            lost: None,
            heard: Positions::default(),
        };
        let recovery = match &guest.claim {
            None => return Ok(arrival),
            Some(Ok(claim)) => sessions::look_back(&self.hot, user, claim).await?,
            Some(Err(reason)) => Recovery::Lost((*reason).to_owned()),
        };
        match recovery {
            Recovery::Possible(rooms) => arrival.rooms = Some(rooms),
            Recovery::Lost(reason) => arrival.lost = Some(reason),
        }
        if let (Some(Ok(claim)), true) = (&guest.claim, arrival.is_back()) {
            arrival.pid = claim.pid.clone();
            if let Some(Offset::Positions(heard)) = &claim.offset {
                arrival.heard = heard.clone();
            }
        }
        self.node
            .metrics
            .recoveries
            .with_label_values(&[arrival.outcome()])
            .inc();
        Ok(arrival)
    }

    /// Joins all rooms that a client comes back to; the rules are checked anew. Nothing is said to it yet, and what they
    /// say meanwhile is kept.
    pub(super) async fn rejoin(self: &Rc<Self>, client: &Rc<Client>, arrival: &Arrival) -> Result<Rejoined, HotError> {
        let rooms = arrival.rooms.as_deref().unwrap_or_default();
        for (room, _) in rooms {
            self.rooms.borrow_mut().begin_join(room, client);
        }
        let joins = rooms.iter().map(async |(room, since)| {
            let topic = Topic::Room(room.clone());
            self.node.bus.subscribe(topic, self.index).await?;
            let options = JoinOptions {
                autocreate: false,
                known: None,
                members: 0,
                since: Some(since),
                toll: None,
            };
            let joined = rooms::join(&self.hot, &client.lease(), room, options).await?;
            Ok((room.clone(), joined))
        });
        let rejoined: Result<Rejoined, HotError> = join_all(joins).await.into_iter().collect();
        if rejoined.is_err() {
            for (room, _) in rooms {
                self.leave_room(room, client);
                self.end_join(room, client);
            }
        }
        rejoined
    }

    /// A join is over, one way or the other.
    pub(super) fn end_join(&self, room: &RoomName, client: &Client) {
        if self.rooms.borrow_mut().end_join(room, client) {
            self.node.bus.release(Topic::Room(room.clone()), self.index);
        }
    }

    /// Says what was missed, in its order, and lets go what was kept; the client has just been told that it is back.
    pub(super) fn replay(self: &Rc<Self>, client: &Rc<Client>, arrival: &Arrival, rejoined: Rejoined) {
        let mut missed: Vec<&Message> = Vec::new();
        for (room, outcome) in &rejoined {
            match outcome {
                Ok(joined) => {
                    client.rooms.borrow_mut().insert(room.clone());
                    missed.extend(joined.missed.iter().flatten().flatten());
                }
                Err(refusal) => {
                    let failure = refused(*refusal).of_room(room);
                    client.socket.send(&outgoing::error(&failure));
                    self.leave_room(room, client);
                }
            }
        }
        missed.sort_by_key(|message| message.position.at_us);
        let mut heard = arrival.heard.clone();
        for message in &missed {
            heard.advance(&message.position);
            client
                .socket
                .send(&outgoing::message_new(message, Some(&heard.to_string())));
        }
        self.node.metrics.replayed.inc_by(missed.len() as u64);
        for (room, outcome) in &rejoined {
            if let Ok(joined) = outcome {
                self.go_live(client, room, joined);
            }
            self.end_join(room, client);
        }
    }

    fn go_live(self: &Rc<Self>, client: &Rc<Client>, room: &RoomName, joined: &Joined) {
        let position = Position::of(joined);
        if let Some(Err(reason)) = &joined.missed {
            // It was there a moment ago.
            self.tell_reset(client, room, &position, reason);
        }
        let completed = self
            .rooms
            .borrow_mut()
            .complete_join(room, client, position.clone(), None);
        match completed {
            Completed::Done => {}
            Completed::NewEpoch => self.heal_anew(room, Duration::ZERO),
            Completed::Expelled => self.forget_room(room, client),
            Completed::Failed => self.tell_reset(client, room, &position, "too_many"),
        }
    }
}

impl Arrival {
    /// Whether the client is back in its session.
    pub fn is_back(&self) -> bool {
        self.rooms.is_some()
    }

    /// Why it is not, where it wanted to be.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    fn outcome(&self) -> &str {
        self.lost().unwrap_or("recovered")
    }
}
