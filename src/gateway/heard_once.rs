//! Remembers for a short while which clients heard an event that comes through several rooms: each hears it once, in
//! whichever room it comes first. May be dropped at any time: a repeat is then heard twice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};

/// As long as somebody may say the same event again, in rooms that it did not come to before.
const MEMORY: Duration = Duration::from_secs(120);
/// Clients of all events that are remembered; beyond, the oldest event is forgotten early.
const CLIENTS_MAX: usize = 262_144;

/// Who heard which event.
#[derive(Default)]
pub(super) struct HeardOnce {
    events: AHashMap<String, AHashSet<u64>>,
    order: VecDeque<(Instant, String)>,
    clients: usize,
}

impl HeardOnce {
    /// True, once per event and client.
    pub fn is_first(&mut self, token: &str, client: u64) -> bool {
        self.forget();
        let clients = match self.events.get_mut(token) {
            Some(clients) => clients,
            None => {
                self.order.push_back((Instant::now(), token.to_owned()));
                self.events.entry(token.to_owned()).or_default()
            }
        };
        let is_first = clients.insert(client);
        self.clients += usize::from(is_first);
        is_first
    }

    fn forget(&mut self) {
        while let Some((at, _)) = self.order.front() {
            // One event alone is remembered whatever the number of its clients: a node holds no more.
            let is_over = at.elapsed() > MEMORY || self.clients > CLIENTS_MAX && self.order.len() > 1;
            if !is_over {
                return;
            }
            let forgotten = self.order.pop_front().and_then(|(_, token)| self.events.remove(&token));
            self.clients -= forgotten.map_or(0, |clients| clients.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_hears_each_event_once() {
        let mut heard = HeardOnce::default();
        assert!(heard.is_first("a", 1) && heard.is_first("a", 2) && heard.is_first("b", 1));
        assert!(!heard.is_first("a", 1) && !heard.is_first("b", 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut heard = HeardOnce::default();
        for event in 0..3 {
            for client in 0..CLIENTS_MAX as u64 / 2 + 1 {
                assert!(heard.is_first(&event.to_string(), client));
            }
        }
        assert_eq!(heard.order.len(), heard.events.len());
        assert!(heard.clients <= CLIENTS_MAX + 1, "{}", heard.clients);
        assert!(!heard.is_first("2", 0), "the newest is remembered");
    }
}
