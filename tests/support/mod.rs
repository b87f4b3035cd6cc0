//! What the test binaries share: real servers as child processes, signed tokens, clients.
//! Taken in by `#[path = "../support/mod.rs"] mod support;`; not a place for assertions about the product.
#![allow(
    dead_code,
    reason = "each test binary compiles this tree and uses its own part of it"
)]

pub mod port;
pub mod process;
pub mod redis;
