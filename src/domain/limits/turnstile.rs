//! Tokens of one address on one shard. Not here: users' tokens, which are drawn ahead (`Purse`).

use std::time::{Duration, Instant};

use super::{BLOCK_LIFE, Block, Drawn};

/// Tokens of one call.
const CALL_MAX: u32 = 256;

/// What a handshake is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Pass,
    /// The bucket was seen empty, and has a token again after this time.
    Refuse(Duration),
    /// So many tokens are to be drawn, and told to [`Turnstile::settle`]; then it asks again.
    Draw(u32),
    /// A draw is under way: asked again when it is settled.
    Wait,
}

/// Nobody passes before a token was drawn, and none is drawn but for who is there: those who come while a draw is under way
/// share the next. So addresses have exactly their rate, and many handshakes of one address at once are few calls.
#[derive(Debug, Default)]
pub struct Turnstile {
    /// What a draw brought for those who wait.
    block: Option<Block>,
    empty_until: Option<Instant>,
    is_drawing: bool,
    /// Those who wait for the draw that is under way.
    waiting: u32,
    has_failed: bool,
    /// Of those who waited for the last one, how many have not asked again.
    woken: u32,
}

impl Turnstile {
    /// `has_waited`: it was told to, and asks again.
    pub fn ask(&mut self, has_waited: bool, now: Instant) -> Passage {
        self.turn(now);
        self.woken = self.woken.saturating_sub(u32::from(has_waited));
        if let Some(block) = &mut self.block {
            block.left -= 1;
            return Passage::Pass;
        }
        if let Some(until) = self.empty_until {
            return Passage::Refuse(until - now);
        }
        if self.is_drawing {
            self.waiting += 1;
            return Passage::Wait;
        }
        self.is_drawing = true;
        Passage::Draw((1 + self.woken).min(CALL_MAX))
    }

    /// A draw came back; `None`: Redis did not answer.
    pub fn settle(&mut self, drawn: Option<Drawn>, now: Instant) {
        self.is_drawing = false;
        self.woken = std::mem::take(&mut self.waiting);
        self.has_failed = drawn.is_none();
        let Some(Drawn { granted, wait }) = drawn else { return };
        self.empty_until = (!wait.is_zero()).then_some(now + wait);
        self.block = Some(Block {
            left: granted,
            until: now + BLOCK_LIFE,
        });
        self.turn(now);
    }

    pub fn is_drawing(&self) -> bool {
        self.is_drawing
    }

    /// The last draw had no answer.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether it says no more than a new one would.
    pub fn is_blank(&mut self, now: Instant) -> bool {
        self.turn(now);
        self.block.is_none() && self.empty_until.is_none() && !self.is_drawing
    }

    fn turn(&mut self, now: Instant) {
        self.block = self.block.filter(|block| block.left > 0 && block.until > now);
        self.empty_until = self.empty_until.filter(|until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(granted: u32, wait_s: u64) -> Option<Drawn> {
        let wait = Duration::from_secs(wait_s);
        Some(Drawn { granted, wait })
    }

    #[test]
    fn those_who_come_during_a_draw_share_the_next() {
        let (mut turnstile, now) = (Turnstile::default(), Instant::now());
        assert_eq!(turnstile.ask(false, now), Passage::Draw(1));
        for _ in 0..3 {
            assert_eq!(turnstile.ask(false, now), Passage::Wait);
        }
        turnstile.settle(drawn(1, 0), now);
        assert_eq!(turnstile.ask(false, now), Passage::Pass);
        assert_eq!(turnstile.ask(true, now), Passage::Draw(3));
        for _ in 0..2 {
            assert_eq!(turnstile.ask(true, now), Passage::Wait);
        }
        turnstile.settle(drawn(2, 7), now);
        assert_eq!(turnstile.ask(false, now), Passage::Pass);
        assert_eq!(turnstile.ask(true, now), Passage::Pass);
        assert_eq!(turnstile.ask(true, now), Passage::Refuse(Duration::from_secs(7)));
        assert!(!turnstile.is_blank(now));
        let later = now + Duration::from_secs(7);
        assert!(turnstile.is_blank(later));
        assert_eq!(turnstile.ask(false, later), Passage::Draw(1));
    }

    #[test]
    fn whoever_went_away_while_it_waited_costs_one_call_its_token() {
        let (mut turnstile, now) = (Turnstile::default(), Instant::now());
        turnstile.ask(false, now);
        turnstile.ask(false, now);
        turnstile.settle(drawn(1, 0), now);
        assert_eq!(turnstile.ask(false, now), Passage::Pass);
        assert_eq!(turnstile.ask(false, now), Passage::Draw(2));
        turnstile.settle(drawn(2, 0), now);
        assert_eq!(turnstile.ask(false, now), Passage::Pass);
        let later = now + BLOCK_LIFE;
        assert_eq!(turnstile.ask(false, later), Passage::Draw(1));
    }

    #[test]
    fn a_draw_without_an_answer_is_made_again() {
        let (mut turnstile, now) = (Turnstile::default(), Instant::now());
        assert_eq!(turnstile.ask(false, now), Passage::Draw(1));
        assert_eq!(turnstile.ask(false, now), Passage::Wait);
        turnstile.settle(None, now);
        assert_eq!(turnstile.ask(true, now), Passage::Draw(1));
    }
}
