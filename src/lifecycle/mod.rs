//! What a node does by itself: it extends its connections' leases and its own, ends what has run out, keeps the
//! tokens' key set up to date, and goes away when it is told to. Not here: what an end means (`domain::endings`).

pub mod beat;
pub mod drain;
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
pub mod systemd;

pub use self::metrics::Metrics;
