//! Remembers for a short while who was told which version of a presence: it comes through every shared room, and a
//! socket hears it once. May be dropped at any time: receivers take a repeat for what it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};

use crate::types::UserId;

/// Longer than the rooms' steps of one change lie apart.
const MEMORY: Duration = Duration::from_secs(10);
/// After an interruption of the bus nothing is forgotten for so long: a room that is healed tells once more what was told up
/// to [`MEMORY`] before it was noticed.
const AFTERMATH: Duration = Duration::from_secs(60);
/// Changes that are remembered at most; beyond, the oldest is forgotten early.
const CHANGES_MAX: usize = 10_000;

/// Who was told which version lately.
#[derive(Default)]
pub struct Told {
    changes: AHashMap<UserId, Change>,
    order: VecDeque<(Instant, UserId, u64)>,
    interrupted: Option<Instant>,
}

struct Change {
    version: u64,
    clients: AHashSet<u64>,
}

impl Told {
    /// True, once per client and version; false also for a version that a newer one has overtaken.
    pub fn is_news(&mut self, user: &UserId, version: u64, client: u64) -> bool {
        self.forget();
        match self.changes.get_mut(user) {
            Some(change) if change.version > version => false,
            Some(change) if change.version == version => change.clients.insert(client),
            _ => {
                self.order.push_back((Instant::now(), user.clone(), version));
                let clients = AHashSet::from_iter([client]);
                self.changes.insert(user.clone(), Change { version, clients });
                true
            }
        }
    }

    /// The bus may not have brought everything.
    pub fn interrupted(&mut self) {
        // Before it forbids forgetting: what is older by now is told by nobody any more.
        self.forget();
        self.interrupted = Some(Instant::now());
    }

    /// Forgets what is long enough ago; also from time to time, since a node on which nothing changes would keep all that
    /// came with its connections.
    pub fn forget(&mut self) {
        if self.order.is_empty() {
            return;
        }
        let keeps = self.interrupted.is_some_and(|at| at.elapsed() < AFTERMATH);
        while let Some((at, user, version)) = self.order.front() {
            if (keeps || at.elapsed() < MEMORY) && self.order.len() <= CHANGES_MAX {
                return;
            }
            if self.changes.get(user).is_some_and(|change| change.version == *version) {
                self.changes.remove(user);
            }
            self.order.pop_front();
        }
        (self.changes, self.order) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_hears_each_version_once() {
        let (mut told, user) = (Told::default(), UserId::parse("u").expect("valid"));
        assert!(told.is_news(&user, 1, 7));
        assert!(!told.is_news(&user, 1, 7));
        assert!(told.is_news(&user, 1, 8));
        assert!(told.is_news(&user, 2, 7));
        assert!(!told.is_news(&user, 1, 9), "an overtaken version is dropped");
    }

    #[test]
    fn memory_is_bounded() {
        let mut told = Told::default();
        for n in 0..CHANGES_MAX + 10 {
            told.is_news(&UserId::parse(&n.to_string()).expect("valid"), 1, 1);
        }
        assert!(told.changes.len() <= CHANGES_MAX + 1);
    }
}
