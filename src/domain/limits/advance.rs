//! Tokens of a user's rate in one room. Who needs one takes it with the message itself, and at a high rate some more with it,
//! so that the messages behind it ask for none: a call that asks is longer by a third. Not here: rates over all rooms
//! ([`Purse`](super::Purse)).

use std::time::{Duration, Instant};

use super::{BLOCK_LIFE, BLOCK_MAX, Block};
use crate::types::Rate;

/// What is drawn ahead fills a bucket again in this time: so much is lost at most where its user falls silent.
const AHEAD: Duration = Duration::from_millis(50);

/// Tokens that may be drawn ahead of this rate; 0 where a few of them would be missed.
pub fn most_ahead(rate: Rate) -> u32 {
    u32::try_from(AHEAD.as_micros() as u64 / rate.interval_us())
        .unwrap_or(BLOCK_MAX)
        .min(BLOCK_MAX)
}

/// What one shard holds of one user's bucket in one room. Nothing passes on credit: without a token here a message takes one in
/// Redis, or is refused there.
#[derive(Debug, Default)]
pub struct Advance {
    block: Option<Block>,
    /// A message that draws ahead has no outcome until then, or will have none.
    drawing_until: Option<Instant>,
}

impl Advance {
    /// How many tokens a message has to draw with it, of which it uses one; 0: it has taken one that is here. `ahead` is how
    /// many more may be drawn.
    pub fn take(&mut self, ahead: u32, now: Instant) -> u32 {
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
        !self.is_drawing(now) && self.here(now).is_none()
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

    #[test]
    fn a_low_rate_is_not_drawn_ahead() {
        let ahead = |per_minute| most_ahead(Rate::new(per_minute, 10).expect("in range"));
        assert_eq!([60, 600, 1_199].map(ahead), [0, 0, 0]);
        assert_eq!([1_200, 6_000].map(ahead), [1, 5]);
        assert_eq!(ahead(10_000_000), BLOCK_MAX);
    }

    #[test]
    fn tokens_that_came_with_a_message_are_used_by_those_behind_it() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        assert_eq!(advance.take(2, now), 3);
        // Beside it, others take their own.
        assert_eq!(advance.take(2, now), 1);
        assert!(!advance.is_blank(now));
        advance.settle(3, 2, now);
        advance.settle(1, 0, now);
        assert_eq!([(); 3].map(|()| advance.take(2, now)), [0, 0, 3]);
    }

    #[test]
    fn what_is_given_back_is_there_again() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        advance.take(1, now);
        advance.settle(2, 1, now);
        for _ in 0..3 {
            assert_eq!(advance.take(1, now), 0);
            advance.give_back();
        }
        assert_eq!([(); 2].map(|()| advance.take(1, now)), [0, 2]);
    }

    #[test]
    fn what_is_not_used_runs_out() {
        let (mut advance, mut now) = (Advance::default(), Instant::now());
        advance.take(5, now);
        advance.settle(6, 5, now);
        now += BLOCK_LIFE;
        assert!(advance.is_blank(now));
        advance.give_back();
        assert_eq!(advance.take(5, now), 6);
    }

    #[test]
    fn a_draw_that_failed_leaves_the_way_open() {
        let (mut advance, now) = (Advance::default(), Instant::now());
        assert_eq!(advance.take(5, now), 6);
        advance.settle(6, 0, now);
        assert!(advance.is_blank(now));
        assert_eq!(advance.take(5, now), 6);
        assert!(!advance.is_blank(now));
        assert!(advance.is_blank(now + BLOCK_LIFE));
    }
}
