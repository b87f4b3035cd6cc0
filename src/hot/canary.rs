//! Whether the bus brings what is published: each beat of the node goes through the node's own channel, and must come back.
//! A connection can stand and bring nothing, while commands on others pass. Not here: who beats (`lifecycle::beat`), what is
//! done about silence (`bus`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A beat that has not come back for this long will not come any more.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// What is known of the node's beats.
#[derive(Debug)]
pub(super) struct Canary(Mutex<Flight>);

#[derive(Debug)]
struct Flight {
    returned: Instant,
    /// The first beat that was sent since, and has not come back.
    missing_since: Option<Instant>,
    /// Until one comes back.
    is_lost: bool,
}

impl Canary {
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Flight {
            returned: now,
            missing_since: None,
            is_lost: false,
        }))
    }

    /// Redis has published a beat, at `at` or a little later; how long it was under way, if it is back already.
    pub fn sent(&self, at: Instant) -> Option<Duration> {
        let mut flight = self.flight();
        if flight.returned < at {
            flight.missing_since.get_or_insert(at);
            return None;
        }
        Some(flight.returned - at)
    }

    /// A beat is back; how long the oldest that was missed was under way.
    pub fn returned(&self, at: Instant) -> Option<Duration> {
        let before = std::mem::replace(
            &mut *self.flight(),
            Flight {
                returned: at,
                missing_since: None,
                is_lost: false,
            },
        );
        Some(at.saturating_duration_since(before.missing_since?))
    }

    /// The subscription stands anew: what was sent before cannot come, and what is sent from now on must.
    pub fn resubscribed(&self) {
        self.flight().missing_since = None;
    }

    /// Whether the subscription as it stands brings nothing.
    pub fn is_missing(&self, now: Instant) -> bool {
        let mut flight = self.flight();
        let since = flight.missing_since;
        let is_missing = since.is_some_and(|since| now.duration_since(since) > LOST_AFTER);
        flight.is_lost |= is_missing;
        is_missing
    }

    /// The same; and no other has brought anything since.
    pub fn is_lost(&self, now: Instant) -> bool {
        self.is_missing(now) || self.flight().is_lost
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> (Canary, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Canary::new(start), move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_beat_that_comes_back_before_its_reply_is_not_missed() {
        let (canary, at) = canary();
        canary.returned(at(2));
        canary.sent(at(1));
        assert!(!canary.is_lost(at(9_000)), "a slow beat is none that was lost");
    }

    #[test]
    fn each_beat_tells_once_how_long_it_was_under_way() {
        let (canary, at) = canary();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(canary.returned(at(3)), None, "its reply is still to come");
        assert_eq!(canary.sent(at(1)), ms(2));
        assert_eq!(canary.sent(at(10)), None);
        assert_eq!(canary.sent(at(20)), None);
        assert_eq!(canary.returned(at(50)), ms(40), "the oldest one's");
        assert_eq!(canary.returned(at(51)), None);
    }

    #[test]
    fn it_is_lost_until_one_comes_back() {
        let (canary, at) = canary();
        canary.sent(at(1));
        canary.sent(at(2_000));
        assert!(!canary.is_lost(at(3_000)));
        assert!(canary.is_lost(at(3_002)));
        canary.resubscribed();
        assert!(!canary.is_missing(at(3_003)), "another subscription has its own time");
        assert!(canary.is_lost(at(3_003)), "and has shown nothing yet");
        canary.returned(at(4_000));
        assert!(!canary.is_lost(at(9_000)));
    }
}
