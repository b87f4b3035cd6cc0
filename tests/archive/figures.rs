//! What the archive adds to the figures of the cluster: its events, who writes, and what waits.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, binary};
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrated, run, value};

fn command(redis: &Redis, database_url: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = binary();
    command
        .args(args)
        .env("REALTIME_REDIS_URL", redis.url())
        .env("REALTIME_DATABASE_URL", database_url);
    let output = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What a command that succeeds prints as one JSON object.
fn told(redis: &Redis, database_url: &str, args: &[&str]) -> Value {
    let (code, text, said) = command(redis, database_url, args);
    assert_eq!((code, &*said), (Some(0), ""), "{args:?}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn events_are_counted_and_the_writer_is_named() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_NODE_ID", "one"),
        ("REALTIME_LOG_EVENT_TYPES", "*"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    let _ann = Raw::member(&node, "ann", "auto:den").await;
    eventually("the join is there", async || {
        value(
            &client,
            "SELECT count(*) FROM realtime_events WHERE event_type = 'join'",
        )
        .await
            == 1
    })
    .await;
    // An old one beside them.
    run(
        &client,
        "SELECT realtime_events_day(((now() - INTERVAL '2 hours') AT TIME ZONE 'UTC')::DATE); \
         INSERT INTO realtime_events (event_type, created_at) VALUES ('error', now() - INTERVAL '2 hours')",
    )
    .await;
    let total = value(&client, "SELECT count(*) FROM realtime_events")
        .await
        .as_u64()
        .unwrap();
    let expected = json!({ "total": total, "lastHour": total - 1 });
    assert!(total > 2);
    assert_eq!(told(&redis, &url, &["stats", "--json"])["events"], expected);
    let (_, table, _) = command(&redis, &url, &["stats"]);
    assert!(
        table.contains(&format!("\nEvents (last hour):      {}\n", total - 1)),
        "{table}"
    );
    let (_, text) = node
        .get("/metrics", "application/json")
        .await
        .expect("/metrics answers");
    let metrics: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(metrics["events"], expected);

    let status = told(&redis, &url, &["status", "--json"]);
    assert_eq!(
        (&status["postgres"]["status"], &status["writer"], &status["partitions"]),
        (&"connected".into(), &"one".into(), &json!({"open": 64, "all": 64}))
    );
    assert!(
        status["outbox"]["entries"].is_u64() && status["outbox"]["age"].is_f64(),
        "{status}"
    );
    let (_, table, _) = command(&redis, &url, &["status"]);
    for line in ["Postgres:                connected\n", "Writes to Postgres:      one\n"] {
        assert!(table.contains(line), "{table}");
    }
    assert!(!table.contains("partitions are open"), "{table}");
}

#[tokio::test]
async fn a_postgres_that_is_away_takes_nothing_from_the_other_figures() {
    let redis = Redis::start().await;
    let away = Postgres::stopped(&[]);
    let (code, table, said) = command(&redis, &away.url(), &["stats"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("\nEvents (last hour):      -\n"), "{table}");
    assert!(said.starts_with("Postgres: it does not answer"), "{said}");
    let status = told(&redis, &away.url(), &["status", "--json"]);
    assert_eq!(
        (
            &status["postgres"]["status"],
            &status["writer"],
            &status["partitions"]["open"]
        ),
        (&"disconnected".into(), &Value::Null, &0.into())
    );
    let (code, table, _) = command(&redis, &away.url(), &["status"]);
    assert_eq!(code, Some(0));
    for line in [
        "Writes to Postgres:      nobody\n",
        "Restore:                 0 of 64 partitions are open\n",
    ] {
        assert!(table.contains(line), "{table}");
    }

    let settings = [
        ("REALTIME_DATABASE_URL", away.url()),
        ("REALTIME_RESTORE", "best-effort".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let node = Node::start(&redis.url(), &settings).await;
    let _ann = Raw::enter(&node, "ann").await;
    let (_, text) = node.get("/metrics", "*/*").await.expect("/metrics answers");
    let metrics: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&metrics["connections"]["total"], &metrics["events"]),
        (&1.into(), &json!({"total": null, "lastHour": null}))
    );
}
