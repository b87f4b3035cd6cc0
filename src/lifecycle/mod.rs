//! What a node does by itself: it extends its connections' leases and its own, ends what has run out, and keeps the
//! tokens' key set up to date. Not here: what an end means (`domain::endings`).

pub mod beat;
pub mod canary;
pub mod drift;
mod fetch;
pub mod heartbeat;
pub mod journal;
pub mod key_set;
mod metrics;
pub mod restore;
pub mod sink;
pub mod snapshot;
pub mod sweep;

pub use self::metrics::Metrics;
