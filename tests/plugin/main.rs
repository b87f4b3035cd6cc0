//! The nself plugin, called exactly as the nself loader calls it, on a real Redis and a real Postgres; and the unit file.

mod actions;
mod loader;
mod manifest;
mod remove;
mod server;
mod settings;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod unit;

use std::time::Duration;

use support::port::free_port;
use support::postgres::Database;
use support::redis::Redis;
use support::token::SECRET;

/// Longest wait for a process to end or to come up.
const LIMIT: Duration = Duration::from_secs(60);

/// The project's `.env` of a gateway that stops at once, and its port. Lines of nself and of others stand between.
fn dotenv(redis: &Redis, database: Option<&Database>) -> (String, u16) {
    let port = free_port();
    let database = database.map_or("none".to_owned(), Database::url);
    let text = format!(
        "# the project\r\nPROJECT_NAME=demo\r\nCS_1_CMD=pnpm dev\nWORDS='it''s odd'\nPATH=/nowhere\n\
         export REALTIME_REDIS_URL=\"{}\" # a comment\r\nREALTIME_DATABASE_URL={database}\r\n\
         REALTIME_HOST=127.0.0.1\nREALTIME_PORT={port}\nREALTIME_JWT_SECRET='{SECRET}'\n\
         REALTIME_CORS_ORIGIN=http://localhost:3000\nREALTIME_LIMITS=off\n\
         REALTIME_DRAIN_WAIT=0\nREALTIME_DRAIN_WINDOW=0\n",
        redis.url()
    );
    (text, port)
}

/// GET of a path: status and text; `None` where nobody answers.
async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let answer = client.get(format!("http://127.0.0.1:{port}{path}")).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}
