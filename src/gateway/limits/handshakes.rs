//! The rate of handshakes, as a shard holds it for each address. Not here: who else is turned down at the door (`handshake`).

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Shard;
use crate::config::Limits;
use crate::domain::limits::{self, Passage, Turnstile};
use crate::hot::HotError;

/// Addresses that one shard holds at once, by far most of them for a second; of others Redis is asked each time.
pub(super) const ADDRESSES_MAX: usize = 4_096;

/// An address's tokens, and word to those who wait for a draw.
#[derive(Default)]
pub(super) struct Entrance {
    pub(super) turnstile: RefCell<Turnstile>,
    settled: Notify,
}

/// Ends a draw, also where whoever made it goes away.
struct Drawing<'a>(&'a Entrance);

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        if self.0.turnstile.borrow().is_drawing() {
            self.0.turnstile.borrow_mut().settle(None, Instant::now());
        }
        self.0.settled.notify_waiters();
    }
}

impl Shard {
    /// One more handshake from an address: how long it is to wait, if it is.
    pub(in crate::gateway) async fn knock(&self, address: IpAddr) -> Result<Option<Duration>, HotError> {
        if self.node.settings.limits == Limits::Off {
            return Ok(None);
        }
        let neighbourhood = limits::neighbourhood(address);
        let Some(entrance) = self.limits.entrance(&neighbourhood) else {
            return self.draw_one(&neighbourhood).await;
        };
        let mut has_waited = false;
        loop {
            // Before the look, so that no word is missed in between.
            let settled = entrance.settled.notified();
            let passage = entrance.turnstile.borrow_mut().ask(has_waited, Instant::now());
            match passage {
                Passage::Pass => return Ok(None),
                Passage::Refuse(wait) => return Ok(Some(wait)),
                Passage::Wait => {
                    settled.await;
                    has_waited = true;
                    if entrance.turnstile.borrow().has_failed() {
                        // Not one after the other: each would wait for Redis as long as the first.
                        return self.draw_one(&neighbourhood).await;
                    }
                }
                Passage::Draw(wanted) => {
                    let drawing = Drawing(&entrance);
                    let rate = self.node.settings.rates.handshakes;
                    let drawn = limits::draw_handshakes(&self.hot, &neighbourhood, rate, wanted).await?;
                    entrance.turnstile.borrow_mut().settle(Some(drawn), Instant::now());
                    drop(drawing);
                    has_waited = false;
                }
            }
        }
    }

    async fn draw_one(&self, neighbourhood: &str) -> Result<Option<Duration>, HotError> {
        let rate = self.node.settings.rates.handshakes;
        let drawn = limits::draw_handshakes(&self.hot, neighbourhood, rate, 1).await?;
        Ok((drawn.granted == 0).then_some(drawn.wait))
    }
}

impl super::Book {
    /// `None`: there are too many already.
    fn entrance(&self, neighbourhood: &str) -> Option<Rc<Entrance>> {
        let mut entrances = self.entrances.borrow_mut();
        if let Some(entrance) = entrances.get(neighbourhood) {
            return Some(Rc::clone(entrance));
        }
        if entrances.len() >= ADDRESSES_MAX {
            return None;
        }
        let entrance = Rc::<Entrance>::default();
        entrances.insert(neighbourhood.to_owned(), Rc::clone(&entrance));
        Some(entrance)
    }
}
