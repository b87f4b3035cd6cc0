//! One Engine.IO session: what both its handles and its task see. Everything here is a short, synchronous step on the shard's
//! thread; what takes time is done by the task (`drive`), which each step wakes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use engineioxide_core::Packet;
use tokio::time::Instant;

use super::counters::add;
use super::heartbeat::{Beat, Clock};
use super::id::Sid;
use super::inbox::{Inbox, Input};
use super::outbox::{Full, Key, Outbox};
use super::polling::Polling;
use super::protocol::Message;
use super::shard::Shard;
use super::{CloseReason, Frame, Transport, websocket};

pub(super) struct Session {
    shard: Rc<Shard>,
    sid: Sid,
    remote: SocketAddr,
    phase: Cell<Phase>,
    transport: Cell<Transport>,
    /// The WebSocket close code, when the reason alone does not say it.
    close_code: Cell<Option<u16>>,
    /// Nothing is read because the inbox is full.
    is_paused: Cell<bool>,
    is_driven: Cell<bool>,
    is_dirty: Cell<bool>,
    waker: Cell<Option<Waker>>,
    clock: Clock,
    pub(super) outbox: RefCell<Outbox>,
    pub(super) inbox: RefCell<Inbox>,
    /// There while the session polls.
    pub(super) polling: RefCell<Option<Box<Polling>>>,
    /// A WebSocket that has just taken over.
    pub(super) upgraded: Cell<Option<Box<websocket::Stream>>>,
    data: RefCell<Option<Rc<dyn Any>>>,
}

/// How far a session's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing is read any more; what waits is still sent, until the clock's limit.
    Closing(CloseReason),
    /// The transport is given up.
    Severed(CloseReason),
}

impl Session {
    pub(super) fn new(shard: Rc<Shard>, transport: Transport, remote: SocketAddr) -> Rc<Self> {
        let polling = matches!(transport, Transport::Polling).then(Box::default);
        let session = Rc::new(Self {
            sid: Sid::draw(shard.index()),
            clock: Clock::new(Instant::now(), shard.settings()),
            remote,
            phase: Cell::new(Phase::Open),
            transport: Cell::new(transport),
            close_code: Cell::new(None),
            is_paused: Cell::new(false),
            is_driven: Cell::new(false),
            is_dirty: Cell::new(false),
            waker: Cell::new(None),
            outbox: RefCell::default(),
            inbox: RefCell::default(),
            polling: RefCell::new(polling),
            upgraded: Cell::new(None),
            data: RefCell::new(None),
            shard,
        });
        session.gauge().fetch_add(1, Relaxed);
        session.rearm();
        session
    }

    pub(super) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub(super) fn sid(&self) -> &Sid {
        &self.sid
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport.get()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        self.clock.latency()
    }

    pub(super) fn last_heard(&self) -> Instant {
        self.clock.heard()
    }

    pub(super) fn heard(&self) {
        self.clock.hear(Instant::now());
    }

    pub(super) fn set_data(&self, data: Option<Rc<dyn Any>>) {
        let _old = self.data.replace(data);
    }

    pub(super) fn data(&self) -> Option<Rc<dyn Any>> {
        self.data.borrow().clone()
    }

    /// The WebSocket close code that goes with the end.
    pub(super) fn close_code(&self, reason: CloseReason) -> u16 {
        self.close_code.get().unwrap_or(match reason {
            CloseReason::Draining | CloseReason::Shutdown => 1001,
            CloseReason::ParseError => 1002,
            CloseReason::PayloadTooLarge => 1009,
            CloseReason::Internal => 1011,
            _ => 1000,
        })
    }
}

// What goes out.
impl Session {
    pub(super) fn send(self: &Rc<Self>, frame: Frame) {
        self.enqueue(Key::Unique, frame);
    }

    pub(super) fn send_latest(self: &Rc<Self>, key: u64, frame: &Frame) {
        let key = Key::Latest(key);
        if self.is_open() && self.outbox.borrow_mut().replace(key, frame) {
            add(&self.shard.tally().replaced, 1);
        } else {
            self.enqueue(key, frame.clone());
        }
    }

    fn enqueue(self: &Rc<Self>, key: Key, frame: Frame) {
        if !self.is_open() {
            return;
        }
        let settings = self.shard.settings();
        let (frames, bytes) = (settings.out_frames, settings.out_bytes);
        let pushed = self.outbox.borrow_mut().push(key, frame, frames, bytes);
        match pushed {
            Ok(()) => self.wake(),
            Err(Full) => self.close(CloseReason::SlowConsumer),
        }
    }

    /// Answers a WebSocket ping. Only the last one needs an answer, so a flood of them takes no memory.
    fn pong(&self, payload: &[u8]) {
        let mut outbox = self.outbox.borrow_mut();
        let frame = Frame::control(Frame::PONG, payload);
        if !outbox.replace(Key::Pong, &frame) {
            outbox.push_first(Key::Pong, frame);
        }
    }
}

// What comes in.
impl Session {
    pub(super) fn has_room(&self) -> bool {
        let settings = self.shard.settings();
        let inbox = self.inbox.borrow();
        inbox.has_room(settings.in_events, settings.max_payload)
    }

    /// Reading stops until there is room again.
    pub(super) fn pause(&self) {
        self.is_paused.set(true);
    }

    /// Has the task read on if it had stopped, and there is room.
    pub(super) fn resume(&self) {
        if self.is_paused.get() && self.has_room() {
            self.is_paused.set(false);
            self.wake();
        }
    }

    pub(super) fn signal(&self) {
        self.inbox.borrow_mut().push(Input::Signal);
        self.wake();
    }

    /// Takes one Engine.IO packet, by either transport.
    pub(super) fn receive(self: &Rc<Self>, packet: Packet) {
        match packet {
            Packet::Message(text) => self.receive_message(Message::Text(text)),
            Packet::Binary(data) => self.receive_message(Message::Binary(data)),
            Packet::Pong | Packet::PongUpgrade => {
                self.clock.pong(Instant::now(), self.shard.settings());
            }
            Packet::Close => self.close(CloseReason::TransportClose),
            Packet::Noop | Packet::Upgrade => {}
            // Pings are the server's, and the rest is not of this version.
            _ => self.close(CloseReason::ParseError),
        }
    }

    /// Takes one WebSocket message or control frame.
    pub(super) fn receive_item(self: &Rc<Self>, item: websocket::Item) {
        match item {
            websocket::Item::Text(text) => match parse_packet(text) {
                Some(packet) => self.receive(packet),
                None => self.close(CloseReason::ParseError),
            },
            websocket::Item::Binary(data) => self.receive_message(Message::Binary(data.into())),
            websocket::Item::Ping(payload) => self.pong(&payload),
            websocket::Item::Pong => {}
            websocket::Item::Close(code) => {
                self.close_code.set(code);
                self.close(CloseReason::TransportClose);
            }
        }
    }

    fn receive_message(&self, message: Message) {
        let len = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        };
        add(&self.shard.tally().bytes_in, len);
        self.inbox.borrow_mut().push(Input::Message(message));
    }

    /// The WebSocket can be read no further.
    pub(super) fn ended(self: &Rc<Self>, end: websocket::Ended) {
        let reason = match end {
            websocket::Ended::Eof => CloseReason::TransportClose,
            websocket::Ended::Failed => CloseReason::TransportError,
            websocket::Ended::Violated(violation) => {
                self.close_code.set(Some(violation.close_code()));
                match violation {
                    websocket::Violation::TooLarge => CloseReason::PayloadTooLarge,
                    _ => CloseReason::ParseError,
                }
            }
        };
        self.close(reason);
    }
}

// Its end, its time, its task.
impl Session {
    /// Begins the end; the first reason stays.
    pub(super) fn close(self: &Rc<Self>, reason: CloseReason) {
        if !self.is_open() {
            return;
        }
        add(&self.shard.tally().closes[reason.index()], 1);
        self.gauge().fetch_sub(1, Relaxed);
        if reason.flushes() {
            self.phase.set(Phase::Closing(reason));
            let limit = Instant::now() + self.shard.settings().close_timeout;
            self.clock.limit.set(Some(limit));
        } else {
            self.phase.set(Phase::Severed(reason));
        }
        self.rearm();
        self.wake();
    }

    /// Gives the transport up.
    pub(super) fn sever(&self) {
        if let Phase::Closing(reason) = self.phase() {
            self.phase.set(Phase::Severed(reason));
            self.wake();
        }
    }

    pub(super) fn close_after(self: &Rc<Self>, time: Option<Duration>) {
        if self.is_open() {
            self.clock.limit.set(time.map(|time| Instant::now() + time));
            self.rearm();
        }
    }

    /// The nearest deadline may have come.
    pub(super) fn tick(self: &Rc<Self>, now: Instant) {
        let settings = self.shard.settings();
        let is_over = |limit: Instant| limit <= now;
        match self.phase() {
            Phase::Open if self.clock.limit.get().is_some_and(is_over) => {
                self.close(CloseReason::ConnectTimeout);
            }
            Phase::Open if self.is_stalled(now) => self.close(CloseReason::WriteStalled),
            Phase::Open => match self.clock.beat(now, settings) {
                Beat::Rest => {}
                Beat::Ping => self.send(self.shard.ping()),
                // Its pong may wait behind what we do not read.
                Beat::TimedOut if self.is_paused.get() => self.clock.excuse(now, settings),
                Beat::TimedOut => self.close(CloseReason::PingTimeout),
            },
            Phase::Closing(_) if self.clock.limit.get().is_none_or(is_over) => self.sever(),
            Phase::Closing(_) | Phase::Severed(_) => {}
        }
        self.rearm();
    }

    fn is_stalled(&self, now: Instant) -> bool {
        let since = self.clock.stalled.get();
        since.is_some_and(|since| since + self.shard.settings().write_stall <= now)
    }

    /// Notes whether the last write was stopped, and whether it got anything through before.
    pub(super) fn note_write(self: &Rc<Self>, is_stopped: bool, progressed: bool) {
        let stalled = &self.clock.stalled;
        if !is_stopped {
            stalled.set(None);
        } else if progressed || stalled.get().is_none() {
            stalled.set(Some(Instant::now()));
            self.rearm();
        }
    }

    fn rearm(self: &Rc<Self>) {
        let next = match self.phase() {
            Phase::Open => Some(self.clock.next(self.shard.settings())),
            Phase::Closing(_) => self.clock.limit.get(),
            Phase::Severed(_) => None,
        };
        if let Some(next) = next {
            self.shard.wheel().arm(self, next);
        }
    }

    /// The WebSocket takes over from polling.
    pub(super) fn upgrade(&self, stream: websocket::Stream) {
        self.gauge().fetch_sub(1, Relaxed);
        self.transport.set(Transport::Websocket);
        self.gauge().fetch_add(1, Relaxed);
        add(&self.shard.tally().upgrades, 1);
        self.upgraded.set(Some(Box::new(stream)));
        self.wake();
    }

    fn gauge(&self) -> &AtomicI64 {
        match self.transport() {
            Transport::Polling => &self.shard.tally().polling,
            Transport::Websocket => &self.shard.tally().websocket,
        }
    }

    /// Has the task look again; at once, or in its present turn.
    pub(super) fn wake(&self) {
        if self.is_driven.get() {
            self.is_dirty.set(true);
        } else if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    /// The task begins its turn.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        self.is_driven.set(true);
        let known = self.waker.take();
        let known = known.filter(|waker| waker.will_wake(cx.waker()));
        self.waker.set(known.or_else(|| Some(cx.waker().clone())));
    }

    /// Whether something asked for the task's attention since this was last asked.
    pub(super) fn take_dirt(&self) -> bool {
        self.is_dirty.take()
    }

    pub(super) fn leave(&self) {
        self.is_driven.set(false);
    }
}

fn parse_packet(text: String) -> Option<Packet> {
    Packet::parse(engineioxide_core::ProtocolVersion::V4, text).ok()
}
