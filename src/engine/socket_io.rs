//! The Socket.IO layer: namespaces, CONNECT, events and their order, and that `disconnected` is called exactly once. It stands
//! on the Engine.IO level, and an [`Application`] on it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use engineioxide_core::Str;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, request};
use socketioxide_core::Value;

use super::counters::add;
use super::packet::{self, Decoder, Kind, Limits, Packet, PacketData, Violation};
use super::protocol::{Connection, Message, Protocol, Work};
use super::socket::{Socket, State};
use super::{Application, CloseReason, ConnectError, Handshake, Refusal, Settings};

const INVALID_NAMESPACE: &str = r#"{"message":"Invalid namespace"}"#;

/// Socket.IO for one shard's application.
pub(super) struct SocketIo {
    application: Rc<dyn Application>,
    limits: Limits,
    connect_timeout: Duration,
}

/// One connection, as this layer sees it.
#[derive(Default)]
pub(super) struct Client {
    /// Kept until the first CONNECT was accepted.
    handshake: RefCell<Option<Rc<Handshake>>>,
    sockets: RefCell<Vec<Socket>>,
    decoder: RefCell<Decoder>,
}

impl SocketIo {
    pub(super) fn new(application: Rc<dyn Application>, settings: &Settings) -> Self {
        Self {
            application,
            limits: Limits {
                attachments: settings.max_attachments,
                attachment_bytes: settings.max_payload,
            },
            connect_timeout: settings.connect_timeout,
        }
    }
}

impl Protocol for SocketIo {
    fn admit<'a>(&'a self, request: &'a request::Parts, remote: SocketAddr) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        self.application.admit(request, remote)
    }

    fn opened(&self, connection: &Connection, handshake: Handshake) {
        connection.set_data(Rc::new(Client {
            handshake: RefCell::new(Some(Rc::new(handshake))),
            // Hardly any client has a second one.
            sockets: RefCell::new(Vec::with_capacity(1)),
            decoder: RefCell::default(),
        }));
        connection.close_after(Some(self.connect_timeout));
    }

    fn message(self: Rc<Self>, connection: Connection, message: Message) -> Work {
        let client = connection.data::<Client>()?;
        let decoded = client.decoder.borrow_mut().next(message, self.limits);
        match decoded {
            Ok(packet) => self.packet(connection, client, packet?),
            Err(Violation::TooLarge) => {
                connection.reject(CloseReason::PayloadTooLarge);
                None
            }
            Err(Violation::Malformed) => malformed(&connection),
        }
    }

    fn signalled(self: Rc<Self>, connection: Connection) -> Work {
        let client = connection.data::<Client>()?;
        let (socket, reason) = client.take_ended()?;
        Some(self.application.clone().disconnected(socket, reason))
    }

    fn upgraded(self: Rc<Self>, connection: Connection) {
        let Some(client) = connection.data::<Client>() else {
            return;
        };
        let sockets = client.sockets.borrow().clone();
        sockets.iter().for_each(|socket| self.tell_upgrade(socket));
    }

    fn closed(self: Rc<Self>, connection: Connection, reason: CloseReason) -> Work {
        let client = connection.data::<Client>()?;
        let sockets = client.sockets.take();
        if sockets.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            for socket in sockets {
                let reason = match socket.state() {
                    State::Accepted => reason,
                    State::Ended(reason) => reason,
                    State::Connecting | State::Over => continue,
                };
                socket.set_state(State::Over);
                self.application.clone().disconnected(socket, reason).await;
            }
        }))
    }
}

impl SocketIo {
    fn packet(self: Rc<Self>, connection: Connection, client: Rc<Client>, packet: Packet) -> Work {
        let namespace = packet.ns;
        let socket = client.find(&namespace);
        let state = socket.as_ref().map(Socket::state);
        match (packet.inner, socket, state) {
            (PacketData::Connect(auth), None, _) => self.connect(connection, client, &namespace, auth),
            // The application ended this socket while its client was sending.
            (_, Some(_), Some(State::Ended(_))) => None,
            (
                PacketData::Event(args, ack) | PacketData::BinaryEvent(args, ack),
                Some(socket),
                Some(State::Accepted),
            ) => self.event(connection, socket, args, ack),
            // Nothing that a server sends here asks for an ack, so a client's means nothing.
            (PacketData::EventAck(..) | PacketData::BinaryAck(..), Some(_), _) => None,
            (PacketData::Disconnect, Some(socket), Some(State::Accepted)) => {
                self.disconnect(connection, &client, socket)
            }
            _ => malformed(&connection),
        }
    }

    fn connect(
        self: Rc<Self>,
        connection: Connection,
        client: Rc<Client>,
        namespace: &Str,
        auth: Option<Value>,
    ) -> Work {
        let auth = auth.and_then(text);
        if auth.as_deref().is_some_and(|auth| !packet::is_object(auth)) {
            return malformed(&connection);
        }
        if !self.application.has_namespace(namespace) {
            let error = packet::frame(Kind::ConnectError, namespace, 0, INVALID_NAMESPACE);
            connection.send(&error);
            return None;
        }
        let socket = Socket::new(namespace, connection.clone());
        client.sockets.borrow_mut().push(socket.clone());
        let handshake = client.handshake(&connection);
        let decided = self.application.clone().connect(socket.clone(), handshake, auth);
        Some(Box::pin(async move {
            client.settle(&socket, decided.await);
            // The client may have changed its transport before it was accepted.
            self.tell_upgrade(&socket);
        }))
    }

    fn tell_upgrade(&self, socket: &Socket) {
        if socket.owes_upgrade() {
            self.application.clone().upgraded(socket.clone());
        }
    }

    fn event(&self, connection: Connection, socket: Socket, args: Value, ack: Option<i64>) -> Work {
        let Some(event) = packet::event(args, ack) else {
            return malformed(&connection);
        };
        add(connection.events_in(), 1);
        connection.heard();
        Some(self.application.clone().event(socket, event))
    }

    fn disconnect(&self, connection: Connection, client: &Client, socket: Socket) -> Work {
        client.remove(&socket);
        socket.set_state(State::Over);
        if !client.has_living() {
            connection.close_after(Some(self.connect_timeout));
        }
        let reason = CloseReason::ClientDisconnect;
        Some(self.application.clone().disconnected(socket, reason))
    }
}

impl Client {
    /// Whether a socket is left that may still send.
    pub(super) fn has_living(&self) -> bool {
        let is_living = |socket: &Socket| matches!(socket.state(), State::Connecting | State::Accepted);
        self.sockets.borrow().iter().any(is_living)
    }

    fn find(&self, namespace: &str) -> Option<Socket> {
        let sockets = self.sockets.borrow();
        sockets.iter().find(|socket| socket.namespace() == namespace).cloned()
    }

    fn remove(&self, socket: &Socket) {
        self.sockets.borrow_mut().retain(|other| !other.is(socket));
    }

    /// The handshake of the session; a bare one when it was used and dropped.
    fn handshake(&self, connection: &Connection) -> Rc<Handshake> {
        let kept = self.handshake.borrow().clone();
        kept.unwrap_or_else(|| {
            Rc::new(Handshake {
                remote: connection.remote(),
                headers: HeaderMap::new(),
                query: None,
            })
        })
    }

    /// The application has decided about a CONNECT.
    fn settle(&self, socket: &Socket, decision: Result<(), ConnectError>) {
        match decision {
            Ok(()) => socket.accept(None),
            Err(error) if socket.refuse(&error) => {}
            Err(_it_was_accepted) => socket.disconnect(CloseReason::ServerDisconnect),
        }
        if socket.state() == State::Over {
            self.remove(socket);
        } else {
            *self.handshake.borrow_mut() = None;
        }
    }

    /// A socket that the application ended and has not been called back for.
    fn take_ended(&self) -> Option<(Socket, CloseReason)> {
        let mut sockets = self.sockets.borrow_mut();
        let ended = |socket: &Socket| matches!(socket.state(), State::Ended(_));
        let position = sockets.iter().position(ended)?;
        let socket = sockets.remove(position);
        let State::Ended(reason) = socket.state() else {
            return None;
        };
        socket.set_state(State::Over);
        Some((socket, reason))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Str(text, _) => Some(text.into()),
        Value::Bytes(_) => None,
    }
}

/// The client does not speak the protocol, or not in this order.
fn malformed(connection: &Connection) -> Work {
    connection.reject(CloseReason::ParseError);
    None
}
