//! The handle of one Socket.IO socket: one client in one namespace.

use std::any::Any;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{CloseReason, Frame};

/// How a connection's packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Polling,
    Websocket,
}

/// One client in one namespace. A clone is a reference count; it stays on its shard.
#[derive(Clone)]
pub struct Socket(Rc<Inner>);

struct Inner {
    data: RefCell<Option<Rc<dyn Any>>>,
}

impl Socket {
    /// The Socket.IO id: 20 characters, 120 random bits.
    pub fn id(&self) -> &str {
        unimplemented!()
    }

    pub fn namespace(&self) -> &str {
        unimplemented!()
    }

    /// How the packets travel now; changes by upgrade.
    pub fn transport(&self) -> Transport {
        unimplemented!()
    }

    pub fn remote(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Whether what is sent can still arrive.
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// Answers CONNECT, once; later calls do nothing.
    pub fn accept(&self, _pid: Option<&str>) {
        unimplemented!()
    }

    /// Queues a frame. When the queue is full, the connection is closed as a slow consumer.
    pub fn send(&self, _frame: &Frame) {
        unimplemented!()
    }

    /// Queues a frame in the place of an unsent one of the same key.
    pub fn send_latest(&self, _key: u64, _frame: &Frame) {
        unimplemented!()
    }

    /// Answers an event; `array` is the JSON array of the arguments.
    pub fn ack(&self, _id: u64, _array: &str) {
        unimplemented!()
    }

    /// Ends the socket with a DISCONNECT packet, and the transport when no other namespace is left.
    pub fn disconnect(&self, _reason: CloseReason) {
        unimplemented!()
    }

    /// Closes the transport only: stock clients come back.
    pub fn close(&self, _reason: CloseReason) {
        unimplemented!()
    }

    /// The time between the engine's last ping and its pong.
    pub fn latency(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// When the client last sent an event of its own; at first, when it connected.
    pub fn last_heard(&self) -> Instant {
        unimplemented!()
    }

    /// Attaches the application's own value.
    pub fn set_data<T: 'static>(&self, data: Rc<T>) {
        *self.0.data.borrow_mut() = Some(data);
    }

    /// The application's own value, if it is a `T`.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.data.borrow().clone()?.downcast().ok()
    }
}
