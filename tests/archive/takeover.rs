//! A database that the existing plugin has made is taken over in place: its rows stay, its views answer as before.

use nself_realtime::archive::Archive;
use nself_realtime::config::SecretUrl;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::postgres::{Database, Postgres};
use crate::{LOCK_WAIT, migrate, refusal, rows, run, value};

const SCHEMA: &str = include_str!("existing.sql");
const ROWS: &str = include_str!("existing_rows.sql");
const ACCOUNTS: &str = include_str!("existing_accounts.sql");

const TABLES: &[&str] = &[
    "realtime_connections",
    "realtime_rooms",
    "realtime_room_members",
    "realtime_presence",
    "realtime_typing",
    "realtime_events",
];
const VIEWS: &[&str] = &[
    "realtime_active_connections",
    "realtime_room_stats",
    "realtime_current_typing",
    "realtime_presence_summary",
];

/// A database as the existing plugin leaves it, with further statements on top.
async fn existing(more: &[&str]) -> (Database, Client) {
    let database = Postgres::shared().await.database().await;
    let client = database.connect().await;
    run(&client, SCHEMA).await;
    for statements in more {
        run(&client, statements).await;
    }
    (database, client)
}

/// What the views say, in their order.
async fn answers(client: &Client) -> Vec<(&'static str, Vec<Value>)> {
    let mut answers = Vec::new();
    for view in VIEWS {
        answers.push((*view, rows(client, &format!("SELECT * FROM {view}")).await));
    }
    answers
}

/// Every row of a table by its columns of before; sorted, since nothing promises an order.
async fn contents(client: &Client, table: &str, columns: &str) -> Vec<Value> {
    rows(client, &format!("SELECT {columns} FROM {table} ORDER BY id")).await
}

async fn columns_of(client: &Client, table: &str) -> String {
    let query = format!(
        "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = '{table}'::REGCLASS AND attnum > 0 AND NOT attisdropped"
    );
    value(client, &query).await.as_str().expect("it has columns").to_owned()
}

/// Migrates, and holds every row of every table, and every answer of the views, to what they were.
async fn taken_over_unchanged(database: &Database, client: &Client) {
    let mut before = Vec::new();
    for table in TABLES {
        let columns = columns_of(client, table).await;
        let rows = contents(client, table, &columns).await;
        assert!(!rows.is_empty(), "{table} has rows, or the test shows nothing");
        before.push((*table, columns, rows));
    }
    let said = answers(client).await;
    assert!(said.iter().all(|(_, rows)| !rows.is_empty()), "{said:?}");
    migrate(database).await.unwrap();
    for (table, columns, rows) in before {
        assert_eq!(contents(client, table, &columns).await, rows, "{table}");
    }
    assert_eq!(answers(client).await, said);
}

#[tokio::test]
async fn an_existing_database_is_taken_over_with_its_rows_and_answers() {
    let (database, client) = existing(&[ROWS]).await;
    taken_over_unchanged(&database, &client).await;
    assert_eq!(
        value(&client, "SELECT rows_before FROM realtime_archive_origin").await,
        42
    );
    let new_id = value(
        &client,
        "SELECT bool_and(pg_get_expr(adbin, adrelid) = 'gen_random_uuid()') FROM pg_attrdef
         WHERE adrelid = ANY (ARRAY['realtime_rooms', 'realtime_events', 'realtime_typing']::REGCLASS[]) AND adnum = 1",
    );
    assert_eq!(new_id.await, true, "nothing needs the extension any more");
    assert!(migrate(&database).await.unwrap().applied.is_empty());
}

#[tokio::test]
async fn old_events_stay_where_they_are_and_new_days_are_partitions() {
    let (database, client) = existing(&[ROWS]).await;
    let file = "SELECT pg_relation_filenode('realtime_events')";
    let old_file = value(&client, file).await;
    migrate(&database).await.unwrap();
    let before = "SELECT pg_relation_filenode('realtime_events_before')";
    assert_eq!(value(&client, before).await, old_file, "no row is copied");
    let today = "SELECT to_char(now() AT TIME ZONE 'UTC', '\"realtime_events_\"YYYYMMDD')";
    let today = value(&client, today).await;
    let placed = rows(
        &client,
        "SELECT tableoid::REGCLASS::TEXT AS place, count(*) FROM realtime_events GROUP BY 1 ORDER BY 1",
    )
    .await;
    assert_eq!(
        placed,
        [
            json!({"place": today, "count": 2}),
            json!({"place": "realtime_events_before", "count": 40})
        ]
    );

    // An event of a day from before the takeover has a place, and the next days have theirs.
    let day = |ago: &str| format!("SELECT realtime_events_day((now() AT TIME ZONE 'UTC')::DATE - {ago})");
    assert_eq!(value(&client, &day("3")).await, "realtime_events_before");
    assert_eq!(value(&client, &day("0")).await, today);
    assert_ne!(value(&client, &day("-1")).await, "realtime_events_before");
    // When it is dropped at last, those days are days like others.
    run(&client, "DROP TABLE realtime_events_before").await;
    let late = value(&client, &day("3")).await;
    assert!(late.as_str().unwrap().starts_with("realtime_events_2"), "{late}");
}

#[tokio::test]
async fn an_existing_database_without_rows_is_taken_over() {
    let (database, client) = existing(&[]).await;
    migrate(&database).await.unwrap();
    assert_eq!(
        value(&client, "SELECT rows_before FROM realtime_archive_origin").await,
        0
    );
    run(&client, "INSERT INTO realtime_events (event_type) VALUES ('connect')").await;
}

#[tokio::test]
async fn whoever_could_read_the_events_still_can_and_the_old_server_can_still_write() {
    let reader = "realtime_test_reader";
    let grant = format!(
        "DO $$ BEGIN CREATE ROLE {reader}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         GRANT SELECT ON realtime_events, realtime_room_stats TO {reader}"
    );
    let (database, client) = existing(&[ROWS, &grant]).await;
    migrate(&database).await.unwrap();
    run(&client, &format!("SET ROLE {reader}")).await;
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_events").await, 42);
    assert_eq!(
        refusal(&client, "DELETE FROM realtime_events").await,
        SqlState::INSUFFICIENT_PRIVILEGE
    );
    run(&client, "RESET ROLE").await;
    run(
        &client,
        "INSERT INTO realtime_events (event_type, socket_id, payload) VALUES ('connect', 's9', NULL);
         INSERT INTO realtime_rooms (name, type) VALUES ('general', 'channel')
         ON CONFLICT (name) DO UPDATE SET updated_at = NOW();
         INSERT INTO realtime_room_members (room_id, user_id, role) SELECT id, 'ann', 'member' FROM realtime_rooms
         ON CONFLICT (room_id, user_id) DO UPDATE SET last_seen = NOW();
         INSERT INTO realtime_presence (user_id, status) VALUES ('ann', 'online')
         ON CONFLICT (user_id) DO UPDATE SET status = excluded.status",
    )
    .await;
}

#[tokio::test]
async fn the_owner_of_the_tables_needs_no_further_rights() {
    let owner = "realtime_test_owner";
    let database = Postgres::shared().await.database().await;
    let admin = database.connect().await;
    run(
        &admin,
        &format!(
            "CREATE ROLE {owner} LOGIN; ALTER DATABASE {} OWNER TO {owner}",
            database.name()
        ),
    )
    .await;
    let url = database.url().replace("postgres@", &format!("{owner}@"));
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    run(&client, SCHEMA).await;
    run(&client, ROWS).await;
    let url = SecretUrl::new(url.parse().unwrap());
    let archive = Archive::new(Some(&url)).unwrap();
    archive.migrate(LOCK_WAIT).await.unwrap();
    run(
        &client,
        "SELECT realtime_events_day('2030-01-01'), cleanup_expired_typing()",
    )
    .await;
}

#[tokio::test]
async fn odd_values_become_the_nearest_known_ones_and_are_remembered() {
    let odd = "UPDATE realtime_presence SET status = 'dnd' WHERE user_id = 'ann';
        UPDATE realtime_presence SET status = 'Lunch', metadata = '{\"a\": 1}' WHERE user_id = 'bob';
        UPDATE realtime_presence SET status = NULL, connections_count = -2 WHERE user_id = 'eve';
        UPDATE realtime_rooms SET visibility = 'hidden', type = ' Group ' WHERE name = 'general';
        UPDATE realtime_rooms SET is_active = NULL, max_members = NULL WHERE name = 'closed';
        UPDATE realtime_room_members SET role = 'owner', is_muted = NULL WHERE user_id = 'eve';
        UPDATE realtime_connections SET transport = 'webtransport', metadata = NULL WHERE socket_id = 's1';
        UPDATE realtime_connections SET status = NULL WHERE socket_id = 's4';
        INSERT INTO realtime_room_members (user_id) VALUES ('of-no-room');
        INSERT INTO realtime_typing (room_id, user_id, started_at, expires_at)
        SELECT room_id, user_id, started_at, expires_at - INTERVAL '1 second' FROM realtime_typing WHERE thread_id IS NULL;
        INSERT INTO realtime_events (event_type, created_at) VALUES ('connect', NULL), ('connect', 'infinity'),
            ('connect', '-infinity'), ('connect', NOW() + INTERVAL '9 days')";
    let (database, client) = existing(&[ROWS, odd]).await;
    migrate(&database).await.unwrap();
    let presence = "SELECT user_id, status, connections_count, metadata FROM realtime_presence
        WHERE user_id IN ('ann', 'bob', 'eve') ORDER BY user_id";
    assert_eq!(
        rows(&client, presence).await,
        [
            json!({"user_id": "ann", "status": "busy", "connections_count": 2, "metadata": {"before": {"status": "dnd"}}}),
            json!({"user_id": "bob", "status": "online", "connections_count": 1,
                "metadata": {"a": 1, "before": {"status": "Lunch"}}}),
            json!({"user_id": "eve", "status": "offline", "connections_count": 0, "metadata": {}}),
        ]
    );
    let room = "SELECT type, visibility, metadata FROM realtime_rooms WHERE name = 'general'";
    assert_eq!(
        rows(&client, room).await,
        [json!({"type": "group", "visibility": "private",
            "metadata": {"topic": "all", "before": {"type": " Group ", "visibility": "hidden"}}})]
    );
    let others = "SELECT
        (SELECT is_active FROM realtime_rooms WHERE name = 'closed') AS active,
        (SELECT role || is_muted::TEXT FROM realtime_room_members WHERE user_id = 'eve') AS eve,
        (SELECT coalesce(transport, 'none') || (metadata -> 'before') FROM realtime_connections WHERE socket_id = 's1') AS s1,
        (SELECT status FROM realtime_connections WHERE socket_id = 's4') AS s4,
        (SELECT count(*) FROM realtime_room_members WHERE room_id IS NULL) AS of_no_room,
        (SELECT count(*) FROM realtime_typing) AS marks,
        (SELECT count(*) FROM realtime_events) AS events";
    assert_eq!(
        rows(&client, others).await,
        [
            json!({"active": false, "eve": "adminfalse", "s1": "none{\"transport\": \"webtransport\"}",
            "s4": "disconnected", "of_no_room": 1, "marks": 3, "events": 46})
        ]
    );
    let new = "INSERT INTO realtime_room_members (user_id) VALUES ('of-no-room')";
    assert_eq!(refusal(&client, new).await, SqlState::CHECK_VIOLATION);
}

#[tokio::test]
async fn a_database_for_several_applications_is_taken_over() {
    let (database, client) = existing(&[ACCOUNTS, ROWS]).await;
    taken_over_unchanged(&database, &client).await;
    let of_account = value(
        &client,
        "SELECT count(*) FROM realtime_events WHERE source_account_id = 'primary'",
    );
    assert_eq!(of_account.await, 42);
}

#[tokio::test]
async fn a_name_in_two_accounts_stays_with_the_primary_one() {
    let twins = "INSERT INTO realtime_rooms (name, source_account_id, created_at) VALUES
            ('general', 'shop', NOW() - INTERVAL '900 days'), ('only', 'shop', NOW()), ('only', 'blog', NOW() - INTERVAL '1 day');
        INSERT INTO realtime_presence (user_id, source_account_id, status) VALUES ('ann', 'shop', 'away');
        INSERT INTO realtime_room_members (room_id, user_id, source_account_id)
        SELECT id, 'zoe', 'shop' FROM realtime_rooms WHERE name = 'general' AND source_account_id = 'shop'";
    let (database, client) = existing(&[ACCOUNTS, ROWS, twins]).await;
    migrate(&database).await.unwrap();
    let names =
        "SELECT name, source_account_id AS account, metadata -> 'before' ->> 'name' AS before FROM realtime_rooms
        WHERE name LIKE 'general%' OR name LIKE 'only%' ORDER BY name";
    assert_eq!(
        rows(&client, names).await,
        [
            json!({"name": "general", "account": "primary", "before": null}),
            json!({"name": "general@shop", "account": "shop", "before": "general"}),
            json!({"name": "only", "account": "blog", "before": null}),
            json!({"name": "only@shop", "account": "shop", "before": "only"}),
        ]
    );
    let member =
        "SELECT name FROM realtime_rooms r JOIN realtime_room_members m ON m.room_id = r.id WHERE m.user_id = 'zoe'";
    assert_eq!(value(&client, member).await, "general@shop");
    let statuses = "SELECT user_id, status FROM realtime_presence WHERE user_id LIKE 'ann%' ORDER BY user_id";
    assert_eq!(
        rows(&client, statuses).await,
        [
            json!({"user_id": "ann", "status": "busy"}),
            json!({"user_id": "ann@shop", "status": "away"})
        ]
    );
    let again = "INSERT INTO realtime_rooms (name, source_account_id) VALUES ('general', 'blog')";
    assert_eq!(refusal(&client, again).await, SqlState::UNIQUE_VIOLATION);
}

#[tokio::test]
async fn a_takeover_that_fails_changes_nothing_and_says_why() {
    let in_the_way = "CREATE TABLE notes (event UUID REFERENCES realtime_events (id))";
    let (database, client) = existing(&[ROWS, in_the_way]).await;
    let columns = columns_of(&client, "realtime_rooms").await;
    let error = migrate(&database).await.unwrap_err().to_string();
    assert!(
        error.contains("notes_event_fkey") || error.contains("depend"),
        "{error}"
    );
    assert_eq!(columns_of(&client, "realtime_rooms").await, columns);
    assert_eq!(
        value(&client, "SELECT to_regclass('realtime_archive_origin')").await,
        Value::Null
    );
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_schema_history").await, 0);

    run(&client, "DROP TABLE notes").await;
    taken_over_unchanged(&database, &client).await;
}
