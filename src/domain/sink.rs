//! From the outboxes to Postgres: a look at partitions, and what they have written down in transactions of bounded size; and
//! the handle by which others ask that something is written down now. Not here: the loops, and which node runs them
//! (`lifecycle::sink`); how it is written (`archive`).

mod handle;

pub use self::handle::{Backlog, Demand, Durability, Postgres, Sink, Status};
pub use crate::archive::sink::{Chosen, Retention, SinkError, StreamId, Tidied, Written};

use std::time::{Duration, Instant};

use crate::archive::Archive;
use crate::archive::sink::{Entry, Portion, Writer};
use crate::hot::archive::{self as outboxes, Outbox, Question};
use crate::hot::keys::{PARTITIONS, Partition};
use crate::hot::{Hot, HotError};

/// Most entries of one transaction.
pub const TRANSACTION_ENTRIES: usize = 1_000;
/// Bytes of entries behind which a transaction ends.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// A transaction that took less may have been larger.
const BRISK: Duration = Duration::from_secs(1);
/// One that took more should have been smaller.
const TARDY: Duration = Duration::from_secs(3);
/// Entries that one look asks for, of all partitions.
const LOOK_ENTRIES: u64 = 4_096;
/// Entries that it asks of one partition, at least: what has come since the last look.
const LOOK_ENTRIES_MIN: u64 = 16;
/// … and at most: Redis does nothing else meanwhile.
const LOOK_ENTRIES_MAX: u64 = 1_000;
/// Bytes of one partition's entries behind which its answer ends.
const LOOK_BYTES: u32 = 256 * 1024;

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Redis is away.
    #[error("Redis: {0}")]
    Hot(#[from] HotError),
    /// Postgres is away, or slow.
    #[error("Postgres: {0}")]
    Sink(#[from] SinkError),
    /// There is nothing to write to.
    #[error("no database is configured")]
    Off,
}

impl Failure {
    /// Whether Postgres takes nothing now: not where only Redis is away, or somebody else's transaction was met.
    pub fn is_of_postgres(&self) -> bool {
        match self {
            Self::Hot(_) => false,
            Self::Sink(error) => !error.is_conflict(),
            Self::Off => true,
        }
    }
}

/// What one turn came to.
#[derive(Debug, Default)]
pub struct Turn {
    pub written: Written,
    /// How long each transaction took.
    pub transactions: Vec<Duration>,
    /// What waits after it.
    pub backlog: Backlog,
    /// There is more to do at once.
    pub has_more: bool,
    /// Postgres has what every partition had; one that is closed, or could not be read, may have anything.
    pub is_caught_up: bool,
}

/// Moves entries from the outboxes to Postgres, over one connection to it.
pub struct Pump {
    hot: Hot,
    archive: Archive,
    chosen: Chosen,
    writer: Option<Writer>,
    /// Entries of one transaction for now: fewer where Postgres is slow.
    limit: usize,
    /// What each partition had at the last look, beside what came with it.
    waiting: [u64; PARTITIONS],
}

impl Pump {
    pub fn new(hot: Hot, archive: Archive, chosen: Chosen) -> Self {
        Self {
            hot,
            archive,
            chosen,
            writer: None,
            limit: TRANSACTION_ENTRIES,
            waiting: [0; PARTITIONS],
        }
    }

    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    /// Whether there is a connection to Postgres that is not known to be gone.
    pub fn is_connected(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_closed())
    }

    /// Connects to Postgres, where that is not so already.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        if !self.is_connected() {
            self.writer = self.archive.writer(self.chosen.clone()).await?;
        }
        self.writer.as_ref().map(drop).ok_or(Failure::Off)
    }

    /// Looks whether Postgres still answers.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        let asked = self.writer.as_ref().ok_or(Failure::Off)?.ping().await;
        self.keep_unless_failed(asked)
    }

    /// One look at all partitions; what it brought is written.
    pub async fn turn(&mut self) -> Result<Turn, Failure> {
        self.connect().await?;
        let all: Vec<Partition> = Partition::all().collect();
        self.read_heads(&all, false).await?;
        let shares = shares(&self.waiting);
        let questions = Partition::all()
            .zip(shares)
            .map(|(partition, share)| self.question(partition, share));
        let found = outboxes::look(&self.hot, &questions.collect::<Vec<_>>()).await?;
        let mut turn = Turn {
            backlog: Backlog::of(&found),
            ..Turn::default()
        };
        let are_all_read = found.len() == PARTITIONS;
        self.waiting = [0; PARTITIONS];
        for outbox in &found {
            let left = outbox.length.saturating_sub(outbox.entries.len() as u64);
            self.waiting[outbox.partition.index()] = left;
            turn.has_more |= left > 0;
        }
        self.write(found, &mut turn).await?;
        turn.has_more |= !turn.written.stale.is_empty();
        turn.is_caught_up = are_all_read && !turn.has_more;
        turn.backlog.take(turn.written.entries);
        Ok(turn)
    }

    /// The same of some partitions only, as much as one look brings. How far they have come, [`Pump::reached`] tells behind it.
    pub async fn advance(&mut self, partitions: &[Partition]) -> Result<Turn, Failure> {
        let share = u32::try_from(LOOK_ENTRIES_MAX).unwrap_or(u32::MAX);
        let questions: Vec<Question> = partitions
            .iter()
            .map(|&partition| self.question(partition, share))
            .collect();
        let found = outboxes::look(&self.hot, &questions).await?;
        let mut turn = Turn::default();
        self.write(found, &mut turn).await?;
        Ok(turn)
    }

    /// Reads from Postgres how far partitions have come.
    pub async fn refresh(&mut self, partitions: &[Partition]) -> Result<(), Failure> {
        self.connect().await?;
        self.read_heads(partitions, true).await
    }

    /// How far a partition has come, as far as this pump knows: which life of its data, and the last entry of it.
    pub fn reached(&self, partition: Partition) -> Option<(&str, StreamId)> {
        let head = self.writer.as_ref()?.head(number(partition))?;
        Some((&head.incarnation, head.last))
    }

    /// What waits, without a word to Postgres.
    pub async fn measure(&self) -> Result<Backlog, HotError> {
        let questions: Vec<Question> = Partition::all().map(|partition| self.question(partition, 0)).collect();
        Ok(Backlog::of(&outboxes::look(&self.hot, &questions).await?))
    }

    /// Makes days ahead, lets go what is too old, and ends what nobody told the end of, once snapshots had their chance to tell
    /// that it lives.
    pub async fn tidy(&mut self, retention: &Retention, is_caught_up: bool) -> Result<Tidied, Failure> {
        let watched = self.archive.snapshots_succeed_for();
        let writer = self.writer.as_mut().ok_or(Failure::Off)?;
        let mut tidied = writer.tidy(retention, is_caught_up).await;
        if let Ok(done) = &mut tidied
            && is_caught_up
            && watched.is_some_and(|watched| watched > retention.unseen)
        {
            match writer.end_unseen(retention.unseen).await {
                Ok(ghosts) => done.ghosts = ghosts,
                Err(error) => tidied = Err(error),
            }
        }
        self.keep_unless_failed(tidied)
    }

    async fn read_heads(&mut self, partitions: &[Partition], anew: bool) -> Result<(), Failure> {
        let writer = self.writer.as_mut().ok_or(Failure::Off)?;
        let numbers: Vec<u16> = partitions.iter().copied().map(number).collect();
        let read = writer.read_heads(&numbers, anew).await;
        self.keep_unless_failed(read)
    }

    /// A connection that failed is in a state that nobody knows.
    fn keep_unless_failed<T>(&mut self, outcome: Result<T, SinkError>) -> Result<T, Failure> {
        if outcome.is_err() {
            self.writer = None;
        }
        Ok(outcome?)
    }

    fn question(&self, partition: Partition, entries: u32) -> Question {
        let head = self.writer.as_ref().and_then(|writer| writer.head(number(partition)));
        let (incarnation, done) = head.map_or_else(
            || (String::new(), StreamId::default()),
            |head| (head.incarnation.clone(), head.last),
        );
        Question {
            partition,
            entries,
            bytes: LOOK_BYTES,
            incarnation,
            done: done.to_string(),
        }
    }

    async fn write(&mut self, found: Vec<Outbox>, turn: &mut Turn) -> Result<(), Failure> {
        let writer = self.writer.as_mut().ok_or(Failure::Off)?;
        let mut portions = Vec::with_capacity(found.len());
        for outbox in found {
            let portion = portion(outbox);
            if writer.head(portion.partition).is_none_or(|head| portion.has_news(head)) {
                portions.push(portion);
            }
        }
        while !portions.is_empty() {
            let (transaction, rest) = pack(portions, self.limit);
            portions = rest;
            let size: usize = transaction.iter().map(|portion| portion.entries.len()).sum();
            let started = Instant::now();
            match writer.write(transaction).await {
                Ok(written) => {
                    self.limit = limit_behind(self.limit, size, started.elapsed());
                    portions.retain(|portion| !written.stale.contains(&portion.partition));
                    turn.written.add(written);
                    turn.transactions.push(started.elapsed());
                }
                Err(error) => {
                    if error.is_slow() {
                        self.limit = (size / 2).max(1);
                    }
                    self.writer = None;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// Entries of the next transaction: others wait for its locks, so it should be a matter of a moment, however slow Postgres is.
fn limit_behind(limit: usize, size: usize, took: Duration) -> usize {
    if took < BRISK {
        (limit * 2).min(TRANSACTION_ENTRIES)
    } else if took > TARDY {
        (size / 2).max(1)
    } else {
        limit
    }
}

fn number(partition: Partition) -> u16 {
    u16::try_from(partition.index()).expect("there are 64 partitions")
}

/// How many entries each partition is asked for: all that is known to wait there, as far as that goes.
fn shares(waiting: &[u64; PARTITIONS]) -> [u32; PARTITIONS] {
    let mut left = LOOK_ENTRIES - LOOK_ENTRIES_MIN * PARTITIONS as u64;
    let mut order: Vec<usize> = (0..PARTITIONS).collect();
    order.sort_by_key(|&partition| waiting[partition]);
    let mut shares = [0; PARTITIONS];
    for (place, &partition) in order.iter().enumerate() {
        // Who wants less leaves the rest to those who want more.
        let even = left / (PARTITIONS - place) as u64;
        let extra = waiting[partition].min(even).min(LOOK_ENTRIES_MAX - LOOK_ENTRIES_MIN);
        left -= extra;
        shares[partition] = u32::try_from(LOOK_ENTRIES_MIN + extra).unwrap_or(u32::MAX);
    }
    shares
}

fn portion(outbox: Outbox) -> Portion {
    let counted = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    // All that is there may be new; where nothing is, what comes is behind the last.
    let behind = match outbox.entries.is_empty() {
        true => StreamId::parse(&outbox.last).unwrap_or_default(),
        false => StreamId::default(),
    };
    Portion {
        partition: number(outbox.partition),
        incarnation: outbox.incarnation,
        gone: counted(outbox.added) - counted(outbox.length),
        taken: 0,
        rewound_to: outbox.is_rewound.then_some(behind),
        is_silent: false,
        now_ms: outbox.now_ms,
        entries: outbox
            .entries
            .into_iter()
            .map(|waiting| Entry {
                id: waiting.id,
                kind: waiting.kind,
                what: waiting.what,
                refused: None,
            })
            .collect(),
    }
}

/// As much as one transaction takes, and the rest. What it takes is never nothing.
fn pack(portions: Vec<Portion>, limit: usize) -> (Vec<Portion>, Vec<Portion>) {
    let (mut entries, mut bytes) = (limit, TRANSACTION_BYTES);
    let (mut packed, mut rest) = (Vec::new(), Vec::new());
    for portion in portions {
        if entries == 0 || bytes == 0 {
            rest.push(portion);
            continue;
        }
        let mut fits = 0;
        for entry in portion.entries.iter().take(entries) {
            if bytes == 0 {
                break;
            }
            bytes = bytes.saturating_sub(entry.what.len());
            fits += 1;
        }
        entries -= fits;
        if fits == portion.entries.len() {
            packed.push(portion);
        } else {
            let (taken, left) = portion.split(fits);
            packed.push(taken);
            rest.push(left);
        }
    }
    (packed, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(entries: usize, bytes: usize) -> Portion {
        let entry = |number: usize| Entry {
            id: format!("{number}-0"),
            kind: "join".to_owned(),
            what: "x".repeat(bytes),
            refused: None,
        };
        Portion {
            partition: 0,
            incarnation: String::new(),
            gone: 0,
            taken: 0,
            rewound_to: None,
            is_silent: false,
            now_ms: 0,
            entries: (0..entries).map(entry).collect(),
        }
    }

    fn sizes(portions: &[Portion]) -> Vec<(i64, usize)> {
        portions
            .iter()
            .map(|portion| (portion.taken, portion.entries.len()))
            .collect()
    }

    #[test]
    fn a_transaction_has_a_bound_of_entries_and_of_bytes() {
        let (packed, rest) = pack(vec![asked(600, 10), asked(0, 0), asked(600, 10), asked(1, 1)], 1_000);
        assert_eq!(sizes(&packed), [(0, 600), (0, 0), (0, 400)]);
        assert_eq!(sizes(&rest), [(400, 200), (0, 1)]);
        let (packed, rest) = pack(vec![asked(10, 1024 * 1024)], 1_000);
        assert_eq!((sizes(&packed), sizes(&rest)), (vec![(0, 4)], vec![(4, 6)]));
        let (packed, rest) = pack(vec![asked(2, 64 * 1024 * 1024)], 1_000);
        assert_eq!((sizes(&packed), sizes(&rest)), (vec![(0, 1)], vec![(1, 1)]));
    }

    #[test]
    fn a_slow_postgres_gets_less_and_more_again_when_it_is_brisk() {
        let took = |seconds| Duration::from_secs_f64(seconds);
        assert_eq!(limit_behind(1_000, 140, took(6.0)), 70);
        assert_eq!(limit_behind(70, 70, took(2.0)), 70);
        assert_eq!(limit_behind(70, 70, took(0.5)), 140);
        assert_eq!(limit_behind(700, 10, took(0.5)), 1_000);
        assert_eq!(limit_behind(1, 1, took(9.0)), 1);
    }

    #[test]
    fn a_look_is_shared_by_what_waits() {
        let mut waiting = [0; PARTITIONS];
        assert_eq!(shares(&waiting), [16; PARTITIONS]);
        waiting[7] = 100_000;
        waiting[9] = 5;
        let shared = shares(&waiting);
        assert_eq!((shared[7], shared[9], shared[0]), (1_000, 21, 16));
        let shared = shares(&[100_000; PARTITIONS]);
        assert_eq!(shared, [64; PARTITIONS]);
    }
}
