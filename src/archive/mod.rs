//! The ONLY module that knows Postgres: whether it is there, and its schema.
//!
//! Two answers to clients wait for it, 2 s at most: a page of `message:history` from before what Redis keeps, and a change of
//! role, mute or ban (`domain::sink`), which says so where Postgres has it not. Nothing else on a client's path does: a Postgres
//! that is away is a line in `/health`.

pub mod chain;
pub mod messages;
mod metrics;
mod purge;
pub mod query;
pub mod restore;
mod schema;
pub mod sink;
pub mod snapshot;
mod trouble;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bb8_postgres::PostgresConnectionManager;
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::NoTls;

pub use self::purge::PurgeError;
pub use self::schema::{MIGRATION_LOCK, MigrateError, Migrated};
use self::trouble::Trouble;
use crate::config::SecretUrl;

type Pool = bb8::Pool<PostgresConnectionManager<NoTls>>;

/// How long an answer of [`Archive::check`] is passed on before Postgres is asked again.
const CHECK_LIFE: Duration = Duration::from_secs(3);
/// How long a check waits for Postgres, connecting included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the migration of a node waits for each lock, before it tries again.
const PREPARE_LOCK_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at a Postgres that is away, or has no schema.
const PREPARE_PAUSE: Duration = Duration::from_secs(5);
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
    /// It answers, but the schema was not installed, or is older than this program.
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
    url: Option<SecretUrl>,
    last: Arc<Mutex<Option<(Instant, PostgresHealth)>>>,
    /// The same without waiting, for metrics.
    is_up: Arc<AtomicBool>,
    /// Since when every snapshot was written.
    snapshots_since: Arc<std::sync::Mutex<Option<Instant>>>,
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
            url: url.cloned(),
            last: Arc::default(),
            is_up: Arc::default(),
            snapshots_since: Arc::default(),
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
        let health = match tokio::time::timeout(CHECK_TIMEOUT, ask(pool)).await {
            Ok(Ok(true)) => PostgresHealth::Up,
            Ok(Ok(false)) => PostgresHealth::NoSchema,
            Ok(Err(error)) => {
                tracing::debug!(%error, "Postgres does not answer");
                PostgresHealth::Down
            }
            Err(_) => PostgresHealth::Down,
        };
        self.is_up.store(health == PostgresHealth::Up, Ordering::Relaxed);
        let before = last.replace((Instant::now(), health)).map(|(_, before)| before);
        if before != Some(health) {
            tell(before, health);
        }
        health
    }

    /// Runs the migrations that the database lacks, all or none, in one process at a time; `None` without a database.
    /// Waits for each lock `lock_wait` at most.
    pub async fn migrate(&self, lock_wait: Duration) -> Result<Option<Migrated>, MigrateError> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let done = schema::migrate(url, lock_wait).await?;
        // What was known is no longer so.
        *self.last.lock().await = None;
        Ok(Some(done))
    }

    /// Drops the schema with all that is in it; false without a database.
    pub async fn purge(&self) -> Result<bool, PurgeError> {
        let Some(url) = &self.url else {
            return Ok(false);
        };
        purge::purge(url).await?;
        // What was known is no longer so.
        *self.last.lock().await = None;
        Ok(true)
    }

    /// Returns when there is a Postgres with the schema, or none is configured; meanwhile the log says what is missing.
    /// Runs the migrations first where `migrate`.
    pub async fn prepare(&self, migrate: bool) {
        let mut must_migrate = migrate;
        let mut said = String::new();
        loop {
            if must_migrate {
                match self.migrate(PREPARE_LOCK_WAIT).await {
                    Ok(done) => {
                        must_migrate = false;
                        if let Some(Migrated { applied, version }) = done {
                            tracing::info!(?applied, version, "the schema is up to date");
                        }
                    }
                    Err(error) => {
                        let error = error.to_string();
                        // Once per cause, not every few seconds of an outage.
                        if error != said {
                            tracing::warn!(error, "the migrations did not run, and are tried again");
                        }
                        said = error;
                    }
                }
            }
            if matches!(self.check().await, PostgresHealth::Off | PostgresHealth::Up) {
                return;
            }
            tokio::time::sleep(PREPARE_PAUSE).await;
        }
    }
}

/// A change of Postgres, for the log; what an operator has to do comes with it.
fn tell(before: Option<PostgresHealth>, now: PostgresHealth) {
    match now {
        PostgresHealth::NoSchema => tracing::warn!(
            "the archive is closed: the database has no schema, or one that is older than this program; \
             run `nself-realtime init`, or start with --migrate"
        ),
        PostgresHealth::Down => tracing::warn!("the archive is closed: Postgres does not answer"),
        PostgresHealth::Up | PostgresHealth::Off => tracing::info!(?before, ?now, "Postgres"),
    }
}

fn pool(url: &SecretUrl, trouble: &Trouble) -> Result<Pool, ArchiveError> {
    let error = |cause| ArchiveError {
        url: url.clone(),
        cause,
    };
    let settings = settings(url, CHECK_TIMEOUT).map_err(error)?;
    let manager = PostgresConnectionManager::new(settings, NoTls);
    Ok(bb8::Pool::builder()
        .max_size(MAX_CONNECTIONS)
        .connection_timeout(CHECK_TIMEOUT)
        .error_sink(Box::new(trouble.clone()))
        .build_unchecked(manager))
}

fn settings(url: &SecretUrl, connect_timeout: Duration) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    let mut settings: tokio_postgres::Config = url.expose().parse()?;
    settings
        .connect_timeout(connect_timeout)
        .application_name("nself-realtime");
    Ok(settings)
}

async fn ask(pool: &Pool) -> Result<bool, bb8::RunError<tokio_postgres::Error>> {
    let connection = pool.get().await?;
    Ok(schema::is_current(&connection).await?)
}
