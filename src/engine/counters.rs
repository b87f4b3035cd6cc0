//! What the engine counts. Each shard counts for itself, so that a delivery never waits for another core; a reader adds up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::frame::{LABELS, Label};
use super::{CloseReason, RefusalCause};

const REASONS: usize = CloseReason::ALL.len();
const CAUSES: usize = RefusalCause::ALL.len();

/// Bounds, in bytes, between which the backlogs of [`Totals::backlogs`] are counted.
pub const BACKLOG_BOUNDS: [u64; 7] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
const BACKLOGS: usize = BACKLOG_BOUNDS.len() + 1;
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

/// The sums over all shards at one moment. Everything but sessions and queues only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions on polling now.
    pub polling: u64,
    /// Sessions on WebSocket now.
    pub websocket: u64,
    /// Sessions opened.
    pub handshakes: u64,
    /// Requests that were turned down, by [`RefusalCause::index`].
    pub refusals: [u64; CAUSES],
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
    /// Frames handed to sessions, those that were replaced later included, by their [`Label`].
    pub labelled: [u64; LABELS],
    /// Bytes of their packets.
    pub labelled_bytes: [u64; LABELS],
    /// How many of them were handed over compressed.
    pub compressed: u64,
    /// Bytes that this saved.
    pub saved_bytes: u64,
    /// What waits in the output queues now.
    pub queued: Queued,
    /// Turns of a session that left something unwritten, by the bytes that were left: up to each of [`BACKLOG_BOUNDS`], and
    /// above them.
    pub backlogs: [u64; BACKLOGS],
    /// The sum of those bytes.
    pub backlog_bytes: u64,
}

/// What waits to be written, at the end of each session's last turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queued {
    /// Sessions for which something waits.
    pub sessions: u64,
    pub frames: u64,
    pub bytes: u64,
}

/// The counts of one shard; written by its thread alone, but for `refusals` by the acceptor on shard 0.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    pub(super) polling: AtomicI64,
    pub(super) websocket: AtomicI64,
    pub(super) handshakes: AtomicU64,
    refusals: [AtomicU64; CAUSES],
    pub(super) strays: [AtomicU64; STRAYS],
    pub(super) upgrades: AtomicU64,
    pub(super) events_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) closes: [AtomicU64; REASONS],
    labelled: [AtomicU64; LABELS],
    labelled_bytes: [AtomicU64; LABELS],
    compressed: AtomicU64,
    saved_bytes: AtomicU64,
    queued_sessions: AtomicU64,
    queued_frames: AtomicU64,
    queued_bytes: AtomicU64,
    backlogs: [AtomicU64; BACKLOGS],
    backlog_bytes: AtomicU64,
}

impl Tally {
    pub(super) fn refuse(&self, cause: RefusalCause) {
        add(&self.refusals[cause.index()], 1);
    }

    /// A frame is handed to a session, with that many bytes saved by compression: once for each delivery, so no core waits for
    /// another here.
    pub(super) fn note_frame(&self, label: Label, bytes: usize, saved: usize) {
        own(&self.labelled[label.index()], 1);
        own(&self.labelled_bytes[label.index()], bytes as u64);
        if saved > 0 {
            own(&self.compressed, 1);
            own(&self.saved_bytes, saved as u64);
        }
    }

    /// What waits for one session has changed, in frames and bytes.
    pub(super) fn note_queue(&self, before: (u32, u32), now: (u32, u32)) {
        let change = |before: u32, now: u32| u64::from(now).wrapping_sub(u64::from(before));
        let waits = |queue: (u32, u32)| u32::from(queue.0 > 0);
        own(&self.queued_sessions, change(waits(before), waits(now)));
        own(&self.queued_frames, change(before.0, now.0));
        own(&self.queued_bytes, change(before.1, now.1));
        if now.0 > 0 {
            let bytes = u64::from(now.1);
            own(
                &self.backlogs[BACKLOG_BOUNDS.partition_point(|bound| *bound < bytes)],
                1,
            );
            own(&self.backlog_bytes, bytes);
        }
    }
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
            totals.upgrades += tally.upgrades.load(Relaxed);
            totals.events_in += tally.events_in.load(Relaxed);
            totals.frames_out += tally.frames_out.load(Relaxed);
            totals.bytes_in += tally.bytes_in.load(Relaxed);
            totals.bytes_out += tally.bytes_out.load(Relaxed);
            totals.replaced += tally.replaced.load(Relaxed);
            totals.panics += tally.panics.load(Relaxed);
            totals.compressed += tally.compressed.load(Relaxed);
            totals.saved_bytes += tally.saved_bytes.load(Relaxed);
            totals.queued.sessions += tally.queued_sessions.load(Relaxed);
            totals.queued.frames += tally.queued_frames.load(Relaxed);
            totals.queued.bytes += tally.queued_bytes.load(Relaxed);
            totals.backlog_bytes += tally.backlog_bytes.load(Relaxed);
            add_up(&mut totals.refusals, &tally.refusals);
            add_up(&mut totals.closes, &tally.closes);
            add_up(&mut totals.labelled, &tally.labelled);
            add_up(&mut totals.labelled_bytes, &tally.labelled_bytes);
            add_up(&mut totals.backlogs, &tally.backlogs);
            add_up(&mut totals.strays, &tally.strays);
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

fn add_up<const N: usize>(totals: &mut [u64; N], counts: &[AtomicU64; N]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count.load(Relaxed);
    }
}

/// Adds to a count. The order to other counts means nothing.
pub(super) fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Relaxed);
}

/// The same of a count that this thread alone writes, which costs no more than a plain one. Wraps around, so that a change
/// downwards can be added, too.
fn own(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
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

    #[test]
    fn queues_are_counted_as_they_are_and_backlogs_as_they_were() {
        let counters = Counters::new(1);
        let tally = counters.of(0);
        tally.note_queue((0, 0), (2, 1 << 10));
        tally.note_queue((0, 0), (1, 5 << 20));
        tally.note_queue((2, 1 << 10), (1, 100));
        let queued = Queued {
            sessions: 2,
            frames: 2,
            bytes: 100 + (5 << 20),
        };
        assert_eq!(counters.totals().queued, queued);
        tally.note_queue((1, 100), (0, 0));
        tally.note_queue((1, 5 << 20), (0, 0));
        let totals = counters.totals();
        assert_eq!(totals.queued, Queued::default());
        assert_eq!(totals.backlogs, [2, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(totals.backlog_bytes, 1_124 + (5 << 20));
    }
}
