//! Whether the bus brings what is published: on a channel of the node's own at every master, whatever is sung must come back.
//! A connection can stand and bring nothing, while commands on others pass. Not here: who sings (`lifecycle::canary`), what is
//! done about silence (`bus`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::keys::Perch;

/// What has not come back for this long will not come any more.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// A master that has taken nothing for this long takes no writes.
const REFUSED_AFTER: Duration = Duration::from_secs(3);

/// What is wrong with the bus; each names the master where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Not every master is connected.
    #[error("the bus is not connected to every master of Redis")]
    Disconnected,
    /// The node's own subscription does not stand.
    #[error("the bus has no subscription at {0}")]
    Unsubscribed(String),
    /// What is published does not come back.
    #[error("what is published through {0} does not come back")]
    Deaf(String),
    /// Nothing has come back yet.
    #[error("what is published through {0} has not come back yet")]
    Unproven(String),
    /// A script that writes does not run.
    #[error("{0} does not run a script that writes")]
    Refused(String),
}

/// What is known of the canaries.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<BTreeMap<Perch, Flight>>);

#[derive(Debug, Default)]
struct Flight {
    /// The master, as it is shown.
    master: String,
    is_subscribed: bool,
    /// Since the subscription stands.
    returned: Option<Instant>,
    /// The first song that was sent since, and has not come back.
    missing_since: Option<Instant>,
    /// Until one comes back.
    is_lost: bool,
    /// The first song that the master did not take, since the last that it did.
    refused_since: Option<Instant>,
}

impl Canaries {
    /// From now on there is one canary at each of these masters, and no other; those that are new.
    pub fn settle(&self, perches: &BTreeMap<Perch, String>) -> Vec<Perch> {
        let mut flights = self.flights();
        flights.retain(|perch, _| perches.contains_key(perch));
        let mut new = Vec::new();
        for (perch, master) in perches {
            let flight = flights.entry(*perch).or_insert_with(|| {
                new.push(*perch);
                Flight::default()
            });
            flight.master.clone_from(master);
        }
        new
    }

    pub fn perches(&self) -> Vec<Perch> {
        self.flights().keys().copied().collect()
    }

    /// Redis has published a song, at `at` or a little later; how long it was under way, if it is back already.
    pub fn sent(&self, perch: Perch, at: Instant) -> Option<Duration> {
        self.change(perch, |flight| {
            flight.refused_since = None;
            let back = flight.returned.filter(|returned| *returned >= at);
            if back.is_none() {
                flight.missing_since.get_or_insert(at);
            }
            back.map(|back| back - at)
        })?
    }

    /// Redis has not, or did not say so.
    pub fn refused(&self, perch: Perch, at: Instant) {
        self.change(perch, |flight| {
            flight.refused_since.get_or_insert(at);
        });
    }

    /// A song is back; how long the oldest that was missed was under way.
    pub fn returned(&self, perch: Perch, at: Instant) -> Option<Duration> {
        self.change(perch, |flight| {
            flight.returned = Some(at);
            flight.is_lost = false;
            let missing_since = flight.missing_since.take();
            missing_since.map(|since| at.saturating_duration_since(since))
        })?
    }

    /// The subscription stands anew: what was sent before cannot come, and what is sent from now on must.
    pub fn subscribed(&self, perch: Perch) {
        self.change(perch, |flight| {
            flight.is_subscribed = true;
            flight.returned = None;
            flight.missing_since = None;
        });
    }

    pub fn unsubscribed(&self, perch: Perch) {
        self.change(perch, |flight| flight.is_subscribed = false);
    }

    /// Where the subscription stands and brings nothing.
    pub fn missing(&self, now: Instant) -> Vec<Perch> {
        let mut flights = self.flights();
        let missing = flights.iter_mut().filter_map(|(perch, flight)| {
            let is_missing = flight.is_missing(now);
            (is_missing && flight.is_subscribed).then_some(*perch)
        });
        missing.collect()
    }

    /// What is wrong, if anything; the worst first.
    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let mut flights = self.flights();
        let mut found: Vec<(u8, Trouble)> = Vec::new();
        for flight in flights.values_mut() {
            let is_missing = flight.is_missing(now);
            let refused = flight.refused_since;
            let master = flight.master.clone();
            if !flight.is_subscribed {
                found.push((0, Trouble::Unsubscribed(master)));
            } else if is_missing || flight.is_lost {
                found.push((1, Trouble::Deaf(master)));
            } else if refused.is_some_and(|since| now.duration_since(since) > REFUSED_AFTER) {
                found.push((2, Trouble::Refused(master)));
            } else if flight.returned.is_none() {
                found.push((3, Trouble::Unproven(master)));
            }
        }
        let worst = found.into_iter().min_by_key(|(rank, _)| *rank);
        worst.map(|(_, trouble)| trouble)
    }

    /// `None`: there is no canary any more, which is no matter.
    fn change<T>(&self, perch: Perch, change: impl FnOnce(&mut Flight) -> T) -> Option<T> {
        self.flights().get_mut(&perch).map(change)
    }

    fn flights(&self) -> MutexGuard<'_, BTreeMap<Perch, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Whether the subscription as it stands brings nothing.
    fn is_missing(&mut self, now: Instant) -> bool {
        let since = self.missing_since;
        let is_missing = since.is_some_and(|since| now.duration_since(since) > LOST_AFTER);
        self.is_lost |= is_missing;
        is_missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Perch = Perch::Nodes;

    fn canaries() -> (Canaries, impl Fn(u64) -> Instant) {
        let (canaries, start) = (Canaries::default(), Instant::now());
        assert_eq!(canaries.settle(&[(HERE, "a".to_owned())].into()), [HERE]);
        assert_eq!(canaries.trouble(start), Some(Trouble::Unsubscribed("a".into())));
        canaries.subscribed(HERE);
        assert_eq!(canaries.trouble(start), Some(Trouble::Unproven("a".into())));
        (canaries, move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_song_that_comes_back_before_its_reply_is_not_missed() {
        let (canaries, at) = canaries();
        canaries.returned(HERE, at(2));
        canaries.sent(HERE, at(1));
        assert_eq!(canaries.trouble(at(9_000)), None, "a slow song is none that was lost");
    }

    #[test]
    fn each_song_tells_once_how_long_it_was_under_way() {
        let (canaries, at) = canaries();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(canaries.returned(HERE, at(3)), None, "its reply is still to come");
        assert_eq!(canaries.sent(HERE, at(1)), ms(2));
        assert_eq!(canaries.sent(HERE, at(10)), None);
        assert_eq!(canaries.sent(HERE, at(20)), None);
        assert_eq!(canaries.returned(HERE, at(50)), ms(40), "the oldest one's");
        assert_eq!(canaries.returned(HERE, at(51)), None);
    }

    #[test]
    fn it_is_lost_until_one_comes_back() {
        let (canaries, at) = canaries();
        canaries.returned(HERE, at(0));
        canaries.sent(HERE, at(1));
        canaries.sent(HERE, at(2_000));
        assert_eq!(canaries.trouble(at(3_000)), None);
        let deaf = Some(Trouble::Deaf("a".into()));
        assert_eq!(canaries.trouble(at(3_002)), deaf);
        assert_eq!(canaries.missing(at(3_002)), [HERE]);
        canaries.subscribed(HERE);
        assert_eq!(canaries.missing(at(3_003)), [], "another subscription has its own time");
        assert_eq!(canaries.trouble(at(3_003)), deaf, "and has shown nothing yet");
        canaries.returned(HERE, at(4_000));
        assert_eq!(canaries.trouble(at(9_000)), None);
    }

    #[test]
    fn a_master_that_takes_nothing_is_told_of() {
        let (canaries, at) = canaries();
        canaries.returned(HERE, at(0));
        canaries.refused(HERE, at(1));
        canaries.refused(HERE, at(2_000));
        assert_eq!(canaries.trouble(at(3_000)), None, "once is an accident");
        assert_eq!(canaries.trouble(at(3_002)), Some(Trouble::Refused("a".into())));
        canaries.sent(HERE, at(4_000));
        canaries.returned(HERE, at(4_001));
        assert_eq!(canaries.trouble(at(4_002)), None);
    }

    #[test]
    fn a_master_that_is_one_no_longer_is_no_trouble() {
        let (canaries, at) = canaries();
        canaries.returned(HERE, at(0));
        let there = Perch::Partition(crate::hot::keys::Partition::all().next().expect("there are some"));
        let both: BTreeMap<_, _> = [(HERE, "a".to_owned()), (there, "b".to_owned())].into();
        assert_eq!(canaries.settle(&both), [there]);
        assert_eq!(canaries.trouble(at(1)), Some(Trouble::Unsubscribed("b".into())));
        assert_eq!(canaries.settle(&[(HERE, "c".to_owned())].into()), []);
        assert_eq!(canaries.trouble(at(1)), None);
    }
}
