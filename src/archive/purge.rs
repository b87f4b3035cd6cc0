//! Takes away what the migrations have made, rows and all. Not here: who may ask for that (`cli`).

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::schema::{HISTORY, MIGRATION_LOCK};
use super::{CHECK_TIMEOUT, settings};
use crate::config::SecretUrl;

/// How long it waits for each lock: for a migration that runs, for questions that read the tables.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The partitions of a table go with it. No CASCADE: what somebody else has built upon these stops it, and is named.
const VIEWS: &str =
    "realtime_active_connections, realtime_room_stats, realtime_current_typing, realtime_presence_summary";
const TABLES: &str = "realtime_events, realtime_messages, realtime_typing, realtime_room_members, realtime_connections, \
                      realtime_presence, realtime_rooms, realtime_archive_origin, realtime_archive_heads, \
                      realtime_archive_batches, realtime_archive_anchors";
const FUNCTIONS: &str = "cleanup_expired_typing(), disconnect_stale_connections(), update_presence_from_activity(), \
                         update_room_timestamp(), update_presence_timestamp(), realtime_events_day(DATE), \
                         realtime_messages_day(DATE), realtime_partition_day(REGCLASS, DATE)";

/// Why the schema is still there, all of it.
#[derive(Debug, thiserror::Error)]
#[error("the schema at {url} stays: {}", said(.cause))]
pub struct PurgeError {
    url: SecretUrl,
    cause: tokio_postgres::Error,
}

/// Postgres's own words; its detail names what stands in the way.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => [Some(said.message()), said.detail()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": "),
        None => error.to_string(),
    }
}

/// Drops views, tables and functions in one transaction; where there are none, nothing happens.
pub(super) async fn purge(url: &SecretUrl) -> Result<(), PurgeError> {
    run(url).await.map_err(|cause| PurgeError {
        url: url.clone(),
        cause,
    })
}

async fn run(url: &SecretUrl) -> Result<(), tokio_postgres::Error> {
    // A connection of its own: its end releases the lock.
    let (client, connection) = settings(url, CHECK_TIMEOUT)?.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let outcome = drop_all(&client).await;
    drop(client);
    // Whatever was wrong with it, the outcome has said so.
    drop(connection.await);
    outcome
}

async fn drop_all(client: &Client) -> Result<(), tokio_postgres::Error> {
    let terms = format!(
        "SET lock_timeout = {}; SET client_min_messages = warning",
        LOCK_WAIT.as_millis()
    );
    client.batch_execute(&terms).await?;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    // One message is one transaction.
    let all = format!(
        "DROP VIEW IF EXISTS {VIEWS}; DROP TABLE IF EXISTS {TABLES}, {HISTORY}; DROP FUNCTION IF EXISTS {FUNCTIONS}"
    );
    client.batch_execute(&all).await
}
