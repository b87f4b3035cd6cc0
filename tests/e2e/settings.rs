//! What settings change on the wire: features, limits, audience, and whom a token must be meant for.
//! How settings are read is the configuration's own tests' matter.

use std::process::Stdio;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::node::{Node, binary};
use crate::support::raw::{PATIENCE, Raw, room, unique};
use crate::support::token::{seconds_from_now, signed};

#[tokio::test]
async fn features_that_are_off_say_so() {
    let settings = [
        ("REALTIME_ENABLE_TYPING", "false"),
        ("REALTIME_ENABLE_PRESENCE", "false"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let bob = Raw::member(&cluster.nodes[0], "bob", &room).await;
    ann.refused("FEATURE_DISABLED", "typing:start", json!({"roomName": room}))
        .await;
    ann.refused("FEATURE_DISABLED", "presence:update", json!({"status": "busy"}))
        .await;
    ann.marker(&room, &[&bob]).await;
    assert!(bob.all("typing:event", |_| true).is_empty());
    assert!(bob.all("presence:changed", |_| true).is_empty());
}

#[tokio::test]
async fn presence_is_told_to_all_where_a_setting_says_so() {
    let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_AUDIENCE", "all")]).await;
    let stranger = Raw::enter(&cluster.nodes[0], "stranger").await;
    let ann = Raw::enter(&cluster.nodes[1], "ann").await;
    ann.done("presence:update", json!({"status": "busy"})).await;
    stranger
        .heard("presence:changed", |told| {
            told["userId"] == "ann" && told["status"] == "busy"
        })
        .await;
    ann.disconnect().await;
    stranger
        .heard("presence:changed", |told| {
            told["userId"] == "ann" && told["status"] == "offline"
        })
        .await;
}

#[tokio::test]
async fn a_socket_is_in_so_many_rooms() {
    let cluster = Cluster::start(2, &[("REALTIME_LIMITS", "enforce"), ("REALTIME_MAX_ROOMS", "2")]).await;
    let ann = Raw::enter(&cluster.nodes[0], "ann").await;
    let rooms = [room(), room(), room()];
    ann.done("room:join", json!({"roomName": rooms[0]})).await;
    ann.done("room:join", json!({"roomName": rooms[1]})).await;
    ann.refused("TOO_MANY_ROOMS", "room:join", json!({"roomName": rooms[2]}))
        .await;
    ann.done("room:join", json!({"roomName": rooms[0]})).await; // it is in that one
    ann.done("room:leave", json!({"roomName": rooms[0]})).await;
    ann.done("room:join", json!({"roomName": rooms[2]})).await;
    let tab = Raw::enter(&cluster.nodes[1], "ann").await;
    tab.done("room:join", json!({"roomName": rooms[0]})).await; // another socket
}

#[tokio::test]
async fn a_node_holds_so_many_connections() {
    let cluster = Cluster::start(1, &[("REALTIME_LIMITS", "enforce"), ("REALTIME_MAX_CONNECTIONS", "2")]).await;
    let node = &cluster.nodes[0];
    let ann = Raw::enter(node, "ann").await;
    let _bob = Raw::enter(node, "bob").await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    let answer = reqwest::get(&url).await.expect("the node answers");
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    ann.disconnect().await;
    crate::support::eventually("there is room again", async || {
        reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

/// Many ask before any of them has a place; who goes gives the place back.
#[tokio::test]
async fn a_crowd_at_once_gets_no_more_places_than_there_are() {
    const PLACES: usize = 3;
    let settings = [
        ("REALTIME_LIMITS", "enforce"),
        ("REALTIME_MAX_CONNECTIONS", &PLACES.to_string()),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    assert_eq!(crowd(node, 4 * PLACES).await, PLACES);
    crate::support::eventually("every place is free again", async || {
        crowd(node, PLACES).await == PLACES
    })
    .await;
}

/// How many of so many who come at once get in; they go when all are answered.
async fn crowd(node: &Node, size: usize) -> usize {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
    crate::support::eventually("the door is open", async || {
        reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let guests = join_all((0..size).map(|_| Raw::open(node))).await;
    let asked = guests.iter().map(async |guest| {
        let auth = json!({"token": signed(&json!({"sub": unique("guest")}))});
        tokio::select! {
            biased;
            _ = guest.closed() => false,
            connected = guest.connect(&auth) => connected.is_ok(),
        }
    });
    join_all(asked).await.into_iter().filter(|is_in| *is_in).count()
}

#[tokio::test]
async fn who_has_no_name_may_speak_where_a_setting_says_so() {
    let settings = [
        ("REALTIME_ALLOW_ANONYMOUS", "true"),
        ("REALTIME_ANONYMOUS_MAY_SEND", "true"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let room = room();
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    let ghost = Raw::open(&cluster.nodes[0]).await;
    ghost.connect(&json!({})).await.expect("the nameless are welcome");
    ghost.done("room:join", json!({"roomName": room})).await;
    ghost.marker(&room, &[&ann]).await;
    assert_eq!(
        ann.all("message:new", |_| true)[0].get("userId"),
        None,
        "a nameless one has no userId"
    );
}

#[tokio::test]
async fn a_token_is_meant_for_this_audience_by_this_issuer() {
    let settings = [
        ("REALTIME_JWT_AUDIENCE", "chat,video"),
        ("REALTIME_JWT_ISSUER", "https://issuer.test"),
        ("REALTIME_JWT_LEEWAY", "60000"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let good = json!({"sub": "ann", "aud": "chat", "iss": "https://issuer.test", "exp": seconds_from_now(-30)});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        json!({"token": signed(&claims)})
    };
    for auth in [with("sub", json!("ann")), with("aud", json!(["other", "video"]))] {
        let raw = Raw::open(&cluster.nodes[0]).await;
        raw.connect(&auth).await.expect("a good token");
    }
    for auth in [
        with("aud", json!("mail")),
        with("aud", Value::Null),
        with("iss", json!("https://other.test")),
        with("iss", Value::Null),
        with("exp", json!(seconds_from_now(-90))),
    ] {
        let raw = Raw::open(&cluster.nodes[0]).await;
        raw.connect(&auth).await.expect_err("this must not get in");
    }
}

/// Strict: a value that is not understood is not guessed.
#[tokio::test]
async fn a_wrong_value_stops_the_start_and_is_explained() {
    for (name, value) in [
        ("REALTIME_PORT", "many"),
        ("REALTIME_ALLOW_ANONYMOUS", "perhaps"),
        ("REALTIME_PRESENCE_GRACE", "5s"),
        ("REALTIME_LIMITS", "strict"),
        ("REALTIME_REDIS_URL", ""),
    ] {
        let mut command = tokio::process::Command::from(binary());
        command
            .arg("serve")
            .env("REALTIME_REDIS_URL", "redis://127.0.0.1:1")
            .env("REALTIME_HOST", "127.0.0.1")
            .env("REALTIME_PORT", "0")
            .env(name, value)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .unwrap_or_else(|_| panic!("{name}={value:?} did not stop the start"))
            .expect("the binary starts");
        assert!(!output.status.success(), "{name}={value}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name) && said.contains(value), "{name}={value}: {said}");
    }
}

/// `shadow` counts what `enforce` would refuse, and refuses nothing.
#[tokio::test]
async fn limits_in_the_shadow_are_only_counted() {
    let settings = [
        ("REALTIME_LIMITS", "shadow"),
        ("REALTIME_MAX_CONNECTIONS", "1"),
        ("REALTIME_MAX_ROOMS", "1"),
    ];
    let cluster = Cluster::start(1, &settings).await;
    let ann = Raw::enter(&cluster.nodes[0], "ann").await;
    let _bob = Raw::enter(&cluster.nodes[0], "bob").await;
    for _ in 0..2 {
        ann.done("room:join", json!({"roomName": room()})).await;
    }
    for limit in ["connections", "rooms"] {
        let label = format!("limit=\"{limit}\"");
        let hits = cluster.nodes[0].metric("realtime_limit_hits_total", &label).await;
        assert!(hits.is_some_and(|hits| hits >= 1.0), "{limit}: {hits:?}");
    }
}
