//! A storm: users with several tabs on both nodes come, join, speak, leave, lose their transports and come back, all at
//! once. Whoever watched must have seen each user come and go in turn, both watchers the same, and what remains must be
//! what a model of it says.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::heard::Heard;
use crate::support::raw::{Raw, room, unique};

const USERS: usize = 8;
const TABS: usize = 3;
const STEPS: usize = 40;
const ROOMS: usize = 3;

/// One tab's life; what it ends in: its connection, if it still stands, and the rooms it is in.
async fn tab(cluster: &Cluster, user: &str, rooms: &[String], seed: u64) -> (Option<Raw>, BTreeSet<String>) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut raw: Option<Raw> = None;
    let mut joined = BTreeSet::new();
    for step in 0..STEPS {
        let Some(stands) = raw.take() else {
            raw = Some(Raw::enter(&cluster.nodes[dice.random_range(0..2)], user).await);
            continue;
        };
        let room = &rooms[dice.random_range(0..rooms.len())];
        match dice.random_range(0..100) {
            0..35 => {
                stands.done("room:join", json!({"roomName": room})).await;
                joined.insert(room.clone());
            }
            35..55 => {
                if joined.remove(room) {
                    stands.done("room:leave", json!({"roomName": room})).await;
                }
            }
            55..85 => {
                let ack = stands
                    .ask("message:send", json!({"roomName": room, "content": step.to_string()}))
                    .await;
                assert_eq!(
                    ack["success"],
                    json!(joined.contains(room)),
                    "seed {seed}, step {step}: {ack}"
                );
            }
            85..93 => {
                stands.lose();
                joined.clear();
                continue;
            }
            _ => {
                stands.disconnect().await;
                joined.clear();
                continue;
            }
        }
        raw = Some(stands);
    }
    (raw, joined)
}

/// Who came and went in a room, in order: (rev, user, came).
fn comings(watcher: &Raw, room: &str) -> Vec<(u64, String, bool)> {
    let mut seen = Vec::new();
    for heard in watcher.log() {
        let Heard::Event(event, args) = heard else { continue };
        let came = match event.as_str() {
            "user:joined" => true,
            "user:left" => false,
            _ => continue,
        };
        if args[0]["roomName"] == room {
            let user = args[0]["userId"].as_str().expect("a user has an id").to_owned();
            seen.push((args[0]["rev"].as_u64().expect("a change has its place"), user, came));
        }
    }
    seen
}

/// Everybody comes and goes in turn; who is there in the end.
fn who_remains(comings: &[(u64, String, bool)]) -> BTreeSet<String> {
    let mut there = BTreeMap::new();
    for (at, (rev, user, came)) in comings.iter().enumerate() {
        let was = there.insert(user.clone(), *came).unwrap_or(false);
        assert_ne!(
            was,
            *came,
            "{user} at rev {rev} is told to have {} twice",
            if *came { "come" } else { "gone" }
        );
        assert_eq!(
            *rev,
            comings[0].0 + at as u64,
            "a change was not told, or not in its order"
        );
    }
    there
        .into_iter()
        .filter_map(|(user, there)| there.then_some(user))
        .collect()
}

#[tokio::test]
async fn what_was_told_adds_up_to_what_is() {
    let seed: u64 = rand::random();
    println!("seed {seed}"); // shown when the test fails
    let cluster = Cluster::shared().await;
    let rooms: Vec<String> = (0..ROOMS).map(|_| room()).collect();
    let users: Vec<String> = (0..USERS).map(|_| unique("user")).collect();
    let mut watchers = Vec::new();
    for node in &cluster.nodes {
        watchers.push(Raw::enter(node, &unique("watcher")).await);
    }
    for room in &rooms {
        for watcher in &watchers {
            watcher.done("room:join", json!({"roomName": room})).await;
        }
    }

    let tabs = (0..USERS * TABS).map(|n| tab(cluster, &users[n / TABS], &rooms, seed.wrapping_add(n as u64)));
    let ends = join_all(tabs).await;

    for room in &rooms {
        let expected: BTreeSet<String> = ends
            .iter()
            .enumerate()
            .filter(|(_, (raw, joined))| raw.is_some() && joined.contains(room))
            .map(|(n, _)| users[n / TABS].clone())
            .collect();
        let listed = async || {
            let answer = watchers[0].done("room:members", json!({"roomName": room})).await;
            let members = answer["members"].as_array().expect("a list").iter();
            let names = members.map(|member| member["userId"].as_str().expect("an id").to_owned());
            names.filter(|name| users.contains(name)).collect::<BTreeSet<_>>()
        };
        // Lost transports are in their grace still.
        eventually("the room holds whom the model says", async || {
            listed().await == expected
        })
        .await;
        watchers[0].marker(room, &[&watchers[1]]).await;
        let of_users = |watcher: &Raw| {
            let mut seen = comings(watcher, room);
            seen.retain(|(_, user, _)| users.contains(user));
            seen
        };
        let (near, far) = (of_users(&watchers[0]), of_users(&watchers[1]));
        assert_eq!(near, far, "both nodes tell the same");
        assert_eq!(who_remains(&near), expected, "what was told adds up to what is");
    }
}
