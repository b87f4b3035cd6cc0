//! How a shard sends its sockets away: each is told its moment at once, and loses its transport when that has come, so that
//! stock clients come back by themselves, not all at once. Not here: when the node goes away (`lifecycle::drain`).

use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use tokio::time::sleep_until;

use super::client::Client;
use super::outgoing;
use super::shard::Shard;
use crate::engine::CloseReason;

/// Sockets whose moments are closer than this share one, and the frame that says it.
const BATCH_EVERY: Duration = Duration::from_millis(100);

/// Where each of so many sockets stands in a window of so many batches: spread evenly, the first at once.
fn batches(sockets: usize, window: Duration) -> impl Iterator<Item = usize> {
    let batches = (window.as_millis() / BATCH_EVERY.as_millis()).max(1);
    (0..sockets).map(move |socket| (socket as u128 * batches / sockets as u128) as usize)
}

impl Shard {
    /// Tells every socket when its transport is closed within the window, and closes it then. Once; a repeat changes nothing.
    pub(super) fn send_everybody_away(self: &Rc<Self>, window: Duration) {
        if self.leaving_until.get().is_some() {
            return;
        }
        let now = Instant::now();
        self.leaving_until.set(Some(now + window));
        let mut clients: Vec<Rc<Client>> = {
            let partitions = self.clients.borrow();
            partitions
                .iter()
                .flat_map(|partition| partition.values())
                .cloned()
                .collect()
        };
        // In the order of partitions, each moment would be that of one partition of Redis.
        clients.shuffle(&mut rand::rng());
        let mut groups: Vec<(Duration, Vec<Weak<Client>>)> = Vec::new();
        let mut word = outgoing::draining(0);
        let placed: Vec<usize> = batches(clients.len(), window).collect();
        for (client, batch) in clients.into_iter().zip(placed) {
            let moment = BATCH_EVERY * batch as u32;
            if groups.last().is_none_or(|(last, _)| *last != moment) {
                word = outgoing::draining(moment.as_millis() as u64);
                groups.push((moment, Vec::new()));
            }
            client.socket.send(&word);
            if let Some((_, group)) = groups.last_mut() {
                group.push(Rc::downgrade(&client));
            }
        }
        tokio::task::spawn_local(async move {
            for (moment, group) in groups {
                sleep_until((now + moment).into()).await;
                for client in group.iter().filter_map(Weak::upgrade) {
                    client.socket.close(CloseReason::Draining);
                }
            }
        });
    }

    /// Whoever was let in at the door just before it closed gets a moment of what is left.
    pub(super) fn send_latecomer_away(&self, client: &Rc<Client>) {
        let Some(until) = self.leaving_until.get() else { return };
        let left = until.saturating_duration_since(Instant::now()).as_millis() as u64;
        let moment = Duration::from_millis(rand::rng().random_range(0..=left));
        client.socket.send(&outgoing::draining(moment.as_millis() as u64));
        let client = Rc::downgrade(client);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(moment).await;
            if let Some(client) = client.upgrade() {
                client.socket.close(CloseReason::Draining);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(sockets: usize, window_ms: u64) -> Vec<usize> {
        batches(sockets, Duration::from_millis(window_ms)).collect()
    }

    #[test]
    fn sockets_are_spread_evenly_and_all_within_the_window() {
        assert_eq!(placed(4, 400), [0, 1, 2, 3]);
        assert_eq!(placed(2, 1_000), [0, 5]);
        let many = placed(10_000, 20_000);
        let counts = many.chunk_by(|one, other| one == other).map(<[usize]>::len);
        assert!(counts.eq(std::iter::repeat_n(50, 200)), "fifty each 100 ms");
    }

    #[test]
    fn without_a_window_everybody_goes_at_once() {
        assert_eq!(placed(3, 0), [0, 0, 0]);
        assert_eq!(placed(0, 20_000), [] as [usize; 0]);
    }
}
