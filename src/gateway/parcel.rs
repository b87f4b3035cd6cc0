//! What is sent to the members of a room: the same frame to everybody, but to those who recover a message comes with its
//! offset. Not here: who the members are (`rooms`).

use std::sync::{Arc, OnceLock};

use super::client::Client;
use super::outgoing;
use crate::engine::Frame;
use crate::hot::frame::Message;

/// Something for the members of a room. A clone is a reference count.
#[derive(Clone)]
pub struct Parcel {
    frame: Frame,
    /// The key under which an unsent frame is replaced by this one.
    key: Option<u64>,
    said: Option<Arc<Said>>,
}

/// A message, as it can be written again with another offset.
struct Said {
    message: Message,
    /// The offset that holds for everybody, where there is one.
    offset: Option<String>,
    /// The frame with that offset; made once, by the first who needs it.
    frame: OnceLock<Frame>,
}

impl Parcel {
    /// The same for everybody.
    pub fn new(frame: Frame, key: Option<u64>) -> Self {
        Self { frame, key, said: None }
    }

    /// A message; `offset` is how far whoever hears it has heard.
    pub fn message(message: Message, offset: Option<String>) -> Self {
        Self {
            frame: outgoing::message_new(&message, None),
            key: None,
            said: Some(Arc::new(Said {
                message,
                offset,
                frame: OnceLock::new(),
            })),
        }
    }

    /// Sends it, unless the client recovers and needs an offset of its own, which only the caller knows: false.
    pub fn send(&self, client: &Client, in_order: bool) -> bool {
        match (&self.said, self.key) {
            (Some(said), _) if client.recovers => {
                let Some(offset) = said.offset.as_deref().filter(|_| in_order) else {
                    return false;
                };
                let make = || outgoing::message_new(&said.message, Some(offset));
                client.socket.send(said.frame.get_or_init(make));
            }
            (_, Some(key)) => client.socket.send_latest(key, &self.frame),
            (_, None) => client.socket.send(&self.frame),
        }
        true
    }

    /// Sends it with an offset of the client's own.
    pub fn send_with(&self, client: &Client, offset: &str) {
        if let Some(said) = &self.said {
            client.socket.send(&outgoing::message_new(&said.message, Some(offset)));
        }
    }
}
