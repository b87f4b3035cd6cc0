//! What clients ask for: one file per noun, one function per event, each at most five steps: decode, authorise, limit,
//! call, answer.

mod messages;
mod moderation;
mod presence;
mod rooms;
mod session;
mod typing;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

pub(super) use rooms::refused;

use super::client::Client;
use super::metrics::UntilAck;
use super::payload::Incoming;
use super::protocol::{ErrorCode, Failure, incoming as event};
use super::sends::Said;
use super::shard::Shard;
use crate::domain::moderation::Receipt;
use crate::engine::Frame;

/// One event's turn.
pub struct Turn<'a> {
    pub shard: &'a Rc<Shard>,
    pub client: &'a Rc<Client>,
    /// The id to answer with, if the client waits for an ack.
    pub ack: Option<u64>,
    /// Runs until the ack is on its way; where that has its place behind a message, it goes with it.
    pub until_ack: RefCell<Option<UntilAck>>,
    /// How long the connection's gate is closed, if it is.
    pub gate_closed_for: Option<Duration>,
}

/// How an event ended well.
pub enum Outcome {
    /// The ack is still to be sent, with this data as JSON text.
    Done(Option<String>),
    /// The same of a change that Redis alone has so far: Postgres is away.
    NotDurable(Option<String>),
    /// A message that is to be sent, and answered behind it.
    Said(Said),
    /// The ack has its own place in an order, and is on its way.
    Answered,
}

/// What a handler comes to.
pub type Handled = Result<Outcome, Failure>;

/// Carries an event out. Where Redis does not know of a membership that this node knows of, a failover has lost it: it is
/// put back, and the event is carried out then.
pub async fn dispatch(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    match hand_over(turn, incoming).await {
        Err(failure) if failure.code == ErrorCode::NotAMember && turn.has_lost_place(incoming).await? => {
            match hand_over(turn, incoming).await {
                Err(failure) if failure.code == ErrorCode::NotAMember => Err(Failure::unavailable()),
                other => other,
            }
        }
        other => other,
    }
}

/// Finds the function for an event.
async fn hand_over(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    match &*incoming.name {
        event::MESSAGE_SEND => messages::send(turn, incoming).await,
        event::MESSAGE_HISTORY => messages::history(turn, incoming).await,
        event::TYPING_START => typing::start(turn, incoming).await,
        event::TYPING_STOP => typing::stop(turn, incoming).await,
        event::ROOM_JOIN => rooms::join(turn, incoming).await,
        event::ROOM_LEAVE => rooms::leave(turn, incoming).await,
        event::ROOM_MEMBERS => rooms::members(turn, incoming).await,
        event::ROOM_KICK => moderation::kick(turn, incoming).await,
        event::ROOM_BAN => moderation::ban(turn, incoming).await,
        event::ROOM_UNBAN => moderation::unban(turn, incoming).await,
        event::ROOM_MUTE => moderation::mute(turn, incoming).await,
        event::ROOM_UNMUTE => moderation::unmute(turn, incoming).await,
        event::ROOM_ROLE => moderation::role(turn, incoming).await,
        event::PRESENCE_UPDATE => presence::update(turn, incoming).await,
        event::PRESENCE_SUBSCRIBE => presence::subscribe(turn, incoming).await,
        event::PRESENCE_UNSUBSCRIBE => presence::unsubscribe(turn, incoming).await,
        event::PRESENCE_GET => presence::get(turn, incoming).await,
        event::PING => session::ping(turn, incoming),
        event::PONG => session::pong(turn, incoming).await,
        event::AUTH_REFRESH => session::refresh(turn, incoming).await,
        _ => Err(Failure::new(ErrorCode::UnknownEvent, "Unknown event")),
    }
}

impl Turn<'_> {
    /// Whether the client is in the event's room all the same: Redis had lost that, and has it again. Whoever was sent out,
    /// and whose node has not heard of it yet, is out from now on.
    async fn has_lost_place(&self, incoming: &Incoming<'_>) -> Result<bool, Failure> {
        let room = incoming.object()?.room()?;
        if !self.client.rooms.borrow().contains(&room) {
            return Ok(false);
        }
        let put_back = self.shard.put_back(self.client, &room).await;
        put_back.map_err(|error| self.unavailable(error))?;
        Ok(self.client.rooms.borrow().contains(&room))
    }

    /// Logs the cause, and tells the client only that it should try again.
    fn unavailable(&self, error: impl Display) -> Failure {
        let lease = self.client.lease();
        tracing::warn!(error = %error, connection = %lease.connection, user = %lease.user, "event not carried out");
        Failure::unavailable()
    }

    /// A change is answered once Postgres has it, or is known not to have it now.
    async fn kept(&self, receipt: &Receipt, data: Option<String>) -> Outcome {
        if self.shard.node.is_durable(receipt.record.as_ref()).await {
            Outcome::Done(data)
        } else {
            Outcome::NotDurable(data)
        }
    }

    /// Acts as a user are for those who have shown a token.
    fn require_user(&self) -> Result<(), Failure> {
        if self.client.user.is_anonymous() {
            return Err(Failure::new(
                ErrorCode::Forbidden,
                "Anonymous connections may not do this",
            ));
        }
        Ok(())
    }

    fn ack_frame(&self, arguments: &str) -> Option<Frame> {
        self.ack.map(|id| Frame::ack(id, arguments))
    }
}
