//! `init` and `serve --migrate` bring the schema; a gateway without it serves, and says what is missing.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, binary};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::{migrate, migrated, rows, run, value};

fn init(redis: &Redis, settings: &[(&str, &str)]) -> Output {
    let mut command = binary();
    command
        .arg("init")
        .env("REALTIME_REDIS_URL", redis.url())
        .envs(settings.iter().copied());
    command.output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

async fn health(node: &Node) -> Value {
    let (status, text) = node.get("/health", "*/*").await.expect("/health answers");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn becomes(node: &Node, status: &str, postgres: &str) {
    eventually(&format!("health says {status}, {postgres}"), async || {
        let health = health(node).await;
        health["status"] == status && health["dependencies"]["postgres"]["status"] == postgres
    })
    .await;
}

#[tokio::test]
async fn init_brings_the_schema_before_the_rooms_and_may_be_repeated() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let url = database.url();
    let first = stdout(&init(&redis, &[("REALTIME_DATABASE_URL", &url)]));
    let (schema, rooms) = first.split_once("Creating default rooms...\n").expect(&first);
    assert!(
        schema.starts_with("Migrating the database...\n  V1 tables\n  V2 takeover\n"),
        "{first}"
    );
    assert_eq!(rooms, "  general\n  announcements\n✓ Initialization complete\n");
    assert!(migrate(&database).await.unwrap().applied.is_empty());

    // Where no gateway runs, the command itself has written it down.
    let client = database.connect().await;
    let listed = rows(
        &client,
        "SELECT name, type, visibility FROM realtime_rooms WHERE is_active ORDER BY name",
    )
    .await;
    let room = |name: &str| json!({ "name": name, "type": "channel", "visibility": "public" });
    assert_eq!(listed, [room("announcements"), room("general")]);

    let again = stdout(&init(&redis, &[("REALTIME_DATABASE_URL", &url)]));
    let (schema, _) = again.split_once("Creating").expect(&again);
    let version = migrate(&database).await.unwrap().version;
    assert_eq!(schema, format!("Migrating the database...\n  V{version} (was there)\n"));
    assert!(again.contains("  general (was there)\n"), "{again}");
}

#[tokio::test]
async fn init_works_without_a_database_and_fails_where_a_configured_one_is_away() {
    let redis = Redis::start().await;
    let without = stdout(&init(&redis, &[]));
    assert!(
        without.contains("  none is configured: the archive is off\n"),
        "{without}"
    );
    assert!(without.contains("  general\n"), "{without}");

    let away = Postgres::stopped(&[]);
    let failed = init(&redis, &[("REALTIME_DATABASE_URL", &away.url())]);
    assert_eq!(failed.status.code(), Some(1));
    let error = String::from_utf8(failed.stderr).unwrap();
    assert!(
        error.starts_with("Error: the schema at postgres://") && error.contains("refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_gateway_without_the_schema_serves_and_says_what_to_run() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let url = database.url();
    let node = Node::start(&redis.url(), &[("REALTIME_DATABASE_URL", &url)]).await;
    node.logs(&["\"level\":\"warn\"", "nself-realtime init", "--migrate"])
        .await;
    becomes(&node, "degraded", "no schema").await;

    // Tables of another hand are no schema.
    let client = database.connect().await;
    run(&client, include_str!("existing.sql")).await;
    becomes(&node, "degraded", "no schema").await;
    stdout(&init(&redis, &[("REALTIME_DATABASE_URL", &url)]));
    becomes(&node, "healthy", "connected").await;

    // Neither is one that lacks what this program needs.
    run(
        &client,
        "DELETE FROM realtime_schema_history WHERE version = (SELECT max(version) FROM realtime_schema_history)",
    )
    .await;
    becomes(&node, "degraded", "no schema").await;
    // One that has more is.
    run(
        &client,
        "INSERT INTO realtime_schema_history VALUES (9999, 'of_tomorrow', '2030-01-01T00:00:00Z', '1')",
    )
    .await;
    becomes(&node, "healthy", "connected").await;
}

#[tokio::test]
async fn serve_migrates_when_it_is_told_to() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let url = database.url();
    let settings = [("REALTIME_DATABASE_URL", url.as_str()), ("REALTIME_MIGRATE", "true")];
    let url = redis.url();
    let (one, two) = tokio::join!(Node::start(&url, &settings), Node::start(&url, &settings));
    for node in [&one, &two] {
        becomes(node, "healthy", "connected").await;
        node.logs(&["the schema is up to date"]).await;
    }
    let client = database.connect().await;
    let applied = value(&client, "SELECT count(*) FROM realtime_schema_history").await;
    assert!(applied.as_i64() > Some(1), "{applied}");
}

#[tokio::test]
async fn a_gateway_sees_postgres_crash_hang_and_come_back() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::start());
    let database = postgres.database().await;
    migrate(&database).await.unwrap();
    let node = Node::start(&redis.url(), &[("REALTIME_DATABASE_URL", &database.url())]).await;
    becomes(&node, "healthy", "connected").await;
    postgres.kill().await;
    becomes(&node, "degraded", "disconnected").await;
    postgres.restart().await;
    becomes(&node, "healthy", "connected").await;
    postgres.pause();
    becomes(&node, "degraded", "disconnected").await;
    postgres.resume();
    becomes(&node, "healthy", "connected").await;
}

#[tokio::test]
async fn a_postgres_that_is_away_at_the_start_is_migrated_when_it_comes() {
    let redis = Redis::start().await;
    let postgres = Postgres::stopped(&["fsync=off"]);
    let url = postgres.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_MIGRATE", "true"),
        ("REALTIME_RESTORE", "best-effort"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    node.logs(&["\"level\":\"warn\"", "the migrations did not run"]).await;
    becomes(&node, "degraded", "disconnected").await;
    postgres.restart().await;
    becomes(&node, "healthy", "connected").await;
}

#[tokio::test]
async fn an_act_of_the_administration_is_written_down_with_its_reason() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_LOG_EVENT_TYPES", "*"),
    ];
    stdout(&init(&redis, &settings));
    let command = |args: &[&str]| {
        let mut command = binary();
        command.args(args).env("REALTIME_REDIS_URL", redis.url()).envs(settings);
        command.output().expect("the binary starts")
    };
    stdout(&command(&["rooms", "ban", "general", "bob", "--reason", "spam"]));
    let bans = rows(
        &client,
        "SELECT user_id, room_name, payload ->> 'reason' AS reason FROM realtime_events WHERE event_type = 'ban'",
    )
    .await;
    assert_eq!(
        bans,
        [json!({ "user_id": "bob", "room_name": "general", "reason": "spam" })]
    );
    let long = command(&["rooms", "ban", "general", "bob", "--reason", &"x".repeat(501)]);
    assert_eq!(long.status.code(), Some(2), "{long:?}");
}
