//! The faults, one function each. Every one ends as it began: three nodes, everybody there, everything told and nothing
//! under way, so they can follow each other in any order, as often as one likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::crowd::{AMNESTY, Crowd, DRAIN_GRACE, GRACE, NODE_LEASE, now_ms};
use crate::model::{ROOMS, Told, difference, is_now, joined, left, returns, room_name, rooms_of, user_of};
use crate::support::hosts::{Line, What};

/// Promised: so long after lease and grace everybody has heard of up to 1,000 ended connections.
const PROMISED: Duration = Duration::from_secs(2);
/// What a machine that runs five test binaries may add to it.
const SLACK: Duration = Duration::from_secs(3);

/// From the death of nodes to each announcement heard, seconds.
#[derive(Default)]
pub struct Ghosts(Vec<f64>);

impl Ghosts {
    fn print(&mut self, what: &str) {
        self.0.sort_by(f64::total_cmp);
        if let (Some(max), half) = (self.0.last(), self.0.len() / 2) {
            println!(
                "{what}: {} announcements heard, ghost seconds p50 {:.2}, max {max:.2}",
                self.0.len(),
                self.0[half]
            );
        }
    }
}

impl Crowd {
    /// SIGKILL or SIGTERM: whoever does not come back is announced gone once; whoever does, to no one.
    async fn end_node(&mut self, node: usize, signal: &str, bound: Duration, ghosts: &mut Ghosts) {
        let (mark, died_ms) = (self.hosts.mark(), now_ms());
        self.nodes[node].signal(signal);
        let (back, lost): (Vec<usize>, Vec<usize>) = self.model.on(node).into_iter().partition(|c| returns(*c));
        let before = self.model.users();
        for client in &lost {
            self.model.at[*client] = None;
        }
        let gone: BTreeSet<usize> = before.difference(&self.model.users()).copied().collect();
        assert!(gone.len() > 5, "the fault takes somebody away");
        let (expected, listeners) = (self.model.gone(&gone), self.everybody());
        self.arrive(mark, &back).await;
        // What came late is told by its time below; what never comes, by the difference.
        self.assert_told(&format!("SIG{signal} of node {node}"), mark, &expected, &listeners)
            .await;
        let heard = self.hosts.since(mark, |lines| announcements(lines, died_ms));
        let latest = heard.iter().copied().fold(0.0, f64::max);
        assert!(
            latest <= (bound + PROMISED + SLACK).as_secs_f64(),
            "somebody was a ghost for {latest} s, and {bound:?} + {PROMISED:?} are promised"
        );
        ghosts.0.extend(heard);
        self.replace(node).await;
        self.come_back(&lost).await;
    }

    /// Those who were gone come again: told once to everybody else.
    async fn come_back(&mut self, lost: &[usize]) {
        let mark = self.hosts.mark();
        let there = self.model.users();
        let (listeners, before) = (self.everybody(), self.model.clone());
        let came = lost
            .iter()
            .map(|client| user_of(*client))
            .filter(|user| !there.contains(user));
        let expected = before.came(&came.collect());
        self.enter(mark, lost).await;
        self.assert_told("coming back", mark, &expected, &listeners).await;
    }

    pub async fn kill_a_node(&mut self, node: usize, ghosts: &mut Ghosts) {
        self.end_node(node, "KILL", NODE_LEASE + GRACE, ghosts).await;
    }

    pub async fn terminate_a_node(&mut self, node: usize) {
        // A node that drains may take its time; its connections pass into grace at once.
        self.end_node(node, "TERM", DRAIN_GRACE, &mut Ghosts::default()).await;
    }

    /// Stopped beyond its lease, but not beyond the grace: nobody hears of it.
    pub async fn pause_a_node_shortly(&mut self, node: usize) {
        let mark = self.hosts.mark();
        let name = self.node_ids().await.remove(node);
        self.nodes[node].signal("STOP");
        let mut redis = self.redis.connection().await;
        crate::support::eventually("the others take it for dead", async || {
            let names: Vec<String> = redis::AsyncCommands::smembers(&mut redis.clone(), "rt:{nodes}:nodes")
                .await
                .expect("the test's redis answers");
            !names.contains(&name)
        })
        .await;
        redis::cmd("PING").exec_async(&mut redis).await.expect("it answers");
        self.nodes[node].signal("CONT");
        let listeners = self.everybody();
        self.assert_told("a short pause", mark, &Told::new(), &listeners).await;
    }

    /// Ids of the nodes, by number.
    async fn node_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for node in &self.nodes {
            let (_, health) = node.get("/health", "*/*").await.expect("a node answers");
            let health: serde_json::Value = serde_json::from_str(&health).expect("health is JSON");
            ids.push(health["node"].as_str().expect("a node has an id").to_owned());
        }
        ids
    }

    /// Stopped until everybody on it was declared gone, then continued: they come back, once.
    pub async fn pause_a_node_for_long(&mut self, node: usize, ghosts: &mut Ghosts) {
        let (mark, stopped_ms) = (self.hosts.mark(), now_ms());
        let held: BTreeSet<usize> = self.model.on(node).into_iter().collect();
        let mut others = self.model.clone();
        for client in &held {
            others.at[*client] = None;
        }
        let gone: BTreeSet<usize> = self.model.users().difference(&others.users()).copied().collect();
        let listeners: BTreeSet<usize> = others.present().collect();
        let mut expected = others.gone(&gone);
        self.nodes[node].signal("STOP");
        let in_time = NODE_LEASE + GRACE + PROMISED + SLACK;
        let heard = self.hear(mark, in_time, &expected, &listeners).await;
        let came = self.told(mark, &listeners);
        assert!(heard, "a node that stopped: {}", difference(&expected, &came));
        ghosts
            .0
            .extend(self.hosts.since(mark, |lines| announcements(lines, stopped_ms)));
        self.nodes[node].signal("CONT");
        for (key, count) in others.came(&gone) {
            *expected.entry(key).or_default() += count;
        }
        self.assert_told("a long pause", mark, &expected, &listeners).await;
        self.assert_views_add_up(mark, &held, &gone);
    }

    /// Those on a node that slept may hear late that others went, but not stay with it: they hear of the return, too.
    fn assert_views_add_up(&self, mark: usize, held: &BTreeSet<usize>, gone: &BTreeSet<usize>) {
        let told = self.told(mark, held);
        for listener in held {
            for user in gone {
                for room in rooms_of(*user) {
                    let count = |word: String| told.get(&(*listener, word)).copied().unwrap_or(0);
                    let (went, came) = (count(left(room, *user, "disconnected")), count(joined(room, *user)));
                    let own = user_of(*listener) == *user;
                    assert!(
                        went == came || own,
                        "client {listener} heard {went} times that user-{user} left {}, and {came} times that it came",
                        room_name(room)
                    );
                }
            }
        }
    }

    /// Every tenth user chooses another status while `fault` is on its way: each change is told once.
    async fn change_statuses_during(&mut self, what: &str, fault: &[&[&str]]) {
        let mark = self.hosts.mark();
        let mut redis = self.redis.connection().await;
        let mut expected = Told::new();
        let changing: Vec<usize> = self.model.users().into_iter().filter(|user| user % 10 == 5).collect();
        for (number, user) in changing.into_iter().enumerate() {
            let status = if self.model.chosen[user] == "busy" {
                "away"
            } else {
                "busy"
            };
            let asked = self.pose(user, "presence:update", json!({"status": status}));
            let command = fault[number % fault.len()];
            redis::cmd(command[0])
                .arg(&command[1..])
                .arg(if command[0] == "CLIENT" {
                    &["SKIPME", "yes"][..]
                } else {
                    &[]
                })
                .exec_async(&mut redis)
                .await
                .expect("the test's redis answers");
            self.answer(asked).await;
            self.model.chosen[user] = status;
            self.model.changed(&mut expected, user, status);
        }
        let listeners = self.everybody();
        self.assert_told(what, mark, &expected, &listeners).await;
    }

    pub async fn forget_scripts(&mut self) {
        self.change_statuses_during("SCRIPT FLUSH", &[&["SCRIPT", "FLUSH"]])
            .await;
    }

    pub async fn cut_commands(&mut self) {
        self.change_statuses_during("CLIENT KILL TYPE normal", &[&["CLIENT", "KILL", "TYPE", "normal"]])
            .await;
    }

    /// What is told while the bus is cut may be missed; nobody is declared gone, and afterwards everything is heard.
    pub async fn cut_the_bus(&mut self) {
        let mark = self.hosts.mark();
        let mut redis = self.redis.connection().await;
        for _ in 0..3 {
            redis::cmd("CLIENT")
                .arg(&["KILL", "TYPE", "pubsub"])
                .exec_async(&mut redis)
                .await
                .expect("the test's redis answers");
        }
        let listeners = self.everybody();
        self.assert_told("CLIENT KILL TYPE pubsub", mark, &Told::new(), &listeners)
            .await;
        self.change_statuses_during("after the cut", &[&["PING"]]).await;
    }

    /// Redis answers nobody for so long; nobody hears of it.
    pub async fn slow_redis(&mut self, seconds: u32) {
        let mark = self.hosts.mark();
        let mut redis = self.redis.connection().await;
        redis::cmd("DEBUG")
            .arg("SLEEP")
            .arg(seconds)
            .exec_async(&mut redis)
            .await
            .expect("the test's redis may be debugged");
        let listeners = self.everybody();
        self.assert_told(&format!("DEBUG SLEEP {seconds}"), mark, &Told::new(), &listeners)
            .await;
        self.outlast_the_amnesty().await;
        self.change_statuses_during("after the silence", &[&["PING"]]).await;
        let told = self.told(mark, &listeners);
        assert!(told.keys().all(|(_, word)| !word.ends_with("offline")), "{told:?}");
    }

    /// SIGKILL of Redis, and an empty one in its place: quietly everything is back within five seconds.
    pub async fn empty_redis(&mut self) {
        let mark = self.hosts.mark();
        self.redis.kill();
        self.redis.restart().await;
        let back = Instant::now();
        self.settle().await;
        let took = back.elapsed();
        println!("an empty redis has every lease back after {:.2} s", took.as_secs_f64());
        assert!(
            took <= Duration::from_secs(5) + SLACK,
            "everybody is back after {took:?}"
        );
        let listeners = self.everybody();
        self.assert_told("an empty redis", mark, &Told::new(), &listeners).await;
        self.assert_resets(mark, &listeners);
        self.assert_members().await;
        self.outlast_the_amnesty().await;
        self.change_statuses_during("after the emptying", &[&["PING"]]).await;
    }

    /// Each client heard of each of its rooms, once, that it began anew.
    fn assert_resets(&self, mark: usize, listeners: &BTreeSet<usize>) {
        let resets = self.hosts.since(mark, |lines| {
            let mut resets: BTreeMap<(usize, String), u32> = BTreeMap::new();
            for line in lines {
                if let What::Heard(event, reset) = &line.what
                    && event == "room:reset"
                {
                    let room = reset["roomName"].as_str().expect("a name").to_owned();
                    *resets.entry((line.client, room)).or_default() += 1;
                }
            }
            resets
        });
        let rooms = |client: &usize| rooms_of(user_of(*client)).map(|room| (*client, room_name(room)));
        let expected = listeners.iter().flat_map(rooms).map(|pair| (pair, 1));
        let expected: BTreeMap<(usize, String), u32> = expected.collect();
        assert!(resets == expected, "room:reset: {}", difference(&expected, &resets));
    }

    /// Members and their statuses are those of the model.
    async fn assert_members(&mut self) {
        for room in 0..ROOMS {
            let members = self.model.members(room);
            let page = self
                .ask(
                    members[0],
                    "room:members",
                    json!({"roomName": room_name(room), "limit": 1_000}),
                )
                .await;
            let listed = page["members"].as_array().expect("a list").iter().map(|member| {
                let text = |field: &str| member[field].as_str().expect("a text").to_owned();
                format!("{} is {}", text("userId"), text("status"))
            });
            let listed: BTreeSet<String> = listed.collect();
            let users: BTreeSet<usize> = members.into_iter().map(user_of).collect();
            let expected: BTreeSet<String> = users
                .iter()
                .map(|user| is_now(*user, self.model.chosen[*user]))
                .collect();
            assert_eq!(listed, expected, "members of {}", room_name(room));
        }
    }

    /// Whoever dies right after a silence is spared for a while; the bound of the next fault is not to count that.
    async fn outlast_the_amnesty(&self) {
        let mut redis = self.redis.connection().await;
        let keys = nself_realtime::hot::keys::Keys::new("rt");
        let deadline = Instant::now() + AMNESTY + SLACK;
        loop {
            let mut pipeline = redis::pipe();
            for partition in nself_realtime::hot::keys::Partition::all() {
                pipeline.hget(keys.swept(partition), "until");
            }
            let ends: Vec<Option<i64>> = pipeline
                .query_async(&mut redis)
                .await
                .expect("the test's redis answers");
            let last = ends.into_iter().flatten().max().unwrap_or(0);
            let left = u64::try_from(last - now_ms()).unwrap_or(0);
            if left == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "the amnesty does not end");
            tokio::time::sleep(Duration::from_millis(left.min(500))).await; // it ends by the clock
        }
    }
}

/// Seconds from `died_ms` to each announcement that somebody has gone.
fn announcements(lines: &[Line], died_ms: i64) -> Vec<f64> {
    let left = |line: &&Line| matches!(&line.what, What::Heard(event, _) if event == "user:left");
    lines
        .iter()
        .filter(left)
        .map(|line| (line.at_ms - died_ms) as f64 / 1_000.0)
        .collect()
}

/// How many rounds of everything `make soak` wants.
fn soak_rounds() -> Option<u32> {
    let rounds = std::env::var("SOAK_ROUNDS").ok()?;
    Some(rounds.parse().expect("SOAK_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_haunts_nobody_is_lost_and_everybody_is_told_once() {
    let mut crowd = Crowd::gather().await;
    let mut ghosts = Ghosts::default();
    let Some(rounds) = soak_rounds() else {
        crowd.kill_a_node(0, &mut ghosts).await;
        crowd.pause_a_node_shortly(1).await;
        crowd.forget_scripts().await;
        crowd.cut_commands().await;
        crowd.cut_the_bus().await;
        crowd.empty_redis().await;
        ghosts.print("one kill");
        return;
    };
    for round in 0..rounds {
        let (started, node) = (Instant::now(), round as usize % 3);
        crowd.kill_a_node(node, &mut ghosts).await;
        crowd.pause_a_node_shortly((node + 1) % 3).await;
        crowd.pause_a_node_for_long((node + 2) % 3, &mut ghosts).await;
        crowd.terminate_a_node((node + 1) % 3).await;
        crowd.forget_scripts().await;
        crowd.cut_commands().await;
        crowd.cut_the_bus().await;
        crowd.slow_redis(3).await;
        crowd.slow_redis(7).await;
        crowd.empty_redis().await;
        println!(
            "round {} of {rounds} took {:.0} s",
            round + 1,
            started.elapsed().as_secs_f64()
        );
    }
    ghosts.print("kills and long pauses");
}
