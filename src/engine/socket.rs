//! The handle of one Socket.IO socket: one client in one namespace. What it sends goes out in the order in which it was sent.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::id::Id;
use super::packet::{self, Kind};
use super::protocol::Connection;
use super::socket_io::Client;
use super::{CloseReason, ConnectError, Frame};

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
    id: Id,
    /// `None` is `/`.
    namespace: Option<Box<str>>,
    connection: Connection,
    state: Cell<State>,
    /// The transport that the application knows of.
    known_transport: Cell<Transport>,
    data: RefCell<Option<Rc<dyn Any>>>,
}

/// How far a socket's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The application has not decided.
    Connecting,
    Accepted,
    /// Ended by the application, which has not been called back yet.
    Ended(CloseReason),
    /// Turned down, or `disconnected` was called.
    Over,
}

impl Socket {
    pub(super) fn new(namespace: &str, connection: Connection) -> Self {
        Self(Rc::new(Inner {
            id: Id::draw(),
            namespace: (namespace != "/").then(|| namespace.into()),
            state: Cell::new(State::Connecting),
            known_transport: Cell::new(connection.transport()),
            connection,
            data: RefCell::new(None),
        }))
    }

    /// The Socket.IO id: 20 characters, 120 random bits.
    pub fn id(&self) -> &str {
        self.0.id.as_str()
    }

    pub fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or("/")
    }

    /// How the packets travel now; changes by upgrade.
    pub fn transport(&self) -> Transport {
        self.0.connection.transport()
    }

    pub fn remote(&self) -> SocketAddr {
        self.0.connection.remote()
    }

    /// Whether what is sent can still arrive.
    pub fn is_open(&self) -> bool {
        let is_alive = matches!(self.state(), State::Connecting | State::Accepted);
        is_alive && self.0.connection.is_open()
    }

    /// Answers CONNECT, once; later calls do nothing. `pid` is what a stock client shows when it comes back.
    pub fn accept(&self, pid: Option<&str>) {
        if self.state() != State::Connecting {
            return;
        }
        self.set_state(State::Accepted);
        self.0.connection.close_after(None);
        self.packet(Kind::Connect, 0, &packet::connected(self.id(), pid));
    }

    /// Queues a frame, which is of this socket's namespace. When the queue is full, the connection is closed as a slow consumer.
    pub fn send(&self, frame: &Frame) {
        if self.is_open() {
            self.0.connection.send(frame);
        }
    }

    /// Queues a frame in the place of an unsent one of the same key.
    pub fn send_latest(&self, key: u64, frame: &Frame) {
        if self.is_open() {
            self.0.connection.send_latest(key, frame);
        }
    }

    /// Sends an event of any namespace, with attachments for its placeholders; `array` is a JSON array, the name first.
    pub fn emit(&self, array: &str, attachments: &[Bytes]) {
        self.packet(Kind::Event, attachments.len(), array);
        self.attach(attachments);
    }

    /// Answers an event; `array` is the JSON array of the arguments.
    pub fn ack(&self, id: u64, array: &str) {
        self.ack_with(id, array, &[]);
    }

    /// Answers an event, with attachments for the placeholders in `array`.
    pub fn ack_with(&self, id: u64, array: &str, attachments: &[Bytes]) {
        self.packet(Kind::Ack(id), attachments.len(), array);
        self.attach(attachments);
    }

    /// Ends the socket with a DISCONNECT packet, after which stock clients stay away, and the transport when no other namespace
    /// is left. Events that still wait are not run.
    pub fn disconnect(&self, reason: CloseReason) {
        match self.state() {
            State::Connecting => self.set_state(State::Over),
            State::Accepted => {
                self.packet(Kind::Disconnect, 0, "");
                self.set_state(State::Ended(reason));
                self.0.connection.signal();
            }
            State::Ended(_) | State::Over => return,
        }
        let client = self.0.connection.data::<Client>();
        if client.is_none_or(|client| !client.has_living()) {
            self.0.connection.close(reason);
        }
    }

    /// Closes the transport only: stock clients come back. Events that still wait are run.
    pub fn close(&self, reason: CloseReason) {
        self.0.connection.close(reason);
    }

    /// The time between the engine's last ping and its pong.
    pub fn latency(&self) -> Option<Duration> {
        self.0.connection.latency()
    }

    /// When the client last sent an event of its own; at first, when its session was made.
    pub fn last_heard(&self) -> Instant {
        self.0.connection.last_heard()
    }

    /// Attaches the application's own value.
    pub fn set_data<T: 'static>(&self, data: Rc<T>) {
        let _old = self.0.data.replace(Some(data));
    }

    /// The application's own value, if it is a `T`.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.data.borrow().clone()?.downcast().ok()
    }

    /// Takes the application's own value away. One that holds the socket itself is never freed without this.
    pub fn take_data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.data.take()?.downcast().ok()
    }

    /// Turns CONNECT down; false when it was accepted before.
    pub(super) fn refuse(&self, error: &ConnectError) -> bool {
        if self.state() == State::Connecting {
            self.packet(Kind::ConnectError, 0, &packet::connect_error(error));
            self.set_state(State::Over);
        }
        self.state() == State::Over
    }

    /// Whether the application is to be told of an upgrade; once.
    pub(super) fn owes_upgrade(&self) -> bool {
        let transport = self.transport();
        self.state() == State::Accepted && self.0.known_transport.replace(transport) != transport
    }

    pub(super) fn state(&self) -> State {
        self.0.state.get()
    }

    pub(super) fn set_state(&self, state: State) {
        self.0.state.set(state);
    }

    pub(super) fn is(&self, other: &Socket) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    fn packet(&self, kind: Kind, attachments: usize, json: &str) {
        if self.is_open() {
            let frame = packet::frame(kind, self.namespace(), attachments, json);
            self.0.connection.send(&frame);
        }
    }

    fn attach(&self, attachments: &[Bytes]) {
        if self.is_open() {
            for data in attachments {
                self.0.connection.send(&Frame::binary(data));
            }
        }
    }
}
