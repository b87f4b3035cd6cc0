//! What time does to a session, and how it ends: heartbeat, deadlines, the first reason that stays.

use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::{Phase, Session};
use crate::engine::counters::add;
use crate::engine::heartbeat::Beat;
use crate::engine::{CloseReason, Transport, websocket};

/// Time that a polling client has to fetch what waits and then the close packet. A client that lives polls again at once; one
/// that is gone is not waited for as long as a WebSocket, which would show by itself that it is gone. One that upgrades has the
/// time of a WebSocket.
const LAST_POLLS: Duration = Duration::from_secs(2);

impl Session {
    /// Begins the end; the first reason stays.
    pub(in crate::engine) fn close(self: &Rc<Self>, reason: CloseReason) {
        if !self.is_open() {
            return;
        }
        add(&self.shard.tally().closes[reason.index()], 1);
        self.gauge().fetch_sub(1, Relaxed);
        if reason.flushes() {
            self.phase.set(Phase::Closing(reason));
            self.limit_farewell();
        } else {
            self.phase.set(Phase::Severed(reason));
        }
        self.rearm();
        self.wake();
    }

    fn limit_farewell(&self) {
        let now = Instant::now();
        let end = now + self.shard.settings().close_timeout;
        let mut limit = end;
        if self.transport() == Transport::Polling
            && let Some(polling) = self.polling.borrow_mut().as_deref_mut()
        {
            polling.farewell_end = Some(end);
            if polling.upgrade.is_none() {
                limit = end.min(now + LAST_POLLS);
            }
        }
        self.clock.limit.set(Some(limit));
    }

    /// Gives the transport up.
    pub(in crate::engine) fn sever(&self) {
        if let Phase::Closing(reason) = self.phase() {
            self.phase.set(Phase::Severed(reason));
            self.wake();
        }
    }

    pub(in crate::engine) fn close_after(self: &Rc<Self>, time: Option<Duration>) {
        if self.is_open() {
            self.clock.limit.set(time.map(|time| Instant::now() + time));
            self.rearm();
        }
    }

    /// The nearest deadline may have come.
    pub(in crate::engine) fn tick(self: &Rc<Self>, now: Instant) {
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
    pub(in crate::engine) fn note_write(self: &Rc<Self>, is_stopped: bool, progressed: bool) {
        let stalled = &self.clock.stalled;
        if !is_stopped {
            stalled.set(None);
        } else if progressed || stalled.get().is_none() {
            stalled.set(Some(Instant::now()));
            self.rearm();
        }
    }

    pub(super) fn rearm(self: &Rc<Self>) {
        let next = match self.phase() {
            Phase::Open => Some(self.clock.next(self.shard.settings())),
            Phase::Closing(_) => self.clock.limit.get(),
            Phase::Severed(_) => None,
        };
        if let Some(next) = next {
            self.shard.wheel().arm(self, next);
        }
    }

    /// The WebSocket takes over from polling; if the end has begun, it takes the farewell over.
    pub(in crate::engine) fn upgrade(&self, stream: websocket::Stream) {
        // A session that closes is counted on no transport any more.
        let counted = i64::from(self.is_open());
        self.gauge().fetch_sub(counted, Relaxed);
        self.transport.set(Transport::Websocket);
        self.gauge().fetch_add(counted, Relaxed);
        add(&self.shard.tally().upgrades, 1);
        self.upgraded.set(Some(Box::new(stream)));
        self.wake();
    }

    pub(super) fn gauge(&self) -> &AtomicI64 {
        match self.transport() {
            Transport::Polling => &self.shard.tally().polling,
            Transport::Websocket => &self.shard.tally().websocket,
        }
    }
}
