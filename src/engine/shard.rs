//! One shard: a thread with its own runtime, its own sessions, its own timers. Shards talk by mailboxes only.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acceptor::Slot;
use super::counters::{Tally, add};
use super::drive::Drive;
use super::heartbeat::Wheel;
use super::id::Sid;
use super::protocol::{Connection, Protocol};
use super::server::Fallback;
use super::session::Session;
use super::{CloseReason, Counters, Frame, Handshake, Settings, Transport, http, websocket};

/// Bytes read at once; what one read brings is decoded before the next connection reads.
const SCRATCH_BYTES: usize = 64 << 10;
/// Time to write the answers to the last requests; by then no session is left that could keep one waiting.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a shard is asked to do. The queue has no bound of its own, what it holds has: connections and forwarded requests by
/// `http_connections`, closures by `Remote`.
pub(super) enum Mail {
    Connection(std::net::TcpStream, SocketAddr, Slot),
    Run(Box<dyn FnOnce() + Send>),
    /// Run with the shard itself.
    Visit(Visit),
    /// Close the sessions and open no other; requests are answered on, also for the sessions of other shards.
    Close(Farewell),
    /// End, when the requests at hand are answered, or at the latest then.
    End(Instant),
}

type Visit = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// Dropped by a shard when its last session is gone and its last handler is done.
pub(super) type Farewell = mpsc::Sender<Infallible>;

pub(super) type Mailbox = mpsc::UnboundedSender<Mail>;

/// What all shards of a server share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) settings: Arc<Settings>,
    pub(super) counters: Arc<Counters>,
    pub(super) fallback: Fallback,
    pub(super) mailboxes: Arc<[Mailbox]>,
}

pub(super) struct Shard {
    index: usize,
    common: Common,
    protocol: Rc<dyn Protocol>,
    sessions: RefCell<HashMap<Sid, Rc<Session>, ahash::RandomState>>,
    wheel: Wheel,
    scratch: RefCell<Box<[u8]>>,
    ping: Frame,
    is_stopping: Cell<bool>,
    farewell: Cell<Option<Farewell>>,
    /// The HTTP connections, each of which ends with the answer at hand when `ending` is cancelled.
    http: TaskTracker,
    ending: CancellationToken,
}

/// Tasks that are run before the sockets are asked again. A look costs a system call, and what it brings while a room is being
/// told something would be told by writes of their own; at some 4 µs a task this is a millisecond.
const TASKS_PER_LOOK: u32 = 256;

/// Runs a shard until it is told to stop. `ready` hears whether it could start.
pub(super) fn run(
    index: usize,
    common: Common,
    mut mail: mpsc::UnboundedReceiver<Mail>,
    make: impl FnOnce() -> Rc<dyn Protocol>,
    ready: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_LOOK)
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _the_server_gave_up = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let shard = Shard::new(index, common, make());
        let wheel = shard.clone();
        tokio::task::spawn_local(async move { wheel.wheel.turn().await });
        let _the_server_gave_up = ready.send(Ok(()));
        shard.serve(&mut mail).await;
    });
    runtime.shutdown_background();
}

impl Shard {
    fn new(index: usize, common: Common, protocol: Rc<dyn Protocol>) -> Rc<Self> {
        Rc::new(Self {
            index,
            common,
            protocol,
            sessions: RefCell::default(),
            wheel: Wheel::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            ping: Frame::text(&[b"2"]),
            is_stopping: Cell::new(false),
            farewell: Cell::new(None),
            http: TaskTracker::new(),
            ending: CancellationToken::new(),
        })
    }

    /// Handles mail until `End`, and then until the last requests are answered.
    async fn serve(self: &Rc<Self>, mail: &mut mpsc::UnboundedReceiver<Mail>) {
        let deadline = loop {
            match mail.recv().await {
                Some(Mail::End(deadline)) => break deadline,
                Some(mail) => self.handle(mail),
                None => return,
            }
        };
        self.close_all();
        self.ending.cancel();
        self.http.close();
        let mut answered = std::pin::pin!(self.http.wait());
        let too_late = tokio::time::sleep_until(deadline.min(Instant::now() + LAST_ANSWERS));
        let mut too_late = std::pin::pin!(too_late);
        loop {
            tokio::select! {
                () = &mut answered => return,
                () = &mut too_late => return,
                Some(mail) = mail.recv() => self.handle(mail),
            }
        }
    }

    fn close_all(&self) {
        self.is_stopping.set(true);
        let sessions: Vec<_> = self.sessions.borrow().values().cloned().collect();
        for session in sessions {
            session.close(CloseReason::Shutdown);
        }
    }

    fn handle(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Connection(tcp, remote, slot) => match TcpStream::from_std(tcp) {
                Ok(tcp) => {
                    let serving = http::serve(self.clone(), tcp, remote, slot);
                    tokio::task::spawn_local(self.http.track_future(serving));
                }
                Err(error) => tracing::warn!(%error, "an accepted connection was lost"),
            },
            Mail::Run(f) => f(),
            Mail::Visit(f) => f(self),
            Mail::Close(farewell) => {
                self.farewell.set(Some(farewell));
                self.close_all();
                self.say_farewell();
            }
            Mail::End(_) => {}
        }
    }
}

// What its sessions and connections need.
impl Shard {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.common.settings
    }

    pub(super) fn tally(&self) -> &Tally {
        self.common.counters.of(self.index)
    }

    pub(super) fn fallback(&self) -> &Fallback {
        &self.common.fallback
    }

    pub(super) fn protocol(&self) -> &Rc<dyn Protocol> {
        &self.protocol
    }

    pub(super) fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// The thread's read buffer; given back before anybody else runs.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// A stream knows by itself whether its messages may be compressed.
    pub(super) fn limits(&self) -> websocket::Limits {
        websocket::Limits {
            message_bytes: self.settings().max_payload,
            fragments: self.settings().max_fragments,
            may_compress: false,
        }
    }

    /// Engine.IO's ping, encoded once.
    pub(super) fn ping(&self) -> Frame {
        self.ping.clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Cancelled when HTTP connections are to end.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    pub(super) fn session(&self, sid: &Sid) -> Option<Rc<Session>> {
        self.sessions.borrow().get(sid).cloned()
    }

    /// Opens a session on polling; returns its first payload.
    pub(super) fn open_polling(self: &Rc<Self>, handshake: Handshake) -> Vec<u8> {
        let session = self.open(Transport::Polling, handshake);
        let payload = session.take_payload();
        tokio::task::spawn_local(Drive::new(session, None));
        payload
    }

    /// Opens a session on WebSocket.
    pub(super) fn open_websocket(self: &Rc<Self>, stream: websocket::Stream, handshake: Handshake) {
        let session = self.open(Transport::Websocket, handshake);
        session.outbox.borrow_mut().compress(stream.may_compress());
        tokio::task::spawn_local(Drive::new(session, Some(stream)));
    }

    fn open(self: &Rc<Self>, transport: Transport, handshake: Handshake) -> Rc<Session> {
        let session = Session::new(self.clone(), transport, handshake.remote);
        let known = self.sessions.borrow_mut().insert(*session.sid(), session.clone());
        debug_assert!(known.is_none(), "120 random bits came twice");
        add(&self.tally().handshakes, 1);
        session.send(self.open_frame(session.sid(), transport));
        self.protocol.opened(&Connection(session.clone()), handshake);
        if self.is_stopping() {
            session.close(CloseReason::Shutdown);
        }
        session
    }

    fn open_frame(&self, sid: &Sid, transport: Transport) -> Frame {
        let settings = self.settings();
        let upgrades: &[&str] = match transport {
            Transport::Polling => &["websocket"],
            Transport::Websocket => &[],
        };
        let open = serde_json::json!({
            "sid": sid.as_str(),
            "upgrades": upgrades,
            "pingInterval": settings.ping_interval.as_millis() as u64,
            "pingTimeout": settings.ping_timeout.as_millis() as u64,
            "maxPayload": settings.max_payload,
        });
        Frame::text(&[b"0", open.to_string().as_bytes()])
    }

    /// The session's task has ended.
    pub(super) fn forget(&self, session: &Session) {
        self.wheel.disarm(session);
        self.sessions.borrow_mut().remove(session.sid());
        self.say_farewell();
    }

    fn say_farewell(&self) {
        if self.sessions.borrow().is_empty() {
            drop(self.farewell.take());
        }
    }

    /// Runs `f` with the session of that id, on the shard that has it; there is none when the id names no such shard.
    pub(super) fn with_session(self: &Rc<Self>, sid: Sid, f: impl FnOnce(Option<&Rc<Session>>) + Send + 'static) {
        let visit = move |shard: &Rc<Shard>| f(shard.session(&sid).as_ref());
        match self.common.mailboxes.get(sid.shard()) {
            Some(mailbox) if sid.shard() != self.index => {
                // A shard that has ended answers by dropping the closure and what it holds.
                let _is_over = mailbox.send(Mail::Visit(Box::new(visit)));
            }
            _ => visit(self),
        }
    }

    /// The same with an answer; `None` when the session's shard has ended.
    pub(super) async fn ask<R: Send + 'static>(
        self: &Rc<Self>,
        sid: Sid,
        f: impl FnOnce(Option<&Rc<Session>>) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, receiver) = oneshot::channel();
        self.with_session(sid, move |session| {
            let _the_request_is_gone = sender.send(f(session));
        });
        receiver.await.ok()
    }
}
