//! The schema: the migrations in `sql/`, run by one process at a time, and whether a database has all of them.
//! Not here: what is written into the tables.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::config::SecretUrl;

mod embedded {
    refinery::embed_migrations!("sql");
}

/// Which migrations a database has. Not the migrator's own name for it, which others in the same database may use.
pub(super) const HISTORY: &str = "realtime_schema_history";
/// The advisory lock that whoever migrates holds.
pub const MIGRATION_LOCK: i64 = 0x6e73_656c_665f_7274;
/// How long a migration waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `UNIQUE NULLS NOT DISTINCT` came with it.
const OLDEST_SERVER: i32 = 150_000;

/// What a run of the migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were missing, in their order: `V1 tables`.
    pub applied: Vec<String>,
    /// The schema's version now.
    pub version: i32,
}

/// Why the migrations did not run. None of them has an effect then.
#[derive(Debug, thiserror::Error)]
#[error("the schema at {url}: {cause}")]
pub struct MigrateError {
    url: SecretUrl,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{}", innermost(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("{}", innermost(.0))]
    Migration(#[from] refinery::Error),
    #[error("the server is too old (server_version_num {0}), Postgres 15 is needed")]
    OldServer(i32),
    #[error(
        "somebody else holds a lock for longer than {} s: another migration, or a transaction on these tables",
        .0.as_secs_f32()
    )]
    Locked(Duration),
}

impl Cause {
    /// A wait for a lock that ran out says so, wherever it happened.
    fn or_locked(self, wait: Duration) -> Self {
        let mut cause: Option<&dyn std::error::Error> = match &self {
            Self::Postgres(error) => Some(error),
            Self::Migration(error) => Some(error),
            Self::OldServer(_) | Self::Locked(_) => None,
        };
        while let Some(error) = cause {
            let code = error
                .downcast_ref::<tokio_postgres::error::DbError>()
                .map(tokio_postgres::error::DbError::code);
            if code == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                return Self::Locked(wait);
            }
            cause = error.source();
        }
        self
    }
}

/// What was wrong in the first place: the layers around it say no more than that there was something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Runs the migrations that the database lacks, all or none of them. Waits for each lock, that of another migration
/// first, `lock_wait` at most.
pub(super) async fn migrate(url: &SecretUrl, lock_wait: Duration) -> Result<Migrated, MigrateError> {
    run(url, lock_wait).await.map_err(|cause| MigrateError {
        url: url.clone(),
        cause: cause.or_locked(lock_wait),
    })
}

async fn run(url: &SecretUrl, lock_wait: Duration) -> Result<Migrated, Cause> {
    // A connection of its own: its end releases the lock, whatever happens in between.
    let (mut client, connection) = super::settings(url, CONNECT_TIMEOUT)?.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let outcome = run_on(&mut client, lock_wait).await;
    drop(client);
    // Whatever was wrong with it, the outcome has said so.
    drop(connection.await);
    outcome
}

async fn run_on(client: &mut Client, lock_wait: Duration) -> Result<Migrated, Cause> {
    // A takeover of many rows may take longer than what is right for other statements.
    let terms = format!(
        "SET lock_timeout = {}; SET statement_timeout = 0; SET client_min_messages = warning",
        lock_wait.as_millis()
    );
    client.batch_execute(&terms).await?;
    let server = client
        .query_one("SELECT current_setting('server_version_num')::INT4", &[])
        .await?
        .try_get(0)?;
    if server < OLDEST_SERVER {
        return Err(Cause::OldServer(server));
    }
    client
        .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    // A database that is newer than this program is fine: nodes are replaced in turn.
    let mut runner = embedded::migrations::runner()
        .set_grouped(true)
        .set_abort_missing(false);
    runner.set_migration_table_name(HISTORY);
    let report = runner.run_async(client).await?;
    let applied = report
        .applied_migrations()
        .iter()
        .map(|migration| format!("V{} {}", migration.version(), migration.name().replace('_', " ")))
        .collect();
    let version = version(client).await?.unwrap_or_default();
    Ok(Migrated { applied, version })
}

/// Whether this program's schema was installed, in whichever version.
pub(super) async fn is_installed(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY])
        .await?
        .try_get(0)
}

/// Whether the database has every migration that this program knows.
pub(super) async fn is_current(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let question = "SELECT to_regclass($1) IS NOT NULL AND to_regclass('realtime_events') IS NOT NULL";
    let is_there: bool = client.query_one(question, &[&HISTORY]).await?.try_get(0)?;
    Ok(is_there && version(client).await? >= newest())
}

/// The version of a schema that is there.
async fn version(client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
    let question = format!("SELECT max(version) FROM {HISTORY}");
    client.query_one(&question, &[]).await?.try_get(0)
}

/// The newest migration that this program knows.
fn newest() -> Option<i32> {
    let runner = embedded::migrations::runner();
    runner
        .get_migrations()
        .iter()
        .map(|migration| migration.version())
        .max()
}
