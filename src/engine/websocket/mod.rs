//! WebSocket as a server speaks it (RFC 6455), compressed where the client can (RFC 7692): the opening handshake, the frames of the
//! client, and an open stream.
//! Our own, because an idle connection must hold no buffer, and recipients share finished frames.

pub mod codec;
pub(super) mod deflate;
mod extensions;
pub(super) mod handshake;
mod head;
pub(super) mod stream;

pub use codec::{Decoder, Item, Limits, Violation};
pub(super) use stream::{Ended, Stream};
