//! What goes wrong between the sink and Postgres, and what is to be done about it: less at a time, something else, or to wait.

use tokio_postgres::error::SqlState;

use crate::archive::query;

/// What is kept of Postgres' words about a refusal, in bytes.
const WHY_MAX: usize = 300;

/// Why nothing, or not everything, was written. The connection is to be given up.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Postgres is away, or said no.
    #[error("{}", words(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// Postgres did not answer in time.
    #[error("Postgres did not answer in time")]
    TimedOut,
    /// Somebody has removed it; the next connection makes it anew.
    #[error("the head of a partition is gone")]
    NoHead,
}

/// Postgres' own words, without what it was asked.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.code().code(), said.message()),
        None => query::words(error),
    }
}

impl SinkError {
    /// Whether it took too long: less at a time may not.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::NoHead => false,
            Self::Postgres(error) => {
                let slow = [&SqlState::QUERY_CANCELED, &SqlState::LOCK_NOT_AVAILABLE];
                error.code().is_some_and(|code| slow.contains(&code))
            }
        }
    }

    /// Whether it met somebody else's transaction, a deadlock mostly: the same may do the next time.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code().starts_with("40")))
    }

    /// Whether a row is there already, of those that may be there once.
    pub(super) fn is_repeat(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// Why Postgres does not take what was written, where that is the matter: by its words about values and constraints, and
    /// those of triggers.
    pub(super) fn refusal(&self) -> Option<String> {
        let Self::Postgres(error) = self else { return None };
        let class = error.code()?.code().get(..2)?;
        ["21", "22", "23", "44", "54", "P0"].contains(&class).then(|| {
            let mut said = words(error);
            said.truncate(said.floor_char_boundary(WHY_MAX));
            said
        })
    }
}
