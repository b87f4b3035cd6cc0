//! Questions to the archive: what happened, who was where, when somebody was connected. Typed, in pages, bounded in
//! time, and answered from one snapshot each. Nothing here writes.
//!
//! The archive follows Redis at a distance: what happened in the last moments may not have arrived, and while Postgres
//! was away it is the outbox that has it.
//!
//! What is read of a row of `realtime_events` beside its columns: `metadata.connection` and `metadata.node`; of a
//! `disconnect` `payload.cause` (or `reason`, as the existing plugin wrote it); of a `connect` `payload.transport`, `agent`
//! and `device`; of a `gap` `payload.count`, `from`, `to` and `reason`. A gap because of an emptied Redis belongs to the new
//! incarnation.

mod counts;
mod events;
mod moment;
mod sessions;
mod who;

use std::error::Error as _;
use std::fmt;
use std::time::{Duration, SystemTime};

use bb8::{PooledConnection, RunError};
use bb8_postgres::PostgresConnectionManager;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::SemaphorePermit;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, IsolationLevel, NoTls, Transaction};

pub use self::counts::EventCounts;
pub use self::events::{Event, EventFilter, Follower, News};
pub use self::moment::{BadMoment, parse_moment};
pub use self::sessions::Session;
pub use self::who::{Caveat, Present, Who};
use super::Archive;

/// Most rows of one page.
pub const PAGE_MAX: u16 = 1_000;

/// Longest text of a [`Place`], in bytes: a time, and the longest name of a socket.
const PLACE_MAX_BYTES: usize = 300;

/// Why a question has no answer. No password is in it.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no archive.
    #[error("no database is configured")]
    Off,
    /// Nobody answers, or nobody lets us in.
    #[error("it does not answer{}", because(.0.as_deref()))]
    Away(Option<String>),
    /// Tables are missing.
    #[error("the schema is not installed; `nself-realtime init` installs it")]
    NoSchema,
    /// It took longer than whoever asked would wait.
    #[error("it did not answer in time")]
    TooSlow,
    /// The place to go on from is none that this question gave.
    #[error("the cursor is none of this question's")]
    BadPlace,
    /// Anything else that Postgres said.
    #[error("{}", words(.0))]
    Failed(tokio_postgres::Error),
}

fn because(cause: Option<&str>) -> String {
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// What the server said, or the system; the driver alone says no more than that something did.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(server), _) => server.message().to_owned(),
        (None, Some(system)) => format!("{error}: {system}"),
        (None, None) => error.to_string(),
    }
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code() else {
            return Self::Away(Some(words(&error)));
        };
        match code {
            &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN | &SqlState::UNDEFINED_FUNCTION => Self::NoSchema,
            &SqlState::QUERY_CANCELED => Self::TooSlow,
            // It shuts down, starts, or has no connection to spare.
            code if ["57P", "08", "53"].iter().any(|class| code.code().starts_with(class)) => {
                Self::Away(Some(words(&error)))
            }
            _ => Self::Failed(error),
        }
    }
}

/// Where a page ended, to go on from there: a time, and a name that tells what happened at the same time apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    at_us: i64,
    name: String,
}

impl Place {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, name) = text.split_once('.').filter(|_| text.len() <= PLACE_MAX_BYTES)?;
        let at_us = at.parse().ok().filter(|&us| Timestamp::from_microsecond(us).is_ok())?;
        let is_name = !name.is_empty() && !name.chars().any(char::is_control);
        is_name.then(|| Self {
            at_us,
            name: name.to_owned(),
        })
    }

    fn of(at: Timestamp, name: &str) -> Self {
        Self {
            at_us: at.as_microsecond(),
            name: name.to_owned(),
        }
    }

    fn at(&self) -> SystemTime {
        Timestamp::from_microsecond(self.at_us).unwrap_or_default().into()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at_us, self.name)
    }
}

/// A connection that asks. It is one of few, so that questions never take all that the sink could have.
pub(super) struct Reader<'a> {
    connection: PooledConnection<'a, PostgresConnectionManager<NoTls>>,
    _turn: SemaphorePermit<'a>,
}

impl Reader<'_> {
    /// One state of the database, that nothing which happens meanwhile changes. A statement that takes longer than
    /// `patience` is ended by Postgres, also where nobody waits for it any more.
    pub(super) async fn snapshot(&mut self, patience: Option<Duration>) -> Result<Transaction<'_>, QueryError> {
        let client: &mut Client = &mut self.connection;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let limit_ms = patience.map_or(0, |patience| patience.as_millis().max(1));
        transaction
            .batch_execute(&format!("SET LOCAL statement_timeout = {limit_ms}"))
            .await?;
        Ok(transaction)
    }
}

impl Archive {
    /// A connection to ask on, once it is this question's turn.
    pub(super) async fn reader(&self) -> Result<Reader<'_>, QueryError> {
        let pool = self.pool.as_ref().ok_or(QueryError::Off)?;
        let turn = self.questions.acquire().await;
        let turn = turn.expect("this semaphore is never closed");
        let connection = pool.get().await.map_err(|error| match error {
            RunError::User(error) => QueryError::from(error),
            RunError::TimedOut => QueryError::Away(self.trouble.last()),
        })?;
        Ok(Reader {
            connection,
            _turn: turn,
        })
    }
}

/// An answer, if it comes in time.
async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    tokio::time::timeout(patience, answer)
        .await
        .unwrap_or(Err(QueryError::TooSlow))
}

/// A time of Postgres'; its infinities become the ends of the calendar.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time > SystemTime::UNIX_EPOCH {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    })
}

/// As every answer writes times.
fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn write_time<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn write_some_time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => write_time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// JSON that Postgres wrote. What nests too deeply to be read is shown as the text that it is.
fn json(text: Option<String>) -> Option<Value> {
    text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place::of("2026-01-30T12:00:00.123456Z".parse().unwrap(), "socket:a.b c");
        assert_eq!(Place::parse(&place.to_string()), Some(place.clone()));
        assert_eq!(timestamp(place.at()).to_string(), "2026-01-30T12:00:00.123456Z");
        let long = format!("1.{}", "x".repeat(PLACE_MAX_BYTES));
        for wrong in ["", "1", "1.", ".x", "x.y", "9223372036854775807.x", "1.a\u{0}", &long] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
