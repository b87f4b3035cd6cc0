//! Time: the wheel that wakes the sessions of one shard, and the deadlines of one session. A session has one entry in the
//! wheel, at its nearest deadline; deadlines that moved away are found out when the entry fires.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::Settings;
use super::session::Session;

/// Sessions woken before the other tasks of the shard have their turn.
const TICKS_PER_TURN: usize = 128;

/// The timers of one shard.
#[derive(Default)]
pub(super) struct Wheel(RefCell<DelayQueue<Weak<Session>>>);

impl Wheel {
    /// Wakes sessions for ever; one task of the shard.
    pub(super) async fn turn(&self) {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }

    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TICKS_PER_TURN {
            // An empty queue is ready with nothing, and wakes us at the next insertion.
            let Poll::Ready(Some(expired)) = self.0.borrow_mut().poll_expired(cx) else {
                return Poll::Pending;
            };
            if let Some(session) = expired.into_inner().upgrade() {
                session.clock().armed.set(None);
                session.tick(Instant::now());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sees to it that the session ticks at `at`, or before.
    pub(super) fn arm(&self, session: &Rc<Session>, at: Instant) {
        let armed = &session.clock().armed;
        match armed.get() {
            Some((_, earlier)) if earlier <= at => {}
            Some((key, _)) => {
                self.0.borrow_mut().reset_at(&key, at);
                armed.set(Some((key, at)));
            }
            None => {
                let key = self.0.borrow_mut().insert_at(Rc::downgrade(session), at);
                armed.set(Some((key, at)));
            }
        }
    }

    /// Takes the session out.
    pub(super) fn disarm(&self, session: &Session) {
        if let Some((key, _)) = session.clock().armed.take() {
            self.0.borrow_mut().remove(&key);
        }
    }
}

/// What a session's heartbeat asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Rest,
    Ping,
    TimedOut,
}

/// The deadlines of one session.
pub(super) struct Clock {
    /// When the next ping is due, or, after it, its pong.
    beat: Cell<Instant>,
    pinged: Cell<Option<Instant>>,
    /// 0 until the first pong.
    latency_us: Cell<u32>,
    heard: Cell<Instant>,
    /// While open: when the connection must have a namespace. While closing: when it is over.
    pub(super) limit: Cell<Option<Instant>>,
    /// Since when a write has made no progress.
    pub(super) stalled: Cell<Option<Instant>>,
    armed: Cell<Option<(Key, Instant)>>,
}

impl Clock {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        Self {
            beat: Cell::new(now + settings.ping_interval),
            pinged: Cell::new(None),
            latency_us: Cell::new(0),
            heard: Cell::new(now),
            limit: Cell::new(None),
            stalled: Cell::new(None),
            armed: Cell::new(None),
        }
    }

    /// What is due now. A pong is awaited from when its ping was due, so a late timer does not prolong the wait.
    pub(super) fn beat(&self, now: Instant, settings: &Settings) -> Beat {
        if now < self.beat.get() {
            return Beat::Rest;
        }
        if self.pinged.get().is_some() {
            return Beat::TimedOut;
        }
        self.pinged.set(Some(now));
        self.beat.set(self.beat.get() + settings.ping_timeout);
        if now < self.beat.get() {
            Beat::Ping
        } else {
            Beat::TimedOut
        }
    }

    /// A pong came; one that nobody asked for means nothing.
    pub(super) fn pong(&self, now: Instant, settings: &Settings) {
        if let Some(pinged) = self.pinged.take() {
            let latency_us = (now - pinged).as_micros().clamp(1, u128::from(u32::MAX));
            self.latency_us.set(latency_us as u32);
            self.beat.set(now + settings.ping_interval);
        }
    }

    /// Waits for the pong as long again.
    pub(super) fn excuse(&self, now: Instant, settings: &Settings) {
        self.beat.set(now + settings.ping_timeout);
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        let latency_us = self.latency_us.get();
        (latency_us > 0).then(|| Duration::from_micros(latency_us.into()))
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard.get()
    }

    pub(super) fn hear(&self, now: Instant) {
        self.heard.set(now);
    }

    /// The nearest deadline of an open session.
    pub(super) fn next(&self, settings: &Settings) -> Instant {
        let stall_end = self.stalled.get().map(|since| since + settings.write_stall);
        [self.limit.get(), stall_end]
            .into_iter()
            .flatten()
            .fold(self.beat.get(), Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            ..Settings::default()
        }
    }

    #[test]
    fn a_ping_is_due_after_the_interval_and_times_out_after_the_timeout() {
        let (start, settings) = (Instant::now(), settings());
        let clock = Clock::new(start, &settings);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.beat(at(299), &settings), Beat::Rest);
        assert_eq!(clock.beat(at(310), &settings), Beat::Ping);
        assert_eq!(clock.beat(at(499), &settings), Beat::Rest);
        assert_eq!(clock.beat(at(500), &settings), Beat::TimedOut);
    }

    #[test]
    fn a_pong_starts_the_next_interval_and_tells_the_latency() {
        let (start, settings) = (Instant::now(), settings());
        let clock = Clock::new(start, &settings);
        let at = |ms| start + Duration::from_millis(ms);
        clock.pong(at(100), &settings);
        assert_eq!(clock.latency(), None);
        assert_eq!(clock.beat(at(300), &settings), Beat::Ping);
        clock.pong(at(340), &settings);
        assert_eq!(clock.latency(), Some(Duration::from_millis(40)));
        assert_eq!(clock.beat(at(639), &settings), Beat::Rest);
        assert_eq!(clock.beat(at(640), &settings), Beat::Ping);
    }

    #[test]
    fn the_nearest_deadline_counts() {
        let (start, settings) = (Instant::now(), settings());
        let clock = Clock::new(start, &settings);
        assert_eq!(clock.next(&settings), start + settings.ping_interval);
        clock.limit.set(Some(start + Duration::from_millis(5)));
        clock.stalled.set(Some(start));
        assert_eq!(clock.next(&settings), start + Duration::from_millis(5));
    }
}
