//! Tests of the engine alone, from outside: bytes over TCP to the two servers in examples/.
//!
//! - `engine_suite`, `socket_suite`: the cases of the official protocol suites (Engine.IO v4, Socket.IO v5), by name.
//! - `differential`: plays (`player`, `trace`) the `scripts` to the oracle and to us; what differs is in `differences`, with its
//!   reason.
//! - `faults`, `bounds`, `origins`: what the design promises beyond the protocol, seen by clients.
//! - `application`: what the engine promises the application above it.
//! - `client` (well-behaved), `wire` (raw bytes), `ours`, `oracle` (the servers).
//!
//! Not here: the gateway's events, and anything that needs Redis.

/// Names the cases of a suite once, and makes of each a test against our example and one against the oracle;
/// `ours_only` are those that the oracle is known to fail.
macro_rules! suite {
    ($server:ident: $($case:ident)* ; ours_only: $($only:ident)*) => {
        mod ours {
            use crate::client::within;
            $(#[tokio::test] async fn $case() { within("the case", super::$case(crate::ours::$server())).await })*
            $(#[tokio::test] async fn $only() { within("the case", super::$only(crate::ours::$server())).await })*
        }
        mod oracle {
            use crate::client::within;
            $(#[tokio::test] async fn $case() { within("the case", super::$case(crate::oracle::$server())).await })*
        }
    };
}
pub(crate) use suite;

mod application;
mod bounds;
mod client;
mod differences;
mod differential;
mod engine_suite;
mod faults;
mod oracle;
mod origins;
mod ours;
mod player;
mod scripts;
mod socket_suite;
mod trace;
mod wire;
