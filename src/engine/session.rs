//! One Engine.IO session: what both its handles and its task see. Everything here is a short, synchronous step on the shard's
//! thread; what takes time is done by the task (`drive`), which each step wakes.

mod lifetime;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::Duration;

use engineioxide_core::Packet;
use tokio::time::Instant;

use super::counters::add;
use super::heartbeat::Clock;
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
    turn: Cell<Turn>,
    is_dirty: Cell<bool>,
    waker: Cell<Option<Waker>>,
    clock: Clock,
    pub(super) outbox: RefCell<Outbox>,
    /// Frames and bytes in it, as they are counted.
    counted: Cell<(u32, u32)>,
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

/// Where the session's task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Away,
    /// At work, and has not written yet.
    Working,
    Written,
}

impl Session {
    pub(super) fn new(shard: Rc<Shard>, transport: Transport, remote: SocketAddr) -> Rc<Self> {
        let polling = matches!(transport, Transport::Polling).then(Box::default);
        let session = Rc::new(Self {
            sid: Sid::draw(shard.settings().tag, shard.index()),
            clock: Clock::new(Instant::now(), shard.settings()),
            remote,
            phase: Cell::new(Phase::Open),
            transport: Cell::new(transport),
            close_code: Cell::new(None),
            is_paused: Cell::new(false),
            turn: Cell::new(Turn::Away),
            is_dirty: Cell::new(false),
            waker: Cell::new(None),
            outbox: RefCell::default(),
            counted: Cell::default(),
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

    /// Whether nothing of it goes out any more.
    pub(super) fn is_severed(&self) -> bool {
        matches!(self.phase(), Phase::Severed(_))
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
            let tally = self.shard.tally();
            add(&tally.replaced, 1);
            let saved = self.outbox.borrow().saved(frame);
            tally.note_frame(frame.label(), frame.packet_len(), saved);
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
        let (label, packet_len) = (frame.label(), frame.packet_len());
        let mut outbox = self.outbox.borrow_mut();
        let saved = outbox.saved(&frame);
        let pushed = outbox.push(key, frame, frames, bytes);
        drop(outbox);
        match pushed {
            Ok(()) => {
                self.shard.tally().note_frame(label, packet_len, saved);
                self.wake_to_write();
            }
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

    /// Closes, and forgets what came after the message at hand.
    pub(super) fn reject(self: &Rc<Self>, reason: CloseReason) {
        self.inbox.borrow_mut().clear();
        self.close(reason);
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
                self.rearm();
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

// Its task.
impl Session {
    /// Has the task look again; at once, or in its present turn.
    pub(super) fn wake(&self) {
        if self.turn.get() != Turn::Away {
            self.is_dirty.set(true);
        } else if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    /// The same for something to be written, which the task does in its present turn anyway, if it has not yet.
    fn wake_to_write(&self) {
        if self.turn.get() != Turn::Working {
            self.wake();
        }
    }

    /// The task begins its turn.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        let known = self.waker.take();
        let known = known.filter(|waker| waker.will_wake(cx.waker()));
        self.waker.set(known.or_else(|| Some(cx.waker().clone())));
    }

    /// The task begins a round of its turn, in which it will write.
    pub(super) fn begin_round(&self) {
        self.turn.set(Turn::Working);
        self.is_dirty.set(false);
    }

    /// The task has written in this round; what is sent from now on needs another.
    pub(super) fn has_written(&self) {
        self.turn.set(Turn::Written);
    }

    /// Whether something asks for another round.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty.get()
    }

    /// The task ends its turn. Whatever was put in the queue had it called, so what is left now is what waits.
    pub(super) fn leave(&self) {
        self.turn.set(Turn::Away);
        let depth = self.outbox.borrow().depth();
        let counted = self.counted.replace(depth);
        if depth != counted {
            self.shard.tally().note_queue(counted, depth);
        }
    }

    /// Nothing of it waits any more.
    pub(super) fn clear(&self) {
        self.outbox.borrow_mut().clear();
        self.leave();
    }
}

fn parse_packet(text: String) -> Option<Packet> {
    Packet::parse(engineioxide_core::ProtocolVersion::V4, text).ok()
}
