//! `purge` takes away everything that this program has made, and nothing else; or nothing at all.

use std::process::Output;
use std::time::Duration;

use redis::AsyncCommands as _;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::node::{Node, binary};
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrate, rows, run};

const END_LIMIT: Duration = Duration::from_secs(30);

fn command(arguments: &[&str], redis: &Redis, database: &str) -> Output {
    let mut command = binary();
    command
        .args(arguments)
        .env("REALTIME_REDIS_URL", redis.url())
        .env("REALTIME_DATABASE_URL", database);
    command.output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything that somebody has made in a database.
async fn made(client: &Client) -> Vec<Value> {
    rows(
        client,
        "SELECT 'relation' AS kind, relname::TEXT AS name FROM pg_class
         WHERE relnamespace = 'public'::REGNAMESPACE
         UNION ALL SELECT 'function', oid::REGPROCEDURE::TEXT FROM pg_proc WHERE pronamespace = 'public'::REGNAMESPACE
         UNION ALL SELECT 'type', typname::TEXT FROM pg_type WHERE typnamespace = 'public'::REGNAMESPACE
         ORDER BY 1, 2",
    )
    .await
}

async fn keys(redis: &Redis) -> Vec<String> {
    let mut keys: Vec<String> = redis.connection().await.keys("*").await.expect("redis answers");
    keys.sort();
    keys
}

#[tokio::test]
async fn a_purge_takes_everything_of_ours_and_nothing_else() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let client = database.connect().await;
    run(&client, "CREATE TABLE orders (id INT PRIMARY KEY)").await;
    let before = made(&client).await;
    let others = ["app:x", "rt2:{464}:room:x", "rt:plain", "rt:{app}:x"]; // in their order
    for key in others {
        let () = redis.connection().await.set(key, 1).await.expect("redis answers");
    }

    // The existing plugin's tables, taken over; a gateway that somebody was on; partitions.
    run(&client, include_str!("existing.sql")).await;
    run(&client, include_str!("existing_rows.sql")).await;
    run(&client, "DROP EXTENSION \"uuid-ossp\" CASCADE").await;
    migrate(&database).await.expect("the migrations run");
    let settings = [("REALTIME_DATABASE_URL", &*database.url())];
    let node = Node::start(&redis.url(), &settings).await;
    let ann = Raw::member(&node, "ann", "auto:den").await;
    drop(ann);
    let init = command(&["init"], &redis, &database.url());
    assert!(init.status.success(), "{}", stderr(&init));
    node.signal("TERM");
    node.ended(END_LIMIT).await;
    assert!(made(&client).await.len() > before.len() + 20);
    assert!(keys(&redis).await.len() > others.len() + 64);

    // Twice: the second one finds nothing.
    for _ in 0..2 {
        let purged = command(&["purge", "--yes", "--json"], &redis, &database.url());
        assert!(purged.status.success(), "{}", stderr(&purged));
        assert_eq!(made(&client).await, before);
        assert_eq!(keys(&redis).await, others);
    }
    let init = command(&["init"], &redis, &database.url());
    assert!(init.status.success(), "it can begin anew: {}", stderr(&init));
}

#[tokio::test]
async fn a_purge_that_may_not_be_leaves_all_as_it_was() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let client = database.connect().await;
    assert!(command(&["init"], &redis, &database.url()).status.success());
    let unsaid = command(&["purge"], &redis, &database.url());
    assert_eq!(unsaid.status.code(), Some(2));
    assert!(stderr(&unsaid).contains("--yes"), "{}", stderr(&unsaid));

    run(&client, "CREATE VIEW report AS SELECT name FROM realtime_rooms").await;
    let before = (made(&client).await, keys(&redis).await);
    let depended = command(&["purge", "--yes"], &redis, &database.url());
    assert_eq!(depended.status.code(), Some(1));
    assert!(
        stderr(&depended).contains("view report depends on table realtime_rooms"),
        "{}",
        stderr(&depended)
    );
    assert_eq!((made(&client).await, keys(&redis).await), before);

    run(&client, "DROP VIEW report").await;
    let schema = made(&client).await;
    let node = Node::start(&redis.url(), &[("REALTIME_NODE_ID", "one")]).await;
    let running = command(&["purge", "--yes"], &redis, &database.url());
    assert_eq!(running.status.code(), Some(1));
    assert!(
        stderr(&running).contains("stop them first: one"),
        "{}",
        stderr(&running)
    );
    assert_eq!(made(&client).await, schema);
    assert!(keys(&redis).await.iter().any(|key| key.ends_with(":room:general")));
    node.signal("TERM");
    node.ended(END_LIMIT).await;
}
