//! One client's socket and what its node knows of it. A cache: the truth of its rooms and its presence is in Redis.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use ahash::AHasher;
use tokio::sync::Mutex;

use super::few::Few;
use super::limits::Gate;
use super::node::Place;
use super::sends::UnderWay;
use crate::domain::identity::Issued;
use crate::engine::{Socket, Transport};
use crate::hot::keys::Lease;
use crate::types::{RoomName, TokenId, UserId};

/// Latencies that differ by less are the same.
const LATENCY_NOISE_MS: u64 = 20;

/// A client on its shard.
pub struct Client {
    /// Its name on this shard, never used again.
    pub key: u64,
    pub socket: Socket,
    pub user: UserId,
    /// Its session is kept, and messages come with their offsets.
    pub recovers: bool,
    pub ip: IpAddr,
    /// It came from this machine.
    pub is_local: bool,
    pub about: Box<About>,
    /// Unix seconds; `None`: the token does not end.
    pub expires_at: Cell<Option<i64>>,
    /// What a revocation asks of the token; `None`: it says nothing of it.
    pub issued: RefCell<Option<Box<Issued>>>,
    /// The transport that the connection's record tells.
    pub shown_transport: Cell<Transport>,
    /// The latency that it tells, ms.
    pub shown_latency_ms: Cell<Option<u64>>,
    /// When it last sent an event that somebody's hand may have caused.
    pub active: Cell<Instant>,
    /// The last activity that Redis was told of.
    pub told: Cell<Instant>,
    /// When it is to be told of a later one; `None`: there is none.
    pub to_be_told: Cell<Option<Instant>>,
    pub rooms: RefCell<Few<RoomName>>,
    /// Whose presence the client asked to hear.
    pub watching: RefCell<Few<UserId>>,
    /// Events run one after the other by themselves; what a node does to a connection takes its turn here.
    pub turn: Mutex<()>,
    pub(super) under_way: UnderWay,
    pub(super) gate: Gate,
    pub(super) lease: RefCell<Lease>,
    /// Given back with the client.
    pub(super) _place: Place,
}

/// What the client told of itself; shown to operators.
pub struct About {
    pub agent: Box<str>,
    /// JSON text.
    pub device: Box<str>,
    pub session: Option<Box<str>>,
}

impl Client {
    pub fn lease(&self) -> Lease {
        self.lease.borrow().clone()
    }

    pub fn is_connection(&self, id: &str) -> bool {
        self.lease.borrow().connection.as_str() == id
    }

    /// What a revocation asks of the token.
    pub fn issued(&self) -> Issued {
        self.issued.borrow().as_deref().cloned().unwrap_or_default()
    }

    /// The token's own id.
    pub fn token(&self) -> Option<TokenId> {
        self.issued.borrow().as_ref()?.token.clone()
    }

    /// Another token takes the place of the one before.
    pub fn set_issued(&self, issued: Issued) {
        let says = issued != Issued::default();
        self.issued.replace(says.then(|| Box::new(issued)));
    }

    /// Whether the connection's record is no longer true. A latency that only wavers is not worth a write.
    pub fn is_record_stale(&self) -> bool {
        let latency_ms = self.latency_ms();
        let moved = match (self.shown_latency_ms.get(), latency_ms) {
            (Some(shown), Some(now)) => now > 2 * shown + LATENCY_NOISE_MS || shown > 2 * now + LATENCY_NOISE_MS,
            (shown, now) => shown.is_none() && now.is_some(),
        };
        moved || self.shown_transport.get() != self.socket.transport()
    }

    /// The way to the client and back, as the engine's last ping told.
    pub fn latency_ms(&self) -> Option<u64> {
        self.socket.latency().map(|latency| latency.as_millis() as u64)
    }

    /// The session that `authenticated` names: the token's, else the socket's id.
    pub fn session(&self) -> &str {
        self.about.session.as_deref().unwrap_or_else(|| self.socket.id())
    }
}

/// How the hot state writes a transport.
pub fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Polling => "polling",
        Transport::Websocket => "websocket",
    }
}

/// A key under which an unsent frame is replaced by a newer one. Two things that share a key by chance cost one of two
/// events that are both only hints, once in 2^64.
pub fn replacing_key(parts: impl Hash) -> u64 {
    let mut hasher = AHasher::default();
    parts.hash(&mut hasher);
    hasher.finish()
}
