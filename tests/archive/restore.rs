//! A Redis that comes back empty gets rooms, roles, bans and statuses from Postgres before anybody is let in.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::node::{Node, binary};
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrated, own_postgres, run};

const ROOMS: usize = 10_000;
/// What a promise of five seconds may take on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// One room by invitation, of which bob is banned and carol is the admin; and as many others.
const LOBBY: &str = "
    INSERT INTO realtime_rooms (name, type, visibility, max_members) VALUES ('lobby', 'group', 'private', 7);
    INSERT INTO realtime_room_members (room_id, user_id, role, is_banned, policy, is_joined)
    SELECT id, u, r, b, p, FALSE FROM realtime_rooms, (VALUES
        ('bob', 'member', TRUE, '{\"ban\": 0}'::JSONB), ('carol', 'admin', FALSE, '{\"role\": \"admin\"}'),
        ('dan', 'member', FALSE, '{\"role\": \"member\"}')) AS m (u, r, b, p)
    WHERE name = 'lobby';
    INSERT INTO realtime_presence (user_id, status, chosen, version, custom_status)
    VALUES ('dan', 'offline', 'busy', 1700000000000000, 'gone fishing');";

fn settings(url: &str) -> Vec<(&str, &str)> {
    vec![("REALTIME_DATABASE_URL", url), ("REALTIME_PRESENCE_HEARTBEAT", "1000")]
}

async fn readiness(node: &Node) -> (u16, Value) {
    let (status, text) = node.get("/readyz", "*/*").await.expect("it answers");
    (status, serde_json::from_str(&text).expect("JSON"))
}

/// Whoever was banned is, and the others are let in as their roles say.
async fn assert_lobby(node: &Node) {
    let (bob, carol, dan) = tokio::join!(
        Raw::enter(node, "bob"),
        Raw::enter(node, "carol"),
        Raw::enter(node, "dan")
    );
    let lobby = json!({ "roomName": "lobby" });
    bob.refused("BANNED", "room:join", lobby.clone()).await;
    assert_eq!(carol.done("room:join", lobby.clone()).await["role"], "admin");
    assert_eq!(dan.done("room:join", lobby.clone()).await["role"], "member");
    let seen = carol.done("presence:get", json!({ "userIds": ["dan"] })).await;
    assert!(
        seen.to_string().contains("gone fishing") && seen.to_string().contains("busy"),
        "{seen}"
    );
    Raw::enter(node, "eve")
        .await
        .refused("FORBIDDEN", "room:join", lobby)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rooms_are_back_before_anybody_gets_in() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    run(&client, LOBBY).await;
    let many = format!("INSERT INTO realtime_rooms (name) SELECT 'room-' || n FROM generate_series(1, {ROOMS}) AS n");
    run(&client, &many).await;
    let url = database.url();
    let node = Node::start(&redis.url(), &settings(&url)).await;
    assert_lobby(&node).await;
    let alice = Raw::member(&node, "alice", "room-77").await;

    let bob = Raw::enter(&node, "bob").await;
    for _ in 0..2 {
        let _: String = redis::cmd("FLUSHALL")
            .query_async(&mut redis.connection().await)
            .await
            .expect("redis empties itself");
        let emptied = Instant::now();
        // Whatever the answer is meanwhile, a banned user does not get in.
        let ack = settled(&bob, "lobby").await;
        assert_eq!(ack["error"]["code"], "BANNED", "{ack}");
        let ack = settled(&alice, &format!("room-{ROOMS}")).await;
        assert_eq!(ack["success"], true, "{ack}");
        let took = emptied.elapsed();
        println!(
            "{ROOMS} rooms are back, and joins work, after {:.2} s",
            took.as_secs_f64()
        );
        assert!(took < Duration::from_secs(5) + SLACK, "closed for {took:?}");
        assert_lobby(&node).await;
    }
}

/// The answer to a join, once there is one.
async fn settled(raw: &Raw, room: &str) -> Value {
    loop {
        let ack = raw.ask("room:join", json!({ "roomName": room })).await;
        if ack["error"]["code"] != "UNAVAILABLE" {
            return ack;
        }
    }
}

#[tokio::test]
async fn a_required_restore_waits_for_postgres_and_says_so() {
    let redis = Redis::start().await;
    let postgres = Postgres::stopped(&["fsync=off"]);
    let url = postgres.url();
    let node = Node::spawn(&redis.url(), &settings(&url));
    node.becomes("/livez", 200).await;
    node.logs(&["warn", "partitions stay closed until the archive can be read"])
        .await;
    let (status, why) = readiness(&node).await;
    assert_eq!((status, &why["reason"]), (503, &json!("restoring")));
    postgres.restart().await;
    node.becomes("/readyz", 200).await;
}

#[tokio::test]
async fn a_best_effort_opens_at_once_and_asks_postgres_later() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    run(&database.connect().await, LOBBY).await;
    postgres.stop().await;
    let url = database.url();
    let mut settings = settings(&url);
    settings.push(("REALTIME_RESTORE", "best-effort"));
    let node = Node::start(&redis.url(), &settings).await;
    let bob = Raw::enter(&node, "bob").await;
    bob.refused("ROOM_NOT_FOUND", "room:join", json!({ "roomName": "lobby" }))
        .await;
    postgres.restart().await;
    node.logs(&["what the archive knows was brought back later"]).await;
    assert_lobby(&node).await;
}

#[tokio::test]
async fn a_command_brings_back_what_is_closed_where_no_node_runs() {
    let (redis, (database, client)) = tokio::join!(Redis::start(), migrated());
    run(&client, LOBBY).await;
    let mut command = binary();
    command.args(["create-room", "lobby"]);
    command
        .env("REALTIME_REDIS_URL", redis.url())
        .env("REALTIME_DATABASE_URL", database.url());
    let output = command.output().expect("the binary starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(
        said,
        "✓ Room created: lobby (group, private)\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_opened_without_postgres_takes_its_lasting_rooms_over() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let board = "
        INSERT INTO realtime_rooms (name, type, visibility) VALUES ('auto:board', 'group', 'private');
        INSERT INTO realtime_rooms (name, auto_created) VALUES ('auto:busy', TRUE);
        INSERT INTO realtime_room_members (room_id, user_id, is_banned, policy, is_joined)
        SELECT id, 'bob', TRUE, '{\"ban\": 0}', FALSE FROM realtime_rooms;";
    run(&database.connect().await, board).await;
    postgres.stop().await;
    let url = database.url();
    let mut settings = settings(&url);
    settings.push(("REALTIME_RESTORE", "best-effort"));
    let node = Node::start(&redis.url(), &settings).await;
    // A stranger makes the rooms anew, and is whatever the settings make of that.
    let eve = Raw::member(&node, "eve", "auto:board").await;
    let ann = Raw::member(&node, "ann", "auto:busy").await;
    postgres.restart().await;
    node.logs(&["what the archive knows was brought back later"]).await;
    let (bob, dan) = tokio::join!(Raw::enter(&node, "bob"), Raw::enter(&node, "dan"));
    for room in ["auto:board", "auto:busy"] {
        bob.refused("BANNED", "room:join", json!({ "roomName": room })).await;
    }
    dan.refused("FORBIDDEN", "room:join", json!({ "roomName": "auto:board" }))
        .await;
    let client = database.connect().await;
    let room = async |name: &str| {
        let query = format!(
            "SELECT to_jsonb(answer)::TEXT FROM (SELECT type, visibility, auto_created, expires_at FROM realtime_rooms
             WHERE name = '{name}') AS answer"
        );
        let row = client.query_one(&query, &[]).await.expect("it is there");
        serde_json::from_str::<Value>(row.get(0)).expect("JSON")
    };
    let lasting = json!({ "type": "group", "visibility": "private", "auto_created": false, "expires_at": null });
    assert_eq!(room("auto:board").await, lasting);
    let busy = room("auto:busy").await;
    assert_eq!(busy["expires_at"], Value::Null, "somebody is in it: {busy}");
    drop((eve, ann));
}
