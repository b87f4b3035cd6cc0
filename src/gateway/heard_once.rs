//! Remembers for a short while which clients heard an event that comes through several rooms: each hears it once, in
//! whichever room it comes first. May be dropped at any time: a repeat is then heard twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};

/// As long as somebody may say the same event again, in rooms that it did not come to before.
const MEMORY: Duration = Duration::from_secs(120);
/// Events that are remembered, and their clients, in all; beyond, the oldest event is forgotten early.
const CLIENTS_MAX: usize = 262_144;

/// Who heard which event.
#[derive(Default)]
pub(super) struct HeardOnce {
    events: AHashMap<Arc<str>, AHashSet<u64>>,
    order: VecDeque<(Instant, Arc<str>)>,
    clients: usize,
}

/// Who heard one of them.
pub(super) struct Hearers<'a> {
    clients: &'a mut AHashSet<u64>,
    /// Of all events.
    total: &'a mut usize,
}

impl Hearers<'_> {
    /// True, once per client: it is to hear the event now.
    pub fn is_first(&mut self, client: u64) -> bool {
        let is_first = self.clients.insert(client);
        *self.total += usize::from(is_first);
        is_first
    }
}

impl HeardOnce {
    /// Those who heard an event: looked up once for all clients of a room.
    pub fn of(&mut self, token: &Arc<str>) -> Hearers<'_> {
        self.forget();
        let order = &mut self.order;
        let clients = self.events.entry(Arc::clone(token)).or_insert_with(|| {
            order.push_back((Instant::now(), Arc::clone(token)));
            AHashSet::new()
        });
        Hearers {
            clients,
            total: &mut self.clients,
        }
    }

    fn forget(&mut self) {
        while let Some((at, _)) = self.order.front() {
            // One event alone is remembered whatever the number of its clients: a node holds no more.
            let is_full = self.clients + self.order.len() > CLIENTS_MAX && self.order.len() > 1;
            let is_over = at.elapsed() > MEMORY || is_full;
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

    fn is_first(heard: &mut HeardOnce, token: &str, client: u64) -> bool {
        heard.of(&token.into()).is_first(client)
    }

    #[test]
    fn each_client_hears_each_event_once() {
        let mut heard = HeardOnce::default();
        for (token, client) in [("a", 1), ("a", 2), ("b", 1)] {
            assert!(is_first(&mut heard, token, client));
            assert!(!is_first(&mut heard, token, client));
        }
        assert!(!is_first(&mut heard, "a", 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut heard = HeardOnce::default();
        let most = CLIENTS_MAX / 2 + 1;
        for event in 0..3 {
            let mut hearers = heard.of(&event.to_string().into());
            assert!((0..most as u64).all(|client| hearers.is_first(client)));
        }
        assert_eq!(heard.clients, 2 * most, "the oldest went before the newest came");
        assert!(!is_first(&mut heard, "2", 0), "the newest is remembered");
        assert_eq!(heard.clients, most);
        for event in 0..CLIENTS_MAX {
            heard.of(&format!("nobody hears {event}").into());
        }
        assert_eq!(heard.order.len(), heard.events.len());
        assert_eq!((heard.events.len(), heard.clients), (CLIENTS_MAX, 0));
    }
}
