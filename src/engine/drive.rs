//! The one task of a session: reads, runs the handlers one after the other, writes, and says farewell. Written by hand, so that
//! an idle session costs a socket, a few words and nothing else.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;

use super::counters::add;
use super::inbox::Input;
use super::protocol::{Connection, Work};
use super::session::{Phase, Session};
use super::{CloseReason, Frame, websocket};

/// Rounds of one turn, before the other tasks of the shard have theirs.
const ROUNDS_PER_TURN: usize = 16;
/// Handlers run in one round.
const HANDLERS_PER_ROUND: usize = 64;

pub(super) struct Drive {
    session: Rc<Session>,
    stream: Option<websocket::Stream>,
    /// The handler that has begun and not ended; it is boxed only while it runs.
    running: Option<LocalBoxFuture<'static, ()>>,
    /// The layer above knows of the end.
    is_told: bool,
    farewell: Farewell,
}

/// How far the closing handshake of a WebSocket has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Unsaid,
    Said,
    /// Everything is written; the peer may finish its side.
    Lingering,
}

impl Drive {
    pub(super) fn new(session: Rc<Session>, stream: Option<websocket::Stream>) -> Self {
        Self {
            session,
            stream,
            running: None,
            is_told: false,
            farewell: Farewell::Unsaid,
        }
    }

    fn round(&mut self, cx: &mut Context<'_>) {
        self.read(cx);
        self.run(cx);
        self.write(cx);
        self.session.has_written();
        self.part(cx);
        self.session.poll_get(cx);
    }

    fn read(&mut self, cx: &mut Context<'_>) {
        if let Some(upgraded) = self.session.upgraded.take() {
            self.session.outbox.borrow_mut().compress(upgraded.may_compress());
            self.stream = Some(*upgraded);
            // Who has ended the session is told of its end alone.
            if self.session.is_open() {
                self.tell_upgrade();
            }
        }
        let session = &self.session;
        // What was posted before an upgrade comes before what the WebSocket brings.
        if !session.poll_post(cx) {
            session.pause();
            return;
        }
        let Some(stream) = self.stream.as_mut().filter(|_| session.is_open()) else {
            return;
        };
        if !session.has_room() {
            session.pause();
            return;
        }
        let limits = session.shard().limits();
        let mut scratch = session.shard().scratch();
        let read = stream.poll_items(cx, &mut scratch, limits, |item| {
            session.receive_item(item);
            if session.is_open() && session.has_room() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match read {
            Poll::Ready(Ok(())) => session.pause(),
            Poll::Ready(Err(end)) => session.ended(end),
            Poll::Pending => {}
        }
    }

    fn run(&mut self, cx: &mut Context<'_>) {
        for _ in 0..HANDLERS_PER_ROUND {
            if let Some(running) = &mut self.running {
                let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
                match polled {
                    Ok(Poll::Pending) => return,
                    Ok(Poll::Ready(())) => {}
                    Err(_panic) => self.note_panic(),
                }
                self.drop_running();
            }
            if !self.start_next() {
                return;
            }
            self.session.resume();
        }
        self.session.wake();
    }

    /// Begins what is to be done next. False when there is nothing.
    fn start_next(&mut self) -> bool {
        let input = self.session.inbox.borrow_mut().pop();
        let end = match self.session.phase() {
            Phase::Open => None,
            Phase::Closing(reason) | Phase::Severed(reason) => Some(reason),
        };
        let protocol = self.session.shard().protocol().clone();
        let connection = Connection(self.session.clone());
        match (input, end) {
            (Some(Input::Message(message)), _) => {
                self.start(|| protocol.message(connection, message));
            }
            (Some(Input::Signal), _) => self.start(|| protocol.signalled(connection)),
            (None, Some(reason)) if !self.is_told => {
                self.is_told = true;
                self.start(|| protocol.closed(connection, reason));
                self.session.set_data(None);
            }
            (None, _) => return false,
        }
        true
    }

    fn start(&mut self, begin: impl FnOnce() -> Work) {
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(work) => self.running = work,
            Err(_panic) => self.note_panic(),
        }
    }

    fn tell_upgrade(&self) {
        let protocol = self.session.shard().protocol().clone();
        let connection = Connection(self.session.clone());
        if catch_unwind(AssertUnwindSafe(|| protocol.upgraded(connection))).is_err() {
            self.note_panic();
        }
    }

    fn note_panic(&self) {
        add(&self.session.shard().tally().panics, 1);
        tracing::error!(
            remote = %self.session.remote(),
            "a handler panicked; its connection is closed"
        );
        self.session.reject(CloseReason::Internal);
    }

    fn drop_running(&mut self) {
        let running = self.running.take();
        if catch_unwind(AssertUnwindSafe(|| drop(running))).is_err() {
            self.note_panic();
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        let session = &self.session;
        let Some(stream) = &mut self.stream else {
            return;
        };
        if session.is_severed() {
            return;
        }
        let (tally, most) = (session.shard().tally(), session.shard().settings().frames_per_write);
        let mut progressed = false;
        let mut outbox = session.outbox.borrow_mut();
        let written = stream.poll_write(cx, &mut outbox, most, |bytes, frames| {
            progressed = true;
            add(&tally.bytes_out, bytes);
            add(&tally.frames_out, frames);
        });
        drop(outbox);
        session.note_write(written.is_pending(), progressed);
        if let Poll::Ready(Err(_broken)) = written {
            session.close(CloseReason::TransportError);
            session.sever();
        }
    }

    /// The closing handshake: everything that waited is written, then the close frame, then the peer may finish.
    fn part(&mut self, cx: &mut Context<'_>) {
        let session = &self.session;
        let Some(stream) = &mut self.stream else {
            return;
        };
        match session.phase() {
            Phase::Open => {}
            Phase::Closing(reason) => {
                if !session.outbox.borrow().is_empty() {
                    return;
                }
                match self.farewell {
                    Farewell::Unsaid => {
                        let close = Frame::close(session.close_code(reason));
                        session.outbox.borrow_mut().push_last(close);
                        self.farewell = Farewell::Said;
                        session.wake();
                    }
                    Farewell::Said => {
                        stream.shutdown();
                        self.farewell = Farewell::Lingering;
                        session.wake();
                    }
                    Farewell::Lingering => {
                        let limits = session.shard().limits();
                        let mut scratch = session.shard().scratch();
                        let farewell = stream.poll_farewell(cx, &mut scratch, limits);
                        if farewell.is_ready() {
                            session.sever();
                        }
                    }
                }
            }
            Phase::Severed(reason) => {
                let mut outbox = session.outbox.borrow_mut();
                if self.farewell == Farewell::Unsaid && !outbox.is_cut() {
                    let close = Frame::close(session.close_code(reason));
                    stream.try_last_words(close.wire());
                }
                outbox.clear();
                drop(outbox);
                self.stream = None;
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.session.is_severed() && self.is_told && self.running.is_none() && self.stream.is_none()
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.session.enter(cx);
        for _ in 0..ROUNDS_PER_TURN {
            this.session.begin_round();
            this.round(cx);
            if this.is_finished() {
                this.session.leave();
                return Poll::Ready(());
            }
            if !this.session.is_dirty() {
                this.session.leave();
                return Poll::Pending;
            }
        }
        this.session.leave();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Drive {
    /// However the task ends, the session is gone with it.
    fn drop(&mut self) {
        self.session.close(CloseReason::Shutdown);
        self.session.sever();
        self.session.clear();
        // A request or a probe that still waits is let go.
        let _requests = self.session.polling.take();
        self.session.shard().forget(&self.session);
    }
}
