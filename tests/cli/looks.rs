//! Commands that look at a cluster that runs: the existing plugin's tables, letter by letter, and the same as JSON.

use std::process::Output;

use serde_json::{Value, json};

use crate::stderr;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::binary;
use crate::support::port::free_port;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

fn run(redis_url: &str, args: &[&str]) -> Output {
    let mut command = binary();
    command.args(args).env("REALTIME_REDIS_URL", redis_url);
    command.output().expect("the binary starts")
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_lines(output: Output) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Two nodes with ann, who is busy, on the first, bob on the second, and a stranger.
async fn inhabited() -> (Cluster, [Raw; 3]) {
    let settings = [("REALTIME_ALLOW_ANONYMOUS", "true"), ("REALTIME_DATABASE_URL", "none")];
    let cluster = Cluster::start(2, &settings).await;
    let ann = Raw::member(&cluster.nodes[0], "ann", "auto:den").await;
    let bob = Raw::enter(&cluster.nodes[1], "bob").await;
    let stranger = Raw::open(&cluster.nodes[1]).await;
    stranger.connect(&json!({})).await.expect("anonymous sockets may come");
    let choice = json!({"status": "busy", "customStatus": {"text": "lunch", "emoji": "🍜"}});
    ann.done("presence:update", choice).await;
    (cluster, [ann, bob, stranger])
}

#[tokio::test]
async fn stats_are_the_existing_plugin_s() {
    let (cluster, _people) = inhabited().await;
    let url = cluster.redis.url();
    let double = "=".repeat(50);
    assert_eq!(
        text(run(&url, &["stats"])),
        format!(
            "\nRealtime Server Statistics\n{double}\n\
             Active Connections:      3\n\
             Authenticated Users:     2\n\
             Active Rooms:            1\n\
             \nPresence:\n  \
             Online:  1\n  \
             Away:    0\n  \
             Busy:    1\n  \
             Offline: 0\n\
             \nEvents (last hour):      0\n{double}\n\n"
        )
    );
    let stats: Value = serde_json::from_str(&text(run(&url, &["stats", "--json"]))).unwrap();
    assert_eq!(
        stats,
        json!({
            "connections": {"total": 3, "active": 3, "inGrace": 0, "authenticated": 2, "anonymous": 1},
            "users": 2,
            "rooms": {"total": 1, "active": 1},
            "presence": {"online": 1, "away": 0, "busy": 1, "offline": 0},
            "events": {"total": 0, "lastHour": 0},
        })
    );
}

#[tokio::test]
async fn connections_are_the_existing_plugin_s_and_more_as_json() {
    let (cluster, [ann, bob, _stranger]) = inhabited().await;
    let url = cluster.redis.url();
    let (double, single) = ("=".repeat(100), "-".repeat(100));
    let table = text(run(&url, &["connections"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "",
            "Active Connections",
            &double,
            "SOCKET ID            USER ID              TRANSPORT    LATENCY    CONNECTED AT",
            &single,
        ]
    );
    assert_eq!((lines.len(), lines[8]), (9, &*double), "{table}");
    // The latest first.
    for (line, user) in lines[5..8].iter().zip(["anonymous", "bob", "ann"]) {
        let (socket, rest) = line.split_at(21);
        assert!(
            socket.len() == 21 && socket.ends_with(' ') && !socket.starts_with(' '),
            "{line}"
        );
        let rest = rest.strip_prefix(&format!("{user:<20} websocket    ")).expect(line);
        let (latency, at) = rest.split_at(11);
        assert!(latency.trim() == "-" || latency.trim().ends_with("ms"), "{line}");
        assert!(at.parse::<jiff::Timestamp>().is_ok() && at.ends_with('Z'), "{line}");
    }

    let all = json_lines(run(&url, &["connections", "--json"]));
    let users: Vec<&Value> = all.iter().map(|connection| &connection["userId"]).collect();
    assert_eq!(users, [&Value::Null, &"bob".into(), &"ann".into()]);
    let ann_s = &all[2];
    assert_eq!(
        (
            &ann_s["node"],
            &ann_s["state"],
            &ann_s["transport"],
            &ann_s["ip"],
            &ann_s["rooms"]
        ),
        (
            &"node-0".into(),
            &"live".into(),
            &"websocket".into(),
            &"127.0.0.1".into(),
            &1.into()
        )
    );
    let one = |args: &[&str]| json_lines(run(&url, &[&["connections", "--json"], args].concat()));
    assert_eq!(one(&["--user", "ann"]), std::slice::from_ref(ann_s));
    assert_eq!(one(&["--node", "node-0"]), std::slice::from_ref(ann_s));
    assert_eq!(one(&["--user", "ann", "--node", "node-1"]), [] as [Value; 0]);
    let cut = run(&url, &["connections", "-n", "2", "--json"]);
    assert_eq!(stderr(&cut), "There are more; --number shows up to 1000000\n");
    assert_eq!(json_lines(cut), all[..2], "the latest");

    bob.lose();
    eventually("bob's connection is in grace", async || {
        text(run(&url, &["connections"])).contains("Z (in grace)\n")
    })
    .await;
    drop(ann);
}

#[tokio::test]
async fn presence_is_of_those_who_are_named_or_here() {
    let (cluster, _people) = inhabited().await;
    let url = cluster.redis.url();
    let (double, single) = ("=".repeat(100), "-".repeat(100));
    let heading = "USER ID              STATUS     CONNECTIONS  LAST SEEN                CUSTOM STATUS";
    assert_eq!(
        text(run(&url, &["presence"])),
        format!(
            "\nUser Presence\n{double}\n{heading}\n{single}\n\
             ann                  busy       1            -                        🍜 lunch\n\
             bob                  online     1            -\n{double}\n"
        ),
    );
    assert_eq!(
        text(run(&url, &["presence", "nobody", "bob"])),
        format!(
            "\nUser Presence\n{double}\n{heading}\n{single}\n\
             nobody               offline    0            -\n\
             bob                  online     1            -\n{double}\n"
        ),
    );
    assert_eq!(
        json_lines(run(&url, &["presence", "--json", "ann"])),
        [json!({
            "userId": "ann",
            "status": "busy",
            "customStatus": "lunch",
            "customEmoji": "🍜",
            "expiresAt": null,
            "connections": 1,
            "lastSeen": null,
        })]
    );
    let cut = run(&url, &["presence", "-n", "1", "--json"]);
    assert_eq!(stderr(&cut), "There are more; --number shows up to 1000000\n");
    let first = json_lines(cut);
    assert_eq!((first.len(), &first[0]["userId"]), (1, &"ann".into()));
    assert_eq!(run(&url, &["presence", "a\u{7}"]).status.code(), Some(2));
}

#[tokio::test]
async fn status_tells_of_the_cluster() {
    let (cluster, _people) = inhabited().await;
    let url = cluster.redis.url();
    let status = || -> Value { serde_json::from_str(&text(run(&url, &["status", "--json"]))).unwrap() };
    eventually("the nodes tell of their sockets", async || {
        let status = status();
        let nodes = status["nodes"].as_array().unwrap();
        let told = nodes.iter().map(|node| node["connections"].as_u64().unwrap_or(0));
        told.sum::<u64>() == 3
    })
    .await;
    let status = status();
    assert_eq!(
        (
            &status["redis"]["status"],
            &status["postgres"]["status"],
            &status["connections"]
        ),
        (&"connected".into(), &"off".into(), &json!({"active": 3, "inGrace": 0}))
    );
    for (node, name) in status["nodes"].as_array().unwrap().iter().zip(["node-0", "node-1"]) {
        assert_eq!((&node["node"], &node["alive"]), (&name.into(), &true.into()));
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(node["leaseMs"].as_u64().unwrap() <= 6_000);
    }
    let table = text(run(&url, &["status"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[1..3], ["Realtime Cluster", &*"=".repeat(70)]);
    assert!(lines[3].starts_with("Redis:                   connected ("), "{table}");
    for line in [
        "Postgres:                off",
        "Active Connections:      3",
        "In Grace:                0",
        "Nodes:                   2",
        "NODE                      CONNECTIONS  LEASE     PHASE      VERSION",
    ] {
        assert!(lines.contains(&line), "{line:?} in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn a_redis_that_is_away_is_told_of_and_is_a_failure() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let output = run(&nobody, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: Redis: "), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("Redis:                   disconnected\n"), "{table}");
    let output = run(&nobody, &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["redis"]["status"], "disconnected");
    for command in ["stats", "connections", "presence", "rooms"] {
        let output = run(&nobody, &[command]);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(1), &b""[..]),
            "{command}"
        );
    }
}

#[tokio::test]
async fn an_empty_cluster_is_shown_as_empty() {
    let redis = Redis::start().await;
    let url = redis.url();
    for (command, lines) in [("connections", 6), ("presence", 6), ("rooms", 6), ("status", 9)] {
        let table = text(run(&url, &[command]));
        assert_eq!(table.lines().count(), lines, "{command}: {table}");
        let json = json_lines(run(&url, &[command, "--json"]));
        assert_eq!(json.len(), usize::from(command == "status"), "{command}");
    }
}

#[tokio::test]
async fn a_long_name_moves_the_other_columns_and_is_whole() {
    let redis = Redis::start().await;
    let url = redis.url();
    let name = "a room whose name is longer than its column";
    text(run(&url, &["create-room", name]));
    let table = text(run(&url, &["rooms"]));
    let row = table.lines().nth(5).unwrap();
    assert!(
        row.starts_with(&format!("{name} channel      public       2")),
        "{table}"
    );
}
