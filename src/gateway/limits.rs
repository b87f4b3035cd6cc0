//! Limits as the gateway holds them: the gate of each connection, a shard's tokens of its users, addresses that are known
//! to be over theirs. Not here: the arithmetic (`domain::limits`, lua/limits), and what counts as reached (`node`).

mod advances;
mod handshakes;
mod pledges;

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;

use self::advances::Advances;
use self::handshakes::Entrance;
pub(super) use self::pledges::Carried;
use super::events::Turn;
use super::protocol::Failure;
use super::shard::Shard;
use crate::config::Limits;
use crate::domain::limits::{self, Class, Draw, HANDSHAKES, Purse, Verdict};
use crate::types::{Rate, UserId};

/// Between two looks for what can be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// What the gate is called in metrics.
const EVENTS: &str = "events";

/// The rates that operators set.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// New connections of one address.
    pub handshakes: Rate,
    /// Events of one connection, of whatever kind, good or bad.
    pub events: Rate,
    pub messages: Rate,
    pub typing: Rate,
    pub presence: Rate,
    pub joins: Rate,
    pub creations: Rate,
    pub refreshes: Rate,
    pub requests: Rate,
}

impl Rates {
    fn of(&self, class: Class) -> Rate {
        match class {
            Class::Messages => self.messages,
            Class::Typing => self.typing,
            Class::Presence => self.presence,
            Class::Joins => self.joins,
            Class::Creations => self.creations,
            Class::Refreshes => self.refreshes,
            Class::Requests => self.requests,
        }
    }
}

type Limiter = RateLimiter<
    NotKeyed,
    InMemoryState,
    MonotonicClock,
    NoOpMiddleware<<MonotonicClock as governor::clock::Clock>::Instant>,
>;

/// Counts the events of one connection in memory; made by the first of them, so that who is silent costs a pointer.
#[derive(Default)]
pub struct Gate(OnceCell<Box<Limiter>>);

impl Gate {
    /// How long it is closed, if it is.
    fn closed_for(&self, rate: Rate) -> Option<Duration> {
        let limiter = self
            .0
            .get_or_init(|| Box::new(Limiter::direct_with_clock(quota(rate), MonotonicClock)));
        let refused = limiter.check().err()?;
        Some(refused.wait_time_from(MonotonicClock.now()))
    }
}

fn quota(rate: Rate) -> Quota {
    let burst = NonZeroU32::new(rate.burst()).expect("a rate's burst is at least 1");
    Quota::with_period(Duration::from_micros(rate.interval_us()))
        .expect("a rate's interval is at least 6 µs")
        .allow_burst(burst)
}

/// A user's tokens of one class, and word to those who wait for a draw.
#[derive(Default)]
struct Tokens {
    purse: RefCell<Purse>,
    settled: Notify,
}

/// What one shard holds of limits. All of it can be dropped: it is drawn again.
#[derive(Default)]
pub struct Book {
    /// A purse that says nothing is dropped within a second, so there are as many as users sent something of late.
    tokens: RefCell<AHashMap<(UserId, Class), Rc<Tokens>>>,
    pub advances: Advances,
    /// By neighbourhood: those that somebody came from just now, or that have no token yet.
    entrances: RefCell<AHashMap<String, Rc<Entrance>>>,
    looked: std::cell::Cell<Option<Instant>>,
}

impl Book {
    fn tokens(&self, user: &UserId, class: Class) -> Rc<Tokens> {
        Rc::clone(self.tokens.borrow_mut().entry((user.clone(), class)).or_default())
    }

    /// Drops what says no more than nothing would.
    pub fn forget(&self, now: Instant) {
        if self.looked.get().is_some_and(|looked| now - looked < FORGET_EVERY) {
            return;
        }
        self.looked.set(Some(now));
        // Whoever waits at a purse holds it, and is to find it again.
        let says = |tokens: &Rc<Tokens>| Rc::strong_count(tokens) > 1 || !tokens.purse.borrow_mut().is_blank(now);
        self.tokens.borrow_mut().retain(|_, tokens| says(tokens));
        self.advances.forget(now);
        let is_used =
            |entrance: &Rc<Entrance>| Rc::strong_count(entrance) > 1 || !entrance.turnstile.borrow_mut().is_blank(now);
        self.entrances.borrow_mut().retain(|_, entrance| is_used(entrance));
    }
}

impl Turn<'_> {
    /// Whether this event may be carried out: the connection's gate first, so that a flood asks nobody, then the user's rate.
    pub(super) async fn limit(&self, class: Class) -> Result<(), Failure> {
        self.limit_locally()?;
        self.limit_also(class).await
    }

    /// A further rate of an event that has passed the gate.
    pub(super) async fn limit_also(&self, class: Class) -> Result<(), Failure> {
        let node = &self.shard.node;
        if node.settings.limits == Limits::Off {
            return Ok(());
        }
        let wait = self.shard.spend(&self.client.user, class).await;
        match wait {
            Some(wait) if node.is_barred(class.as_str(), true) => Err(Failure::rate_limited(wait)),
            _ => Ok(()),
        }
    }

    /// The gate alone, for events that ask nobody.
    pub(super) fn limit_locally(&self) -> Result<(), Failure> {
        match self.gate_closed_for {
            Some(wait) if self.shard.node.is_barred(EVENTS, true) => Err(Failure::rate_limited(wait)),
            _ => Ok(()),
        }
    }
}

impl Shard {
    /// Counts an event at its connection's gate: how long that is closed, if it is.
    pub(super) fn pass_gate(&self, gate: &Gate) -> Option<Duration> {
        let settings = &self.node.settings;
        (settings.limits != Limits::Off)
            .then(|| gate.closed_for(settings.rates.events))
            .flatten()
    }

    /// Takes a token of a user; else how long there is none. Redis away is no reason to refuse: the event itself says so.
    async fn spend(&self, user: &UserId, class: Class) -> Option<Duration> {
        let tokens = self.limits.tokens(user, class);
        match self.take(&tokens).await {
            Ok(Some(draw)) => self.draw(user.clone(), class, draw, tokens),
            Ok(None) => {}
            Err(wait) => return Some(wait),
        }
        None
    }

    /// Takes a token, and says what is to be drawn; else how long there is none.
    async fn take(&self, tokens: &Tokens) -> Result<Option<Draw>, Duration> {
        loop {
            // Before the look, so that no word is missed in between.
            let settled = tokens.settled.notified();
            let verdict = tokens.purse.borrow_mut().take(Instant::now());
            match verdict {
                Verdict::Refuse(wait) => return Err(wait),
                Verdict::Wait => settled.await,
                Verdict::Pass(draw) => return Ok(draw),
            }
        }
    }

    /// Draws beside the event.
    fn draw(&self, user: UserId, class: Class, draw: Draw, tokens: Rc<Tokens>) {
        let (hot, rate) = (self.hot.clone(), self.node.settings.rates.of(class));
        tokio::task::spawn_local(async move {
            let drawn = match limits::draw(&hot, &user, class, rate, draw).await {
                Ok(drawn) => Some(drawn),
                Err(error) => {
                    tracing::debug!(error = %error, %user, class = class.as_str(), "no tokens drawn; the next event draws again");
                    None
                }
            };
            tokens.purse.borrow_mut().settle(drawn, Instant::now());
            tokens.settled.notify_waiters();
        });
    }

    /// Whether a handshake that is to wait is kept out.
    pub(super) fn is_kept_out(&self, wait: Option<Duration>) -> bool {
        self.node.is_barred(HANDSHAKES, wait.is_some())
    }
}
