//! What presence costs Redis: a round of renewals, the question whether a connection is a user's last in a room, the
//! end of a thousand connections, and a storm of connects after a node's death, which must make nobody late.
//! Starts a redis-server of its own.
//!
//! `cargo bench --bench heartbeat`, or one part of it: `cargo bench --bench heartbeat -- renewals|last|bound|storm`

#[path = "../../tests/support/mod.rs"]
mod support;

mod last;
mod renewals;
mod stats;
mod storm;

use std::time::Duration;

use nself_realtime::hot::{Hot, Metrics, Settings, Terms};
use nself_realtime::types::UserId;
use prometheus::Registry;

use support::redis::Redis;

fn terms(lease: Duration) -> Terms {
    Terms {
        lease,
        user_connections: 10_000,
        connection_rooms: 1_000,
        ..support::terms::terms()
    }
}

fn open(url: &str, lease: Duration) -> Hot {
    let settings = Settings {
        url: url.to_owned(),
        prefix: "rt".to_owned(),
        terms: terms(lease),
        metrics: Metrics::new(&Registry::new()).expect("a new registry"),
    };
    Hot::open(settings).expect("the URL is one")
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number}")).expect("a valid id")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    if wanted("renewals") {
        for leases in [10_000, 100_000] {
            renewals::run(&Redis::start().await, leases).await;
        }
    }
    if wanted("last") {
        last::run(&Redis::start().await).await;
    }
    if wanted("bound") {
        storm::bound(&Redis::start().await).await;
    }
    if wanted("storm") {
        storm::run(&Redis::start().await).await;
    }
}
