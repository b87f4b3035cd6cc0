//! A load that costs little: thousands of clients on one thread, frames by hand, packets recognised by how they begin. Taken in
//! by `#[path = "../load/mod.rs"] mod load;`. It knows the events that benches need, and of a server nothing but its port.
#![allow(dead_code, reason = "each bench compiles this tree and uses its own part of it")]

pub mod client;
pub mod crowd;
pub mod frame;
pub mod ledger;
pub mod machine;
pub mod news;
pub mod pipe;
pub mod talk;
pub mod wire;
