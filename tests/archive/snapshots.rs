//! What changes all the time is written as it is, one statement a table, and waits for nobody.

use std::time::Duration;

use nself_realtime::archive::snapshot::{Seen, Snapshot, Typed};
use serde_json::json;

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{archive, migrated, rows, run, value};

const ROWS: &str = "
    INSERT INTO realtime_rooms (name) VALUES ('lobby');
    INSERT INTO realtime_room_members (room_id, user_id, last_seen) SELECT id, 'alice', now() - INTERVAL '1 day' FROM realtime_rooms;
    INSERT INTO realtime_connections (socket_id, user_id, transport, last_pong) VALUES
        ('here', 'alice', 'polling', now() - INTERVAL '1 day'), ('gone', 'bob', 'polling', now() - INTERVAL '1 day');
    UPDATE realtime_connections SET status = 'disconnected' WHERE socket_id = 'gone';
    INSERT INTO realtime_presence (user_id, status, last_heartbeat, last_active) VALUES
        ('alice', 'online', now() - INTERVAL '1 day', now() - INTERVAL '1 day');";

fn seen(socket: &str, user: Option<&str>) -> Seen {
    Seen {
        socket: socket.to_owned(),
        user: user.map(str::to_owned),
        transport: "websocket",
        latency: Some(Duration::from_millis(42)),
        idle: Duration::from_secs(60),
    }
}

fn typed(user: &str, thread: Option<&str>, lasts: Option<Duration>) -> Typed {
    Typed {
        room: "lobby".to_owned(),
        user: user.to_owned(),
        thread: thread.map(str::to_owned),
        lasts,
    }
}

#[tokio::test]
async fn who_lives_is_written_and_who_has_gone_is_left_alone() {
    let (database, client) = migrated().await;
    run(&client, ROWS).await;
    let snapshot = Snapshot {
        seen: vec![
            seen("here", Some("alice")),
            seen("gone", None),
            seen("unknown", Some("nobody")),
        ],
        typed: Vec::new(),
    };
    archive(&database).write_snapshot(&snapshot).await.unwrap();
    let connections = rows(
        &client,
        "SELECT socket_id, transport, latency_ms, last_pong > now() - INTERVAL '1 minute' AS fresh
         FROM realtime_connections ORDER BY socket_id",
    )
    .await;
    assert_eq!(
        connections,
        [
            json!({ "socket_id": "gone", "transport": "polling", "latency_ms": null, "fresh": false }),
            json!({ "socket_id": "here", "transport": "websocket", "latency_ms": 42, "fresh": true }),
        ]
    );
    let presence = "SELECT last_heartbeat > now() - INTERVAL '1 minute'
        AND last_active BETWEEN now() - INTERVAL '90 seconds' AND now() - INTERVAL '30 seconds' FROM realtime_presence";
    assert_eq!(value(&client, presence).await, true, "she was idle for a minute");
    let member = "SELECT last_seen > now() - INTERVAL '1 minute' FROM realtime_room_members";
    assert_eq!(value(&client, member).await, true);
}

#[tokio::test]
async fn a_row_that_somebody_else_writes_is_left_to_the_next_snapshot() {
    let (database, client) = migrated().await;
    run(&client, ROWS).await;
    let archive = archive(&database);
    let snapshot = Snapshot {
        seen: vec![seen("here", Some("alice"))],
        typed: Vec::new(),
    };
    run(&client, "BEGIN; SELECT 1 FROM realtime_connections FOR UPDATE").await;
    archive.write_snapshot(&snapshot).await.expect("it waits for nobody");
    run(&client, "COMMIT").await;
    let latency = "SELECT latency_ms FROM realtime_connections WHERE socket_id = 'here'";
    assert_eq!(value(&client, latency).await, json!(null));
    archive.write_snapshot(&snapshot).await.unwrap();
    assert_eq!(value(&client, latency).await, 42);
}

#[tokio::test]
async fn what_takes_too_long_is_ended_by_postgres_as_well() {
    let (database, client) = migrated().await;
    run(&client, ROWS).await;
    let archive = archive(&database);
    let snapshot = Snapshot {
        seen: vec![seen("here", Some("alice"))],
        typed: Vec::new(),
    };
    archive.write_snapshot(&snapshot).await.unwrap();
    assert!(archive.snapshots_succeed_for().is_some());
    run(
        &client,
        "BEGIN; LOCK TABLE realtime_connections IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    archive
        .write_snapshot(&snapshot)
        .await
        .expect_err("it cannot be written");
    assert_eq!(archive.snapshots_succeed_for(), None);
    let at_it = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND state IN ('active', 'idle in transaction')";
    eventually("nobody is at it any more", async || value(&client, at_it).await == 0).await;
    run(&client, "COMMIT").await;
    archive.write_snapshot(&snapshot).await.unwrap();
}

#[tokio::test]
async fn typing_marks_are_there_until_they_are_taken_back_or_run_out() {
    let (database, client) = migrated().await;
    run(&client, ROWS).await;
    let archive = archive(&database);
    let long = Some(Duration::from_secs(60));
    let write = async |typed: &[Typed]| {
        let snapshot = Snapshot {
            seen: Vec::new(),
            typed: typed.to_vec(),
        };
        archive.write_snapshot(&snapshot).await.unwrap();
    };
    let marks = async || {
        rows(
            &client,
            "SELECT user_id, thread_id FROM realtime_current_typing ORDER BY 1, 2",
        )
        .await
    };
    write(&[
        typed("alice", None, long),
        typed("alice", Some("t1"), long),
        typed("bob", None, Some(Duration::from_millis(1))),
    ])
    .await;
    write(&[typed("alice", None, long)]).await;
    let all = [
        json!({ "user_id": "alice", "thread_id": "t1" }),
        json!({ "user_id": "alice", "thread_id": null }),
    ];
    assert_eq!(marks().await, all);
    assert_eq!(
        value(&client, "SELECT count(*) FROM realtime_typing").await,
        2,
        "what ran out is gone"
    );
    write(&[typed("alice", None, None), typed("carol", None, None)]).await;
    assert_eq!(marks().await, all[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_do_is_in_the_next_snapshot() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_TYPING_TIMEOUT", "60000"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    let ann = Raw::member(&node, "ann", "auto:lobby").await;
    let here = json!({ "roomName": "auto:lobby", "threadId": "t1" });
    let typing = "SELECT count(*) FROM realtime_current_typing
        WHERE room_name = 'auto:lobby' AND user_id = 'ann' AND thread_id = 't1'";
    eventually("the room is in Postgres", async || {
        value(&client, "SELECT count(*) FROM realtime_rooms WHERE name = 'auto:lobby'").await == 1
    })
    .await;
    ann.done("typing:start", here.clone()).await;
    eventually("she types", async || value(&client, typing).await == 1).await;
    ann.done("typing:stop", here).await;
    eventually("she no longer types", async || value(&client, typing).await == 0).await;
    // Of all that live some are due at each time.
    let mut others = Vec::new();
    for number in 0..15 {
        others.push(Raw::enter(&node, &format!("other-{number}")).await);
    }
    let live = "SELECT count(*) FROM realtime_connections WHERE status = 'connected'";
    eventually("all are in Postgres", async || value(&client, live).await == 16).await;
    run(
        &client,
        "UPDATE realtime_connections SET last_pong = now() - INTERVAL '1 day'",
    )
    .await;
    eventually("some were seen", async || {
        value(
            &client,
            "SELECT count(*) > 0 FROM realtime_connections WHERE last_pong > now() - INTERVAL '1 minute'",
        )
        .await
            == true
    })
    .await;
}
