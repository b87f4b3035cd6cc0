//! This gateway as it grows: from 100 to 18,000 connections on one node, rooms from 2 to 1,000 members, one to four nodes on one Redis,
//! and what a million connections would need. All gateways run on one core, the load and Redis on the other: it is cost that is shown,
//! not throughput. Ends by itself, and ends all that it started.
//!
//! `cargo bench --bench scaling -- --connections 100,300 --seconds 2 --idle-seconds 2`

#[path = "../load/mod.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../compare/contestant.rs"]
#[allow(dead_code, reason = "here the gateway is alone")]
mod contestant;
#[path = "../compare/facts.rs"]
mod facts;
#[path = "../compare/markdown.rs"]
mod markdown;
#[path = "../compare/stage.rs"]
mod stage;

mod by_hand;
mod measure;
mod million;
mod plot;
mod point;
mod report;
mod units;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use measure::{Place, Terms, point};
use point::Point;

/// Members of a room, where it is not rooms that grow.
const ROOM: usize = 10;
/// Connections where it is rooms or nodes that grow; fewer when there are never so many.
const ELSEWHERE: usize = 3_000;
/// No stage begins later.
const LIMIT: Duration = Duration::from_secs(12 * 60);

/// Shows what this gateway costs as it grows
#[derive(Parser)]
#[command(about)]
struct Options {
    /// On one node, in rooms of 10
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1_000, 3_000, 10_000, 18_000])]
    connections: Vec<usize>,
    /// Members of a room, at 3,000 connections
    #[arg(long, value_delimiter = ',', default_values_t = [2, 10, 100, 1_000])]
    rooms: Vec<usize>,
    /// Nodes on one Redis, with 3,000 connections in rooms of 10 across all
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3, 4])]
    nodes: Vec<usize>,
    /// Of each pace: short enough to lie between two pings
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Of doing nothing: a heartbeat and a ping of each
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=120))]
    idle_seconds: u64,
    /// Deliveries a second, of all together
    #[arg(long, default_value_t = 5_000)]
    pace: usize,
    /// Keep the report in bench/SCALING.md and its picture in bench/SCALING.svg
    #[arg(long)]
    write: bool,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// All points of a run.
pub struct Points {
    /// As connections grow.
    pub sizes: Vec<Point>,
    /// As rooms grow.
    pub rooms: Vec<Point>,
    /// As nodes grow.
    pub nodes: Vec<Point>,
}

fn main() -> ExitCode {
    match scale(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("scaling: {wrong} deliveries or answers were not as promised; the tables say where");
            ExitCode::FAILURE
        }
        Err(cause) => {
            eprintln!("scaling: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// How much was lost.
fn scale(options: &Options) -> io::Result<u64> {
    // Inherited by all that is started: each connection is a file on either side.
    rlimit::increase_nofile_limit(u64::MAX)?;
    stage::pin(std::process::id(), &stage::LOAD_CORE.to_string())?;
    let points = points(options)?;
    let text = report::report(options, &points)?;
    println!("{text}");
    if options.write {
        let path = facts::root().join("bench/SCALING.md");
        let kept = by_hand::keep(&text, &std::fs::read_to_string(&path).unwrap_or_default());
        std::fs::write(path, kept)?;
        std::fs::write(facts::root().join("bench/SCALING.svg"), plot::svg(&points)?)?;
    }
    let all = [points.sizes, points.rooms, points.nodes].concat();
    Ok(all.iter().map(|point| point.wrong).sum())
}

fn points(options: &Options) -> io::Result<Points> {
    let terms = Terms {
        seconds: options.seconds,
        idle_seconds: options.idle_seconds,
        pace: options.pace,
    };
    let started = Instant::now();
    let ask = |place: Place| {
        if place.connections == 0 {
            return Err(io::Error::other(format!("a room of {} is never full", place.room)));
        }
        if started.elapsed() > LIMIT {
            return Err(io::Error::other(format!("after {LIMIT:?} it is not done: {place:?}")));
        }
        let Place {
            nodes,
            connections,
            room,
            ..
        } = place;
        eprintln!("{connections} connections in rooms of {room} on {nodes} nodes");
        point(place, &terms)
    };
    let most = options.connections.iter().copied().max().unwrap_or_default();
    let elsewhere = ELSEWHERE.min(most);
    let place = |nodes: usize, connections: usize, room: usize| Place {
        nodes,
        connections: connections - connections % room,
        room,
        looks_at_empty: false,
        looks_at_idle: true,
    };
    let sizes = options.connections.iter().map(|&size| ask(place(1, size, ROOM)));
    let sizes = sizes.collect::<io::Result<_>>()?;
    let rooms = options.rooms.iter().filter(|&&room| room <= elsewhere);
    let rooms = rooms.map(|&room| {
        ask(Place {
            looks_at_idle: false,
            ..place(1, elsewhere, room)
        })
    });
    let rooms = rooms.collect::<io::Result<_>>()?;
    let nodes = options.nodes.iter().map(|&nodes| {
        ask(Place {
            looks_at_empty: true,
            ..place(nodes, elsewhere, ROOM)
        })
    });
    Ok(Points {
        sizes,
        rooms,
        nodes: nodes.collect::<io::Result<_>>()?,
    })
}
