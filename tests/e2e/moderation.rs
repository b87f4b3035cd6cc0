//! Acts on others in a room, where the stock clients cannot look: what the bus drops, large rooms, joins at the same
//! moment, and how long an act takes to arrive. The acts themselves: scenarios/moderation.mjs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::binary;
use crate::support::raw::{Raw, room, unique};

fn is_out(user: &str, reason: &str) -> impl Fn(&Value) -> bool {
    move |left: &Value| left["userId"] == user && left["reason"] == reason
}

/// Several rounds, since now and then the bus stands again before the kick.
#[tokio::test]
async fn a_kick_that_the_bus_dropped_is_healed() {
    let cluster = Cluster::start(2, &[]).await;
    for round in 0..10 {
        let (room, user) = (room(), format!("bob-{round}"));
        let ada = Raw::member(&cluster.nodes[0], &format!("ada-{round}"), &room).await;
        let bob = Raw::member(&cluster.nodes[1], &user, &room).await;
        let eve = Raw::member(&cluster.nodes[1], &format!("eve-{round}"), &room).await;
        cluster.redis.cut_bus().await;
        ada.done("room:kick", json!({"roomName": room, "userId": user})).await;
        for witness in [&ada, &eve, &bob] {
            witness.heard("user:left", is_out(&user, "kicked")).await;
        }
        for _ in 0..3 {
            ada.marker(&room, &[&eve]).await;
        }
        bob.done("ping", json!({})).await;
        assert!(
            bob.all("message:new", |_| true).is_empty(),
            "the kicked hear nothing more"
        );
        for witness in [&ada, &eve, &bob] {
            assert_eq!(witness.all("user:left", is_out(&user, "kicked")).len(), 1, "once");
        }
    }
}

#[tokio::test]
async fn a_room_that_is_told_counts_is_told_of_a_kick() {
    let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_ROOM_LIMIT", "2")]).await;
    let room = room();
    let ada = Raw::member(&cluster.nodes[0], "ada", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let eve = Raw::member(&cluster.nodes[1], "eve", &room).await;
    let dan = Raw::member(&cluster.nodes[0], "dan", &room).await;
    ada.done("room:ban", json!({"roomName": room, "userId": "bob"})).await;
    for witness in [&ada, &bob, &eve, &dan] {
        witness.heard("user:left", is_out("bob", "banned")).await;
    }
    ada.marker(&room, &[&eve, &dan]).await;
    bob.done("ping", json!({})).await;
    assert!(bob.all("message:new", |_| true).is_empty());
    bob.refused("BANNED", "room:join", json!({"roomName": room})).await;
}

/// `nself-realtime rooms …`
fn administer(cluster: &Cluster, args: &[&str]) -> String {
    let done = binary()
        .arg("rooms")
        .args(args)
        .env("REALTIME_REDIS_URL", cluster.redis.url())
        .output()
        .expect("the binary starts");
    assert!(done.status.success(), "rooms {args:?}: {done:?}");
    String::from_utf8(done.stdout).expect("text")
}

#[tokio::test]
async fn the_administration_ranks_above_all() {
    let cluster = Cluster::shared().await;
    let room = room();
    let ada = Raw::member(&cluster.nodes[0], &unique("ada"), &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    administer(cluster, &["role", &room, &bob.user, "moderator"]);
    ada.refused("FORBIDDEN", "room:kick", json!({"roomName": room, "userId": ada.user}))
        .await;
    administer(cluster, &["mute", &room, &ada.user]);
    ada.refused("MUTED", "message:send", json!({"roomName": room, "content": "x"}))
        .await;
    administer(cluster, &["unmute", &room, &ada.user]);
    let receipt = administer(cluster, &["ban", &room, &ada.user, "--reason", "test", "--json"]);
    let receipt: Value = serde_json::from_str(&receipt).expect("JSON");
    assert_eq!(receipt, json!({"nodes": [{"node": "node-0", "sockets": 1}]}));
    for witness in [&ada, &bob] {
        witness.heard("user:left", is_out(&ada.user, "banned")).await;
    }
    ada.refused("BANNED", "room:join", json!({"roomName": room})).await;
    administer(cluster, &["unban", &room, &ada.user]);
    ada.done("room:join", json!({"roomName": room})).await;
    administer(cluster, &["kick", &room, &bob.user]);
    bob.heard("user:left", is_out(&bob.user, "kicked")).await;
}

/// Everybody hears of the own end, also where the bus dropped it; the name is free.
#[tokio::test]
async fn a_room_is_closed_for_everybody() {
    let cluster = Cluster::start(2, &[]).await;
    for round in 0..6 {
        let room = room();
        let ada = Raw::member(&cluster.nodes[0], &format!("ada-{round}"), &room).await;
        let bob = Raw::member(&cluster.nodes[1], &format!("bob-{round}"), &room).await;
        if round % 2 == 1 {
            cluster.redis.cut_bus().await;
        }
        administer(&cluster, &["close", &room]);
        for raw in [&ada, &bob] {
            raw.heard("user:left", is_out(&raw.user, "kicked")).await;
            raw.refused(
                "ROOM_NOT_FOUND",
                "message:send",
                json!({"roomName": room, "content": "x"}),
            )
            .await;
            assert_eq!(raw.all("user:left", |_| true).len(), 1, "once, and of oneself");
        }
        let again = bob.done("room:join", json!({"roomName": room})).await;
        assert_eq!((&again["memberCount"], &again["role"]), (&json!(1), &json!("admin")));
        bob.marker(&room, &[&bob]).await;
        ada.done("ping", json!({})).await;
        assert!(ada.all("message:new", |_| true).is_empty(), "she is in no room");
    }
}

/// Kicks and joins of the same user at the same moments: whatever Redis made of them, who is a member hears, who is none
/// does not, and nothing is left behind when the user goes.
#[tokio::test]
async fn kicks_and_joins_at_once_end_as_redis_ordered_them() {
    let cluster = Cluster::shared().await;
    let room = room();
    let ada = Raw::member(&cluster.nodes[0], &unique("ada"), &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let (join, kick) = (json!({"roomName": room}), json!({"roomName": room, "userId": bob.user}));
    for round in 0..100 {
        let asked = bob.pose("room:join", std::slice::from_ref(&join));
        let acted = ada.pose("room:kick", std::slice::from_ref(&kick));
        let again = (round % 3 == 0).then(|| bob.pose("room:join", std::slice::from_ref(&join)));
        assert_eq!(bob.answer(asked).await["success"], true);
        assert_eq!(ada.answer(acted).await["success"], true);
        if let Some(again) = again {
            assert_eq!(bob.answer(again).await["success"], true);
        }
        let page = ada.done("room:members", json!({"roomName": room})).await;
        let is_member = page["members"].as_array().unwrap().len() == 2;
        let content = unique("said");
        ada.done("message:send", json!({"roomName": room, "content": content}))
            .await;
        if is_member {
            bob.heard("message:new", |message| message["content"] == content.as_str())
                .await;
        } else {
            bob.refused(
                "NOT_A_MEMBER",
                "message:send",
                json!({"roomName": room, "content": "x"}),
            )
            .await;
            bob.done("room:join", join.clone()).await;
            ada.marker(&room, &[&bob]).await;
            let missed = bob.all("message:new", |message| message["content"] == content.as_str());
            assert!(missed.is_empty(), "whoever is out does not hear: {missed:?}");
        }
    }
    let user = bob.user.clone();
    bob.disconnect().await;
    eventually("no ghost stays", async || {
        let page = ada.done("room:members", json!({"roomName": room})).await;
        page["members"]
            .as_array()
            .unwrap()
            .iter()
            .all(|member| member["userId"] != user.as_str())
    })
    .await;
}

/// From the ack of an act to its effect on a socket of the other node. Promised: a p99 below 100 ms; asserted with slack,
/// since tests share the machine.
#[tokio::test]
async fn acts_take_effect_on_another_node_within_their_bound() {
    const ROUNDS: usize = 100;
    const BOUND: Duration = Duration::from_millis(500);
    let cluster = Cluster::shared().await;
    let room = room();
    let ada = Raw::member(&cluster.nodes[0], &unique("ada"), &room).await;
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let on_bob = json!({"roomName": room, "userId": bob.user});
    let (place, say) = (json!({"roomName": room}), json!({"roomName": room, "content": "x"}));
    let mut took: Vec<(&str, Vec<Duration>)> = Vec::new();
    for (act, lifted_by, refused_with) in [
        ("room:kick", None, "NOT_A_MEMBER"),
        ("room:ban", Some("room:unban"), "BANNED"),
        ("room:mute", Some("room:unmute"), "MUTED"),
    ] {
        let (mut effects, mut lifts) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let from = bob.log().len();
            ada.done(act, on_bob.clone()).await;
            let acked = Instant::now();
            if act != "room:mute" {
                let is_own = |left: &Value| left["userId"] == bob.user.as_str();
                bob.heard_after(from, "user:left", is_own).await;
            }
            bob.refused(refused_with, "message:send", say.clone()).await;
            effects.push(acked.elapsed());
            if let Some(lift) = lifted_by {
                ada.done(lift, on_bob.clone()).await;
                let acked = Instant::now();
                let (event, payload) = if act == "room:ban" {
                    ("room:join", &place)
                } else {
                    ("message:send", &say)
                };
                bob.done(event, payload.clone()).await;
                lifts.push(acked.elapsed());
            } else {
                bob.done("room:join", place.clone()).await;
            }
        }
        took.push((act, effects));
        took.extend(lifted_by.map(|lift| (lift, lifts)));
    }
    let mut appointments = Vec::new();
    let stranger = json!({"roomName": room, "userId": "nobody"});
    for _ in 0..ROUNDS / 2 {
        for (role, may) in [("moderator", true), ("guest", false)] {
            ada.done("room:role", json!({"roomName": room, "userId": bob.user, "role": role}))
                .await;
            let acked = Instant::now();
            if may {
                bob.done("room:mute", stranger.clone()).await;
            } else {
                bob.refused("FORBIDDEN", "room:mute", stranger.clone()).await;
            }
            appointments.push(acked.elapsed());
        }
    }
    took.push(("room:role", appointments));
    for (act, mut durations) in took {
        durations.sort_unstable();
        let (median, p99) = (durations[ROUNDS / 2], durations[ROUNDS * 99 / 100]);
        println!("{act}: ack to effect on another node: median {median:?}, p99 {p99:?}");
        assert!(p99 < BOUND, "{act}: p99 {p99:?}");
    }
}
