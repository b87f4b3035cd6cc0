//! Messages that Redis no longer keeps, page by page. Not here: who may read them (Redis says), nor how they look.

use std::time::Duration;

use super::Archive;
use super::query::QueryError;

/// How long a page may take: somebody waits for it.
const LIMIT: Duration = Duration::from_secs(2);

/// A message as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMessage {
    pub epoch: String,
    pub seq: u64,
    /// Unix ms.
    pub sent_ms: i64,
    /// The event's object, JSON.
    pub content: String,
}

/// Which side of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Below it, the latest of them.
    Before(u64),
    /// Above it and below the second, the earliest of them.
    Between(u64, u64),
}

// Numbers that a failover lost were given again: what was said later counts.
const BEFORE: &str = "
    SELECT DISTINCT ON (seq) epoch, seq, (extract(epoch FROM created_at) * 1000)::BIGINT, content::TEXT
    FROM realtime_messages WHERE room_name = $1 AND seq < $2 AND created_at >= to_timestamp($4::FLOAT8 / 1000)
    ORDER BY seq DESC, created_at DESC LIMIT $3";
const BETWEEN: &str = "
    SELECT DISTINCT ON (seq) epoch, seq, (extract(epoch FROM created_at) * 1000)::BIGINT, content::TEXT
    FROM realtime_messages WHERE room_name = $1 AND seq > $2 AND seq < $5 AND created_at >= to_timestamp($4::FLOAT8 / 1000)
    ORDER BY seq, created_at DESC LIMIT $3";

impl Archive {
    /// At most `limit` messages of a room, oldest first, of those since it was made (Unix ms): what was said in an earlier room of
    /// the name is not for its members.
    pub async fn messages(
        &self,
        room: &str,
        made_ms: i64,
        side: Side,
        limit: u32,
    ) -> Result<Vec<KeptMessage>, QueryError> {
        match tokio::time::timeout(LIMIT, self.read_messages(room, made_ms, side, limit)).await {
            Ok(read) => read,
            Err(_) => Err(QueryError::TooSlow),
        }
    }

    async fn read_messages(
        &self,
        room: &str,
        made_ms: i64,
        side: Side,
        limit: u32,
    ) -> Result<Vec<KeptMessage>, QueryError> {
        let mut reader = self.reader().await?;
        let snapshot = reader.snapshot(Some(LIMIT)).await?;
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let (limit, made_ms) = (i64::from(limit), made_ms as f64);
        let mut rows = match side {
            Side::Before(seq) => snapshot.query(BEFORE, &[&room, &number(seq), &limit, &made_ms]).await?,
            Side::Between(after, before) => {
                snapshot
                    .query(BETWEEN, &[&room, &number(after), &limit, &made_ms, &number(before)])
                    .await?
            }
        };
        if matches!(side, Side::Before(_)) {
            rows.reverse();
        }
        let message = |row: &tokio_postgres::Row| {
            let seq: i64 = row.try_get(1)?;
            Ok(KeptMessage {
                epoch: row.try_get(0)?,
                seq: seq.try_into().unwrap_or(0),
                sent_ms: row.try_get(2)?,
                content: row.try_get(3)?,
            })
        };
        rows.iter().map(message).collect()
    }
}
