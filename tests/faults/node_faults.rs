//! What happens to nodes: they are killed, stopped for a while, and asked to end. Each fault ends as it began: three nodes,
//! everybody there, everything told and nothing under way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crowd::{Crowd, DRAIN_GRACE, GRACE, NODE_LEASE, now_ms};
use crate::model::{Told, difference, joined, left, returns, room_name, rooms_of, user_of};
use crate::support::eventually;
use crate::support::hosts::{Line, What};

/// Promised: so long after lease and grace everybody has heard of up to 1,000 ended connections.
const PROMISED: Duration = Duration::from_secs(2);
/// What a machine that runs five test binaries may add to it.
pub const SLACK: Duration = Duration::from_secs(3);

/// From the death of nodes to each announcement heard, seconds.
#[derive(Default)]
pub struct Ghosts(Vec<f64>);

impl Ghosts {
    pub fn print(&mut self, what: &str) {
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
        eventually("the others take it for dead", async || {
            let names: Vec<Vec<String>> = self.redis.read(redis::pipe().smembers("rt:{nodes}:nodes")).await;
            !names[0].contains(&name)
        })
        .await;
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
