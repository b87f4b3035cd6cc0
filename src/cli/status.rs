//! `status`: how the cluster is, as Redis tells it. Exit code 0 where Redis answers. Not here: what there is in it (`stats`).

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::paint::{Tone, painted};
use super::table::Table;
use super::{Error, say};
use crate::archive::{Archive, PostgresHealth};
use crate::domain::stats::{self, Cluster, NodeEntry};
use crate::hot::keys::PARTITIONS;
use crate::hot::{Hot, HotError};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 70;

pub(super) async fn run(hot: &Hot, archive: &Archive, options: &Options) -> Result<(), Error> {
    let (cluster, postgres) = tokio::join!(stats::cluster(hot), archive.check());
    if options.json {
        say!("{}", as_json(&cluster, postgres));
    } else {
        tell(&cluster, postgres);
    }
    cluster.map(drop).map_err(Error::from)
}

fn tell(cluster: &Result<Cluster, HotError>, postgres: PostgresHealth) {
    let table = Table::untitled("Realtime Cluster", WIDTH);
    match cluster {
        Ok(cluster) => {
            let latency_ms = cluster.redis.as_secs_f64() * 1_000.0;
            line(
                "Redis:",
                &format!("{} ({latency_ms:.1} ms)", painted(Tone::Good, "connected")),
            );
        }
        Err(_) => line("Redis:", &painted(Tone::Bad, "disconnected")),
    }
    let (tone, word) = word(postgres);
    line("Postgres:", &painted(tone, word));
    if let Ok(cluster) = cluster {
        tell_of(cluster, postgres);
    }
    table.close();
}

fn tell_of(cluster: &Cluster, postgres: PostgresHealth) {
    if postgres != PostgresHealth::Off {
        line("Writes to Postgres:", cluster.writer.as_deref().unwrap_or("nobody"));
        let backlog = &cluster.backlog;
        let age = seconds(backlog.oldest);
        line(
            "Waits for Postgres:",
            &format!("{} entries, the oldest for {age}", backlog.entries),
        );
        if cluster.open_partitions < PARTITIONS {
            let open = format!("{} of {PARTITIONS} partitions are open", cluster.open_partitions);
            line("Restore:", &painted(Tone::Doubtful, &open));
        }
    }
    line("Active Connections:", &cluster.live.to_string());
    line("In Grace:", &cluster.in_grace.to_string());
    line("Nodes:", &cluster.nodes.len().to_string());
    if cluster.nodes.is_empty() {
        return;
    }
    say!("\n{}", row("NODE", "CONNECTIONS", "LEASE", "PHASE", "VERSION"));
    say!("{}", "-".repeat(WIDTH));
    cluster.nodes.iter().for_each(tell_of_node);
}

fn tell_of_node(node: &NodeEntry) {
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
    let connections = node.connections.map(|count| count.to_string());
    let lease = node.lease.map_or("dead".to_owned(), seconds);
    say!(
        "{}",
        row(
            node.node.as_str(),
            &text(&connections),
            &lease,
            &text(&node.phase),
            &text(&node.version)
        )
    );
}

fn line(name: &str, value: &str) {
    say!("{name:<24} {value}");
}

fn row(node: &str, connections: &str, lease: &str, phase: &str, version: &str) -> String {
    format!("{node:<25} {connections:<12} {lease:<9} {phase:<10} {version}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn word(postgres: PostgresHealth) -> (Tone, &'static str) {
    match postgres {
        PostgresHealth::Off => (Tone::Doubtful, "off"),
        PostgresHealth::Up => (Tone::Good, "connected"),
        PostgresHealth::NoSchema => (Tone::Bad, "no schema"),
        PostgresHealth::Down => (Tone::Bad, "disconnected"),
    }
}

fn as_json(cluster: &Result<Cluster, HotError>, postgres: PostgresHealth) -> Value {
    let postgres = json!({ "status": word(postgres).1 });
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error) => {
            return json!({
                "redis": { "status": "disconnected", "error": error.to_string() },
                "postgres": postgres,
            });
        }
    };
    let node = |node: &NodeEntry| {
        json!({
            "node": node.node.as_str(),
            "alive": node.lease.is_some(),
            "leaseMs": node.lease.map(|lease| lease.as_millis() as u64),
            "connections": node.connections,
            "phase": node.phase,
            "version": node.version,
        })
    };
    json!({
        "redis": { "status": "connected", "latency": cluster.redis.as_secs_f64() * 1_000.0 },
        "postgres": postgres,
        "connections": { "active": cluster.live, "inGrace": cluster.in_grace },
        "nodes": cluster.nodes.iter().map(node).collect::<Vec<_>>(),
        "writer": cluster.writer,
        "outbox": { "entries": cluster.backlog.entries, "age": cluster.backlog.oldest.as_secs_f64() },
        "partitions": { "open": cluster.open_partitions, "all": PARTITIONS },
    })
}
