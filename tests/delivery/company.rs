//! Those who speak and listen, and what is done to them meanwhile. Not here: whether they heard everything (`verdict`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::hosts::{Hosts, Line, PATIENCE, What};
use crate::support::node::Node;
use crate::support::redis_any::AnyRedis;
use crate::verdict::{Heard, Verdict};

const NODES: usize = 3;
const HOSTS: usize = 2;
pub const CLIENTS: usize = 30;
const SPEAKERS: usize = 15;
const ROOMS: usize = 5;
const ROOMS_EACH: usize = 3;
/// Between two sends of one speaker: long enough that a short run meets every fault.
const SPEAK_PAUSE_MS: u64 = 60;
/// The longest that a run may go on without anybody being finished: ten a second, all together, and then some.
const SLOWEST_PER_SECOND: u64 = 50;
const SETTINGS: &[(&str, &str)] = &[
    ("REALTIME_NODE_BEAT", "250"),
    ("REALTIME_NODE_LEASE", "1500"),
    ("REALTIME_PRESENCE_HEARTBEAT", "2000"),
    ("REALTIME_DRAIN_TIMEOUT", "2000"),
    ("REALTIME_SHARDS", "2"),
    ("REALTIME_HISTORY_SIZE", "20000"),
    ("LOG_LEVEL", "warn"),
];

/// How a client comes back to what it missed.
#[derive(Clone, Copy)]
pub enum Mode {
    /// A plain client that joins again with `since`.
    Rejoin,
    /// A plain client without any code of its own that asked for recovery; where that did not happen, as above.
    Recovery,
    /// clients/js.
    Module,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Rejoin => "rejoin",
            Mode::Recovery => "recovery",
            Mode::Module => "module",
        }
    }
}

/// Thirty clients on three nodes.
pub struct Company {
    mode: Mode,
    redis: AnyRedis,
    nodes: Vec<Node>,
    hosts: Hosts,
    dice: StdRng,
    lives: usize,
    speaking_since: usize,
    started: Instant,
    each: usize,
    faults: BTreeMap<&'static str, usize>,
}

impl Company {
    pub async fn gather(mode: Mode, redis: AnyRedis) -> Company {
        let seed: u64 =
            std::env::var("PROVE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
        println!("PROVE_SEED={seed}");
        let mut company = Company {
            mode,
            redis,
            nodes: Vec::new(),
            hosts: Hosts::start("delivery/host.mjs", HOSTS),
            dice: StdRng::seed_from_u64(seed),
            lives: 0,
            speaking_since: 0,
            started: Instant::now(),
            each: 0,
            faults: BTreeMap::new(),
        };
        for number in 0..NODES {
            let node = company.spawn(number);
            company.nodes.push(node);
        }
        for node in &company.nodes {
            node.becomes("/readyz", 200).await;
        }
        company.tell_nodes();
        for client in 0..CLIENTS {
            let rooms: Vec<String> = (0..ROOMS_EACH).map(|n| room_name((client + n) % ROOMS)).collect();
            company.hosts.command(
                client,
                &json!({"do": "enter", "client": client, "user": format!("user-{client}"), "node": client % NODES,
                    "rooms": rooms, "mode": mode.word()}),
            );
        }
        company.said_by_all(0, CLIENTS, "arrived", PATIENCE).await;
        company
    }

    fn spawn(&mut self, number: usize) -> Node {
        self.lives += 1;
        let name = format!("node-{number}-{}", self.lives);
        let mut settings = SETTINGS.to_vec();
        settings.push(("REALTIME_NODE_ID", &name));
        Node::spawn(&self.redis.url(), &settings)
    }

    fn tell_nodes(&self) {
        let urls: Vec<String> = self.nodes.iter().map(Node::url).collect();
        self.hosts.command_all(&json!({"do": "nodes", "urls": urls}));
    }

    /// So many messages are said, by half of them, from now on.
    pub fn speak(&mut self, messages: usize) {
        (self.speaking_since, self.started) = (self.hosts.mark(), Instant::now());
        self.each = messages / SPEAKERS;
        for client in 0..SPEAKERS {
            let command = json!({"do": "speak", "client": client, "count": self.each, "pauseMs": SPEAK_PAUSE_MS});
            self.hosts.command(client, &command);
        }
    }

    fn still_speaking(&self) -> bool {
        self.hosts
            .since(self.speaking_since, |lines| said(lines, "spoke").len() < SPEAKERS)
    }

    /// Faults at random, as long as anybody speaks.
    pub async fn disturb(&mut self) {
        let deadline = self.deadline();
        let mut turn = 0;
        while self.still_speaking() {
            assert!(Instant::now() < deadline, "the speakers do not come to an end");
            // Each of them once, whatever the dice say; then at random.
            let fault = if turn < 6 { turn } else { self.dice.random_range(0..24) };
            turn += 1;
            match fault {
                0 => self.ask_redis("SCRIPT FLUSH", &["SCRIPT", "FLUSH"]).await,
                1 | 6 => self.ask_redis("bus cut", &["CLIENT", "KILL", "TYPE", "pubsub"]).await,
                2 => {
                    self.ask_redis("commands cut", &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                        .await
                }
                3 => self.replace("SIGKILL", "KILL").await,
                // The server closes the transports: a node that drains.
                4 => self.replace("SIGTERM", "TERM").await,
                _ => {
                    for _ in 0..3 {
                        let client = self.dice.random_range(0..CLIENTS);
                        let away_ms = self.dice.random_range(0..500);
                        self.cut(client, away_ms);
                    }
                }
            }
            let pause = self.dice.random_range(50..300);
            tokio::time::sleep(Duration::from_millis(pause)).await; // faults come when they come
        }
    }

    /// Everybody's transport is lost for `away`, again and again.
    pub async fn jitter(&mut self, away: Duration) {
        let deadline = self.deadline();
        while self.still_speaking() {
            assert!(Instant::now() < deadline, "the speakers do not come to an end");
            for client in 0..CLIENTS {
                self.cut(client, u64::try_from(away.as_millis()).expect("short"));
            }
            tokio::time::sleep(away + Duration::from_millis(1_500)).await; // away, and a moment of service
        }
    }

    /// The master is killed in the middle of it, with transports cut around; where it `loses`, what it took in the second
    /// before has come to no replica.
    pub async fn fail_over(&mut self, loses: bool) {
        let deadline = self.deadline();
        for round in 0.. {
            if !self.still_speaking() {
                return;
            }
            assert!(Instant::now() < deadline, "the speakers do not come to an end");
            if round == 3 && loses {
                self.redis.cut_replication().await;
            }
            if round == 8 {
                let masters = self.redis.masters().await;
                self.redis.lose(masters[0]).await;
                *self.faults.entry("failover").or_default() += 1;
            }
            let client = self.dice.random_range(0..CLIENTS);
            self.cut(client, 100);
            tokio::time::sleep(Duration::from_millis(200)).await; // faults come when they come
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + PATIENCE + Duration::from_secs((self.each * SPEAKERS) as u64 / SLOWEST_PER_SECOND)
    }

    fn cut(&mut self, client: usize, away_ms: u64) {
        *self.faults.entry("transport lost").or_default() += 1;
        self.hosts
            .command(client, &json!({"do": "cut", "client": client, "awayMs": away_ms}));
    }

    async fn ask_redis(&mut self, what: &'static str, command: &[&str]) {
        *self.faults.entry(what).or_default() += 1;
        self.redis.tell(redis::cmd(command[0]).arg(&command[1..])).await;
    }

    /// Another process takes the place of one that is ended.
    async fn replace(&mut self, what: &'static str, signal: &str) {
        *self.faults.entry(what).or_default() += 1;
        let number = self.dice.random_range(0..NODES);
        self.nodes[number].signal(signal);
        let successor = self.spawn(number);
        successor.becomes("/readyz", 200).await;
        let former = std::mem::replace(&mut self.nodes[number], successor);
        self.tell_nodes();
        former.ended(PATIENCE).await;
    }

    /// Waits until everybody has heard what there is, or hears no more of it, and says what that is.
    pub async fn verdict(&mut self) -> Verdict {
        let mut acked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, spoke) in self.hosts.since(self.speaking_since, |lines| said(lines, "spoke")) {
            for pair in spoke.as_array().expect("a list") {
                let (room, id) = (pair[0].as_str().expect("a room"), pair[1].as_str().expect("an id"));
                acked.entry(room.to_owned()).or_default().push(id.to_owned());
            }
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mark = self.hosts.mark();
            for client in 0..CLIENTS {
                self.hosts.command(client, &json!({"do": "report", "client": client}));
            }
            let reports = self.said_by_all(mark, CLIENTS, "report", PATIENCE).await;
            let heard: Vec<Heard> = reports.into_iter().map(|(_, report)| Heard::read(&report)).collect();
            let verdict = Verdict::new(&acked, heard);
            if verdict.is_settled() || Instant::now() > deadline {
                println!(
                    "{}: {verdict} in {:.0} s; {:?}",
                    self.mode.word(),
                    self.started.elapsed().as_secs_f64(),
                    self.faults
                );
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(200)).await; // no event tells that there is no more to come
        }
    }

    /// Waits until `count` clients have said `word` since `mark`.
    async fn said_by_all(&self, mark: usize, count: usize, word: &str, limit: Duration) -> Vec<(usize, Value)> {
        let all = |lines: &[Line]| {
            let said = said(lines, word);
            (said.len() >= count).then_some(said)
        };
        let found = self.hosts.wait(mark, limit, all).await;
        found.unwrap_or_else(|| panic!("not everybody {word}"))
    }
}

pub fn said(lines: &[Line], word: &str) -> Vec<(usize, Value)> {
    let of_word = |line: &Line| match &line.what {
        What::Said(what) => Some((line.client, what.get(word)?.clone())),
        _ => None,
    };
    lines.iter().filter_map(of_word).collect()
}

pub fn room_name(room: usize) -> String {
    format!("auto:room-{room}")
}
