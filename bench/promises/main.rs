//! What the existing plugin's README promises, measured on this gateway: connections on one node, the memory of each and of none,
//! the processor while they idle, the way of a message, and how many there can be. Gateway, Redis and the clients share the
//! machine, so throughput is a lower bound; the clients say how much of a core they took themselves. Ends by itself.
//!
//! `cargo bench --bench promises [-- <connections>]`

#[path = "../load/mod.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io;
use std::time::Duration;

use support::node::Node;
use support::redis::Redis;

use load::crowd::{Crowd, Plan};
use load::machine::{Clock, resident_kb};
use load::wire::Transport;

const CONNECTIONS: usize = 10_000;
/// Everybody is in a room of so many.
const ROOM: usize = 10;
/// Clients that connect at the same time.
const AT_ONCE: usize = 64;
const ENTRY_LIMIT: Duration = Duration::from_secs(120);
/// Twice the default heartbeat: every lease is renewed twice meanwhile, every socket pinged twice.
const IDLE: Duration = Duration::from_secs(60);
const PACED: Duration = Duration::from_secs(20);
const FULL: Duration = Duration::from_secs(10);
const PACED_DELIVERIES: usize = 10_000;
/// Messages that a sender has under way, at most.
const WINDOW: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let connections = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(CONNECTIONS);
    measure(connections).await
}

/// So many clients who are all in.
fn crowd(node: &Node, clients: usize, room: usize, name: &str) -> io::Result<Crowd> {
    let mut crowd = Crowd::new(&Plan {
        ports: &[node.port()],
        clients,
        transport: Transport::WebSocket,
        room,
        name,
    })?;
    crowd.enter(AT_ONCE, ENTRY_LIMIT)?;
    Ok(crowd)
}

async fn measure(connections: usize) -> io::Result<()> {
    let redis = Redis::start().await;
    let most = (connections + 1_000).to_string();
    let node = Node::start(&redis.url(), &[("REALTIME_MAX_CONNECTIONS", &most)]).await;
    // The first of everything is paid for before anything is counted.
    drop(crowd(&node, 10, ROOM, "warm-up")?);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = resident_kb(node.pid());
    println!("memory without a connection    {:>9.1} MB", before as f64 / 1024.0);

    let clock = Clock::start(node.pid());
    let mut all = crowd(&node, connections, ROOM, "all")?;
    let spent = clock.stop();
    let rate = connections as f64 / spent.wall.as_secs_f64();
    println!("connections in rooms of {ROOM}     {connections:>9}");
    println!("  connects and joins           {rate:>9.0} /s");
    let each = spent.cpu.as_micros() as f64 / connections as f64;
    println!("  processor of each            {each:>9.0} µs of the gateway");

    all.idle(Duration::from_secs(5))?;
    let clock = Clock::start(node.pid());
    all.idle(IDLE)?;
    let idle = clock.stop();
    let after = resident_kb(node.pid());
    let each = (after - before) as f64 / connections as f64;
    println!("  memory of each, idle         {each:>9.1} KB");
    println!(
        "  processor while all idle     {:>9.1} % of a core",
        idle.share() * 100.0
    );

    let clock = Clock::start(node.pid());
    let heard = all.pace(PACED_DELIVERIES / ROOM, PACED)?;
    let spent = clock.stop();
    println!("{PACED_DELIVERIES} deliveries/s in rooms of {ROOM}");
    println!(
        "  sent to heard                {:>9.2} ms p50, {:.2} ms p99, {:.2} ms most",
        heard.percentile_ms(0.5),
        heard.percentile_ms(0.99),
        heard.percentile_ms(1.0)
    );
    println!(
        "  lost of {:<8} expected    {:>9}",
        heard.ledger.expected(),
        heard.wrong()
    );
    println!(
        "  processor                    {:>9.1} % of a core",
        spent.share() * 100.0
    );
    drop(all);

    for (name, clients, room, senders) in [
        ("one room of 500, 16 senders", 500, 500, 16),
        ("200 rooms of 10, 200 senders", 2_000, 10, 200),
        ("200 rooms of one", 200, 1, 200),
    ] {
        let mut crowd = crowd(&node, clients, room, &clients.to_string())?;
        let clock = Clock::start(node.pid());
        let heard = crowd.flood(senders * room / clients, WINDOW, FULL)?;
        let spent = clock.stop();
        println!("{name}");
        println!(
            "  messages, deliveries         {:>9.0} /s, {:.0} /s; lost {}",
            heard.messages(),
            heard.deliveries(),
            heard.wrong()
        );
        println!(
            "  processor                    {:>9.1} % of a core, the clients' {:.1} %",
            spent.share() * 100.0,
            spent.own_share() * 100.0
        );
    }
    Ok(())
}
