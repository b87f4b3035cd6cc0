//! A database gets the schema once, whoever asks and how many do; what contradicts it is refused.

use std::time::Duration;

use nself_realtime::archive::MIGRATION_LOCK;
use tokio_postgres::error::SqlState;

use crate::support::postgres::Postgres;
use crate::{archive, migrate, migrated, refusal, rows, run, value};

/// Columns that readers know from the existing plugin, in its order.
const COLUMNS: &[(&str, &str)] = &[
    (
        "realtime_connections",
        "id socket_id user_id session_id status transport ip_address user_agent device_info connected_at disconnected_at \
         last_ping last_pong latency_ms metadata",
    ),
    (
        "realtime_rooms",
        "id name type visibility max_members is_active settings metadata created_at updated_at",
    ),
    (
        "realtime_room_members",
        "id room_id user_id role is_muted is_banned joined_at last_seen metadata",
    ),
    (
        "realtime_presence",
        "id user_id status custom_status custom_emoji last_active last_heartbeat expires_at connections_count metadata \
         created_at updated_at",
    ),
    ("realtime_typing", "id room_id user_id thread_id started_at expires_at"),
    (
        "realtime_events",
        "id event_type socket_id user_id room_id payload ip_address metadata created_at",
    ),
];

/// All that the views show.
const VIEWS: &[(&str, &str)] = &[
    (
        "realtime_active_connections",
        "id socket_id user_id status transport connected_at latency_ms user_status custom_status custom_emoji",
    ),
    (
        "realtime_room_stats",
        "id name type member_count active_connections last_activity created_at",
    ),
    (
        "realtime_current_typing",
        "room_id room_name user_id thread_id started_at expires_at",
    ),
    ("realtime_presence_summary", "status user_count recent_activity"),
];

async fn columns(client: &tokio_postgres::Client, relation: &str) -> String {
    let query = format!(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = '{relation}'::REGCLASS AND attnum > 0 AND NOT attisdropped"
    );
    value(client, &query).await.as_str().expect("it has columns").to_owned()
}

#[tokio::test]
async fn a_new_database_gets_the_whole_schema_once() {
    let database = Postgres::shared().await.database().await;
    let first = migrate(&database).await.unwrap();
    assert_eq!(first.applied[0], "V1 tables");
    assert_eq!(first.applied.len(), usize::try_from(first.version).unwrap());

    let client = database.connect().await;
    for (table, known) in COLUMNS {
        let all = columns(&client, table).await;
        assert!(all.starts_with(known), "{table}: {all}");
    }
    for (view, known) in VIEWS {
        assert_eq!(columns(&client, view).await, *known);
    }
    let functions = value(
        &client,
        "SELECT array_agg(proname ORDER BY proname) FROM pg_proc WHERE proname IN ('cleanup_expired_typing',
         'update_presence_from_activity', 'disconnect_stale_connections', 'update_room_timestamp', 'update_presence_timestamp')",
    );
    assert_eq!(functions.await.as_array().unwrap().len(), 5);
    let origin = rows(&client, "SELECT rows_before, split_day FROM realtime_archive_origin").await;
    assert_eq!(origin, [serde_json::json!({"rows_before": 0, "split_day": null})]);

    let again = migrate(&database).await.unwrap();
    assert_eq!((again.applied, again.version), (Vec::new(), first.version));
}

#[tokio::test]
async fn of_two_migrations_at_once_one_waits_and_both_succeed() {
    let database = Postgres::shared().await.database().await;
    let (one, two, three) = tokio::join!(migrate(&database), migrate(&database), migrate(&database));
    let all = [one.unwrap(), two.unwrap(), three.unwrap()];
    let idle = all.iter().filter(|done| done.applied.is_empty()).count();
    assert_eq!(idle, 2, "{all:?}");
    assert!(all.iter().all(|done| done.version == all[0].version));
}

#[tokio::test]
async fn the_wait_for_a_lock_is_bounded_and_says_so() {
    let database = Postgres::shared().await.database().await;
    let other = database.connect().await;
    run(&other, &format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await;
    let short = Duration::from_millis(200);
    let error = archive(&database).migrate(short).await.unwrap_err().to_string();
    assert!(
        error.contains("somebody else holds a lock for longer than 0.2 s"),
        "{error}"
    );
    run(&other, "SELECT pg_advisory_unlock_all()").await;
    assert!(!migrate(&database).await.unwrap().applied.is_empty());
}

#[tokio::test]
async fn every_migration_can_be_repeated_over_its_own_work() {
    let (database, client) = migrated().await;
    // Of the six tables and what stands in them everything is there; only the record of it is lost.
    run(
        &client,
        "INSERT INTO realtime_rooms (name) VALUES ('kept');
         INSERT INTO realtime_events (event_type, room_name, chain, incarnation, stream_id, batch)
         VALUES ('connect', 'kept', 3, 'i', '1-1', 1);
         TRUNCATE realtime_schema_history",
    )
    .await;
    assert!(!migrate(&database).await.unwrap().applied.is_empty());
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_rooms").await, 1);
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_events").await, 1);
    assert_eq!(
        value(&client, "SELECT rows_before FROM realtime_archive_origin").await,
        0
    );
}

#[tokio::test]
async fn values_outside_the_closed_sets_are_refused() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_rooms (id, name) VALUES (gen_random_uuid(), 'r')",
    )
    .await;
    for statement in [
        "INSERT INTO realtime_rooms (name, type) VALUES ('x', 'den')",
        "INSERT INTO realtime_rooms (name, visibility) VALUES ('x', 'hidden')",
        "INSERT INTO realtime_room_members (room_id, user_id, role) SELECT id, 'u', 'owner' FROM realtime_rooms",
        "INSERT INTO realtime_room_members (user_id) VALUES ('u')",
        "INSERT INTO realtime_connections (socket_id, status) VALUES ('s', 'asleep')",
        "INSERT INTO realtime_connections (socket_id, transport) VALUES ('s', 'pigeon')",
        "INSERT INTO realtime_presence (user_id, status) VALUES ('u', 'dnd')",
        "INSERT INTO realtime_presence (user_id, chosen) VALUES ('u', 'dnd')",
        "INSERT INTO realtime_presence (user_id, connections_count) VALUES ('u', -1)",
        "INSERT INTO realtime_events (event_type, chain, batch) VALUES ('connect', 64, 1)",
        "INSERT INTO realtime_events (event_type, chain) VALUES ('connect', 1)",
        "INSERT INTO realtime_events (event_type, batch) VALUES ('connect', 1)",
        "INSERT INTO realtime_archive_origin (singleton, rows_before) VALUES (FALSE, 1)",
        "INSERT INTO realtime_archive_heads (partition, incarnation) VALUES (64, 'i')",
        "INSERT INTO realtime_archive_heads (partition, incarnation, hash) VALUES (1, 'i', 'short')",
    ] {
        assert_eq!(
            refusal(&client, statement).await,
            SqlState::CHECK_VIOLATION,
            "{statement}"
        );
    }
    for statement in [
        "UPDATE realtime_rooms SET type = NULL",
        "INSERT INTO realtime_presence (user_id, status) VALUES ('u', NULL)",
        "INSERT INTO realtime_typing (user_id, expires_at) VALUES ('u', now())",
        "INSERT INTO realtime_events (event_type, created_at) VALUES ('connect', NULL)",
    ] {
        assert_eq!(
            refusal(&client, statement).await,
            SqlState::NOT_NULL_VIOLATION,
            "{statement}"
        );
    }
    for statement in [
        "INSERT INTO realtime_rooms (name) VALUES ('r')",
        "INSERT INTO realtime_archive_origin (rows_before) VALUES (1)",
        "INSERT INTO realtime_messages (room_name, epoch, seq, content, created_at)
         SELECT 'r', 'e', 1, '{}', '2026-01-01' FROM generate_series(1, 2)",
    ] {
        assert_eq!(
            refusal(&client, statement).await,
            SqlState::UNIQUE_VIOLATION,
            "{statement}"
        );
    }
}

#[tokio::test]
async fn what_belongs_to_a_room_has_one() {
    let (_database, client) = migrated().await;
    for statement in [
        "INSERT INTO realtime_room_members (room_id, user_id) VALUES (gen_random_uuid(), 'u')",
        "INSERT INTO realtime_typing (room_id, user_id, expires_at) VALUES (gen_random_uuid(), 'u', now())",
        "INSERT INTO realtime_events (event_type, room_id) VALUES ('join', gen_random_uuid())",
    ] {
        assert_eq!(
            refusal(&client, statement).await,
            SqlState::FOREIGN_KEY_VIOLATION,
            "{statement}"
        );
    }
    run(
        &client,
        "INSERT INTO realtime_rooms (name) VALUES ('r');
         INSERT INTO realtime_room_members (room_id, user_id) SELECT id, 'u' FROM realtime_rooms;
         INSERT INTO realtime_typing (room_id, user_id, expires_at) SELECT id, 'u', now() FROM realtime_rooms;
         INSERT INTO realtime_events (event_type, room_id, room_name) SELECT 'join', id, name FROM realtime_rooms;
         DELETE FROM realtime_rooms",
    )
    .await;
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_room_members").await, 0);
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_typing").await, 0);
    let event = rows(&client, "SELECT room_id, room_name FROM realtime_events").await;
    assert_eq!(event, [serde_json::json!({"room_id": null, "room_name": "r"})]);
}

#[tokio::test]
async fn a_user_has_one_typing_mark_per_thread_also_without_one() {
    let (_database, client) = migrated().await;
    run(&client, "INSERT INTO realtime_rooms (name) VALUES ('r')").await;
    let mark = |thread: &str| {
        format!(
            "INSERT INTO realtime_typing (room_id, user_id, thread_id, expires_at)
             SELECT id, 'u', {thread}, now() FROM realtime_rooms"
        )
    };
    for thread in ["NULL", "'t'"] {
        run(&client, &mark(thread)).await;
        assert_eq!(
            refusal(&client, &mark(thread)).await,
            SqlState::UNIQUE_VIOLATION,
            "{thread}"
        );
        let renewed = " ON CONFLICT (room_id, user_id, thread_id) DO UPDATE SET expires_at = excluded.expires_at";
        run(&client, &(mark(thread) + renewed)).await;
    }
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_typing").await, 2);
}
