//! What Postgres knows of the rooms and of what users had chosen, for a Redis that has lost it; read under a lock, so that one
//! node at a time brings it back. Not here: writing it to Redis (`hot`).

use std::time::Duration;

use tokio_postgres::{Client, NoTls, Row};
use tokio_util::task::AbortOnDropHandle;

use super::{Archive, schema};

/// How long a question may take. Ten thousand rooms are answered in a small part of it.
const QUESTION: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Of Postgres's advisory locks, that of the restore.
const LOCK: &str = "nself-realtime restore";

/// Rooms that are active, page by page behind a name; of each its policy, as the gateway wrote it, or as the columns say where
/// the row is from before.
const ROOMS: &str = "
    SELECT r.id::TEXT, r.name, r.type, r.visibility, coalesce(r.max_members, 0),
        (extract(epoch FROM r.created_at) * 1000)::BIGINT, r.auto_created, r.metadata ->> 'owner',
        (SELECT jsonb_object_agg(m.user_id, coalesce(m.policy, jsonb_strip_nulls(jsonb_build_object(
                'role', CASE WHEN m.role <> 'member' THEN m.role END,
                'mute', CASE WHEN m.is_muted THEN coalesce((extract(epoch FROM m.muted_until) * 1000)::BIGINT, 0) END,
                'ban', CASE WHEN m.is_banned THEN coalesce((extract(epoch FROM m.banned_until) * 1000)::BIGINT, 0) END))))::TEXT
            FROM realtime_room_members m
            WHERE m.room_id = r.id AND (m.policy IS NOT NULL OR m.role <> 'member' OR m.is_muted OR m.is_banned)),
        CASE WHEN $3 THEN coalesce((SELECT max(k.seq) FROM realtime_messages k
            WHERE k.room_name = r.name AND k.created_at >= r.created_at), 0) ELSE 0 END
    FROM realtime_rooms r
    WHERE r.is_active AND (r.expires_at IS NULL OR r.expires_at > now()) AND r.name > $1
    ORDER BY r.name LIMIT $2";

/// Users who had chosen something that still holds, page by page behind a user.
const STATUSES: &str = "
    SELECT user_id, greatest(coalesce(version, 0), 1), chosen,
        CASE WHEN expires_at IS NULL OR expires_at > now() THEN custom_status END,
        CASE WHEN expires_at IS NULL OR expires_at > now() THEN custom_emoji END,
        CASE WHEN expires_at > now() THEN (extract(epoch FROM expires_at) * 1000)::BIGINT ELSE 0 END,
        coalesce((extract(epoch FROM last_active) * 1000)::BIGINT, 0)
    FROM realtime_presence
    WHERE user_id > $1 AND (chosen IS NOT NULL
        OR ((custom_status IS NOT NULL OR custom_emoji IS NOT NULL) AND (expires_at IS NULL OR expires_at > now())))
    ORDER BY user_id LIMIT $2";

/// A row of `realtime_rooms`; times in Unix ms.
#[derive(Debug, Clone)]
pub struct RoomRow {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub visibility: String,
    pub max_members: i32,
    pub created_ms: i64,
    pub is_auto: bool,
    pub owner: Option<String>,
    /// JSON: user → entry of the policy; `None`: there is none.
    pub policy: Option<String>,
    /// The number of its last message, if that was asked for.
    pub seq: i64,
}

/// A row of `realtime_presence`; times in Unix ms, 0 for none.
#[derive(Debug, Clone)]
pub struct StatusRow {
    pub user: String,
    pub version: i64,
    pub chosen: Option<String>,
    pub text: Option<String>,
    pub emoji: Option<String>,
    pub until_ms: i64,
    pub seen_ms: i64,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("Postgres: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("Postgres did not answer in time")]
    TimedOut,
}

/// What [`Archive::begin_restore`] found.
pub enum Beginning {
    /// The lock is this node's, as long as this lives.
    Begun(Restore),
    /// Another node is at it.
    Taken,
    /// Nobody has installed the schema yet.
    NoSchema,
    /// There is no archive.
    Off,
}

/// How far a partition has come in Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub partition: i16,
    /// Which life of its data.
    pub incarnation: String,
    /// The last entry of it.
    pub last_id: String,
}

/// The lock, and a connection of its own: both end with it.
pub struct Restore {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Archive {
    /// Takes the lock, if nobody has it.
    pub async fn begin_restore(&self) -> Result<Beginning, RestoreError> {
        let Some(url) = &self.url else {
            return Ok(Beginning::Off);
        };
        let settings = super::settings(url, CONNECT)?;
        let (client, connection) = within(settings.connect(NoTls)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection of a restore broke");
            }
        }));
        let restore = Restore {
            client,
            _driver: driver,
        };
        // Every version has had what is read here.
        if !within(schema::is_installed(&restore.client)).await? {
            return Ok(Beginning::NoSchema);
        }
        let locked: bool = restore
            .ask_one("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", &[&LOCK])
            .await?
            .try_get(0)?;
        if !locked {
            return Ok(Beginning::Taken);
        }
        // What a sink is just writing is waited for, and what it would write next waits: it would not be brought back.
        within(
            restore
                .client
                .batch_execute("BEGIN; SELECT FROM realtime_archive_heads ORDER BY partition FOR UPDATE"),
        )
        .await?;
        Ok(Beginning::Begun(restore))
    }
}

impl Restore {
    async fn ask_one(
        &self,
        question: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Row, RestoreError> {
        within(self.client.query_one(question, values)).await
    }

    /// At most `limit` rooms behind a name, by name; with the numbers of their last messages, where those are kept.
    pub async fn rooms(&self, after: &str, limit: u32, with_messages: bool) -> Result<Vec<RoomRow>, RestoreError> {
        let rows = within(self.client.query(ROOMS, &[&after, &i64::from(limit), &with_messages])).await?;
        let room = |row: &Row| {
            Ok(RoomRow {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                kind: row.try_get(2)?,
                visibility: row.try_get(3)?,
                max_members: row.try_get(4)?,
                created_ms: row.try_get(5)?,
                is_auto: row.try_get(6)?,
                owner: row.try_get(7)?,
                policy: row.try_get(8)?,
                seq: row.try_get(9)?,
            })
        };
        rows.iter().map(room).collect()
    }

    /// At most `limit` statuses behind a user, by user.
    pub async fn statuses(&self, after: &str, limit: u32) -> Result<Vec<StatusRow>, RestoreError> {
        let rows = within(self.client.query(STATUSES, &[&after, &i64::from(limit)])).await?;
        let status = |row: &Row| {
            Ok(StatusRow {
                user: row.try_get(0)?,
                version: row.try_get(1)?,
                chosen: row.try_get(2)?,
                text: row.try_get(3)?,
                emoji: row.try_get(4)?,
                until_ms: row.try_get(5)?,
                seen_ms: row.try_get(6)?,
            })
        };
        rows.iter().map(status).collect()
    }

    /// How far the partitions have come.
    pub async fn reached(&self) -> Result<Vec<Reached>, RestoreError> {
        let question = "SELECT partition, incarnation, last_id FROM realtime_archive_heads";
        let rows = within(self.client.query(question, &[])).await?;
        let reached = |row: &Row| {
            Ok(Reached {
                partition: row.try_get(0)?,
                incarnation: row.try_get(1)?,
                last_id: row.try_get(2)?,
            })
        };
        rows.iter().map(reached).collect()
    }

    /// Of rooms that came back, those that were made by joining run out from now on, unless somebody joins: Redis lets them run
    /// out as well.
    pub async fn let_run_out(&self, rooms: &[&str], keep: Duration) -> Result<(), RestoreError> {
        let statement = "UPDATE realtime_rooms SET expires_at = now() + $1 * INTERVAL '1 millisecond'
            WHERE name = ANY ($2) AND is_active AND auto_created AND expires_at IS NULL";
        let keep_ms = keep.as_millis() as f64;
        within(self.client.execute(statement, &[&keep_ms, &rooms]))
            .await
            .map(drop)
    }

    /// Everything is back: the sinks go on.
    pub async fn end(self) -> Result<(), RestoreError> {
        within(self.client.batch_execute("COMMIT")).await
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, RestoreError> {
    match tokio::time::timeout(QUESTION, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RestoreError::TimedOut),
    }
}
