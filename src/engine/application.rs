//! What stands above the Socket.IO layer: the trait an application implements, and the values it is given.
//! One value of it lives on each shard, and nothing of it crosses a thread.

use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, StatusCode};

use super::{CloseReason, Socket};

/// What an application does with Socket.IO sockets; one value per shard.
pub trait Application: 'static {
    /// Asked before a session is made. An error is answered as it is, by HTTP.
    fn admit<'a>(
        &'a self,
        _request: &'a http::request::Parts,
        _remote: SocketAddr,
    ) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        Box::pin(ready(Ok(())))
    }

    /// Whether clients may connect to this namespace; else CONNECT_ERROR "Invalid namespace".
    fn has_namespace(&self, namespace: &str) -> bool {
        namespace == "/"
    }

    /// A client asked to CONNECT. `auth` is the JSON object that came with it. On `Ok` CONNECT is answered, unless
    /// [`Socket::accept`] did; on `Err` CONNECT_ERROR, and the socket never was. Stock clients give up on CONNECT_ERROR: for what
    /// passes, [`Socket::close`] before an `Err` closes the transport without a word, and they come back.
    fn connect(
        self: Rc<Self>,
        socket: Socket,
        handshake: Rc<Handshake>,
        auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>>;

    /// An event came. Events of one connection run strictly one after the other, in order of arrival.
    fn event(self: Rc<Self>, socket: Socket, event: Event) -> LocalBoxFuture<'static, ()>;

    /// Polling has become WebSocket; once for each accepted socket, at once or, if it happened meanwhile, after `connect`.
    fn upgraded(self: Rc<Self>, _socket: Socket) {}

    /// Exactly once per accepted socket, when the events that came before have run.
    fn disconnected(self: Rc<Self>, socket: Socket, reason: CloseReason) -> LocalBoxFuture<'static, ()>;
}

/// The HTTP request that opened the session. Given to the first CONNECT and then dropped; a CONNECT to a further
/// namespace gets one with nothing but the address.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub remote: SocketAddr,
    /// Copies of the headers that mean something to an application: authorization, cookie, origin, forwarded, user agent.
    pub headers: HeaderMap,
    /// The query, as it was sent.
    pub query: Option<String>,
}

/// One Socket.IO EVENT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A well-formed JSON array that starts with the event's name, a string.
    pub args: String,
    /// What the array's `_placeholder` objects stand for; every one of them names an attachment that is there.
    pub attachments: Vec<Bytes>,
    /// The id to answer with, if the client waits for an ack.
    pub ack: Option<u64>,
}

/// Why a CONNECT was turned down, as the client sees it: `{"message": …, "data": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    pub message: String,
    /// JSON text.
    pub data: Option<String>,
}

/// Why no session was made, as HTTP says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// Sent as `Retry-After`, in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    pub message: String,
}
