//! Sets a stage for one point, and reads it off. Not here: which points (`main`), and what follows from them (`units`).

use std::io;
use std::time::Duration;

use super::contestant::Contestant;
use super::point::{Paced, Pair, Point};
use super::stage::{Bill, RedisCore, Stage};
use crate::load::crowd::{Crowd, Plan};
use crate::load::wire::Transport;

/// Clients that connect at the same time.
const AT_ONCE: usize = 64;
/// For all of them to be in.
const ENTRY_LIMIT: Duration = Duration::from_secs(120);
/// Until what the joins set off, or the start, is over.
const SETTLING: Duration = Duration::from_secs(2);
/// Of the pace, before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Nodes without anybody do the same every quarter of a second.
const EMPTY: Duration = Duration::from_secs(10);

/// Rooms with more members hear as many messages as these, and so more deliveries.
pub const LARGE: usize = 100;

/// What is asked of all points.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Of the pace.
    pub seconds: u64,
    pub idle_seconds: u64,
    /// Deliveries a second, of all together.
    pub pace: usize,
}

/// One point.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub nodes: usize,
    /// A multiple of `room`.
    pub connections: usize,
    pub room: usize,
    /// Whether to look at the nodes before anybody comes, and at connections that say nothing.
    pub looks_at_empty: bool,
    pub looks_at_idle: bool,
}

/// Asks at one place.
pub fn point(place: Place, terms: &Terms) -> io::Result<Point> {
    let stage = Stage::set(Contestant::Gateway, place.nodes, RedisCore::Load)?;
    ask(&stage, place, terms).map_err(|cause| stage.explain(&cause))
}

fn ask(stage: &Stage, place: Place, terms: &Terms) -> io::Result<Point> {
    let mut crowd = Crowd::new(&Plan {
        ports: &stage.ports(),
        clients: place.connections,
        room: place.room,
        transport: Transport::WebSocket,
        name: "scaling",
    })?;
    // Nobody is in yet: the crowd only waits.
    crowd.idle(SETTLING)?;
    let empty = if place.looks_at_empty {
        Some(idle(
            stage,
            &mut crowd,
            EMPTY.min(Duration::from_secs(terms.idle_seconds)),
        )?)
    } else {
        None
    };
    let empty_traffic = match empty {
        Some(_) => traffic(stage, &mut crowd)?,
        None => [0.0; 2],
    };
    let count = place.connections as f64;
    let resident = || [stage.resident_kb(), stage.redis_resident_kb()];
    let (before, meter) = (resident(), stage.meter());
    crowd.enter(AT_ONCE, ENTRY_LIMIT)?;
    let connect_us = spent_us(&meter.read()).map(|us| us / count);
    crowd.idle(SETTLING)?;
    let idled = if place.looks_at_idle {
        Some(idle(stage, &mut crowd, Duration::from_secs(terms.idle_seconds))?)
    } else {
        None
    };
    let after = resident();
    let grown = |party: usize| after[party].saturating_sub(before[party]) as f64 / count;
    let (paced, wrong) = pace(stage, &mut crowd, place, terms)?;
    Ok(Point {
        nodes: place.nodes,
        connections: place.connections,
        room: place.room,
        empty,
        empty_traffic,
        connect_us,
        memory_kb: Pair {
            gateway: grown(0),
            redis: grown(1),
        },
        idle: idled,
        idle_seconds: terms.idle_seconds as f64,
        paced,
        wrong,
    })
}

/// What is spent on nothing, % of a core.
fn idle(stage: &Stage, crowd: &mut Crowd, time: Duration) -> io::Result<Pair> {
    let meter = stage.meter();
    crowd.idle(time)?;
    let bill = meter.read();
    Ok(Pair {
        gateway: bill.percent(bill.servers),
        redis: bill.percent(bill.redis),
    })
}

/// What Redis reads and writes while nobody is there, bytes a second.
fn traffic(stage: &Stage, crowd: &mut Crowd) -> io::Result<[f64; 2]> {
    let before = stage.redis_traffic()?;
    crowd.idle(SETTLING)?;
    let after = stage.redis_traffic()?;
    Ok([0, 1].map(|way| (after[way] - before[way]) as f64 / SETTLING.as_secs_f64()))
}

fn pace(stage: &Stage, crowd: &mut Crowd, place: Place, terms: &Terms) -> io::Result<(Paced, u64)> {
    // A few messages a second would have to pay for all that connections do by themselves.
    let rate = (terms.pace / place.room.min(LARGE)).max(1);
    crowd.pace(rate, WARM_UP)?;
    let traffic = stage.redis_traffic()?;
    let meter = stage.meter();
    let heard = crowd.pace(rate, Duration::from_secs(terms.seconds))?;
    let bill = meter.read();
    let [read, written] = stage.redis_traffic()?;
    let (messages, deliveries) = (heard.ledger.messages() as f64, heard.ledger.heard as f64);
    let paced = Paced {
        seconds: bill.wall.as_secs_f64(),
        messages,
        deliveries,
        spent_us: spent_us(&bill),
        p50_ms: heard.percentile_ms(0.5),
        p99_ms: heard.percentile_ms(0.99),
        message_bytes: heard.bytes.said as f64 / messages,
        delivery_bytes: heard.bytes.heard as f64 / deliveries,
        ack_bytes: heard.bytes.acks as f64 / messages,
        redis_read: (read - traffic[0]) as f64,
        redis_written: (written - traffic[1]) as f64,
    };
    Ok((paced, heard.wrong()))
}

fn spent_us(bill: &Bill) -> Pair {
    Pair {
        gateway: bill.servers.as_secs_f64() * 1e6,
        redis: bill.redis.as_secs_f64() * 1e6,
    }
}
