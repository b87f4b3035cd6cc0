//! The Engine.IO level: messages in, messages out. What stands above it implements [`Protocol`]; the Socket.IO layer is one
//! that does, an echo server another.

use std::any::Any;
use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engineioxide_core::Str;
use futures_util::future::LocalBoxFuture;

use super::session::Session;
use super::{CloseReason, Frame, Handshake, Refusal, Transport};

/// What is to be done with a message; `None` when it is done already.
pub type Work = Option<LocalBoxFuture<'static, ()>>;

/// What stands above Engine.IO; one value per shard. The work of one connection runs strictly one after the other.
pub trait Protocol: 'static {
    /// Asked before a session is made. An error is answered as it is, by HTTP.
    fn admit<'a>(
        &'a self,
        _request: &'a http::request::Parts,
        _remote: SocketAddr,
    ) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        Box::pin(ready(Ok(())))
    }

    /// A session was made; its client hears of it afterwards.
    fn opened(&self, _connection: &Connection, _handshake: Handshake) {}

    /// A message came, and those before it are done.
    fn message(self: Rc<Self>, connection: Connection, message: Message) -> Work;

    /// [`Connection::signal`] was called, and the messages that came before are done.
    fn signalled(self: Rc<Self>, _connection: Connection) -> Work {
        None
    }

    /// Polling has become WebSocket.
    fn upgraded(self: Rc<Self>, _connection: Connection) {}

    /// Exactly once per session: it is closed, and all messages that came before are done.
    fn closed(self: Rc<Self>, _connection: Connection, _reason: CloseReason) -> Work {
        None
    }
}

/// One Engine.IO message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Text(Str),
    Binary(Bytes),
}

/// The handle of one session. A clone is a reference count; it stays on its shard.
#[derive(Clone)]
pub struct Connection(pub(super) Rc<Session>);

impl Connection {
    /// The Engine.IO id, which is a secret of this client.
    pub fn sid(&self) -> &str {
        self.0.sid().as_str()
    }

    /// How the packets travel now; changes by upgrade.
    pub fn transport(&self) -> Transport {
        self.0.transport()
    }

    pub fn remote(&self) -> SocketAddr {
        self.0.remote()
    }

    /// Whether what is sent can still arrive.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Queues a frame. When the queue is full, the connection is closed as a slow consumer.
    pub fn send(&self, frame: &Frame) {
        self.0.send(frame.clone());
    }

    /// Queues a frame in the place of an unsent one of the same key.
    pub fn send_latest(&self, key: u64, frame: &Frame) {
        self.0.send_latest(key, frame);
    }

    /// Closes the transport. What waits is sent first where the reason allows it, within `close_timeout`.
    pub fn close(&self, reason: CloseReason) {
        self.0.close(reason);
    }

    /// Closes because of the message at hand; what came after it is not handed over.
    pub fn reject(&self, reason: CloseReason) {
        self.0.reject(reason);
    }

    /// Has [`Protocol::signalled`] run when the messages that wait now are done.
    pub fn signal(&self) {
        self.0.signal();
    }

    /// Closes the connection as timed out after that time, unless this is called again; `None` takes it back.
    pub fn close_after(&self, time: Option<Duration>) {
        self.0.close_after(time);
    }

    /// The time between the last ping and its pong.
    pub fn latency(&self) -> Option<Duration> {
        self.0.latency()
    }

    /// When [`Connection::heard`] was called last; at first, when the session was made.
    pub fn last_heard(&self) -> Instant {
        self.0.last_heard().into_std()
    }

    /// Notes that the client did something of its own.
    pub fn heard(&self) {
        self.0.heard();
    }

    /// Where the shard counts the events of the layer above.
    pub(super) fn events_in(&self) -> &AtomicU64 {
        &self.0.shard().tally().events_in
    }

    /// Attaches the value of the layer above; it is let go when [`Protocol::closed`] has been called.
    pub fn set_data(&self, data: Rc<dyn Any>) {
        self.0.set_data(Some(data));
    }

    /// The value of the layer above, if it is a `T`.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.data()?.downcast().ok()
    }
}
