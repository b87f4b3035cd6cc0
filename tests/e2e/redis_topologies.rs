//! Two nodes over a Redis Cluster, and over a master that Sentinels watch: what users do reaches the other node.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};
use crate::support::redis_fleet::{
    DATA_PASSWORD, DATA_USER, RedisCluster, RedisSentinel, SENTINEL_PASSWORD, SENTINEL_USER,
};

async fn nodes(url: &str) -> [Node; 2] {
    [
        Node::start(url, &[("REALTIME_NODE_ID", "node-0")]).await,
        Node::start(url, &[("REALTIME_NODE_ID", "node-1")]).await,
    ]
}

fn of(user: &str) -> impl Fn(&Value) -> bool {
    move |told: &Value| told["userId"] == user
}

/// Rooms of names enough that each master has some.
async fn users_meet_across_nodes(url: &str) {
    let nodes = nodes(url).await;
    for _ in 0..6 {
        let room = room();
        let (ann, bob) = (unique("ann"), unique("bob"));
        let at_one = Raw::member(&nodes[0], &ann, &room).await;
        let at_other = Raw::member(&nodes[1], &bob, &room).await;
        at_one.heard("user:joined", of(&bob)).await;

        at_one
            .done("message:send", json!({"roomName": room, "content": "hello"}))
            .await;
        let message = at_other
            .heard("message:new", |message| message["content"] == "hello")
            .await;
        assert_eq!((&message["seq"], &message["userId"]), (&json!(1), &json!(ann)));

        at_one.done("presence:update", json!({"status": "busy"})).await;
        at_other
            .heard("presence:changed", |told| {
                told["userId"] == ann.as_str() && told["status"] == "busy"
            })
            .await;

        at_other.done("typing:start", json!({"roomName": room})).await;
        at_one
            .heard("typing:event", |typing| typing.to_string().contains(&bob))
            .await;

        at_other.done("room:leave", json!({"roomName": room})).await;
        at_one.heard("user:left", of(&bob)).await;
    }
}

#[tokio::test]
async fn on_a_cluster() {
    let cluster = RedisCluster::start().await;
    users_meet_across_nodes(&cluster.url()).await;
}

#[tokio::test]
async fn under_sentinels_and_after_a_failover() {
    let sentinel = RedisSentinel::start().await;
    meet_before_and_after_a_failover(&sentinel, &sentinel.url()).await;
}

#[tokio::test]
async fn under_sentinels_that_have_passwords() {
    let sentinel = RedisSentinel::guarded().await;
    let (data, watch) = (DATA_PASSWORD.replace('@', "%40"), SENTINEL_PASSWORD);
    let everybody = sentinel.url_with(&format!(":{data}@"), &format!("?sentinel_password={watch}"));
    users_meet_across_nodes(&everybody).await;
    let users = sentinel.url_with(
        &format!("{DATA_USER}:{data}@"),
        &format!("?sentinel_username={SENTINEL_USER}&sentinel_password={watch}"),
    );
    meet_before_and_after_a_failover(&sentinel, &users).await;
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let sentinel = RedisSentinel::guarded().await;
    let right = format!(":{}@", DATA_PASSWORD.replace('@', "%40"));
    let watch = format!("?sentinel_password={SENTINEL_PASSWORD}");
    let cases = [
        (
            right.as_str(),
            "",
            "a Sentinel refuses sentinel_username or sentinel_password",
        ),
        (
            &right,
            "?sentinel_password=hush",
            "a Sentinel refuses sentinel_username or sentinel_password",
        ),
        (
            "",
            &watch,
            "the master refuses the user or the password before the host",
        ),
        (
            ":hush@",
            &watch,
            "the master refuses the user or the password before the host",
        ),
    ];
    for (login, query, complaint) in cases {
        let url = sentinel.url_with(login, query);
        let node = Node::spawn(&url, &[]);
        node.logs(&["nobody says who the masters of Redis are", complaint])
            .await;
        node.becomes("/readyz", 503).await;
        let log = node.log_text();
        for secret in ["hush", DATA_PASSWORD, "d%40ta", SENTINEL_PASSWORD] {
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        }
    }
}

/// The master is killed, and its successor serves all that the nodes want.
async fn meet_before_and_after_a_failover(sentinel: &RedisSentinel, url: &str) {
    users_meet_across_nodes(url).await;

    let nodes = nodes(url).await;
    let room = room();
    let ann = Raw::member(&nodes[0], &unique("ann"), &room).await;
    let bob = Raw::member(&nodes[1], &unique("bob"), &room).await;
    sentinel.servers[0].kill();
    sentinel.successor(&sentinel.servers[0]).await;
    for raw in [&ann, &bob] {
        eventually("a message is taken again", async || {
            let message = json!({"roomName": room, "content": "again"});
            raw.ask("message:send", message).await["success"] == true
        })
        .await;
    }
    for node in &nodes {
        node.becomes("/readyz", 200).await;
    }
    // Whether the room has come along or was put back by the nodes: both are in it, and hear each other.
    ann.marker(&room, &[&bob]).await;
    bob.marker(&room, &[&ann]).await;
}
