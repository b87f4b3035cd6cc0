//! Many clients, in rooms of the same size, and what they say.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Client, Ears};
use super::support::node::Node;

/// Clients that connect at the same time.
const AT_ONCE: usize = 64;
/// Between two portions of what is said at a pace.
const TICK: Duration = Duration::from_millis(5);
/// What is still under way at the end may come so late.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Crowd {
    clients: Vec<Client>,
    room: usize,
    since: Instant,
    ears: Rc<Ears>,
}

/// What became of what was said.
pub struct Heard {
    /// Ways, µs, ascending.
    ways: Vec<u32>,
    pub sent: usize,
    pub expected: usize,
}

impl Heard {
    pub fn count(&self) -> usize {
        self.ways.len()
    }

    pub fn percentile_ms(&self, part: f64) -> f64 {
        let last = self.ways.len().saturating_sub(1);
        let way = self.ways.get((self.ways.len() as f64 * part) as usize);
        let way = way.or(self.ways.get(last)).copied().unwrap_or_default();
        f64::from(way) / 1_000.0
    }
}

impl Crowd {
    /// `count` users, in rooms of `room` whose names begin like this.
    pub async fn connect(node: &Node, count: usize, room: usize, name: &str) -> Self {
        let (since, ears) = (Instant::now(), Rc::new(Ears::default()));
        let name = if name.starts_with("auto:") {
            name.to_owned()
        } else {
            format!("auto:{name}")
        };
        let enter = |number: usize| {
            let room = format!("{name}-{}", number / room);
            Client::enter(node.port(), number, room, since, Rc::clone(&ears))
        };
        let clients: Vec<_> = stream::iter(0..count).map(enter).buffered(AT_ONCE).collect().await;
        let clients = clients.into_iter().map(|client| client.expect("it gets in"));
        Self {
            clients: clients.collect(),
            room,
            since,
            ears,
        }
    }

    /// So many messages a second, from all in turn.
    pub async fn pace(&mut self, rate: usize, time: Duration) -> Heard {
        let (mut ticks, mut sent, started) = (interval(TICK), 0, Instant::now());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while started.elapsed() < time {
            ticks.tick().await;
            let due = (rate as f64 * started.elapsed().as_secs_f64()) as usize;
            while sent < due {
                // A stride that is prime to the rooms' size, so that the rooms take turns.
                let speaker = sent * (self.room + 1) % self.clients.len();
                let said = self.clients[speaker].say(self.since, usize::MAX).await;
                said.expect("the gateway holds the socket");
                sent += 1;
            }
        }
        self.heard(sent).await
    }

    /// As much as goes, from so many clients spread over the rooms, each with so many messages under way.
    pub async fn flood(&mut self, senders: usize, window: usize, time: Duration) -> Heard {
        let (since, started) = (self.since, Instant::now());
        let stride = self.clients.len() / senders;
        let speakers = self.clients.iter_mut().step_by(stride).take(senders);
        let sent = join_all(speakers.map(|client| async move {
            let mut sent = 0;
            while started.elapsed() < time {
                client.say(since, window).await.expect("the gateway holds the socket");
                sent += 1;
            }
            sent
        }));
        let sent = sent.await.into_iter().sum();
        self.heard(sent).await
    }

    /// Waits until all of it was heard, or will not be.
    async fn heard(&self, sent: usize) -> Heard {
        let expected = sent * self.room;
        let deadline = Instant::now() + PATIENCE;
        while (self.ears.ways.borrow().len() < expected || self.ears.acks.get() < sent) && Instant::now() < deadline {
            tokio::time::sleep(TICK).await;
        }
        assert_eq!(self.ears.refusals.get(), 0, "a message was refused");
        let mut ways = self.ears.ways.take();
        self.ears.acks.set(0);
        ways.sort_unstable();
        Heard { ways, sent, expected }
    }
}
