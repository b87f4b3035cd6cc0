//! Tokens of a user whose draw does not go beside the event: it goes with a call of the event's own, or is made only once it is
//! known that the token was needed.

use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Instant;

use super::{Shard, Tokens};
use crate::config::Limits;
use crate::domain::limits::{Class, Draw, Toll, Verdict};
use crate::gateway::events::Turn;
use crate::gateway::protocol::Failure;
use crate::types::UserId;

/// A draw that waits for the call that it goes with; where none has gone in the end, it is made by itself.
pub(in crate::gateway) struct Carried {
    pub(in crate::gateway) toll: Toll,
    shard: Rc<Shard>,
    user: UserId,
    class: Class,
    tokens: Rc<Tokens>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        match self.toll.drawn.get() {
            Some(&drawn) => {
                self.tokens.purse.borrow_mut().settle(drawn, Instant::now());
                self.tokens.settled.notify_waiters();
            }
            None => {
                let (user, tokens) = (self.user.clone(), Rc::clone(&self.tokens));
                self.shard.draw(user, self.class, self.toll.draw, tokens);
            }
        }
    }
}

/// A token that may not be needed; unless it is kept it goes back.
pub(in crate::gateway) struct Reserved {
    shard: Rc<Shard>,
    user: UserId,
    class: Class,
    tokens: Rc<Tokens>,
    draw: Option<Draw>,
    is_kept: bool,
}

impl Reserved {
    pub(in crate::gateway) fn keep(mut self) {
        self.is_kept = true;
        if let Some(draw) = self.draw {
            let (user, tokens) = (self.user.clone(), Rc::clone(&self.tokens));
            self.shard.draw(user, self.class, draw, tokens);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_kept {
            self.tokens.purse.borrow_mut().give_back(self.draw);
            self.tokens.settled.notify_waiters();
        }
    }
}

impl Turn<'_> {
    /// As [`Turn::limit`]; what is to be drawn goes with the event's own call.
    pub(in crate::gateway) async fn limit_by_call(&self, class: Class) -> Result<Option<Carried>, Failure> {
        self.limit_locally()?;
        let node = &self.shard.node;
        if node.settings.limits == Limits::Off {
            return Ok(None);
        }
        let tokens = self.shard.limits.tokens(&self.client.user, class);
        let draw = match self.shard.take(&tokens).await {
            Err(wait) if node.is_barred(class.as_str(), true) => return Err(Failure::rate_limited(wait)),
            Err(_) => None,
            Ok(draw) => draw,
        };
        Ok(draw.map(|draw| Carried {
            toll: Toll {
                rate: node.settings.rates.of(class),
                draw,
                drawn: OnceLock::new(),
            },
            shard: Rc::clone(self.shard),
            user: self.client.user.clone(),
            class,
            tokens,
        }))
    }

    /// A token for what may be needed; `None` where there is none at hand.
    pub(in crate::gateway) fn reserve(&self, class: Class) -> Option<Reserved> {
        let tokens = self.shard.limits.tokens(&self.client.user, class);
        let verdict = tokens.purse.borrow_mut().take(Instant::now());
        let Verdict::Pass(draw) = verdict else { return None };
        Some(Reserved {
            shard: Rc::clone(self.shard),
            user: self.client.user.clone(),
            class,
            tokens,
            draw,
            is_kept: false,
        })
    }
}
