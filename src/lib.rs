//! nself-realtime: a Redis-centric, stateless Socket.IO gateway.
//!
//! The modules in reading order; imports go down only (see ARCHITECTURE.md).

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)
)]

pub mod cli;

pub mod app;

pub mod gateway;
pub mod http;
pub mod lifecycle;

pub mod engine;

pub mod domain;

pub mod archive;
pub mod hot;

pub mod config;
pub mod log;
pub mod metrics;
pub mod types;
