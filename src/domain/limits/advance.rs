//! Tokens of a user's rate in one room. Who needs one takes it with the message itself, and at a high rate some more with it,
//! so that the messages behind it ask for none: a call that asks is longer by a third. Not here: rates over all rooms
//! ([`Purse`](super::Purse)).

use std::time::{Duration, Instant};

use super::{BLOCK_LIFE, BLOCK_MAX, Block, Used};
use crate::types::Rate;

/// What is drawn ahead fills a bucket again in this time: so much is lost at most where its user falls silent.
const AHEAD: Duration = Duration::from_millis(50);
/// No more than this part of a full bucket is drawn ahead: other nodes have to find something in it.
const PART: u32 = 16;

/// Tokens that may be drawn ahead of this rate; 0 where a few of them would be missed.
pub fn most_ahead(rate: Rate) -> u32 {
    let soon = u32::try_from(AHEAD.as_micros() as u64 / rate.interval_us()).unwrap_or(BLOCK_MAX);
    soon.min(rate.burst() / PART).min(BLOCK_MAX)
}

/// What one shard holds of one user's bucket in one room. Nothing passes on credit: without a token here a message takes one in
/// Redis, or is refused there. As many as the last second used are drawn ahead, so that what runs out unused is no more than
/// what was used.
#[derive(Debug, Default)]
pub struct Advance {
    block: Option<Block>,
    /// A message that draws ahead has no outcome until then, or will have none.
    drawing_until: Option<Instant>,
    used: Used,
}

impl Advance {
    /// How many tokens a message has to draw with it, of which it uses one; 0: it has taken one that is here. `most` is how
    /// many more may be drawn.
    pub fn take(&mut self, most: u32, now: Instant) -> u32 {
        let ahead = self.used.lately(now).min(most);
        self.used.add(now);
        if let Some(block) = self.here(now) {
            block.left -= 1;
            return 0;
        }
        // One draw ahead at a time.
        if ahead == 0 || self.is_drawing(now) {
            return 1;
        }
        self.drawing_until = Some(now + BLOCK_LIFE);
        1 + ahead
    }

    /// A message that was to draw so many has its outcome, and with it so many tokens beyond its own.
    pub fn settle(&mut self, wanted: u32, ahead: u32, now: Instant) {
        if wanted > 1 {
            self.drawing_until = None;
        }
        if ahead > 0 {
            self.block = Some(Block {
                left: ahead,
                until: now + BLOCK_LIFE,
            });
        }
    }

    /// A message that had taken one did not need it: it was refused, or a repeat.
    pub fn give_back(&mut self) {
        if let Some(block) = &mut self.block {
            block.left += 1;
        }
    }

    /// Whether it says no more than a new one would.
    pub fn is_blank(&mut self, now: Instant) -> bool {
        !self.is_drawing(now) && self.here(now).is_none() && self.used.lately(now) == 0
    }

    fn is_drawing(&self, now: Instant) -> bool {
        self.drawing_until.is_some_and(|until| until > now)
    }

    fn here(&mut self, now: Instant) -> Option<&mut Block> {
        self.block.as_mut().filter(|block| block.left > 0 && block.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 64;

    #[test]
    fn a_low_rate_is_not_drawn_ahead() {
        let ahead = |per_minute, burst| most_ahead(Rate::new(per_minute, burst).expect("in range"));
        assert_eq!([60, 600, 1_199].map(|rate| ahead(rate, 1_000)), [0, 0, 0]);
        assert_eq!([1_200, 6_000].map(|rate| ahead(rate, 1_000)), [1, 5]);
        assert_eq!([2, 15, 16, 40].map(|burst| ahead(6_000, burst)), [0, 0, 1, 2]);
        assert_eq!(ahead(10_000_000, 100_000), BLOCK_MAX);
    }

    #[test]
    fn who_keeps_sending_draws_what_was_used_and_uses_it() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        let mut drawn = Vec::new();
        for _ in 0..16 {
            let wanted = advance.take(3, now);
            drawn.push(wanted);
            advance.settle(wanted, wanted.saturating_sub(1), now);
        }
        assert_eq!(drawn, [1, 2, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4]);
    }

    #[test]
    fn one_message_at_a_time_draws_ahead() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        assert_eq!([(); 4].map(|()| advance.take(MOST, now)), [1, 2, 1, 1]);
        assert!(!advance.is_blank(now));
        advance.settle(1, 0, now);
        assert_eq!(advance.take(MOST, now), 1);
        advance.settle(2, 1, now);
        assert_eq!([(); 2].map(|()| advance.take(MOST, now)), [0, 7]);
    }

    #[test]
    fn what_is_given_back_is_there_again() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        advance.settle(2, 1, now);
        for _ in 0..3 {
            assert_eq!(advance.take(MOST, now), 0);
            advance.give_back();
        }
        assert_eq!([(); 2].map(|()| advance.take(1, now)), [0, 2]);
    }

    #[test]
    fn what_is_not_used_runs_out() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        advance.take(MOST, now);
        advance.settle(6, 5, now);
        assert!(!advance.is_blank(now + BLOCK_LIFE / 2));
        assert!(advance.is_blank(now + 2 * BLOCK_LIFE));
        advance.give_back();
        assert_eq!(advance.take(MOST, now + 2 * BLOCK_LIFE), 1);
    }

    #[test]
    fn a_draw_without_an_outcome_is_not_waited_for_for_ever() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        assert_eq!([(); 3].map(|()| advance.take(MOST, now)), [1, 2, 1]);
        assert_eq!(advance.take(MOST, now + BLOCK_LIFE), 4);
        assert!(advance.is_blank(now + 3 * BLOCK_LIFE));
    }
}
