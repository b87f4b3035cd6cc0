//! Writes what the outboxes bring: events with their hashes, gaps, and the tables that show how things are now, all of a
//! portion in one transaction. How far each partition has come stands in its head, which whoever writes locks; so two
//! sinks do no harm, and a commit of which the outcome is unknown is looked up, not repeated.
//! Not here: reading the outboxes, and when (`domain::sink`).

mod batch;
mod cells;
mod division;
mod error;
mod events;
mod ghosts;
mod projections;
mod record;
mod retention;
mod statements;

pub use self::batch::{Head, Portion};
pub use self::error::SinkError;
pub use self::record::{Entry, StreamId};
pub use self::retention::{Retention, Tidied};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, join, join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};
use tokio_util::task::AbortOnDropHandle;

use self::batch::{Batch, HeadColumns, Heads};
use self::cells::Uuid;
use self::division::{Job, divide};
use self::error::words;
use self::events::Day;
use self::projections::ChangeColumns;
use self::statements::Statements;
use super::{Archive, chain};
use crate::config::NamePatterns;

/// How long a connection may take, and a question without locks.
const CONNECT: Duration = Duration::from_secs(2);
/// How long it may take until a connection is ready to write.
const PREPARE: Duration = Duration::from_secs(4);
/// How long a transaction may take, before its connection is given up.
const TRANSACTION: Duration = Duration::from_secs(20);
/// A day's partition that could not be made is tried again after this; meanwhile its rows are in the default partition.
const DAY_AGAIN: Duration = Duration::from_secs(60);
/// Before a record that was refused alone is tried once more: what it met may be gone.
const REFUSED_AGAIN: Duration = Duration::from_millis(50);
/// How often a transaction is tried again that met another one, of those of one call.
const CONFLICTS: u32 = 5;

/// Which events become rows of `realtime_events`.
#[derive(Debug, Clone)]
pub struct Chosen {
    any: bool,
    types: NamePatterns,
}

impl Chosen {
    /// `any`: whether events are written at all. Gaps, and records that cannot be written, always are.
    pub fn new(any: bool, types: NamePatterns) -> Self {
        Self { any, types }
    }

    fn has(&self, event_type: &str) -> bool {
        self.any && self.types.matches(event_type)
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Entries of the outboxes.
    pub entries: u64,
    /// Rows of `realtime_events`.
    pub events: u64,
    /// Gaps among them.
    pub gaps: u64,
    /// Entries that are lost in those whose number is known.
    pub lost: u64,
    /// Entries that are no records, or none that Postgres takes.
    pub unreadable: u64,
    /// Partitions of which another sink has written meanwhile: they have to be read anew.
    pub stale: Vec<u16>,
}

impl Written {
    /// The sum of both.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.events += other.events;
        self.gaps += other.gaps;
        self.lost += other.lost;
        self.unreadable += other.unreadable;
        self.stale.extend(other.stale);
    }
}

/// A connection to Postgres that writes, and what it knows of the heads.
pub struct Writer {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    statements: Statements,
    chosen: Chosen,
    heads: Heads,
    /// Days that have their partitions.
    event_days: BTreeSet<Day>,
    message_days: BTreeSet<Day>,
    /// Days whose partitions could not be made, and when that was tried.
    days_tried: BTreeMap<Day, Instant>,
}

/// A value of a statement.
type Value<'a> = &'a (dyn ToSql + Sync);

enum Attempt {
    Done(Written),
    Stale(Vec<u16>),
}

impl Archive {
    /// A connection that writes; `None` where there is no archive. Fails where Postgres is away, or has no schema.
    pub async fn writer(&self, chosen: Chosen) -> Result<Option<Writer>, SinkError> {
        let Some(url) = &self.url else { return Ok(None) };
        let mut settings = super::settings(url, CONNECT)?;
        settings
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(TRANSACTION);
        let connect = async {
            let (client, connection) = settings.connect(NoTls).await?;
            let driver = AbortOnDropHandle::new(tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = words(&error), "the connection of the sink broke");
                }
            }));
            let statements = Statements::prepare(&client).await?;
            Ok::<_, tokio_postgres::Error>((client, driver, statements))
        };
        let (client, driver, statements) = within(PREPARE, connect).await?;
        Ok(Some(Writer {
            client,
            _driver: driver,
            statements,
            chosen,
            heads: Heads::new(),
            event_days: BTreeSet::new(),
            message_days: BTreeSet::new(),
            days_tried: BTreeMap::new(),
        }))
    }
}

impl Writer {
    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks Postgres for no more than an answer.
    pub async fn ping(&self) -> Result<(), SinkError> {
        within(CONNECT, self.client.batch_execute("")).await
    }

    /// How far a partition has come, as far as this writer knows.
    pub fn head(&self, partition: u16) -> Option<&Head> {
        self.heads.get(&partition)
    }

    /// Reads how far partitions have come, of those that this writer does not know; or, `anew`, of all.
    pub async fn read_heads(&mut self, partitions: &[u16], anew: bool) -> Result<(), SinkError> {
        let wanted = partitions.iter().copied();
        let wanted: Vec<i16> = wanted
            .filter(|partition| anew || !self.heads.contains_key(partition))
            .map(signed)
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = within(CONNECT, self.client.query(&self.statements.read, &[&wanted])).await?;
        for row in &rows {
            let (partition, head) = read_head(row)?;
            self.heads.insert(partition, head);
        }
        Ok(())
    }

    /// Writes portions that were read after the heads were, each partition at most once. What Postgres refuses is written as
    /// an error that says so.
    pub async fn write(&mut self, portions: Vec<Portion>) -> Result<Written, SinkError> {
        let mut written = Written::default();
        // Rows that are there already: of entries that a failover brought back.
        let mut rows = BTreeSet::new();
        let mut conflicts = 0;
        let mut jobs = vec![Job {
            portions,
            is_again: false,
        }];
        while let Some(job) = jobs.pop() {
            match self.attempt(&job.portions, &rows).await {
                Ok(Attempt::Done(done)) => written.add(done),
                Ok(Attempt::Stale(stale)) => {
                    jobs.push(job);
                    for job in &mut jobs {
                        job.portions.retain(|portion| !stale.contains(&portion.partition));
                    }
                    jobs.retain(|job| !job.portions.is_empty());
                    written.stale.extend(stale);
                }
                Err(error) if error.is_conflict() && conflicts < CONFLICTS => {
                    tracing::debug!(error = %error, "a transaction of the sink met another one");
                    conflicts += 1;
                    tokio::time::sleep(REFUSED_AGAIN * conflicts).await;
                    jobs.push(job);
                }
                Err(error) if error.is_repeat() && self.find_rows(&job.portions, &mut rows).await? => jobs.push(job),
                Err(error) => match error.refusal() {
                    Some(why) => jobs.extend(divide(job, &why).ok_or(error)?),
                    None => return Err(error),
                },
            }
            if jobs.last().is_some_and(|job| job.is_again) {
                tokio::time::sleep(REFUSED_AGAIN).await;
            }
        }
        Ok(written)
    }

    /// Adds to `rows` the ids of rows that entries became already; whether there are more than were known.
    async fn find_rows(&self, portions: &[Portion], rows: &mut BTreeSet<[u8; 16]>) -> Result<bool, SinkError> {
        let row_id = |portion: &Portion, entry: &Entry| {
            let id = StreamId::parse(&entry.id)?;
            let id = chain::row_id(portion.partition, &portion.incarnation, &id.to_string());
            Some(Uuid(id))
        };
        let ids = portions.iter().flat_map(|portion| {
            let entries = portion.entries.iter();
            entries.filter_map(move |entry| row_id(portion, entry))
        });
        let ids: Vec<Uuid> = ids.collect();
        let found = within(TRANSACTION, self.client.query(&self.statements.found, &[&ids])).await?;
        let before = rows.len();
        for row in &found {
            let id: Vec<u8> = row.try_get(0)?;
            rows.extend(<[u8; 16]>::try_from(id));
        }
        Ok(rows.len() > before)
    }

    async fn attempt(&mut self, portions: &[Portion], rows: &BTreeSet<[u8; 16]>) -> Result<Attempt, SinkError> {
        let mut batch = Batch::reckon(portions, &self.heads, &self.chosen, rows);
        let message_days = batch.changes.message_days();
        self.make_days(&batch.event_days, &message_days).await?;
        let changes = std::mem::take(&mut batch.changes).columns();
        match tokio::time::timeout(TRANSACTION, self.transact(&batch, &changes)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SinkError::TimedOut),
        }
    }

    async fn transact(&mut self, batch: &Batch, changes: &ChangeColumns) -> Result<Attempt, SinkError> {
        let client = &self.client;
        let partitions: Vec<i16> = batch.steps.iter().map(|step| signed(step.partition)).collect();
        let values: [&(dyn ToSql + Sync); 1] = [&partitions];
        let begin = client.batch_execute("BEGIN");
        let (begun, locked) = join(begin, client.query(&self.statements.locked, &values)).await;
        begun?;
        let rows = match locked {
            Ok(rows) => rows,
            Err(error) => {
                client.batch_execute("ROLLBACK").await?;
                return Err(error.into());
            }
        };
        let found: Heads = rows.iter().map(read_head).collect::<Result<_, _>>()?;
        let is_stale = |step: &&batch::Step| found.get(&step.partition) != Some(&step.before);
        let stale: Vec<u16> = batch.steps.iter().filter(is_stale).map(|step| step.partition).collect();
        if !stale.is_empty() {
            client.batch_execute("ROLLBACK").await?;
            for partition in &stale {
                let head = found.get(partition).ok_or(SinkError::NoHead)?;
                self.heads.insert(*partition, head.clone());
            }
            return Ok(Attempt::Stale(stale));
        }
        self.run(batch, changes).await?;
        for step in &batch.steps {
            self.heads.insert(step.partition, step.after.clone());
        }
        Ok(Attempt::Done(Written {
            entries: batch.entries,
            events: batch.events.len() as u64,
            gaps: batch.gaps,
            lost: batch.lost,
            unreadable: batch.unreadable,
            stale: Vec::new(),
        }))
    }

    /// All statements and the commit, sent one behind the other without waiting.
    async fn run(&self, batch: &Batch, changes: &ChangeColumns) -> Result<(), SinkError> {
        let s = &self.statements;
        let heads = HeadColumns::of(batch);
        let has_no_events = batch.events.len() == 0;
        // Rooms first: members and events name them.
        let steps: [(&Statement, Vec<Value<'_>>, bool); 10] = [
            (&s.emptied, changes.emptied.values().into(), changes.emptied.is_empty()),
            (&s.rooms, changes.rooms.values().into(), changes.rooms.is_empty()),
            (&s.members, changes.members.values().into(), changes.members.is_empty()),
            (
                &s.connected,
                changes.connected.values().into(),
                changes.connected.is_empty(),
            ),
            (&s.ended, changes.ended.values().into(), changes.ended.is_empty()),
            (
                &s.presence,
                changes.presence.values().into(),
                changes.presence.is_empty(),
            ),
            (
                &s.messages,
                changes.messages.values().into(),
                changes.messages.is_empty(),
            ),
            (&s.events, batch.events.values().into(), has_no_events),
            (&s.batches, batch.batches.values().into(), has_no_events),
            (&s.heads, heads.values().into(), false),
        ];
        let steps = steps.iter().filter(|(.., is_empty)| !is_empty);
        let sent = steps.map(|(statement, values, _)| {
            let answer = self.client.execute(*statement, values);
            answer.map(|done| done.map(drop)).boxed()
        });
        let commit = self.client.batch_execute("COMMIT").boxed();
        // Each is sent when it is first polled, and that is in their order.
        let answers = join_all(sent.chain([commit])).await;
        // The first is no consequence of another.
        match answers.into_iter().find_map(Result::err) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Sees to it that days have their partitions. Where that takes too long, rows go to the default partition.
    async fn make_days(&mut self, events: &BTreeSet<Day>, messages: &BTreeSet<Day>) -> Result<(), SinkError> {
        let s = &self.statements;
        let missing = events
            .difference(&self.event_days)
            .map(|day| (*day, &s.event_day, true));
        let missing = missing.chain(
            messages
                .difference(&self.message_days)
                .map(|day| (*day, &s.message_day, false)),
        );
        let mut made = Vec::new();
        for (day, statement, is_of_events) in missing {
            if self
                .days_tried
                .get(&day)
                .is_some_and(|tried| tried.elapsed() < DAY_AGAIN)
            {
                continue;
            }
            match within(TRANSACTION, self.client.query_one(statement, &[&day])).await {
                Ok(_) => made.push((day, is_of_events)),
                Err(error @ SinkError::Postgres(_)) if error.is_slow() => {
                    tracing::warn!(error = %error, day, "a day's partition cannot be made yet");
                    self.days_tried.insert(day, Instant::now());
                }
                Err(error) => return Err(error),
            }
        }
        for (day, is_of_events) in made {
            let known = if is_of_events {
                &mut self.event_days
            } else {
                &mut self.message_days
            };
            known.insert(day);
        }
        Ok(())
    }
}

fn read_head(row: &Row) -> Result<(u16, Head), tokio_postgres::Error> {
    let (partition, last_id): (i16, &str) = (row.try_get(0)?, row.try_get(2)?);
    let hash: &[u8] = row.try_get(5)?;
    let head = Head {
        incarnation: row.try_get(1)?,
        last: StreamId::parse(last_id).unwrap_or_default(),
        gone: row.try_get(3)?,
        batch: row.try_get(4)?,
        // The column has a constraint.
        hash: hash.try_into().unwrap_or_default(),
    };
    Ok((u16::try_from(partition).unwrap_or_default(), head))
}

/// As Postgres counts partitions.
fn signed(partition: u16) -> i16 {
    i16::try_from(partition).expect("there are 64 partitions")
}

async fn within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, SinkError> {
    match tokio::time::timeout(patience, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SinkError::TimedOut),
    }
}
