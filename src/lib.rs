//! nself-realtime: a Redis-centric, stateless Socket.IO gateway.
//!
//! The modules in reading order; imports go down only (see ARCHITECTURE.md).

pub mod config;
pub mod domain;
pub mod engine;
pub mod hot;
pub mod types;
