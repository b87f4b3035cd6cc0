//! Rows of connections and users whose end nobody told: it went with an emptied Redis, or with entries that were lost. Whoever
//! lives is in a snapshot twice a minute, so what was in none for long is taken for gone; and comes back with the next
//! snapshot or record, should it live all the same, on a node that could not reach Postgres.
//! Not here: whether snapshots had their chance (`domain::sink`).

use std::time::Duration;

use super::{SinkError, TRANSACTION, Writer, within};

/// Rows that one go ends, of each table.
const ROWS: i64 = 2_000;

// Rows that somebody else is just writing are none to be ended: they are skipped. Those of the existing plugin are not ours.
const CONNECTIONS: &str = "
UPDATE realtime_connections SET status = 'disconnected', disconnected_at = greatest(connected_at, last_ping, last_pong),
    metadata = metadata || '{\"cause\": \"unseen\"}'
WHERE id = ANY (ARRAY(
    SELECT id FROM realtime_connections
    WHERE status IN ('connected', 'reconnecting') AND metadata ? 'connection'
        AND greatest(connected_at, last_ping, last_pong) < now() - $1::FLOAT8 * INTERVAL '1 ms'
    LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// What was shown is kept, for whoever comes back.
const PRESENCE: &str = "
UPDATE realtime_presence SET status = 'offline', connections_count = 0, metadata = coalesce(metadata, '{}')
    || jsonb_build_object('unseen', jsonb_build_object('status', status, 'connections', connections_count))
WHERE id = ANY (ARRAY(
    SELECT p.id FROM realtime_presence AS p
    WHERE p.version IS NOT NULL AND (p.status <> 'offline' OR p.connections_count > 0)
        AND p.last_heartbeat < now() - $1::FLOAT8 * INTERVAL '1 ms'
        AND NOT EXISTS (
            SELECT FROM realtime_connections AS c
            WHERE c.user_id = p.user_id AND c.status IN ('connected', 'reconnecting'))
    LIMIT $2 FOR UPDATE OF p SKIP LOCKED))";

impl Writer {
    /// Ends rows of connections that nothing was heard of for so long, and of users who have none; how many.
    pub async fn end_unseen(&self, unseen: Duration) -> Result<u64, SinkError> {
        let unseen_ms = unseen.as_millis() as f64;
        let mut ended = 0;
        for statement in [CONNECTIONS, PRESENCE] {
            ended += within(TRANSACTION, self.client.execute(statement, &[&unseen_ms, &ROWS])).await?;
        }
        Ok(ended)
    }
}
