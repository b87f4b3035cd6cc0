//! Stock clients (tests/clients/js/balancer) that come to the balancer from addresses of their own, all in one room.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::hosts::{Hosts, PATIENCE, What};

pub const TRANSPORTS: [&str; 3] = ["polling", "upgrade", "websocket"];

/// Clients of one room, a third on each transport.
pub struct Crowd {
    hosts: Hosts,
    size: usize,
    speaking_since: usize,
}

/// What one client says of itself.
#[derive(Debug)]
pub struct Report {
    /// The ids of the messages, as they came.
    pub heard: Vec<String>,
    pub transport: String,
    pub connected: bool,
}

/// The address of a client: no two lie in one /24, since that is what ip_hash looks at.
pub fn scattered(client: usize) -> String {
    format!("127.{}.{}.5", 1 + client % 250, (client * 37) % 250)
}

pub fn transport(client: usize) -> &'static str {
    TRANSPORTS[client % TRANSPORTS.len()]
}

impl Crowd {
    /// `size` clients, each from the address that `from` gives it; returns when all are in the room, and upgraded if they do that.
    pub async fn enter(url: &str, ca: Option<&str>, size: usize, from: impl Fn(usize) -> String) -> Crowd {
        let hosts = Hosts::start("balancer/host.mjs", 2);
        for client in 0..size {
            hosts.command(
                client,
                &json!({"do": "enter", "client": client, "url": url, "user": format!("user-{client}"), "room": "auto:all",
                    "transport": transport(client), "from": from(client), "ca": ca}),
            );
        }
        let crowd = Crowd {
            hosts,
            size,
            speaking_since: 0,
        };
        crowd.said(0, "arrived", size, PATIENCE).await;
        crowd
    }

    /// The first `speakers` say `each` messages, from now on.
    pub fn speak(&mut self, speakers: usize, each: usize, pause: Duration) {
        self.speaking_since = self.hosts.mark();
        for client in 0..speakers {
            self.hosts.command(
                client,
                &json!({"do": "speak", "client": client, "count": each, "pauseMs": pause.as_millis() as u64}),
            );
        }
    }

    /// The ids that were acked to the speakers, when all have said what they had to say.
    pub async fn spoken(&self, speakers: usize) -> Vec<String> {
        let all = self.said(self.speaking_since, "spoke", speakers, PATIENCE).await;
        let ids = all.iter().flat_map(|(_, ids)| ids.as_array().expect("a list"));
        ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
    }

    /// Where the log of all clients ends now.
    pub fn mark(&self) -> usize {
        self.hosts.mark()
    }

    /// Waits until `lost` clients have lost their connection since `mark`, and are back; says how long the last one took.
    pub async fn back(&self, mark: usize, lost: usize, limit: Duration) -> Duration {
        let began = Instant::now();
        let gone = self.said(mark, "lost", lost, limit).await;
        assert!(gone.len() >= lost, "{} of {lost} were lost", gone.len());
        let returned = self
            .hosts
            .wait(mark, limit, |lines| {
                let mut away = vec![false; self.size];
                let mut ever = vec![false; self.size];
                for line in lines {
                    let What::Said(said) = &line.what else { continue };
                    if said.get("lost").is_some() {
                        (away[line.client], ever[line.client]) = (true, true);
                    } else if said.get("back").is_some() {
                        away[line.client] = false;
                    }
                }
                let count = ever.iter().filter(|ever| **ever).count();
                (count >= lost && !away.contains(&true)).then_some(())
            })
            .await;
        assert!(returned.is_some(), "not all of {lost} were back within {limit:?}");
        began.elapsed()
    }

    /// Whether any client has lost its connection since `mark`.
    pub fn anybody_lost(&self, mark: usize) -> bool {
        let is_loss = |what: &What| matches!(what, What::Said(said) if said.get("lost").is_some());
        self.hosts
            .since(mark, |lines| lines.iter().any(|line| is_loss(&line.what)))
    }

    /// Waits until everybody has heard exactly these, each once and all in the same order.
    pub async fn all_heard(&self, acked: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        let reports = loop {
            let reports = self.reports().await;
            let settled = reports.iter().all(|report| report.heard.len() >= acked.len());
            if settled || Instant::now() > deadline {
                break reports;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the next look; the clients say nothing by themselves
        };
        let mut wanted = acked.to_vec();
        wanted.sort_unstable();
        for (client, report) in reports.iter().enumerate() {
            let mut heard = report.heard.clone();
            heard.sort_unstable();
            assert!(
                heard == wanted,
                "client {client} ({}) heard {} of {}, which are not each once",
                transport(client),
                heard.len(),
                wanted.len()
            );
            assert_eq!(report.heard, reports[0].heard, "client {client} heard another order");
        }
    }

    pub async fn reports(&self) -> Vec<Report> {
        let mark = self.hosts.mark();
        for client in 0..self.size {
            self.hosts.command(client, &json!({"do": "report", "client": client}));
        }
        let mut reports = self.said(mark, "report", self.size, PATIENCE).await;
        reports.sort_by_key(|(client, _)| *client);
        let read = |(_, report): (usize, Value)| Report {
            heard: serde_json::from_value(report["heard"].clone()).expect("a list of ids"),
            transport: report["transport"].as_str().unwrap_or_default().to_owned(),
            connected: report["connected"] == json!(true),
        };
        reports.into_iter().map(read).collect()
    }

    /// Waits until so many clients have said `word` since `mark`, and returns what they said, the first of each.
    async fn said(&self, mark: usize, word: &str, wanted: usize, limit: Duration) -> Vec<(usize, Value)> {
        let found = self.hosts.wait(mark, limit, |lines| {
            let mut said: Vec<(usize, Value)> = Vec::new();
            for line in lines {
                let What::Said(value) = &line.what else { continue };
                let Some(value) = value.get(word) else { continue };
                if said.iter().all(|(client, _)| *client != line.client) {
                    said.push((line.client, value.clone()));
                }
            }
            (said.len() >= wanted).then_some(said)
        });
        let found = found.await;
        found.unwrap_or_else(|| panic!("fewer than {wanted} clients said {word} within {limit:?}"))
    }
}
