//! What changes all the time, written now and then as it is: when each connection was last there and how far away it is, who was
//! seen, who types. Not here: what is written once and in order (the outbox).

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio_postgres::types::ToSql;

use super::Archive;
use super::query::words;

/// How long all statements of a snapshot may take; the next one is not far.
const LIMIT: Duration = Duration::from_secs(2);

/// A connection that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As the client knows it.
    pub socket: String,
    /// `None`: anonymous.
    pub user: Option<String>,
    pub transport: &'static str,
    pub latency: Option<Duration>,
    /// Since its last activity.
    pub idle: Duration,
}

/// A typing mark that was set, or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    pub room: String,
    pub user: String,
    pub thread: Option<String>,
    /// For how long it lasts; `None`: it was taken back.
    pub lasts: Option<Duration>,
}

/// One look at a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub seen: Vec<Seen>,
    /// The last word on each mark; no mark twice.
    pub typed: Vec<Typed>,
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("Postgres is away")]
    Away,
    #[error("Postgres: {0}")]
    Postgres(String),
    #[error("Postgres did not answer in time")]
    TimedOut,
}

impl From<tokio_postgres::Error> for SnapshotError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(words(&error))
    }
}

// Who was taken for gone, since no snapshot told of it, and is in one, is back as it was. A row that somebody else is just
// writing is left to the next snapshot: two writers that take their rows in different orders
// would wait for each other.
const CONNECTIONS: &str = "
    WITH due AS (
        SELECT c.id, s.transport, s.latency_ms
        FROM unnest($1::TEXT[], $2::TEXT[], $3::INT4[]) AS s (socket_id, transport, latency_ms)
        JOIN realtime_connections c ON c.socket_id = s.socket_id
        WHERE c.status <> 'disconnected' OR c.metadata ->> 'cause' = 'unseen' FOR UPDATE OF c SKIP LOCKED)
    UPDATE realtime_connections c SET last_ping = now(), last_pong = now(), transport = due.transport,
        latency_ms = coalesce(due.latency_ms, c.latency_ms),
        status = CASE c.status WHEN 'disconnected' THEN 'connected' ELSE c.status END, disconnected_at = NULL,
        metadata = CASE c.status WHEN 'disconnected' THEN c.metadata - 'cause' ELSE c.metadata END
    FROM due WHERE c.id = due.id";
const PRESENCE: &str = "
    WITH due AS (
        SELECT p.id, s.active_at
        FROM (SELECT user_id, max(now() - idle_ms * INTERVAL '1 millisecond') AS active_at
              FROM unnest($1::TEXT[], $2::INT8[]) AS u (user_id, idle_ms) GROUP BY user_id) AS s
        JOIN realtime_presence p ON p.user_id = s.user_id FOR UPDATE OF p SKIP LOCKED)
    UPDATE realtime_presence p SET last_heartbeat = now(), last_active = greatest(p.last_active, due.active_at),
        status = CASE WHEN p.metadata #>> '{unseen,status}' IN ('online', 'away', 'busy')
            THEN p.metadata #>> '{unseen,status}' ELSE p.status END,
        connections_count = CASE WHEN jsonb_typeof(p.metadata #> '{unseen,connections}') = 'number'
            THEN greatest(0, (p.metadata #>> '{unseen,connections}')::NUMERIC::INT4) ELSE p.connections_count END,
        metadata = p.metadata - 'unseen'
    FROM due WHERE p.id = due.id";
const MEMBERS: &str = "
    WITH due AS (
        SELECT m.id FROM realtime_room_members m
        WHERE m.user_id = ANY ($1::TEXT[]) AND m.is_joined FOR UPDATE OF m SKIP LOCKED)
    UPDATE realtime_room_members m SET last_seen = now() FROM due WHERE m.id = due.id";
const TYPING: &str = "
    INSERT INTO realtime_typing (room_id, user_id, thread_id, started_at, expires_at)
    SELECT r.id, t.user_id, t.thread_id, now(), now() + t.lasts_ms * INTERVAL '1 millisecond'
    FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::INT8[]) AS t (room, user_id, thread_id, lasts_ms)
    JOIN realtime_rooms r ON r.name = t.room
    WHERE t.lasts_ms > 0
    ORDER BY r.id, t.user_id, t.thread_id
    ON CONFLICT (room_id, user_id, thread_id) DO UPDATE SET expires_at = excluded.expires_at,
        started_at = CASE WHEN realtime_typing.expires_at < now() THEN excluded.started_at ELSE realtime_typing.started_at END";
const NOT_TYPING: &str = "
    WITH due AS (
        SELECT y.id FROM realtime_typing y LEFT JOIN realtime_rooms r ON r.id = y.room_id
        WHERE y.expires_at < now() OR EXISTS (
            SELECT FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::INT8[]) AS t (room, user_id, thread_id, lasts_ms)
            WHERE t.lasts_ms = 0 AND t.room = r.name AND t.user_id = y.user_id AND t.thread_id IS NOT DISTINCT FROM y.thread_id)
        FOR UPDATE OF y SKIP LOCKED)
    DELETE FROM realtime_typing y USING due WHERE y.id = due.id";

impl Archive {
    /// Writes a snapshot, one statement for each table of which it says something.
    pub async fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let written = match tokio::time::timeout(LIMIT, self.write_now(snapshot)).await {
            Ok(written) => written,
            Err(_) => Err(SnapshotError::TimedOut),
        };
        let mut since = self.snapshots_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = match &written {
            Ok(()) => since.or_else(|| Some(Instant::now())),
            Err(_) => None,
        };
        written
    }

    /// How long every snapshot has been written; `None` where the last one was not, or there was none.
    pub fn snapshots_succeed_for(&self) -> Option<Duration> {
        let since = self.snapshots_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    async fn write_now(&self, Snapshot { seen, typed }: &Snapshot) -> Result<(), SnapshotError> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let until = Instant::now() + LIMIT;
        let mut client = pool.get().await.map_err(|_| SnapshotError::Away)?;
        let mut do_it = async |statement: &str, values: &[&(dyn ToSql + Sync)]| {
            // Each by itself, so that no row is held for longer. Postgres has to end it as well: what nobody waits for any more
            // would hold rows, and the connection.
            let left = until
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            let transaction = client.transaction().await?;
            let limit = format!("SET LOCAL statement_timeout = {}", left.as_millis());
            // Planned once per connection would be better; yet a pooled connection may be a new one each time.
            let (limited, done) = join(
                transaction.batch_execute(&limit),
                transaction.execute(statement, values),
            )
            .await;
            limited?;
            done?;
            transaction.commit().await
        };
        if !seen.is_empty() {
            let sockets: Vec<&str> = seen.iter().map(|seen| &*seen.socket).collect();
            let transports: Vec<&str> = seen.iter().map(|seen| seen.transport).collect();
            let latencies: Vec<Option<i32>> = seen.iter().map(|seen| seen.latency.map(whole_ms)).collect();
            do_it(CONNECTIONS, &[&sockets, &transports, &latencies]).await?;
        }
        let users: Vec<(&str, i64)> = seen
            .iter()
            .filter_map(|seen| Some((seen.user.as_deref()?, idle_ms(seen))))
            .collect();
        if !users.is_empty() {
            let (users, idle): (Vec<&str>, Vec<i64>) = users.into_iter().unzip();
            do_it(PRESENCE, &[&users, &idle]).await?;
            do_it(MEMBERS, &[&users]).await?;
        }
        let rooms: Vec<&str> = typed.iter().map(|typed| &*typed.room).collect();
        let users: Vec<&str> = typed.iter().map(|typed| &*typed.user).collect();
        let threads: Vec<Option<&str>> = typed.iter().map(|typed| typed.thread.as_deref()).collect();
        let lasts: Vec<i64> = typed
            .iter()
            .map(|typed| typed.lasts.map_or(0, |lasts| i64::from(whole_ms(lasts)).max(1)))
            .collect();
        if typed.iter().any(|typed| typed.lasts.is_some()) {
            do_it(TYPING, &[&rooms, &users, &threads, &lasts]).await?;
        }
        // Also where nothing was taken back: what has run out goes.
        do_it(NOT_TYPING, &[&rooms, &users, &threads, &lasts]).await?;
        Ok(())
    }
}

fn whole_ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn idle_ms(seen: &Seen) -> i64 {
    i64::try_from(seen.idle.as_millis()).unwrap_or(i64::MAX)
}
