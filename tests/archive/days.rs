//! Events and messages lie in partitions of one UTC day, which are made when they are asked for, by whomever.

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::{migrated, refusal, rows, run, value};

const PLACES: &str = "SELECT tableoid::REGCLASS::TEXT AS place, array_agg(event_type ORDER BY event_type) AS events
    FROM realtime_events GROUP BY 1 ORDER BY 1";

#[tokio::test]
async fn a_day_is_made_once_and_gets_what_happened_on_it() {
    let (_database, client) = migrated().await;
    // The session's time zone has no say in what a day is.
    run(&client, "SET TIME ZONE 'Pacific/Auckland'").await;
    for _ in 0..2 {
        let name = value(&client, "SELECT realtime_events_day('2026-03-01')").await;
        assert_eq!(name, "realtime_events_20260301");
    }
    run(
        &client,
        "INSERT INTO realtime_events (event_type, created_at) VALUES
            ('before', '2026-02-28 23:59:59.999999Z'), ('first', '2026-03-01 00:00:00Z'),
            ('last', '2026-03-01 23:59:59.999999Z'), ('after', '2026-03-02 00:00:00Z')",
    )
    .await;
    assert_eq!(
        rows(&client, PLACES).await,
        [
            json!({"place": "realtime_events_20260301", "events": ["first", "last"]}),
            json!({"place": "realtime_events_default", "events": ["after", "before"]}),
        ]
    );
    // What came before its day was made moves there.
    run(&client, "SELECT realtime_events_day('2026-03-02')").await;
    assert_eq!(
        rows(&client, PLACES).await,
        [
            json!({"place": "realtime_events_20260301", "events": ["first", "last"]}),
            json!({"place": "realtime_events_20260302", "events": ["after"]}),
            json!({"place": "realtime_events_default", "events": ["before"]}),
        ]
    );
}

#[tokio::test]
async fn many_may_ask_for_days_at_once_while_others_write() {
    let (database, client) = migrated().await;
    // What is written belongs to a day that has been made, as the day of every writer is.
    run(&client, "SELECT realtime_events_day('2026-02-28')").await;
    let write = "INSERT INTO realtime_events (event_type, created_at) VALUES ('e', '2026-02-28 12:00:00Z')";
    let ask = async |number: usize| {
        let client = database.connect().await;
        let day = number % 3 + 1;
        let name = value(&client, &format!("SELECT realtime_events_day('2026-03-0{day}')")).await;
        assert_eq!(name, format!("realtime_events_2026030{day}"));
    };
    let writes = (0..6).map(|_| async {
        let client = database.connect().await;
        for _ in 0..20 {
            run(&client, write).await;
        }
    });
    tokio::join!(join_all((0..18).map(ask)), join_all(writes));
    assert_eq!(
        value(&client, "SELECT count(*) FROM realtime_events_20260228").await,
        120
    );
}

#[tokio::test]
async fn a_day_has_the_indexes_and_constraints_of_the_whole_and_can_be_dropped() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "SELECT realtime_events_day('2026-03-01');
         INSERT INTO realtime_events (id, event_type, created_at)
         VALUES ('00000000-0000-8000-8000-000000000001', 'e', '2026-03-01 12:00:00Z')",
    )
    .await;
    let again = "INSERT INTO realtime_events (id, event_type, created_at)
        VALUES ('00000000-0000-8000-8000-000000000001', 'e', '2026-03-01 12:00:00Z')";
    assert_eq!(refusal(&client, again).await, SqlState::UNIQUE_VIOLATION);
    let of = |table: &str| format!("SELECT count(*) FROM pg_index WHERE indrelid = '{table}'::REGCLASS");
    assert_eq!(
        value(&client, &of("realtime_events_20260301")).await,
        value(&client, &of("realtime_events")).await
    );
    let no_room = "INSERT INTO realtime_events_20260301 (event_type, room_id, created_at)
        VALUES ('e', gen_random_uuid(), '2026-03-01 12:00:00Z')";
    assert_eq!(refusal(&client, no_room).await, SqlState::FOREIGN_KEY_VIOLATION);
    run(&client, "DROP TABLE realtime_events_20260301").await;
    assert_eq!(value(&client, "SELECT count(*) FROM realtime_events").await, 0);
}

#[tokio::test]
async fn messages_have_their_days_too() {
    let (_database, client) = migrated().await;
    let name = value(&client, "SELECT realtime_messages_day('2026-03-01')").await;
    assert_eq!(name, "realtime_messages_20260301");
    run(
        &client,
        "INSERT INTO realtime_messages (room_name, epoch, seq, user_id, content, created_at)
         VALUES ('r', 'e', 1, 'u', '{\"content\": \"hello\"}', '2026-03-01 12:00:00Z'),
                ('r', 'e', 2, 'u', '{\"content\": \"again\"}', '2026-03-02 12:00:00Z')",
    )
    .await;
    let places = "SELECT seq, tableoid::REGCLASS::TEXT AS place FROM realtime_messages ORDER BY seq";
    assert_eq!(
        rows(&client, places).await,
        [
            json!({"seq": 1, "place": "realtime_messages_20260301"}),
            json!({"seq": 2, "place": "realtime_messages_default"})
        ]
    );
}

#[tokio::test]
async fn a_day_is_made_beside_the_events_whatever_the_caller_looks_at() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "CREATE SCHEMA elsewhere; SET search_path = elsewhere; SELECT public.realtime_events_day('2026-03-01')",
    )
    .await;
    let place = value(&client, "SELECT to_regclass('public.realtime_events_20260301')::TEXT").await;
    assert_eq!(place, "public.realtime_events_20260301");
}
