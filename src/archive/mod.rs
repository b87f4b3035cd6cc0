//! The ONLY module that knows Postgres: so far whether it is there, and has the schema.
//!
//! Nothing here is on a client's path: a Postgres that is away is a line in `/health`, never an error of an event.

pub mod chain;
pub mod query;
mod trouble;
pub mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bb8_postgres::PostgresConnectionManager;
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::NoTls;

use self::trouble::Trouble;
use crate::config::SecretUrl;

type Pool = bb8::Pool<PostgresConnectionManager<NoTls>>;

/// How long an answer of [`Archive::check`] is passed on before Postgres is asked again.
const CHECK_LIFE: Duration = Duration::from_secs(3);
/// How long a check waits for Postgres, connecting included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that this node keeps to Postgres, at most.
const MAX_CONNECTIONS: u32 = 4;
/// Those of them that questions may hold at a time.
const QUESTIONS_MAX: usize = 2;

/// What is known of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresHealth {
    /// None is configured.
    Off,
    /// It answers, and the schema is there.
    Up,
    /// It answers, but the schema was not installed.
    NoSchema,
    /// It does not answer.
    Down,
}

/// Why the archive cannot be made. The URL's password is not in it.
#[derive(Debug, thiserror::Error)]
#[error("Postgres at {url}: {cause}")]
pub struct ArchiveError {
    url: SecretUrl,
    cause: tokio_postgres::Error,
}

/// A handle on the archive; clones share it.
#[derive(Clone)]
pub struct Archive {
    pool: Option<Pool>,
    questions: Arc<Semaphore>,
    trouble: Trouble,
    last: Arc<Mutex<Option<(Instant, PostgresHealth)>>>,
}

impl Archive {
    /// Makes the pool; connects when first asked, so a Postgres that is away holds up nobody. Fails when the URL is
    /// none that Postgres understands.
    pub fn new(url: Option<&SecretUrl>) -> Result<Self, ArchiveError> {
        let trouble = Trouble::default();
        let pool = url.map(|url| pool(url, &trouble)).transpose()?;
        Ok(Self {
            pool,
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            trouble,
            last: Arc::default(),
        })
    }

    /// How Postgres is, as of at most three seconds ago. Takes a second at the longest; callers share one question.
    pub async fn check(&self) -> PostgresHealth {
        let Some(pool) = &self.pool else {
            return PostgresHealth::Off;
        };
        let mut last = self.last.lock().await;
        if let Some((at, health)) = *last
            && at.elapsed() < CHECK_LIFE
        {
            return health;
        }
        let health = match tokio::time::timeout(CHECK_TIMEOUT, has_schema(pool)).await {
            Ok(Ok(true)) => PostgresHealth::Up,
            Ok(Ok(false)) => PostgresHealth::NoSchema,
            Ok(Err(error)) => {
                tracing::debug!(%error, "Postgres does not answer");
                PostgresHealth::Down
            }
            Err(_) => PostgresHealth::Down,
        };
        if let Some((_, before)) = last.replace((Instant::now(), health))
            && before != health
        {
            tracing::info!(?before, now = ?health, "Postgres changed");
        }
        health
    }
}

fn pool(url: &SecretUrl, trouble: &Trouble) -> Result<Pool, ArchiveError> {
    let error = |cause| ArchiveError {
        url: url.clone(),
        cause,
    };
    let mut settings: tokio_postgres::Config = url.expose().parse().map_err(error)?;
    settings
        .connect_timeout(CHECK_TIMEOUT)
        .application_name("nself-realtime");
    let manager = PostgresConnectionManager::new(settings, NoTls);
    Ok(bb8::Pool::builder()
        .max_size(MAX_CONNECTIONS)
        .connection_timeout(CHECK_TIMEOUT)
        .error_sink(Box::new(trouble.clone()))
        .build_unchecked(manager))
}

async fn has_schema(pool: &Pool) -> Result<bool, bb8::RunError<tokio_postgres::Error>> {
    let connection = pool.get().await?;
    let row = connection
        .query_one("SELECT to_regclass('realtime_events') IS NOT NULL", &[])
        .await?;
    Ok(row.try_get(0)?)
}
