//! The crowd: two hundred stock clients on three nodes, the model beside them, and the questions whether both agree.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nself_realtime::hot::keys::{Keys, Partition};
use serde_json::{Value, json};

use crate::model::{
    CLIENTS, Model, NODES, ROOMS, Told, difference, home_of, returns, room_name, rooms_of, user_name, user_of, word,
};
use crate::support::hosts::{Hosts, Line, PATIENCE, What};
use crate::support::node::Node;
use crate::support::raw::unique;
use crate::support::redis_any::AnyRedis;

const HOSTS: usize = 4;
pub const NODE_LEASE: Duration = Duration::from_millis(1_500);
pub const GRACE: Duration = Duration::from_millis(2_500);
pub const DRAIN_GRACE: Duration = Duration::from_millis(2_500);
/// After a silence of Redis nobody is ended for so long, whatever the settings.
pub const AMNESTY: Duration = Duration::from_secs(10);
const SETTINGS: &[(&str, &str)] = &[
    ("REALTIME_NODE_BEAT", "250"),
    ("REALTIME_NODE_LEASE", "1500"),
    ("REALTIME_PRESENCE_GRACE", "2500"),
    ("REALTIME_DRAIN_GRACE", "2500"),
    ("REALTIME_PRESENCE_HEARTBEAT", "2000"),
    ("REALTIME_SWEEP_INTERVAL", "100"),
    ("REALTIME_SHARDS", "2"),
    ("LOG_LEVEL", "warn"),
];

/// Everybody and everything.
pub struct Crowd {
    pub redis: AnyRedis,
    pub nodes: Vec<Node>,
    pub hosts: Hosts,
    pub model: Model,
    asks: u64,
    lives: u32,
}

/// Wall clock, as the hosts' lines have it.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("past 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

impl Crowd {
    pub async fn gather(redis: AnyRedis) -> Crowd {
        let nodes: Vec<Node> = (0..NODES).map(|n| spawn(&redis.url(), &format!("node-{n}"))).collect();
        for node in &nodes {
            node.becomes("/readyz", 200).await;
        }
        let mut crowd = Crowd {
            redis,
            nodes,
            hosts: Hosts::start("faults/host.mjs", HOSTS),
            model: Model::new(),
            asks: 0,
            lives: 0,
        };
        crowd.tell_nodes();
        let mark = crowd.hosts.mark();
        let everybody: Vec<usize> = (0..CLIENTS).collect();
        crowd.enter(mark, &everybody).await;
        crowd.settle().await;
        crowd.barrier().await;
        crowd
    }

    fn tell_nodes(&self) {
        let urls: Vec<String> = self.nodes.iter().map(Node::url).collect();
        self.hosts.command_all(&json!({"do": "nodes", "urls": urls}));
    }

    /// Another process takes a dead node's place.
    pub async fn replace(&mut self, node: usize) {
        self.lives += 1;
        self.nodes[node] = spawn(&self.redis.url(), &format!("node-{node}-{}", self.lives));
        self.nodes[node].becomes("/readyz", 200).await;
        self.tell_nodes();
    }

    /// Clients come, each to its home; returns when all are in their rooms.
    pub async fn enter(&mut self, mark: usize, clients: &[usize]) {
        for client in clients {
            let user = user_of(*client);
            let rooms: Vec<String> = rooms_of(user).into_iter().map(room_name).collect();
            self.hosts.command(
                *client,
                &json!({"do": "enter", "client": client, "user": user_name(user), "node": home_of(*client),
                    "rooms": rooms, "returns": returns(*client)}),
            );
        }
        self.arrive(mark, clients).await;
    }

    /// Waits until clients are connected and in their rooms, and keeps where they are.
    pub async fn arrive(&mut self, mark: usize, clients: &[usize]) {
        let wanted: BTreeSet<usize> = clients.iter().copied().collect();
        let here = |lines: &[Line]| {
            let mut here: HashMap<usize, usize> = HashMap::new();
            for line in lines {
                match line.what {
                    What::Here(node) => drop(here.insert(line.client, node)),
                    What::Lost => drop(here.remove(&line.client)),
                    _ => {}
                }
            }
            here.retain(|client, _| wanted.contains(client));
            (here.len() == wanted.len()).then_some(here)
        };
        let found = self.hosts.wait(mark, PATIENCE, here).await;
        for (client, node) in found.expect("everybody arrives") {
            self.model.at[client] = Some(node);
        }
    }

    /// An event by one client, repeated while Redis is away: the data of its ack.
    pub async fn ask(&mut self, client: usize, event: &str, payload: Value) -> Value {
        let ask = self.pose(client, event, payload);
        self.answer(ask).await
    }

    pub fn pose(&mut self, client: usize, event: &str, payload: Value) -> u64 {
        self.asks += 1;
        self.hosts.command(
            client,
            &json!({"do": "ask", "ask": self.asks, "client": client, "event": event, "payload": payload}),
        );
        self.asks
    }

    pub async fn answer(&self, ask: u64) -> Value {
        let find = |lines: &[Line]| {
            lines.iter().rev().find_map(|line| match &line.what {
                What::Answer(number, ack) if *number == ask => Some(ack.clone()),
                _ => None,
            })
        };
        let ack = self
            .hosts
            .wait(0, PATIENCE, find)
            .await
            .expect("every question is answered");
        assert_eq!(ack["success"], true, "{ack}");
        ack["data"].clone()
    }

    /// Something is said in every room, until every member heard one and the same: what was told before has arrived.
    pub async fn barrier(&mut self) {
        for room in 0..ROOMS {
            let members: BTreeSet<usize> = self.model.members(room).into_iter().collect();
            let speaker = *members.first().expect("no room is empty");
            let deadline = Instant::now() + PATIENCE;
            loop {
                let (mark, content) = (self.hosts.mark(), unique("marker"));
                let said = json!({"roomName": room_name(room), "content": content});
                self.ask(speaker, "message:send", said).await;
                let all = |lines: &[Line]| {
                    let heard = lines.iter().filter(|line| match &line.what {
                        What::Heard(event, message) => event == "message:new" && message["content"] == content.as_str(),
                        _ => false,
                    });
                    let heard: BTreeSet<usize> = heard.map(|line| line.client).collect();
                    heard.is_superset(&members).then_some(())
                };
                // The bus may have been cut in this very moment: then nobody hears it, and it is said again.
                if self.hosts.wait(mark, Duration::from_secs(3), all).await.is_some() {
                    break;
                }
                assert!(Instant::now() < deadline, "{} is not heard everywhere", room_name(room));
            }
        }
    }

    /// Nothing is left that could end by itself: each client that is there has a lease, nobody is in grace, no step is
    /// undone, in Redis as it stands. From then on nobody can be declared gone any more.
    pub async fn settle(&self) {
        let keys = Keys::new("rt");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut pipeline = redis::pipe();
            for partition in Partition::all() {
                pipeline.zcard(keys.leases(partition));
                pipeline.zcard(keys.grace(partition));
                pipeline.cmd("XLEN").arg(keys.todo(partition));
            }
            let counts: Vec<u64> = self.redis.read(&pipeline).await;
            let sum = |kind: usize| counts.iter().skip(kind).step_by(3).sum::<u64>();
            let found = [sum(0), sum(1), sum(2)];
            if found == [self.model.present().count() as u64, 0, 0] {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} clients are there, and {found:?} leases, graces and steps stay",
                self.model.present().count()
            );
            tokio::time::sleep(Duration::from_millis(20)).await; // no event tells it
        }
    }

    /// What `listeners` heard since `mark`, of what the model speaks of.
    pub fn told(&self, mark: usize, listeners: &BTreeSet<usize>) -> Told {
        self.hosts.since(mark, |lines| tally(lines, listeners))
    }

    /// Waits until all of `expected` was heard; whether it was in time.
    pub async fn hear(&self, mark: usize, limit: Duration, expected: &Told, listeners: &BTreeSet<usize>) -> bool {
        let all = |lines: &[Line]| {
            let came = tally(lines, listeners);
            let missing = expected.iter().any(|(key, count)| came.get(key).unwrap_or(&0) < count);
            (!missing).then_some(())
        };
        self.hosts.wait(mark, limit, all).await.is_some()
    }

    /// Settles, and holds what `listeners` heard since `mark` against what they must have heard: no more, no less.
    pub async fn assert_told(&mut self, what: &str, mark: usize, expected: &Told, listeners: &BTreeSet<usize>) {
        self.hear(mark, PATIENCE, expected, listeners).await;
        self.settle().await;
        self.barrier().await;
        let came = self.told(mark, listeners);
        assert!(came == *expected, "{what}: {}", difference(expected, &came));
    }

    pub fn everybody(&self) -> BTreeSet<usize> {
        self.model.present().collect()
    }
}

fn tally(lines: &[Line], listeners: &BTreeSet<usize>) -> Told {
    let mut told = Told::new();
    for line in lines.iter().filter(|line| listeners.contains(&line.client)) {
        if let What::Heard(event, payload) = &line.what
            && let Some(word) = word(event, payload)
        {
            *told.entry((line.client, word)).or_default() += 1;
        }
    }
    told
}

fn spawn(redis_url: &str, name: &str) -> Node {
    let mut settings = SETTINGS.to_vec();
    settings.push(("REALTIME_NODE_ID", name));
    Node::spawn(redis_url, &settings)
}
