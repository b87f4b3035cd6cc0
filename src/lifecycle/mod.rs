//! What a node does by itself: it extends its connections' leases and its own, and ends what has run out. Not here: what
//! an end means (`domain::endings`).

pub mod beat;
pub mod drift;
pub mod heartbeat;
mod metrics;
pub mod sweep;

pub use self::metrics::Metrics;
