//! The ONLY module that knows Engine.IO and WebSocket. It knows nothing of rooms, users or Redis.

mod application;
mod close;
mod counters;
mod frame;
mod server;
mod settings;
mod socket;

pub use application::{Application, ConnectError, Event, Handshake, Refusal};
pub use close::CloseReason;
pub use counters::{Counters, Totals};
pub use frame::Frame;
pub use server::{Fallback, Server};
pub use settings::{Origins, Settings};
pub use socket::{Socket, Transport};
