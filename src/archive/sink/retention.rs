//! What the archive does about its own size: partitions of days are made ahead and dropped when they are too old, finished
//! connections and rooms that ran out go. In small steps, each with bounds, since users read these tables.
//! Not here: when (`lifecycle`).

use std::time::Duration;

use super::events::Day;
use super::{SinkError, TRANSACTION, Writer, within};

/// How long dropping a day may wait for whoever reads the table: behind it, everybody else waits.
const DROP_LOCK: &str = "1s";
/// Rows that one statement removes.
const ROWS: i64 = 2_000;
/// Statements of one kind in one go.
const ROUNDS: usize = 10;
/// Days that are dropped in one go.
const DAYS: i64 = 31;

/// How long what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Days of events and messages; 0 keeps them for ever.
    pub event_days: u32,
    /// How long a connection that has ended is shown.
    pub connections: Duration,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tidied {
    /// Days that were dropped, with their events or messages.
    pub days: u64,
    /// Rows that were removed one by one.
    pub rows: u64,
}

/// Tables of days that are too old, and days of which only batches are left; as they stand in names.
const OLD_DAYS: &str = "
SELECT right(c.relname, 8)
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::TEXT::REGCLASS AND c.relname ~ ('^' || $1 || '_[0-9]{8}$')
    AND right(c.relname, 8) < to_char($2::INT4 + DATE '1970-01-01', 'YYYYMMDD')
UNION
SELECT to_char(day, 'YYYYMMDD') FROM realtime_archive_batches
WHERE $1 = 'realtime_events' AND day < $2::INT4 + DATE '1970-01-01'
ORDER BY 1 LIMIT $3";

const CONNECTIONS: &str = "
DELETE FROM realtime_connections WHERE id = ANY (ARRAY(
    SELECT id FROM realtime_connections
    WHERE disconnected_at < now() - $1::FLOAT8 * INTERVAL '1 ms' AND status = 'disconnected'
    ORDER BY disconnected_at LIMIT $2))";

/// Of a room that ran out, only who has a role, a mute or a ban is remembered; and not whoever owned it by making it, where
/// that is all.
const RAN_OUT: &str = "
WITH ended AS MATERIALIZED (
    SELECT id, metadata ->> 'owner' AS owner FROM realtime_rooms
    WHERE is_active AND auto_created AND expires_at < now() - INTERVAL '1 minute' LIMIT $1
), closed AS (
    UPDATE realtime_rooms AS r SET is_active = FALSE, metadata = coalesce(r.metadata, '{}') - 'owner'
    FROM ended WHERE r.id = ended.id
), kept AS (
    SELECT m.room_id, count(*) AS entries,
        bool_and(m.user_id = ended.owner
            AND m.policy IN ('{\"role\": \"admin\"}', '{\"role\": \"member\"}')) AS is_owner
    FROM realtime_room_members AS m JOIN ended ON ended.id = m.room_id
    WHERE m.policy IS NOT NULL GROUP BY m.room_id
)
MERGE INTO realtime_room_members AS m
USING (
    SELECT ended.id, coalesce(kept.entries = 1 AND kept.is_owner, FALSE) AS only_owner
    FROM ended LEFT JOIN kept ON kept.room_id = ended.id
) AS s
ON m.room_id = s.id
WHEN MATCHED AND (s.only_owner
        OR m.policy IS NULL AND m.role = 'member' AND NOT m.is_muted AND NOT m.is_banned) THEN DELETE
WHEN MATCHED AND m.is_joined THEN UPDATE SET is_joined = FALSE";

impl Writer {
    /// Makes the partitions of today and tomorrow, and lets go what is too old. `is_caught_up`: the outboxes are empty, so
    /// that a room of which no join is known has none.
    pub async fn tidy(&mut self, retention: &Retention, is_caught_up: bool) -> Result<Tidied, SinkError> {
        let today = self.today().await?;
        let ahead = [today, today + 1].into();
        self.make_days(&ahead, &ahead).await?;
        let mut tidied = Tidied::default();
        if retention.event_days > 0 {
            let oldest = today.saturating_sub(i32::try_from(retention.event_days).unwrap_or(i32::MAX));
            self.drop_days(oldest, &mut tidied).await?;
        }
        let kept_ms = retention.connections.as_millis() as f64;
        for _ in 0..ROUNDS {
            let removed = within(TRANSACTION, self.client.execute(CONNECTIONS, &[&kept_ms, &ROWS])).await?;
            tidied.rows += removed;
            if removed < ROWS as u64 {
                break;
            }
        }
        if is_caught_up {
            tidied.rows += within(TRANSACTION, self.client.execute(RAN_OUT, &[&ROWS])).await?;
        }
        Ok(tidied)
    }

    /// By Postgres' clock.
    async fn today(&self) -> Result<Day, SinkError> {
        let question = "SELECT (now() AT TIME ZONE 'UTC')::DATE - DATE '1970-01-01'";
        let row = within(TRANSACTION, self.client.query_one(question, &[])).await?;
        Ok(row.try_get(0)?)
    }

    async fn drop_days(&mut self, oldest: Day, tidied: &mut Tidied) -> Result<(), SinkError> {
        for parent in ["realtime_events", "realtime_messages"] {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&parent, &oldest, &DAYS];
            let days = within(TRANSACTION, self.client.query(OLD_DAYS, &values)).await?;
            for day in &days {
                let day: &str = day.try_get(0)?;
                if self.drop_day(parent, day).await? {
                    tidied.days += 1;
                }
            }
        }
        self.event_days.retain(|day| *day >= oldest);
        self.message_days.retain(|day| *day >= oldest);
        self.drop_before(oldest).await?;
        for table in [
            "realtime_events_before",
            "realtime_events_default",
            "realtime_messages_default",
        ] {
            tidied.rows += self.delete_old(table, oldest).await?;
        }
        Ok(())
    }

    /// Whether it could be dropped now; else the next time.
    async fn drop_day(&self, parent: &str, day: &str) -> Result<bool, SinkError> {
        let drop = format!("BEGIN; SET LOCAL lock_timeout = '{DROP_LOCK}'; ");
        let statements = if parent == "realtime_events" {
            // All heads, so that no batch of the day is under way. An anchor is left wherever the chain goes on behind what goes.
            format!(
                "{drop} SELECT FROM realtime_archive_heads ORDER BY partition FOR UPDATE; \
                 DROP TABLE IF EXISTS realtime_events_{day}; \
                 DELETE FROM realtime_events WHERE chain IS NOT NULL \
                     AND created_at >= '{day} UTC'::TIMESTAMPTZ AND created_at < '{day} UTC'::TIMESTAMPTZ + INTERVAL '1 day'; \
                 INSERT INTO realtime_archive_anchors (partition, batch, hash) \
                     SELECT partition, batch, hash FROM realtime_archive_batches AS b \
                     WHERE day = '{day}'::DATE AND NOT EXISTS ( \
                         SELECT FROM realtime_archive_batches AS n \
                         WHERE n.partition = b.partition AND n.batch = b.batch + 1 AND n.day = b.day) \
                     ON CONFLICT DO NOTHING; \
                 DELETE FROM realtime_archive_batches WHERE day = '{day}'::DATE; COMMIT"
            )
        } else {
            format!("{drop} DROP TABLE IF EXISTS {parent}_{day}; COMMIT")
        };
        self.run_or_skip(&statements, day).await
    }

    /// The existing plugin's table, once all of it is too old.
    async fn drop_before(&self, oldest: Day) -> Result<(), SinkError> {
        let question = "SELECT to_regclass('realtime_events_before') IS NOT NULL \
             AND EXISTS (SELECT FROM realtime_archive_origin WHERE split_day <= $1::INT4 + DATE '1970-01-01')";
        let row = within(TRANSACTION, self.client.query_one(question, &[&oldest])).await?;
        if row.try_get(0)? {
            let statements =
                format!("BEGIN; SET LOCAL lock_timeout = '{DROP_LOCK}'; DROP TABLE realtime_events_before; COMMIT");
            self.run_or_skip(&statements, "before").await?;
        }
        Ok(())
    }

    /// Runs a transaction; one that would wait for too long is left for another time.
    async fn run_or_skip(&self, statements: &str, what: &str) -> Result<bool, SinkError> {
        match within(TRANSACTION, self.client.batch_execute(statements)).await {
            Ok(()) => {
                tracing::info!(what, "dropped from the archive, since it is too old");
                Ok(true)
            }
            Err(SinkError::Postgres(error)) if error.as_db_error().is_some() => {
                tracing::warn!(error = super::words(&error), what, "too old, and cannot be dropped yet");
                within(TRANSACTION, self.client.batch_execute("ROLLBACK")).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Rows outside of the chain that are in no table of their day.
    async fn delete_old(&self, table: &str, oldest: Day) -> Result<u64, SinkError> {
        let question = "SELECT to_regclass($1) IS NOT NULL";
        let row = within(TRANSACTION, self.client.query_one(question, &[&table])).await?;
        if !row.try_get::<_, bool>(0)? {
            return Ok(0);
        }
        let unchained = if table == "realtime_messages_default" {
            ""
        } else {
            "AND chain IS NULL"
        };
        let statement = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} \
             WHERE created_at < ($1::INT4 + DATE '1970-01-01')::TIMESTAMP AT TIME ZONE 'UTC' {unchained} LIMIT $2))"
        );
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let count = within(TRANSACTION, self.client.execute(&statement, &[&oldest, &ROWS])).await?;
            removed += count;
            if count < ROWS as u64 {
                break;
            }
        }
        Ok(removed)
    }
}
