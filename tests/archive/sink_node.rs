//! Gateways write the archive: what clients did is in Postgres, also when the node that wrote it has died.

use std::time::Duration;

use nself_realtime::hot::keys::Keys;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::postgres::Database;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{archive, migrated, own_postgres, rows, value};

const END_LIMIT: Duration = Duration::from_secs(30);

fn settings<'a>(url: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("REALTIME_DATABASE_URL", url),
        ("REALTIME_NODE_ID", name),
        ("REALTIME_LOG_EVENT_TYPES", "*"),
        ("REALTIME_PERSIST_MESSAGES", "true"),
        ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
        ("REALTIME_PRESENCE_GRACE", "500"),
        ("REALTIME_NODE_LEASE", "2000"),
        ("REALTIME_NODE_BEAT", "500"),
    ]
}

/// Which node has the office, as Redis knows it.
async fn writer(redis: &Redis) -> Option<String> {
    let who: Option<String> = redis::cmd("GET")
        .arg(Keys::new("rt").sink())
        .query_async(&mut redis.connection().await)
        .await
        .expect("redis answers");
    who.and_then(|who| Some(who.split_once('/')?.0.to_owned()))
}

async fn verify(database: &Database) {
    let mut found = Vec::new();
    let verified = archive(database).verify(&[], |finding| found.push(finding)).await;
    verified.expect("Postgres answers");
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_did_is_in_postgres_and_the_end_of_a_node_as_well() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let node = Node::start(&redis.url(), &settings(&url, "one")).await;
    let ann = Raw::member(&node, "ann", "auto:den").await;
    ann.done("message:send", json!({"roomName": "auto:den", "content": "hello"}))
        .await;
    ann.done("presence:update", json!({"status": "busy"})).await;
    let bob = Raw::member(&node, "bob", "auto:den").await;
    bob.done("room:leave", json!({"roomName": "auto:den"})).await;
    eventually("the leave is there", async || {
        value(
            &client,
            "SELECT count(*) FROM realtime_events WHERE event_type = 'leave'",
        )
        .await
            == 1
    })
    .await;
    let members = rows(
        &client,
        "SELECT user_id, role, is_joined FROM realtime_room_members ORDER BY user_id",
    )
    .await;
    assert_eq!(members, [json!({"user_id": "ann", "role": "admin", "is_joined": true})]);
    let message = rows(
        &client,
        "SELECT content ->> 'content' AS said, seq FROM realtime_messages",
    )
    .await;
    assert_eq!(message, [json!({"said": "hello", "seq": 1})]);
    let (_, health) = node.get("/health", "*/*").await.expect("it answers");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert!(
        health["dependencies"]["postgres"]["outbox"]["entries"].is_u64(),
        "{health}"
    );
    assert!(node.metric("realtime_archive_events_total", "").await > Some(0.0));

    node.signal("TERM");
    node.ended(END_LIMIT).await;
    // Nobody is left who could write it later.
    let lost = "SELECT count(*) FROM realtime_connections WHERE status = 'reconnecting'";
    assert_eq!(value(&client, lost).await, 2);
    assert_eq!(writer(&redis).await, None, "the office was given up");
    let types = rows(
        &client,
        "SELECT event_type AS t, count(*) AS n FROM realtime_events GROUP BY 1 ORDER BY 1",
    )
    .await;
    let types: Vec<String> = types.iter().map(|row| format!("{} {}", row["t"], row["n"])).collect();
    assert_eq!(
        types,
        [
            r#""connect" 2"#,
            r#""join" 2"#,
            r#""leave" 1"#,
            r#""room_created" 1"#,
            r#""status_change" 1"#
        ]
    );
    verify(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entries_of_a_writer_that_died_are_written_by_the_next() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        nodes.push((name, Node::start(&redis.url(), &settings(&url, name)).await));
    }
    eventually("somebody writes", async || writer(&redis).await.is_some()).await;
    let who = writer(&redis).await.expect("it was there");
    let (dead, alive) = if who == "one" { (0, 1) } else { (1, 0) };
    let _ann = Raw::member(&nodes[dead].1, "ann", "auto:den").await;
    nodes[dead].1.signal("KILL");
    let bob = Raw::member(&nodes[alive].1, "bob", "auto:den").await;
    // The end of whoever was on the dead node is told by the sweep of the other, and written by its sink.
    eventually("everything is there", async || {
        let question = "SELECT count(*) FROM realtime_events WHERE (event_type, user_id) IN (VALUES ('connect', 'ann'), \
             ('join', 'ann'), ('connect', 'bob'), ('join', 'bob'), ('disconnect', 'ann'), ('leave', 'ann'))";
        value(&client, question).await == 6
    })
    .await;
    assert_eq!(writer(&redis).await.as_deref(), Some(nodes[alive].0));
    drop(bob);
    verify(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_has_noted_is_written_before_it_stops() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let node = Node::start(&redis.url(), &settings(&url, "one")).await;
    eventually("it writes", async || writer(&redis).await.is_some()).await;
    for number in 0..5 {
        let raw = Raw::open(&node).await;
        let refused = raw.connect(&json!({ "token": format!("none-{number}") })).await;
        refused.expect_err("it is no token");
    }
    // Most of it before the journal's next look, which comes once a second.
    node.signal("TERM");
    node.ended(END_LIMIT).await;
    let refusals = "SELECT sum((payload ->> 'count')::int) FROM realtime_events WHERE event_type = 'auth_failure'";
    assert_eq!(value(&client, refusals).await, 5, "{}", node.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_noted_is_counted() {
    let (redis, (postgres, database)) = tokio::join!(Redis::start(), own_postgres());
    let url = database.url();
    let node = Node::start(&redis.url(), &settings(&url, "one")).await;
    let ann = Raw::member(&node, "ann", "auto:den").await;
    assert_eq!(node.metric("realtime_journal_lost_total", "").await, Some(0.0));
    // Closed from now on: what is not carried out cannot be written down, either.
    postgres.stop().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut redis.connection().await)
        .await
        .expect("redis answers");
    ann.refused("UNAVAILABLE", "room:join", json!({ "roomName": "auto:pit" }))
        .await;
    eventually("it is counted", async || {
        node.metric("realtime_journal_lost_total", "").await >= Some(1.0)
    })
    .await;
}
