//! Rates: what is limited, whom a limit sees as one, and how a node draws a user's tokens ahead of need. The truth is one
//! bucket per user and class in Redis; here is only what was drawn from it. Not here: what a refusal looks like.

mod advance;
mod turnstile;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::hot::keys::Bucket;
use crate::hot::{self, Hot, HotError};
use crate::types::{Rate, UserId};

pub use self::advance::{Advance, most_ahead};
pub use self::turnstile::{Passage, Turnstile};
pub use crate::hot::limits::{Draw, Drawn};

/// Life of a token that was drawn and not used: what the nodes together may be late by.
const BLOCK_LIFE: Duration = Duration::from_secs(1);
/// Tokens that one node holds of one bucket beyond the one at hand.
const BLOCK_MAX: u32 = 64;
/// What handshakes are called where classes of users' events have a name.
pub const HANDSHAKES: &str = "handshakes";

/// What a user's events are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `message:send`, over all rooms.
    Messages,
    /// `typing:*`
    Typing,
    /// `presence:*`
    Presence,
    /// `room:join`
    Joins,
    /// Rooms that are made by joining them.
    Creations,
    /// `auth:refresh`: signatures are dear.
    Refreshes,
    /// Everything else that asks Redis; leaving too, so that whoever may not join any more can still leave.
    Requests,
}

impl Class {
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Typing,
        Self::Presence,
        Self::Joins,
        Self::Creations,
        Self::Refreshes,
        Self::Requests,
    ];

    /// Its name in keys and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Typing => "typing",
            Self::Presence => "presence",
            Self::Joins => hot::limits::JOINS,
            Self::Creations => "creations",
            Self::Refreshes => "refreshes",
            Self::Requests => "requests",
        }
    }
}

/// Draws a user's tokens of one class.
pub async fn draw(hot: &Hot, user: &UserId, class: Class, rate: Rate, draw: Draw) -> Result<Drawn, HotError> {
    hot::limits::draw(hot, &Bucket::User(user, class.as_str()), rate, draw).await
}

/// So many new connections from an address.
pub async fn draw_handshakes(hot: &Hot, neighbourhood: &str, rate: Rate, wanted: u32) -> Result<Drawn, HotError> {
    let draw = Draw { owed: 0, wanted };
    hot::limits::draw(hot, &Bucket::Address(neighbourhood, HANDSHAKES), rate, draw).await
}

/// A draw that goes with a call which is made anyway.
#[derive(Debug)]
pub struct Toll {
    pub rate: Rate,
    pub draw: Draw,
    /// What came of it, once a call has gone with it; `None`: Redis did not answer.
    pub drawn: OnceLock<Option<Drawn>>,
}

/// Whom a limit of addresses sees as one: an IPv4 address, or an IPv6 /64, which is what one subscriber is given.
pub fn neighbourhood(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// Tokens that were drawn together.
#[derive(Debug, Clone, Copy)]
struct Block {
    left: u32,
    until: Instant,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes; where there is a draw, that is to be made beside it, and told to [`Purse::settle`].
    Pass(Option<Draw>),
    /// The bucket was seen empty, and has a token again after this time.
    Refuse(Duration),
    /// A draw is under way: asked again when it is settled.
    Wait,
}

/// What one shard holds of one user's bucket. An event takes a token that was drawn before. Where there is none, and nothing
/// says that the bucket is empty, the event passes on credit and its token is drawn beside it: it waits for nobody, and as
/// there is one draw at a time and what it owes is charged in any case, a shard is never more than one event ahead of Redis.
///
/// Who keeps sending has tokens drawn ahead: as many as the last second used. So what runs out unused is no more than what
/// was used, a call comes to at most 64 events, and whoever is idle costs one call, and no token but the one that is used.
#[derive(Debug, Default)]
pub struct Purse {
    current: Option<Block>,
    next: Option<Block>,
    /// The bucket has no token before.
    empty_until: Option<Instant>,
    is_drawing: bool,
    used: Used,
}

/// Events that passed in this second and in the one before, by the start of this one.
#[derive(Debug, Default)]
struct Used {
    second: Option<Instant>,
    now: u32,
    before: u32,
}

impl Used {
    /// The more of the two.
    fn lately(&mut self, now: Instant) -> u32 {
        let passed = self.second.map(|start| now.saturating_duration_since(start));
        if passed.is_none_or(|passed| passed >= BLOCK_LIFE) {
            let is_adjacent = passed.is_some_and(|passed| passed < 2 * BLOCK_LIFE);
            self.before = if is_adjacent { self.now } else { 0 };
            self.now = 0;
            self.second = Some(now);
        }
        self.now.max(self.before)
    }

    fn add(&mut self, now: Instant) {
        self.lately(now);
        self.now += 1;
    }

    fn take_back(&mut self) {
        self.now = self.now.saturating_sub(1);
    }
}

impl Purse {
    /// An event asks for a token.
    pub fn take(&mut self, now: Instant) -> Verdict {
        self.turn(now);
        if let Some(block) = &mut self.current {
            block.left -= 1;
            self.used.add(now);
            let ahead = self.want_ahead(now);
            self.is_drawing |= ahead.is_some();
            return Verdict::Pass(ahead);
        }
        if let Some(until) = self.empty_until.filter(|until| *until > now) {
            return Verdict::Refuse(until - now);
        }
        if self.is_drawing {
            return Verdict::Wait;
        }
        self.is_drawing = true;
        let wanted = self.used.lately(now).min(BLOCK_MAX);
        self.used.add(now);
        Verdict::Pass(Some(Draw { owed: 1, wanted }))
    }

    /// A draw came back; `None`: Redis did not answer, so nothing is known, and the next event passes on credit.
    pub fn settle(&mut self, drawn: Option<Drawn>, now: Instant) {
        self.is_drawing = false;
        let Some(Drawn { granted, wait }) = drawn else { return };
        self.empty_until = (!wait.is_zero()).then_some(now + wait);
        if granted > 0 {
            self.next = Some(Block {
                left: granted,
                until: now + BLOCK_LIFE,
            });
            self.turn(now);
        }
    }

    /// A token that [`Purse::take`] gave was not needed, and the draw that went with it is not made.
    pub fn give_back(&mut self, draw: Option<Draw>) {
        self.is_drawing &= draw.is_none();
        self.used.take_back();
        let was_credit = draw.is_some_and(|draw| draw.owed > 0);
        if let Some(block) = self.current.as_mut().filter(|_| !was_credit) {
            block.left += 1;
        }
    }

    /// Whether it says no more than a new one would.
    pub fn is_blank(&mut self, now: Instant) -> bool {
        self.turn(now);
        let is_open = self.empty_until.is_none_or(|until| until <= now);
        is_open && !self.is_drawing && self.current.is_none() && self.used.lately(now) == 0
    }

    /// Lets go what has run out.
    fn turn(&mut self, now: Instant) {
        let has_some = |block: &Block| block.left > 0 && block.until > now;
        self.next = self.next.filter(has_some);
        self.current = self.current.filter(has_some).or_else(|| self.next.take());
    }

    /// The next block is drawn when half of what a second uses is left.
    fn want_ahead(&mut self, now: Instant) -> Option<Draw> {
        let left = self.current.map_or(0, |block| block.left);
        let target = self.used.lately(now).min(BLOCK_MAX);
        let is_empty = self.empty_until.is_some_and(|until| until > now);
        let is_due = left <= target / 2 && self.next.is_none() && !self.is_drawing && !is_empty;
        is_due.then(|| Draw {
            owed: 0,
            wanted: target - left,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_itself_or_its_64() {
        let seen = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(seen("203.0.113.7"), "203.0.113.7");
        assert_eq!(seen("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(seen("2001:db8:1:2:3::4"), seen("2001:db8:1:2:ffff::1"));
        assert_ne!(seen("2001:db8:1:2::1"), seen("2001:db8:1:3::1"));
        assert_eq!(seen("2001:db8:1:2::1"), "2001:db8:1:2::/64");
    }

    #[test]
    fn an_idle_user_pays_one_token_and_waits_for_nobody() {
        let (mut purse, mut now) = (Purse::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(purse.take(now), Verdict::Pass(Some(Draw { owed: 1, wanted: 0 })));
            let wait = Duration::ZERO;
            purse.settle(Some(Drawn { granted: 0, wait }), now);
            now += 3 * BLOCK_LIFE;
            assert!(purse.is_blank(now));
        }
    }

    #[test]
    fn an_empty_bucket_is_not_asked_until_it_has_a_token() {
        let (mut purse, now) = (Purse::default(), Instant::now());
        let wait = Duration::from_secs(10);
        purse.take(now);
        assert_eq!(purse.take(now), Verdict::Wait);
        purse.settle(Some(Drawn { granted: 0, wait }), now);
        for passed in [0, 9] {
            let passed = Duration::from_secs(passed);
            assert_eq!(purse.take(now + passed), Verdict::Refuse(wait - passed));
        }
        assert!(!purse.is_blank(now + 9 * BLOCK_LIFE));
        assert_eq!(purse.take(now + wait), Verdict::Pass(Some(Draw { owed: 1, wanted: 0 })));
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let (mut purse, now) = (Purse::default(), Instant::now());
        let credit = Draw { owed: 1, wanted: 0 };
        assert_eq!(purse.take(now), Verdict::Pass(Some(credit)));
        assert_eq!(purse.take(now), Verdict::Wait);
        purse.give_back(Some(credit));
        assert!(purse.is_blank(now));
        purse.take(now);
        let wait = Duration::from_secs(10);
        purse.settle(Some(Drawn { granted: 2, wait }), now);
        for _ in 0..3 {
            assert_eq!(purse.take(now), Verdict::Pass(None));
            purse.give_back(None);
        }
        assert_eq!(purse.take(now), Verdict::Pass(None));
        assert_eq!(purse.take(now), Verdict::Pass(None));
        assert_eq!(purse.take(now), Verdict::Refuse(wait));
    }

    #[test]
    fn a_draw_without_an_answer_leaves_the_way_open() {
        let (mut purse, now) = (Purse::default(), Instant::now());
        purse.take(now);
        purse.settle(None, now);
        assert!(matches!(purse.take(now), Verdict::Pass(Some(_))));
    }

    /// A bucket as the script holds it.
    struct Model {
        rate: Rate,
        full_us: u64,
    }

    impl Model {
        fn draw(&mut self, draw: Draw, now_us: u64) -> Drawn {
            let (interval, whole) = (
                self.rate.interval_us(),
                self.rate.interval_us() * u64::from(self.rate.burst()),
            );
            let owed = u64::from(draw.owed) * interval;
            self.full_us =
                (self.full_us.max(now_us) + owed).min(now_us + whole + interval * u64::from(self.rate.burst().max(16)));
            let room = (now_us + whole).saturating_sub(self.full_us) / interval;
            let granted = room.min(u64::from(draw.wanted));
            self.full_us += granted * interval;
            Drawn {
                granted: granted as u32,
                wait: Duration::from_micros((self.full_us + interval).saturating_sub(now_us + whole)),
            }
        }
    }

    proptest! {
        /// Shards of several nodes, events at any time: what passes is bounded as docs/limits.md says, and half of what
        /// the bucket gives is used at least, as far as anybody asks.
        #[test]
        fn purses_together_keep_the_rate(
            per_minute in 30_u32..6_000, burst in 1_u32..200,
            events in prop::collection::vec((0_usize..4, 0_u64..400), 1..600),
        ) {
            let rate = Rate::new(per_minute, burst).expect("in range");
            let mut model = Model { rate, full_us: 0 };
            let mut purses: [Purse; 4] = Default::default();
            let (start, mut now_us) = (Instant::now(), 0);
            let (mut passed, mut drawn) = (0_u64, 0_u64);
            for (shard, pause_ms) in events {
                now_us += pause_ms * 1_000;
                let now = start + Duration::from_micros(now_us);
                match purses[shard].take(now) {
                    Verdict::Pass(draw) => {
                        passed += 1;
                        if let Some(draw) = draw {
                            prop_assert!(draw.wanted <= BLOCK_MAX);
                            let outcome = model.draw(draw, now_us);
                            drawn += u64::from(draw.owed + outcome.granted);
                            purses[shard].settle(Some(outcome), now);
                        }
                    }
                    Verdict::Refuse(wait) => prop_assert!(!wait.is_zero()),
                    Verdict::Wait => prop_assert!(false, "nothing is under way"),
                }
                let most = u64::from(burst) + now_us / rate.interval_us() + purses.len() as u64;
                prop_assert!(passed <= most, "{} of {}", passed, most);
            }
            prop_assert!(drawn <= 2 * passed + u64::from(BLOCK_MAX), "{} drawn, {} used", drawn, passed);
        }
    }
}
