//! What compression costs and saves. First what deflating one payload takes, from which follows from which size on a frame is
//! compressed at all; then a room of 50 with one sender, on a gateway with compression and one without, beside socket.io on Node
//! with `ws`' perMessageDeflate, if its server (bench/peers/node.mjs) is there: bytes and processor time of a delivery.
//!
//! `cargo bench --bench deflate [-- <messages of each> [<rounds>]]`

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../load/machine.rs"]
#[allow(dead_code, reason = "the other bench asks more of it")]
mod machine;
mod payload;
mod peer;
mod room;

use std::net::{Ipv4Addr, SocketAddr};

use support::node::Node;
use support::redis::Redis;

use peer::Peer;
use room::{Heard, Room};

const MESSAGES: usize = 4_000;
const ROUNDS: usize = 3;
/// Bytes of a message's content.
const CONTENTS: [usize; 3] = [200, 1_000, 4_000];

/// One server, and the best that was measured of it by content.
struct Case {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    best: [Option<Heard>; CONTENTS.len()],
}

impl Case {
    fn new(name: &'static str, port: u16, pid: u32) -> Self {
        Self {
            name,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            pid,
            best: Default::default(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let messages = numbers.next().unwrap_or(MESSAGES);
    let rounds = numbers.next().unwrap_or(ROUNDS);
    payload::print_costs();

    let redis = Redis::start().await;
    let plain = Node::start(&redis.url(), &[("REALTIME_ENABLE_COMPRESSION", "false")]).await;
    let compressing = Node::start(&redis.url(), &[("REALTIME_ENABLE_COMPRESSION", "true")]).await;
    let mut cases = vec![
        Case::new("gateway, plain", plain.port(), plain.pid()),
        Case::new("gateway, compressed", compressing.port(), compressing.pid()),
    ];
    let peers = [
        Peer::start("0", &redis.url()).await,
        Peer::start("1", &redis.url()).await,
    ];
    for (name, peer) in ["node, plain", "node, perMessageDeflate"].into_iter().zip(&peers) {
        cases.extend(peer.as_ref().map(|peer| Case::new(name, peer.port(), peer.pid())));
    }
    if cases.len() == 2 {
        println!("\nwithout Node: bench/peers has no node_modules");
    }
    for _ in 0..rounds {
        for (index, len) in CONTENTS.into_iter().enumerate() {
            for case in &mut cases {
                let heard = Room::enter(case.address).await.measure(case.pid, messages, len).await;
                let best = &mut case.best[index];
                if best.as_ref().is_none_or(|best| heard.cpu_us() < best.cpu_us()) {
                    *best = Some(heard);
                }
            }
        }
    }
    print(&cases, messages, rounds);
}

fn print(cases: &[Case], messages: usize, rounds: usize) {
    println!("\na room of {}, {messages} messages, best of {rounds}", room::MEMBERS);
    println!("| content | server | bytes/delivery | server CPU µs/delivery | deliveries/s | client | lost |");
    println!("|---|---|---|---|---|---|---|");
    for (index, len) in CONTENTS.into_iter().enumerate() {
        for case in cases {
            let Some(heard) = &case.best[index] else { continue };
            println!(
                "| {len} | {} | {:.0} | {:.2} | {:.0} | {:.0} % | {} |",
                case.name,
                heard.bytes as f64 / heard.deliveries as f64,
                heard.cpu_us(),
                heard.deliveries as f64 / heard.spent.wall.as_secs_f64(),
                heard.spent.own_share() * 100.0,
                heard.expected - heard.deliveries,
            );
        }
    }
}
