//! A rolling restart: three nodes behind a balancer, a thousand stock clients that come back as stock clients do, somebody
//! always speaking. Each node in turn is told to stop and another takes its place; nobody hears that anybody came or went, and
//! everybody hears everything, once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::company::{room_name, said};
use crate::support::hosts::{Hosts, PATIENCE};
use crate::support::node::Node;
use crate::support::redis::Redis;
use crate::verdict::{Heard, Verdict};

const NODES: usize = 3;
const CLIENTS: usize = 1_000;
const HOSTS: usize = 4;
const ROOMS: usize = 50;
const SPEAKERS: usize = 40;
const SPEAK_PAUSE_MS: u64 = 1_500;
/// More than any run can say.
const ENDLESS: usize = 100_000;
const WINDOW: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(30);
const SETTINGS: &[(&str, &str)] = &[
    ("REALTIME_DRAIN_WAIT", "1500"),
    ("REALTIME_DRAIN_WINDOW", "6000"),
    ("REALTIME_DRAIN_TIMEOUT", "30000"),
    ("REALTIME_HISTORY_SIZE", "20000"),
    ("REALTIME_SHARDS", "2"),
    ("LOG_LEVEL", "warn"),
];

/// Everybody and everything.
struct Cast {
    redis: Redis,
    nodes: Vec<Node>,
    balancer: Balancer,
    hosts: Hosts,
    lives: usize,
}

fn spawn(redis: &Redis, name: &str) -> Node {
    let mut settings = SETTINGS.to_vec();
    settings.push(("REALTIME_NODE_ID", name));
    Node::spawn(&redis.url(), &settings)
}

/// Two rooms each; about forty in a room.
fn rooms_of(client: usize) -> [String; 2] {
    [
        client % ROOMS,
        (client % ROOMS + 1 + client / ROOMS % (ROOMS - 1)) % ROOMS,
    ]
    .map(room_name)
}

impl Cast {
    async fn gather() -> Cast {
        // The balancer has two ends of each connection.
        rlimit::increase_nofile_limit(8_192).expect("the system says how many files there may be");
        let redis = Redis::start().await;
        let nodes: Vec<Node> = (0..NODES)
            .map(|number| spawn(&redis, &format!("node-{number}")))
            .collect();
        for node in &nodes {
            node.becomes("/readyz", 200).await;
        }
        let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
        let cast = Cast {
            redis,
            nodes,
            balancer: Balancer::start(&ports).await,
            hosts: Hosts::start("delivery/host.mjs", HOSTS),
            lives: 0,
        };
        cast.hosts
            .command_all(&json!({"do": "nodes", "urls": [cast.balancer.url()]}));
        let as_it_comes = json!({"reconnectionDelay": 1_000, "reconnectionDelayMax": 5_000, "timeout": 20_000});
        for client in 0..CLIENTS {
            let mode = if client.is_multiple_of(2) { "rejoin" } else { "recovery" };
            cast.hosts.command(
                client,
                &json!({"do": "enter", "client": client, "user": format!("user-{client}"), "node": 0,
                    "rooms": rooms_of(client), "mode": mode, "options": as_it_comes}),
            );
        }
        cast.said_by(0, CLIENTS, "arrived").await;
        cast
    }

    async fn said_by(&self, mark: usize, count: usize, word: &str) -> Vec<(usize, Value)> {
        let all = |lines: &[_]| Some(said(lines, word)).filter(|said| said.len() >= count);
        let found = self.hosts.wait(mark, 2 * PATIENCE, all).await;
        found.unwrap_or_else(|| panic!("not everybody {word}"))
    }

    fn speak(&self, count: usize) {
        for client in 0..SPEAKERS {
            let command = json!({"do": "speak", "client": client, "count": count, "pauseMs": SPEAK_PAUSE_MS});
            self.hosts.command(client, &command);
        }
    }

    /// What all say that they heard, once that is everything that was acked since `mark`, or will not become it any more. The
    /// speakers were so many turns.
    async fn verdict(&self, mark: usize, turns: usize) -> (Verdict, Vec<Value>) {
        let mut acked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, spoke) in self.said_by(mark, turns * SPEAKERS, "spoke").await {
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
            let reports: Vec<Value> = self
                .said_by(mark, CLIENTS, "report")
                .await
                .into_iter()
                .map(|(_, it)| it)
                .collect();
            let verdict = Verdict::new(&acked, reports.iter().map(Heard::read).collect());
            if verdict.is_settled() || Instant::now() > deadline {
                return (verdict, reports);
            }
            tokio::time::sleep(Duration::from_millis(200)).await; // no event tells that there is no more to come
        }
    }

    /// One node is told to stop, and another takes its place: how many it held, and the most that came in any second.
    async fn restart(&mut self, number: usize) -> (usize, usize) {
        let node = &self.nodes[number];
        let held = node.metric("realtime_connections", "transport=\"websocket\"").await;
        let held = held.expect("it is counted") as usize;
        let signalled = Instant::now();
        node.signal("TERM");
        let status = node.ended(2 * LIMIT).await;
        let took = signalled.elapsed();
        assert_eq!(status.code(), Some(0), "{}", node.log_text());
        assert!(took <= LIMIT, "it took {took:?}");
        self.lives += 1;
        let successor = spawn(&self.redis, &format!("node-{number}-{}", self.lives));
        successor.becomes("/readyz", 200).await;
        self.balancer.replace(node.port(), successor.port());
        self.nodes[number] = successor;
        let most = most_in_a_second(&self.balancer.came_since(signalled));
        println!(
            "node {number}: {held} connections, gone in {:.1} s; at most {most} new ones in any second",
            took.as_secs_f64()
        );
        (held, most)
    }
}

/// The most of these moments that lie within one second.
fn most_in_a_second(moments: &[Instant]) -> usize {
    let within = |first: usize| {
        let end = moments[first] + Duration::from_secs(1);
        moments[first..].partition_point(|moment| *moment < end)
    };
    (0..moments.len()).map(within).max().unwrap_or(0)
}

fn list<'a>(report: &'a Value, field: &str) -> &'a Vec<Value> {
    report[field].as_array().expect("a list")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complaint_15_a_deploy_is_no_herd_and_nobody_hears_of_it() {
    let began = Instant::now();
    let mut cast = Cast::gather().await;
    // Once all have heard something behind the last arrival, nobody is still told of arrivals.
    let mark = cast.hosts.mark();
    cast.speak(2);
    cast.verdict(mark, 1).await.0.assert_whole();
    cast.hosts.command_all(&json!({"do": "calm"}));
    println!("{CLIENTS} clients gathered in {:.0} s", began.elapsed().as_secs_f64());

    let rolled = Instant::now();
    cast.speak(ENDLESS);
    let mut herds = Vec::new();
    for number in 0..NODES {
        herds.push(cast.restart(number).await);
    }
    println!("rolled over {NODES} nodes in {:.0} s", rolled.elapsed().as_secs_f64());
    cast.hosts.command_all(&json!({"do": "hush"}));
    let (verdict, reports) = cast.verdict(mark, 2).await;
    println!("{verdict}");

    verdict.assert_whole();
    let [recovered, rejoined] = verdict.arrivals();
    assert!(
        recovered > 0 && rejoined > CLIENTS as u64,
        "both ways back were gone: {recovered} and {rejoined}"
    );
    let flaps: Vec<&Value> = reports.iter().flat_map(|report| list(report, "flaps")).collect();
    assert!(
        flaps.is_empty(),
        "{} flaps were told, such as {:#?}",
        flaps.len(),
        &flaps[..flaps.len().min(5)]
    );

    // Each was told a moment of its own for each node that it lost, and those are spread over the window.
    let moments = reports.iter().flat_map(|report| list(report, "moments"));
    let moments: Vec<u64> = moments.map(|moment| moment.as_u64().expect("a number")).collect();
    let sent_away = moments.len();
    assert_eq!(
        u64::try_from(sent_away + CLIENTS).expect("few"),
        recovered + rejoined,
        "everybody was told once for each node that was lost, and came back once"
    );
    assert!(sent_away >= herds.iter().map(|(held, _)| held).sum());
    let window_ms = u64::try_from(WINDOW.as_millis()).expect("short");
    assert!(moments.iter().all(|moment| *moment < window_ms));
    let seconds = usize::try_from(WINDOW.as_secs()).expect("short");
    for second in 0..seconds as u64 {
        let here = moments.iter().filter(|moment| **moment / 1_000 == second).count();
        assert!(
            here <= sent_away / seconds + sent_away / 50,
            "{here} of {sent_away} were sent away in second {second}"
        );
    }
    for (held, most) in herds {
        // On average a sixth comes in a second; without slots all of them would within the stock client's one second.
        assert!(most <= held / 2, "{most} of {held} came back within one second");
    }
}
