//! The life of one socket: CONNECT, its events in their order, the end. Not here: what an event does (`events`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::request::Parts;
use tokio::sync::Mutex;

use super::client::{Client, transport_name};
use super::events;
use super::handshake::{self, Guest};
use super::limits::Gate;
use super::outgoing;
use super::payload::Incoming;
use super::protocol::{ErrorCode, Failure, ack, ack_not_durable, incoming};
use super::recovery::{Arrival, Rejoined};
use super::revocations::Arriving;
use super::sends::{Message, UnderWay};
use super::shard::Shard;
use crate::domain::journal::Entry;
use crate::domain::presence::{Connect, Facts};
use crate::domain::{endings, presence};
use crate::engine::{Application, CloseReason, ConnectError, Event, Handshake, Refusal, Socket};
use crate::hot::HotError;
use crate::types::{Presence, RoomName, UserId};

/// What the limit is called in metrics.
pub(super) const USER_CONNECTIONS: &str = "user_connections";

impl Application for Shard {
    fn admit<'a>(&'a self, request: &'a Parts, remote: SocketAddr) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        handshake::admit(self, request, remote).boxed_local()
    }

    fn connect(
        self: Rc<Self>,
        socket: Socket,
        handshake: Rc<Handshake>,
        auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>> {
        async move {
            let guest = handshake::recognise(&self.node, &socket, &handshake, auth.as_deref()).await?;
            drop(handshake);
            self.let_in(socket, guest).await
        }
        .boxed_local()
    }

    fn event(self: Rc<Self>, socket: Socket, event: Event) -> LocalBoxFuture<'static, ()> {
        async move {
            if let Some(client) = socket.data::<Client>() {
                self.run(&client, &event).await;
            }
        }
        .boxed_local()
    }

    fn upgraded(self: Rc<Self>, socket: Socket) {
        let Some(client) = socket.data::<Client>() else { return };
        tokio::task::spawn_local(async move { self.show(&client).await });
    }

    fn disconnected(self: Rc<Self>, socket: Socket, reason: CloseReason) -> LocalBoxFuture<'static, ()> {
        async move {
            // Client and socket hold each other up to here.
            if let Some(client) = socket.take_data::<Client>() {
                self.end(&client, reason).await;
            }
        }
        .boxed_local()
    }
}

/// An end that somebody wanted; every other is a lost transport, which may come back.
fn is_explicit(reason: CloseReason) -> bool {
    use CloseReason as R;
    matches!(
        reason,
        R::ClientDisconnect | R::ServerDisconnect | R::TokenExpired | R::Kicked
    )
}

/// Programs ping and pong by themselves; everything else is taken for the act of a user.
fn is_activity(event: &str) -> bool {
    !matches!(event, incoming::PING | incoming::PONG)
}

impl Shard {
    /// Registers the connection, and tells the client who it is. Where Redis does not help, the transport is closed: the
    /// stock client comes back, which it would not after CONNECT_ERROR.
    async fn let_in(self: &Rc<Self>, socket: Socket, guest: Guest) -> Result<(), ConnectError> {
        let user = guest.user(socket.id());
        let arrival = match self.look_back(&socket, &guest, &user).await {
            Ok(arrival) => arrival,
            Err(error) => return Err(self.turn_away(&socket, &user, "unregistered", &error.to_string())),
        };
        // Asked at the door as well, but many may have come in since that have no place yet.
        let place = self
            .node
            .claim_place()
            .ok_or_else(|| self.turn_away(&socket, &user, "full", "the node is full"))?;
        let now = Instant::now();
        let client = Rc::new(Client {
            key: self.next_key(),
            lease: RefCell::new(self.node.new_lease(&arrival.pid, &user)),
            recovers: guest.recovers,
            user,
            ip: guest.ip,
            is_local: guest.is_local,
            about: Box::new(guest.about),
            expires_at: Cell::new(guest.identity.as_ref().and_then(|identity| identity.expires_at)),
            issued: RefCell::default(),
            shown_transport: Cell::new(socket.transport()),
            shown_latency_ms: Cell::new(None),
            active: Cell::new(now),
            told: Cell::new(now),
            to_be_told: Cell::new(None),
            rooms: RefCell::default(),
            watching: RefCell::default(),
            turn: Mutex::new(()),
            under_way: UnderWay::default(),
            gate: Gate::default(),
            _place: place,
            socket,
        });
        let arriving = guest.identity.map(|identity| {
            let arriving = self.arrive(&identity.user, &identity.issued);
            client.set_issued(identity.issued);
            arriving
        });
        let asked = async {
            match &arriving {
                Some(arriving) => arriving.ask().await,
                None => Ok(false),
            }
        };
        let (listening, registered, asked) =
            tokio::join!(self.listen(&client.user), self.register(&client, None), asked);
        // Also by what came while the others were waited for.
        let is_revoked = || arriving.as_ref().is_some_and(Arriving::is_revoked);
        if is_revoked() {
            if registered.is_ok() {
                // Where even that fails, the lease runs out: nobody extends it.
                let cause = CloseReason::TokenExpired.as_str();
                endings::finish(&self.hot, &client.lease(), cause)
                    .await
                    .unwrap_or_default();
            }
            self.listening(&client.user);
            tracing::info!(user = %client.user, "revoked token refused");
            return Err(handshake::refused(
                &self.node,
                client.ip,
                &client.about.agent,
                "revoked",
                "Invalid token",
            ));
        }
        if (listening.is_err() || asked.is_err()) && registered.is_ok() {
            self.give_up(&client).await;
        }
        let outcome = match listening.and(asked).and(registered) {
            Ok(Connect::Connected {
                presence,
                rooms,
                returned,
                is_over,
                ..
            }) => {
                self.node.is_barred(USER_CONNECTIONS, is_over);
                self.node.metrics.flaps.inc_by(u64::from(returned));
                match self.rejoin(&client, &arrival).await {
                    Ok(rejoined) => {
                        self.insert(&client);
                        self.node.metrics.connects.inc();
                        self.keep_presence(&client.user, Arc::new(presence));
                        client.socket.set_data(Rc::clone(&client));
                        self.greet(&client, &arrival, rooms, &rejoined);
                        self.replay(&client, &arrival, rejoined);
                        self.send_latecomer_away(&client);
                        // By what came while the rooms were joined; from here on it is met among the clients.
                        if is_revoked() {
                            self.send_away(&client);
                        }
                        Ok(())
                    }
                    Err(error) => {
                        self.give_up(&client).await;
                        Err(("unregistered", error.to_string()))
                    }
                }
            }
            Ok(Connect::Full) => {
                self.node.is_barred(USER_CONNECTIONS, true);
                Err((USER_CONNECTIONS, "too many connections of one user".to_owned()))
            }
            Err(error) => Err(("unregistered", error.to_string())),
        };
        self.listening(&client.user);
        outcome.map_err(|(cause, why)| self.turn_away(&client.socket, &client.user, cause, &why))
    }

    /// Nobody would extend the lease of a client that is turned away after all; its session stays, to be asked for again.
    async fn give_up(&self, client: &Client) {
        let (lease, grace) = (client.lease(), self.node.settings.grace);
        if let Err(error) = presence::lose(&self.hot, &lease, grace, "not let in").await {
            tracing::debug!(error = %error, connection = %lease.connection, "the lease runs out by itself");
        }
    }

    fn turn_away(&self, socket: &Socket, user: &UserId, cause: &str, why: &str) -> ConnectError {
        tracing::warn!(%user, why, "connection not registered");
        self.node.metrics.refuse(cause);
        socket.close(CloseReason::Unavailable);
        handshake::try_again()
    }

    pub(super) async fn register(&self, client: &Client, known: Option<&Presence>) -> Result<Connect, HotError> {
        let facts = Facts {
            transport: transport_name(client.socket.transport()).to_owned(),
            ip: client.ip.to_string(),
            agent: client.about.agent.to_string(),
            device: client.about.device.to_string(),
            session: client.about.session.as_deref().unwrap_or_default().to_owned(),
            socket: client.socket.id().to_string(),
            idle: client.active.get().elapsed(),
            recovers: client.recovers,
        };
        presence::connect(&self.hot, &client.lease(), &facts, known).await
    }

    fn greet(&self, client: &Rc<Client>, arrival: &Arrival, mut rooms: Vec<RoomName>, rejoined: &Rejoined) {
        let (socket, pid) = (&client.socket, arrival.pid.as_str());
        socket.accept(client.recovers.then_some(pid));
        socket.send(&outgoing::connected(socket.id(), arrival.is_back(), arrival.lost()));
        if !client.user.is_anonymous() {
            let live = rejoined.iter().filter(|(_, outcome)| outcome.is_ok());
            rooms.extend(live.map(|(room, _)| room.clone()));
            rooms.sort_unstable();
            rooms.dedup();
            socket.send(&outgoing::authenticated(&client.user, client.session(), &rooms));
        }
        self.watch_expiry(client);
        tracing::info!(
            connection = %client.lease().connection, user = %client.user, ip = %client.ip,
            transport = transport_name(client.socket.transport()), "connected"
        );
    }

    /// Runs one event: decode, dispatch, answer.
    async fn run(self: &Rc<Self>, client: &Rc<Client>, event: &Event) {
        let started = Instant::now();
        let profile = self.node.settings.profile;
        let incoming = Incoming::parse(&event.args).map(|incoming| incoming.in_words_of(profile));
        let name = incoming.as_ref().map_or("", |incoming| &incoming.name);
        let counted = self.node.metrics.event(name);
        counted.receive(event.args.len());
        let until_ack = event.ack.map(|_| counted.until_ack(started));
        if name != incoming::MESSAGE_SEND {
            client.under_way.over().await;
        }
        let in_turn = client.turn.lock().await;
        let turn = events::Turn {
            shard: self,
            client,
            ack: event.ack,
            until_ack: RefCell::new(until_ack),
            gate_closed_for: self.pass_gate(&client.gate),
        };
        if is_activity(name) {
            self.note_activity(client, started);
            self.wake(client).await;
        }
        let outcome = match &incoming {
            Some(_) if !event.attachments.is_empty() => Err(Failure::field("payload", "must not hold binary data")),
            Some(incoming) => events::dispatch(&turn, incoming).await,
            None => Err(Failure::new(ErrorCode::InvalidPayload, "an event needs a name")),
        };
        match outcome {
            Ok(events::Outcome::Said(said)) => {
                let until_ack = turn.until_ack.take();
                drop(in_turn);
                let way = UnderWay::begin(client, &said).await;
                self.say(Message {
                    said,
                    way,
                    ack: event.ack,
                    until_ack,
                    began: started,
                    tokens: 1,
                });
                return self.show(client).await;
            }
            Ok(events::Outcome::Answered) => {}
            Ok(events::Outcome::NotDurable(data)) => {
                if let Some(id) = event.ack {
                    client.socket.ack(id, &ack_not_durable(data.as_deref()));
                }
            }
            Ok(events::Outcome::Done(data)) => {
                if let Some(id) = event.ack {
                    client.socket.ack(id, &ack(data.as_deref()));
                }
            }
            Err(failure) => {
                self.note_failure(client, counted.label, &failure);
                self.fail(client, event.ack, &failure);
            }
        }
        if let Some(until_ack) = turn.until_ack.take() {
            until_ack.end();
        }
        self.show(client).await;
        counted.done(started);
    }

    /// What the audit trail hears of a failure: of limits, and of what was not the client's fault.
    pub(super) fn note_failure(&self, client: &Client, event: &str, failure: &Failure) {
        match failure.code {
            ErrorCode::RateLimited => self.node.note(|| Entry::RateLimited {
                class: event.to_owned(),
                ip: client.ip,
                user: Some(client.user.clone()),
            }),
            ErrorCode::Unavailable => self.node.note(|| Entry::Error {
                code: failure.code.as_str().to_owned(),
                event: event.to_owned(),
                connection: client.lease().connection,
                user: client.user.clone(),
            }),
            _ => {}
        }
    }

    /// By ack, or as the event `error`; unknown events without an ack are only counted.
    pub(super) fn fail(&self, client: &Client, ack: Option<u64>, failure: &Failure) {
        self.node
            .metrics
            .failures
            .with_label_values(&[failure.code.as_str()])
            .inc();
        match ack {
            Some(id) => client.socket.ack(id, &failure.ack()),
            None if failure.code == ErrorCode::UnknownEvent => {}
            None => client.socket.send(&outgoing::error(failure)),
        }
    }

    /// The client is active: a user who was away is back.
    pub(super) async fn wake(&self, client: &Client) {
        if !self.is_idle(&client.user) {
            return;
        }
        match presence::wake(&self.hot, &client.user).await {
            Ok(woken) => {
                client.told.set(client.active.get());
                if let Some(presence) = woken {
                    self.keep_presence(&client.user, Arc::new(presence));
                }
            }
            Err(error) => {
                tracing::debug!(error = %error, user = %client.user, "still away; the next event or beat tries again");
            }
        }
    }

    /// Writes the transport and the latency down, where what is written is no longer true.
    pub(super) async fn show(&self, client: &Client) {
        if !client.is_record_stale() {
            return;
        }
        let (lease, transport, latency_ms) = (client.lease(), client.socket.transport(), client.latency_ms());
        client.shown_transport.set(transport);
        client.shown_latency_ms.set(latency_ms);
        if let Err(error) = presence::note(&self.hot, &lease, transport_name(transport), latency_ms).await {
            tracing::debug!(error = %error, connection = %lease.connection, "the connection's record is not up to date");
        }
    }

    async fn end(&self, client: &Rc<Client>, reason: CloseReason) {
        client.under_way.over().await;
        let _turn = client.turn.lock().await;
        self.remove(client);
        self.node.metrics.disconnects.inc();
        let lease = client.lease();
        tracing::info!(connection = %lease.connection, user = %lease.user, reason = %reason, "disconnected");
        let ended = if is_explicit(reason) {
            endings::finish(&self.hot, &lease, reason.as_str()).await.map(drop)
        } else {
            let grace = match reason {
                CloseReason::Shutdown | CloseReason::Draining => self.node.settings.drain_grace,
                // A client that knows its moment may go by itself.
                _ if self.node.drain.is_closed() => self.node.settings.drain_grace,
                _ => self.node.settings.grace,
            };
            presence::lose(&self.hot, &lease, grace, &reason.to_string()).await
        };
        if let Err(error) = ended {
            // Nobody extends the lease any more, so it ends by itself.
            tracing::warn!(error = %error, connection = %lease.connection, "end not written down; the lease runs out");
        }
    }
}
