//! What the test binaries share: real servers as child processes, signed tokens, clients.
//! Taken in by `#[path = "../support/mod.rs"] mod support;`; not a place for assertions about the product.
#![allow(
    dead_code,
    reason = "each test binary compiles this tree and uses its own part of it"
)]

pub mod api;
pub mod clients;
pub mod cluster;
pub mod frames;
pub mod heard;
pub mod hosts;
pub mod issuer;
pub mod metrics;
pub mod node;
pub mod port;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod redis;
pub mod redis_any;
pub mod redis_fleet;
pub mod terms;
pub mod token;
pub mod valve;

use std::time::Instant;

/// Waits until `holds`, for what no event tells: a record in Redis, a metric.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + raw::PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it did not come true: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
