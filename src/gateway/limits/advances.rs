//! Tokens of users' rates in single rooms, which their messages draw. Not here: the arithmetic (`domain::limits`), and the
//! rates that are asked before an event is carried out (`limits`).

use std::cell::RefCell;
use std::time::Instant;

use ahash::AHashMap;

use crate::domain::limits::{Advance, most_ahead};
use crate::domain::messages::Send;
use crate::types::{Rate, RoomName, UserId};

/// Of those who said something in a room of late, at a rate that is worth it.
#[derive(Default)]
pub struct Advances(RefCell<AHashMap<(RoomName, UserId), Advance>>);

impl Advances {
    /// How many tokens a message draws with it; 0: it has taken one.
    pub fn take(&self, rate: Option<Rate>, room: &RoomName, user: &UserId) -> u32 {
        let Some(most) = rate.map(most_ahead).filter(|most| *most > 0) else {
            return 1;
        };
        let mut advances = self.0.borrow_mut();
        let advance = advances.entry((room.clone(), user.clone())).or_default();
        advance.take(most, Instant::now())
    }

    /// A message that was to draw so many has its outcome.
    pub fn settle(&self, tokens: u32, room: &RoomName, user: &UserId, outcome: &Send) {
        let (ahead, is_used) = match outcome {
            Send::Sent(sent) => (sent.tokens_ahead, !sent.duplicate),
            // Redis did not answer, or not to the end.
            Send::Unknown | Send::Broken => (0, true),
            _ => (0, false),
        };
        if tokens == 1 || tokens == 0 && is_used {
            return;
        }
        let mut advances = self.0.borrow_mut();
        let Some(advance) = advances.get_mut(&(room.clone(), user.clone())) else {
            return;
        };
        match tokens {
            0 => advance.give_back(),
            _ => advance.settle(tokens, ahead, Instant::now()),
        }
    }

    /// Drops what says no more than nothing would.
    pub fn forget(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, advance| !advance.is_blank(now));
    }
}
