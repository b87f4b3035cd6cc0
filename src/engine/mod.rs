//! The ONLY module that knows Engine.IO and WebSocket. It knows nothing of rooms, users or Redis.
//!
//! A [`Server`] is a number of shards: threads with a runtime each (`shard`), among which an acceptor deals the connections.
//! A connection begins as HTTP (`http`), and opens a session (`session`): queues (`inbox`, `outbox`), deadlines (`heartbeat`) and
//! one task (`drive`). Its packets travel by WebSocket (`websocket`) or polling (`polling`, `payload`), and may change from this to that
//! (`upgrade`). Above it stands a [`Protocol`]: an application of Engine.IO itself, or the Socket.IO layer (`socket_io`), on
//! which an [`Application`] stands. A session lives on one shard for ever and nothing of it is `Send`; [`Frame`]s are, and are
//! shared by all who get them.

mod acceptor;
mod answers;
mod application;
mod close;
mod compression;
mod counters;
mod drive;
mod frame;
mod handshake;
mod heartbeat;
mod http;
mod id;
mod inbox;
mod origins;
mod outbox;
pub mod packet;
pub mod payload;
mod polling;
mod protocol;
mod refusal;
mod server;
mod session;
mod settings;
mod shard;
mod socket;
mod socket_io;
mod upgrade;
pub mod websocket;

pub use application::{Application, ConnectError, Event, Handshake, Refusal};
pub use close::CloseReason;
pub use compression::layer as compression_layer;
pub use counters::{BACKLOG_BOUNDS, Counters, Queued, Stray, Totals};
pub use frame::{Frame, Label};
pub use id::Tag;
pub use protocol::{Connection, Message, Protocol, Work};
pub use refusal::RefusalCause;
pub use server::{Busy, Fallback, Remote, Server};
pub use settings::{Origins, Settings};
pub use socket::{Socket, Transport};
