//! `init` and `serve --migrate` bring the schema; a gateway without it serves, and says what is missing.

use std::process::Output;

use nself_realtime::hot::keys::{Keys, Partition};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, binary};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::{migrate, migrated, rows, run, value};

fn init(redis: &Redis, settings: &[(&str, &str)]) -> Output {
    command(redis, settings, &["init"])
}

fn command(redis: &Redis, settings: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = binary();
    command
        .args(args)
        .env("REALTIME_REDIS_URL", redis.url())
        .envs(settings.iter().copied());
    command.output().expect("the binary starts")
}

/// What `init` prints as its result.
const INITIALIZED: &str = "Creating default rooms...\nCleaning up stale data...\n✓ Initialization complete\n";

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
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
    let first = init(&redis, &[("REALTIME_DATABASE_URL", &url)]);
    assert_eq!(stdout(&first), INITIALIZED);
    let beside = stderr(&first);
    assert!(
        beside.starts_with("The database's schema:\n  V1 tables\n  V2 takeover\n")
            && beside.ends_with("\n  general\n  announcements\n"),
        "{beside}"
    );
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

    let again = init(&redis, &[("REALTIME_DATABASE_URL", &url)]);
    assert_eq!(stdout(&again), INITIALIZED);
    let version = migrate(&database).await.unwrap().version;
    assert_eq!(
        stderr(&again),
        format!(
            "The database's schema:\n  V{version} (was there)\n  general (was there)\n  announcements (was there)\n"
        )
    );
    let shown = command(&redis, &[("REALTIME_DATABASE_URL", &url)], &["init", "--json"]);
    let shown: Value = serde_json::from_str(&stdout(&shown)).expect("one JSON object");
    assert_eq!(shown["schema"], json!({ "version": version, "applied": [] }));
}

#[tokio::test]
async fn init_works_without_a_database_and_fails_where_a_configured_one_is_away() {
    let redis = Redis::start().await;
    let without = init(&redis, &[]);
    assert_eq!(stdout(&without), INITIALIZED);
    assert_eq!(
        stderr(&without),
        "No database is configured: the archive is off\n  general\n  announcements\n"
    );

    let away = Postgres::stopped(&[]);
    let failed = init(&redis, &[("REALTIME_DATABASE_URL", &away.url())]);
    assert_eq!(failed.status.code(), Some(1));
    let error = stderr(&failed);
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
    stdout(&command(
        &redis,
        &settings,
        &["rooms", "ban", "general", "bob", "--reason", "spam"],
    ));
    let bans = rows(
        &client,
        "SELECT user_id, room_name, payload ->> 'reason' AS reason FROM realtime_events WHERE event_type = 'ban'",
    )
    .await;
    assert_eq!(
        bans,
        [json!({ "user_id": "bob", "room_name": "general", "reason": "spam" })]
    );
    let long = command(
        &redis,
        &settings,
        &["rooms", "ban", "general", "bob", "--reason", &"x".repeat(501)],
    );
    assert_eq!(long.status.code(), Some(2), "{long:?}");
}

#[tokio::test]
async fn whoever_only_looks_brings_nothing_back_and_needs_no_postgres() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let (url, away) = (database.url(), Postgres::stopped(&[]));
    let away = away.url();
    run(
        &client,
        "INSERT INTO realtime_rooms (name, type, visibility) VALUES ('den', 'channel', 'public')",
    )
    .await;
    for url in [&url, &away] {
        let settings = [("REALTIME_DATABASE_URL", url.as_str())];
        stdout(&command(&redis, &settings, &["rooms", "--json"]));
        for what in ["info", "members"] {
            let output = command(&redis, &settings, &["rooms", what, "den"]);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("there is no room den"), "{error}");
        }
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.exists(Keys::new("rt").outbox(partition));
        }
        let open: Vec<u64> = pipeline
            .query_async(&mut redis.connection().await)
            .await
            .expect("redis answers");
        assert_eq!(open.iter().sum::<u64>(), 0, "partitions stay as they were");
    }
    // Whoever acts has it brought back before.
    stdout(&command(
        &redis,
        &[("REALTIME_DATABASE_URL", &url)],
        &["rooms", "mute", "den", "bob"],
    ));
    let muted = "SELECT count(*) FROM realtime_room_members WHERE user_id = 'bob' AND is_muted";
    assert_eq!(value(&client, muted).await, 1);
}

#[tokio::test]
async fn a_command_waits_for_the_gateway_that_writes_which_knows_what_becomes_a_row() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let database_url = ("REALTIME_DATABASE_URL", url.as_str());
    let node = Node::start(&redis.url(), &[database_url, ("REALTIME_LOG_EVENT_TYPES", "ban")]).await;
    let office = Keys::new("rt").sink();
    eventually("the gateway writes", async || {
        let holder: Option<String> = redis::cmd("GET")
            .arg(&office)
            .query_async(&mut redis.connection().await)
            .await
            .expect("redis answers");
        holder.is_some()
    })
    .await;
    let otherwise = [database_url, ("REALTIME_LOG_EVENTS", "false")];
    let quiet = |output: &Output| assert!(output.stderr.is_empty(), "{output:?}");
    quiet(&command(&redis, &otherwise, &["create-room", "den"]));
    for number in 1..=5 {
        let output = command(&redis, &otherwise, &["rooms", "ban", "den", &format!("user-{number}")]);
        stdout(&output);
        quiet(&output);
        // It was there when the command ended.
        let bans = "SELECT count(*) FROM realtime_events WHERE event_type = 'ban'";
        assert_eq!(value(&client, bans).await, number);
    }
    drop(node);
}

#[tokio::test]
async fn a_command_says_where_postgres_has_not_heard_of_it_and_leaves_no_office_behind() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let settings = [("REALTIME_DATABASE_URL", url.as_str())];
    stdout(&init(&redis, &settings));
    let office = Keys::new("rt").sink();
    let mut connection = redis.connection().await;
    let held: Option<String> = redis::cmd("GET")
        .arg(&office)
        .query_async(&mut connection)
        .await
        .expect("redis answers");
    assert_eq!(held, None, "the command had it, and gave it up");
    // Somebody has it who does not write.
    let () = redis::cmd("SET")
        .arg(&office)
        .arg("elsewhere/1")
        .query_async(&mut connection)
        .await
        .expect("redis answers");
    let output = command(&redis, &settings, &["rooms", "ban", "general", "bob"]);
    stdout(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("done, and not in Postgres yet"), "{said}");
    let banned = "SELECT count(*) FROM realtime_room_members WHERE user_id = 'bob' AND is_banned";
    assert_eq!(value(&client, banned).await, 0, "it is for whoever has the office");
    let () = redis::cmd("DEL")
        .arg(&office)
        .query_async(&mut connection)
        .await
        .expect("redis answers");
    // The next command finds both.
    stdout(&command(&redis, &settings, &["rooms", "ban", "general", "ann"]));
    assert_eq!(value(&client, banned).await, 1);
}
