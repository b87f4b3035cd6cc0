//! What others hold of the sink: how it is, and the question whether something is in Postgres. Cheap to clone, of any
//! thread. Not here: who answers (`lifecycle::sink`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::StreamId;
use crate::hot::archive::Outbox;
use crate::hot::keys::Partition;

/// Demands that wait; whoever finds no place is told that it is not durable yet.
const DEMANDS_MAX: usize = 1_024;

/// Whether something is in Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is.
    Durable,
    /// Not now: it is in Redis alone, and will be in Postgres later.
    NotYet,
}

/// How Postgres is, as far as this node's sink knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Postgres {
    /// It was not tried yet.
    Unknown,
    /// It takes what is written, since then.
    Up(Instant),
    /// It does not, since then.
    Away(Instant),
}

/// What waits for Postgres in the outboxes of all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Entries.
    pub entries: u64,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

impl Backlog {
    pub(in crate::domain) fn of(outboxes: &[Outbox]) -> Self {
        let age_ms = |outbox: &Outbox| Some(outbox.now_ms - outbox.oldest_ms?);
        let oldest_ms = outboxes.iter().filter_map(age_ms).max().unwrap_or(0);
        Self {
            entries: outboxes.iter().map(|outbox| outbox.length).sum(),
            // An entry from the future is none that waits.
            oldest: Duration::from_millis(oldest_ms.try_into().unwrap_or(0)),
        }
    }

    /// Some of it was written.
    pub(super) fn take(&mut self, entries: u64) {
        self.entries = self.entries.saturating_sub(entries);
        if self.entries == 0 {
            self.oldest = Duration::ZERO;
        }
    }
}

/// How the sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub postgres: Postgres,
    /// This node is the one that writes.
    pub is_writing: bool,
    /// What waits; `None` where this node has not looked, since another one writes.
    pub backlog: Option<Backlog>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            postgres: Postgres::Unknown,
            is_writing: false,
            backlog: None,
        }
    }
}

/// Somebody waits until a partition has come so far.
#[derive(Debug)]
pub struct Demand {
    pub partition: Partition,
    pub up_to: StreamId,
    pub deadline: Instant,
    answer: oneshot::Sender<Durability>,
}

impl Demand {
    /// Nobody waits for it any more.
    pub fn is_over(&self) -> bool {
        self.answer.is_closed() || Instant::now() >= self.deadline
    }

    pub fn answer(self, durability: Durability) {
        // Whoever asked may have given up meanwhile.
        let _gone = self.answer.send(durability);
    }
}

/// The handle; clones share it.
#[derive(Debug, Clone)]
pub struct Sink {
    status: Arc<Mutex<Status>>,
    demands: mpsc::Sender<Demand>,
}

impl Sink {
    /// A handle, and what it is asked.
    pub fn new() -> (Self, mpsc::Receiver<Demand>) {
        let (demands, demanded) = mpsc::channel(DEMANDS_MAX);
        let status = Arc::default();
        (Self { status, demands }, demanded)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        *self.lock()
    }

    /// Sees to it that a partition's outbox is in Postgres up to an entry, and says whether it is: at once, where Postgres is
    /// known to be away, and never later than the deadline.
    pub async fn flush(&self, partition: Partition, up_to_id: &str, deadline: Instant) -> Durability {
        if matches!(self.status().postgres, Postgres::Away(_)) {
            return Durability::NotYet;
        }
        let Some(up_to) = StreamId::parse(up_to_id) else {
            return Durability::NotYet;
        };
        let (answer, answered) = oneshot::channel();
        let demand = Demand {
            partition,
            up_to,
            deadline,
            answer,
        };
        if self.demands.try_send(demand).is_err() {
            return Durability::NotYet;
        }
        match timeout_at(deadline.into(), answered).await {
            Ok(Ok(durability)) => durability,
            // Too late, or the sink has ended.
            Ok(Err(_)) | Err(_) => Durability::NotYet,
        }
    }

    /// Postgres takes what is written. True where that is news.
    pub fn note_up(&self) -> bool {
        let mut status = self.lock();
        let is_news = !matches!(status.postgres, Postgres::Up(_));
        if is_news {
            status.postgres = Postgres::Up(Instant::now());
        }
        is_news
    }

    /// Postgres does not. True where that is news.
    pub fn note_away(&self) -> bool {
        let mut status = self.lock();
        let is_news = !matches!(status.postgres, Postgres::Away(_));
        if is_news {
            status.postgres = Postgres::Away(Instant::now());
        }
        is_news
    }

    pub fn note_writing(&self, is_writing: bool) {
        self.lock().is_writing = is_writing;
    }

    pub fn note_backlog(&self, backlog: Option<Backlog>) {
        self.lock().backlog = backlog;
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
