//! The archive against a real Postgres: its schema, the takeover of a database that the existing plugin has made, what is
//! asked of it, and the check of the audit trail.

mod commands;
mod complaints;
mod days;
mod description;
mod durable;
mod durable_http;
mod figures;
mod functions;
mod ghosts;
mod history;
mod once;
mod purge;
mod queries;
mod queries_commands;
mod queries_http;
mod queries_who;
mod restore;
mod schema;
mod sink;
mod sink_gaps;
mod sink_node;
mod sink_outage;
mod sink_projections;
mod sink_retention;
mod sink_stage;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod trail;
mod verify;
mod verify_chain;

use std::sync::Arc;
use std::time::Duration;

use nself_realtime::archive::{Archive, MigrateError, Migrated};
use nself_realtime::config::SecretUrl;
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use support::postgres::{Database, Postgres};

const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The product's archive on a database.
fn archive(database: &Database) -> Archive {
    let url = SecretUrl::new(database.url().parse().expect("a URL"));
    Archive::new(Some(&url)).expect("Postgres understands it")
}

async fn migrate(database: &Database) -> Result<Migrated, MigrateError> {
    let done = archive(database).migrate(LOCK_WAIT).await?;
    Ok(done.expect("a database is configured"))
}

/// A new database with the schema, and a connection to it.
async fn migrated() -> (Database, Client) {
    let database = Postgres::shared().await.database().await;
    migrate(&database).await.expect("the migrations run");
    let client = database.connect().await;
    (database, client)
}

/// A Postgres of the test's own, to be stopped, and a database in it that has the schema.
async fn own_postgres() -> (Arc<Postgres>, Database) {
    let postgres = Postgres::configured(&["fsync=off"]).await;
    let database = postgres.database().await;
    migrate(&database).await.expect("the migrations run");
    (postgres, database)
}

/// The rows of a query as JSON, in their order.
async fn rows(client: &Client, query: &str) -> Vec<Value> {
    let query = format!("SELECT to_jsonb(answer)::TEXT FROM ({query}) AS answer");
    let rows = client.query(&query, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{query}: {}", because(&error)));
    rows.iter()
        .map(|row| serde_json::from_str(row.get(0)).expect("Postgres writes JSON"))
        .collect()
}

/// The one value of a query, as JSON.
async fn value(client: &Client, query: &str) -> Value {
    let rows = rows(client, &format!("SELECT ({query}) AS value")).await;
    rows[0]["value"].clone()
}

async fn run(client: &Client, statements: &str) {
    let done = client.batch_execute(statements).await;
    done.unwrap_or_else(|error| panic!("{statements}: {}", because(&error)));
}

/// Why a statement is refused; a failure when it is not.
async fn refusal(client: &Client, statement: &str) -> SqlState {
    let error = client.batch_execute(statement).await.expect_err(statement);
    let state = error.code().cloned();
    state.unwrap_or_else(|| panic!("{statement}: {}", because(&error)))
}

fn because(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
