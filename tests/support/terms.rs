//! The durations and bounds that tests and benchmarks give to the hot state, where they want no others.

use std::time::Duration;

use nself_realtime::hot::{HistoryTerms, Terms};

/// Without an archive.
pub fn terms() -> Terms {
    Terms {
        lease: Duration::from_secs(60),
        prolong: Duration::from_secs(5),
        keep: Duration::from_secs(3_600),
        away_after: Duration::from_secs(300),
        presence_limit: 500,
        presence_to_all: false,
        user_connections: 100,
        room_messages: None,
        only_counted: false,
        makers_own: true,
        nchat_names: false,
        connection_rooms: 100,
        revocation_keep: Duration::from_secs(3_600),
        revocations: 100,
        history: HistoryTerms {
            size: 100,
            bytes: 1024 * 1024,
            ttl: Duration::from_secs(3_600),
        },
        outbox: 0,
        keeps_messages: false,
        recovery_window: Duration::from_secs(120),
    }
}
