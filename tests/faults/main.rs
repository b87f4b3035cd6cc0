//! Faults on real processes: three gateways, one Redis, and two hundred stock clients that each must hear exactly what
//! the model says. Nodes are killed, paused and stopped, Redis is killed, emptied, slowed and robbed of its connections.
//! A part of it here; with `SOAK_ROUNDS` set (`make soak`) all of it, so many times.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod faults;
mod model;
mod node_faults;
mod redis_faults;
