//! What the engine counts. Each shard counts for itself, so that a delivery never waits for another core; a reader adds up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::CloseReason;

const REASONS: usize = CloseReason::ALL.len();
const STRAYS: usize = Stray::ALL.len();

/// Why a request named a session that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// The session was here, and has ended.
    Ended,
    /// Another server made it: the balancer does not send a session's requests to its server, or that one is gone.
    Elsewhere,
    /// It is no id of ours.
    Malformed,
}

impl Stray {
    /// Every cause, in the order of [`Stray::index`].
    pub const ALL: [Stray; 3] = [Stray::Ended, Stray::Elsewhere, Stray::Malformed];

    /// Its place in [`Totals::strays`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The cause in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Stray::Ended => "ended",
            Stray::Elsewhere => "elsewhere",
            Stray::Malformed => "malformed",
        }
    }
}

/// The counts of all shards of a server.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Tally]>,
}

/// The sums over all shards at one moment. Everything but the first two only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions on polling now.
    pub polling: u64,
    /// Sessions on WebSocket now.
    pub websocket: u64,
    /// Sessions opened.
    pub handshakes: u64,
    /// Requests that got no session: by the application, by origin, by a bound.
    pub refusals: u64,
    /// Requests that were told "Session ID unknown", by [`Stray::index`].
    pub strays: [u64; STRAYS],
    /// Sessions that changed from polling to WebSocket.
    pub upgrades: u64,
    /// Socket.IO events received.
    pub events_in: u64,
    /// Frames written, by WebSocket or polling.
    pub frames_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes written.
    pub bytes_out: u64,
    /// Frames that a newer one of the same key replaced before they were written.
    pub replaced: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Sessions closed, by [`CloseReason::index`].
    pub closes: [u64; REASONS],
}

/// The counts of one shard; written by its thread alone, but for `refusals` by the acceptor on shard 0.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    pub(super) polling: AtomicI64,
    pub(super) websocket: AtomicI64,
    pub(super) handshakes: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) strays: [AtomicU64; STRAYS],
    pub(super) upgrades: AtomicU64,
    pub(super) events_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) closes: [AtomicU64; REASONS],
}

impl Counters {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Tally::default()).collect(),
        }
    }

    pub(super) fn of(&self, shard: usize) -> &Tally {
        &self.shards[shard]
    }

    /// The sums over all shards.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tally in &self.shards {
            let now = |gauge: &AtomicI64| gauge.load(Relaxed).max(0).unsigned_abs();
            totals.polling += now(&tally.polling);
            totals.websocket += now(&tally.websocket);
            totals.handshakes += tally.handshakes.load(Relaxed);
            totals.refusals += tally.refusals.load(Relaxed);
            totals.upgrades += tally.upgrades.load(Relaxed);
            totals.events_in += tally.events_in.load(Relaxed);
            totals.frames_out += tally.frames_out.load(Relaxed);
            totals.bytes_in += tally.bytes_in.load(Relaxed);
            totals.bytes_out += tally.bytes_out.load(Relaxed);
            totals.replaced += tally.replaced.load(Relaxed);
            totals.panics += tally.panics.load(Relaxed);
            for (total, count) in totals.strays.iter_mut().zip(&tally.strays) {
                *total += count.load(Relaxed);
            }
            for (total, count) in totals.closes.iter_mut().zip(&tally.closes) {
                *total += count.load(Relaxed);
            }
        }
        totals
    }

    /// Sessions now, on either transport.
    pub fn connections(&self) -> u64 {
        let totals = self.totals();
        totals.polling + totals.websocket
    }

    /// Sessions closed for this reason.
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.totals().closes[reason.index()]
    }
}

/// Adds to a count. The order to other counts means nothing.
pub(super) fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_the_shards() {
        let counters = Counters::new(2);
        counters.of(0).websocket.fetch_add(2, Relaxed);
        counters.of(1).polling.fetch_add(1, Relaxed);
        add(&counters.of(1).closes[CloseReason::Kicked.index()], 3);
        assert_eq!(counters.connections(), 3);
        assert_eq!(counters.closes(CloseReason::Kicked), 3);
        assert_eq!(counters.closes(CloseReason::Draining), 0);
    }
}
