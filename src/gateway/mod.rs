//! The ONLY module that knows this project's events: it reads what clients send, asks the domain, and says what came of
//! it. Everything here lives on a shard, one thread, except what `node` and `fanout` share. Not here: rules, Redis.

mod activity;
mod backlog;
mod client;
mod expulsion;
pub mod fanout;
mod few;
mod handshake;
mod healing;
mod heard_once;
mod leaving;
mod limits;
mod listeners;
pub mod metrics;
pub mod node;
pub mod outgoing;
mod parcel;
pub mod payload;
mod peer;
pub mod protocol;
mod recovery;
mod registration;
mod revocations;
mod room;
mod rooms;
mod sends;
pub mod shard;
mod snapshot;
mod told;

mod events;
mod session;

pub use fanout::{Dispatcher, Encoder, Inbox};
pub use limits::Rates;
pub use node::{Node, Settings};
pub use shard::{Ask, Shard};
pub use snapshot::Slot;
