//! The functions that schedules may call correct what nobody keeps, and leave alone what a gateway keeps.

use serde_json::json;

use crate::{migrated, rows, run, value};

#[tokio::test]
async fn typing_marks_that_have_run_out_are_removed() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_rooms (name) VALUES ('r');
         INSERT INTO realtime_typing (room_id, user_id, expires_at)
         SELECT id, who, now() + life FROM realtime_rooms, (VALUES
            ('over', INTERVAL '-1 second'), ('under-way', INTERVAL '3 seconds')) AS marks (who, life);
         SELECT cleanup_expired_typing()",
    )
    .await;
    assert_eq!(
        rows(&client, "SELECT user_id FROM realtime_typing").await,
        [json!({"user_id": "under-way"})]
    );
}

#[tokio::test]
async fn only_connections_of_which_nothing_is_heard_are_ended() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_connections (socket_id, status, connected_at, last_ping, last_pong, metadata)
         SELECT name, status, now() - INTERVAL '9 days', now() - ping, now() - pong, metadata::JSONB FROM (VALUES
            ('silent', 'connected', INTERVAL '3 minutes', INTERVAL '3 minutes', '{}'),
            ('silent, coming back', 'reconnecting', '3 minutes', '3 minutes', '{}'),
            ('pings only', 'connected', '1 minute', '9 days', '{}'),
            ('pongs only', 'connected', '9 days', '1 minute', '{}'),
            ('a gateway keeps it', 'connected', '20 minutes', '9 days', '{\"connection\": \"c.1\", \"node\": \"n\"}'),
            ('no gateway has kept it', 'connected', '2 days', '9 days', '{\"connection\": \"c.2\", \"node\": \"n\"}')
         ) AS c (name, status, ping, pong, metadata);
         SELECT disconnect_stale_connections()",
    )
    .await;
    let ended =
        "SELECT socket_id FROM realtime_connections WHERE status = 'disconnected' AND disconnected_at = last_ping
        OR disconnected_at IS NOT NULL ORDER BY socket_id";
    assert_eq!(
        rows(&client, ended).await,
        ["no gateway has kept it", "silent", "silent, coming back"].map(|name| json!({ "socket_id": name }))
    );
}

#[tokio::test]
async fn only_users_whom_nobody_keeps_become_away_and_offline() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_presence (user_id, status, last_active, last_heartbeat, connections_count, version)
         SELECT name, status, now() - active, now() - beat, 1, version FROM (VALUES
            ('idle', 'online', INTERVAL '10 minutes', INTERVAL '10 minutes', NULL::BIGINT),
            ('gone', 'online', '40 minutes', '40 minutes', NULL),
            ('gone away', 'away', '40 minutes', '40 minutes', NULL),
            ('gone busy', 'busy', '40 minutes', '40 minutes', NULL),
            ('busy', 'busy', '10 minutes', '10 minutes', NULL),
            ('beats', 'online', '40 minutes', '1 minute', NULL),
            ('connected', 'online', '40 minutes', '40 minutes', NULL),
            ('kept by a gateway', 'online', '40 minutes', '20 minutes', 7),
            ('left by a gateway', 'online', '3 days', '2 days', 7)
         ) AS p (name, status, active, beat, version);
         INSERT INTO realtime_connections (socket_id, user_id) VALUES ('s', 'connected');
         SELECT update_presence_from_activity()",
    )
    .await;
    let changed = "SELECT user_id, status, connections_count AS connections FROM realtime_presence
        WHERE connections_count = 0 ORDER BY user_id";
    assert_eq!(
        rows(&client, changed).await,
        [
            json!({"user_id": "gone", "status": "offline", "connections": 0}),
            json!({"user_id": "gone away", "status": "offline", "connections": 0}),
            json!({"user_id": "gone busy", "status": "offline", "connections": 0}),
            json!({"user_id": "idle", "status": "away", "connections": 0}),
            json!({"user_id": "left by a gateway", "status": "offline", "connections": 0}),
        ]
    );
    let others = "SELECT array_agg(status ORDER BY user_id) FROM realtime_presence WHERE connections_count = 1";
    assert_eq!(
        value(&client, others).await,
        json!(["online", "busy", "online", "online"])
    );
}

#[tokio::test]
async fn a_change_of_a_room_or_a_presence_is_dated() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_rooms (name, updated_at) VALUES ('r', '2020-01-01');
         INSERT INTO realtime_presence (user_id, updated_at) VALUES ('u', '2020-01-01');
         UPDATE realtime_rooms SET max_members = 3;
         UPDATE realtime_presence SET status = 'online'",
    )
    .await;
    let dated = "SELECT (SELECT updated_at > now() - INTERVAL '1 hour' FROM realtime_rooms)
        AND (SELECT updated_at > now() - INTERVAL '1 hour' FROM realtime_presence)";
    assert_eq!(value(&client, dated).await, true);
}

#[tokio::test]
async fn a_member_of_the_statistics_is_one_who_has_joined() {
    let (_database, client) = migrated().await;
    run(
        &client,
        "INSERT INTO realtime_rooms (name) VALUES ('r'), ('empty');
         INSERT INTO realtime_room_members (room_id, user_id, is_banned, is_joined)
         SELECT id, who, banned, joined FROM realtime_rooms, (VALUES
            ('ann', FALSE, TRUE), ('bob', FALSE, TRUE), ('eve', TRUE, FALSE)) AS m (who, banned, joined) WHERE name = 'r';
         INSERT INTO realtime_connections (socket_id, user_id, status)
         VALUES ('s1', 'ann', 'connected'), ('s2', 'ann', 'connected'), ('s3', 'eve', 'connected'), ('s4', 'bob', 'disconnected')",
    )
    .await;
    assert_eq!(
        rows(
            &client,
            "SELECT name, member_count, active_connections FROM realtime_room_stats"
        )
        .await,
        [
            json!({"name": "r", "member_count": 2, "active_connections": 2}),
            json!({"name": "empty", "member_count": 0, "active_connections": 0}),
        ]
    );
}
