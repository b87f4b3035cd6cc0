//! Who was in a room at a time, and what makes the answer doubtful.
//!
//! A connection was in the room when the last that happened to it there, up to that time, was a join; or when nothing
//! is kept of it up to that time, and the first that happened to it afterwards was a leave (its join is older than the
//! retention, or lies in a gap). A join counts no longer once the room was closed, or once Redis lost the partition's data
//! (another incarnation): whoever was still there then was registered anew, and has another join. Of users of whom no
//! join or leave is kept up to that time, the table of members is believed: it says since when the present members are
//! in. So a room whose joins are older than the retention, or were never logged, still has its present members.

use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::{PAGE_MAX, QueryError, json, rfc3339, timestamp, within, write_some_time, write_time};
use crate::archive::Archive;
use crate::types::RoomName;

/// Most gaps that one answer names, the latest.
const GAPS_MAX: i64 = 20;

/// What a gap of unknown length says of its reason.
const REDIS_EMPTIED: &str = "redis_emptied";

/// A stream id as a text that sorts as the stream does.
const POSITION: &str = "(lpad(split_part(stream_id, '-', 1), 20, '0') || lpad(split_part(stream_id, '-', 2), 20, '0')) \
                        COLLATE \"C\"";

/// A user who was in the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Present {
    /// The user's id.
    pub user_id: String,
    /// When the first of the connections came; `None` where that is no longer known.
    #[serde(serialize_with = "write_some_time")]
    pub since: Option<Timestamp>,
    /// The connections that were in; none where only the table of members knows.
    pub connections: Vec<String>,
}

/// Why an answer may lack somebody, or have somebody too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Caveat {
    /// Entries of the room's partition never reached Postgres.
    Gap {
        /// The last that is known before.
        #[serde(serialize_with = "write_some_time")]
        from: Option<Timestamp>,
        /// The first that is known afterwards.
        #[serde(serialize_with = "write_time")]
        to: Timestamp,
        /// How many.
        count: Option<u64>,
    },
    /// Redis was emptied; how much went with it is not known, and the living were registered anew.
    RedisEmptied {
        /// The last that is known before.
        #[serde(serialize_with = "write_some_time")]
        from: Option<Timestamp>,
        /// When it was noticed.
        #[serde(serialize_with = "write_time")]
        to: Timestamp,
    },
    /// What happened so long ago is kept no longer.
    Retention {
        /// The first day that is kept.
        since: String,
    },
    /// No join and no leave of this room is kept: they are not logged, or the room is older than the retention.
    NoRecords,
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = |from: &Option<Timestamp>, to: &Timestamp| {
            let from = from.map_or("an unknown time".to_owned(), rfc3339);
            format!("between {from} and {}", rfc3339(*to))
        };
        match self {
            Self::Gap { from, to, count } => {
                let count = count.map_or("some".to_owned(), |count| count.to_string());
                write!(
                    f,
                    "{count} records of this part of the archive were lost {}",
                    between(from, to)
                )
            }
            Self::RedisEmptied { from, to } => write!(f, "Redis lost its data {}", between(from, to)),
            Self::Retention { since } => write!(f, "what happened before {since} is kept no longer"),
            Self::NoRecords => f.write_str("no join and no leave of this room is kept"),
        }
    }
}

/// Who was in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// By user id.
    pub users: Vec<Present>,
    /// Empty where nothing speaks against the answer.
    pub caveats: Vec<Caveat>,
}

impl Archive {
    /// Who was in the room at `at`, by user id: at most `limit` (up to [`PAGE_MAX`]) users behind `after`. `partition` is the
    /// room's. Fails when Postgres is away, or takes longer than `patience`.
    pub async fn who(
        &self,
        room: &RoomName,
        partition: usize,
        at: Timestamp,
        after: Option<&str>,
        limit: u16,
        patience: Duration,
    ) -> Result<Who, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let question = Question {
                snapshot: reader.snapshot(Some(patience)).await?,
                room: room.as_str(),
                chain: i16::try_from(partition).expect("there are 64 partitions"),
                at: at.into(),
            };
            Ok(Who {
                users: question.users(after.unwrap_or_default(), limit).await?,
                caveats: question.caveats().await?,
            })
        })
        .await
    }
}

struct Question<'a> {
    snapshot: Transaction<'a>,
    room: &'a str,
    chain: i16,
    at: SystemTime,
}

impl Question<'_> {
    async fn users(&self, after: &str, limit: u16) -> Result<Vec<Present>, QueryError> {
        let statement = format!(
            r#"WITH told AS MATERIALIZED (
                SELECT event_type, user_id, metadata ->> 'connection' AS connection, created_at, incarnation,
                    {POSITION} AS position
                FROM realtime_events
                WHERE room_name = $1 AND chain = $2 AND event_type IN ('join', 'leave', 'room_closed')
            ), emptied AS MATERIALIZED (
                SELECT created_at, incarnation FROM realtime_events
                WHERE chain = $2 AND event_type = 'gap' AND payload ->> 'reason' = '{REDIS_EMPTIED}'
                UNION ALL
                SELECT min(created_at), incarnation FROM told GROUP BY incarnation
            ), before AS (
                SELECT DISTINCT ON (connection) * FROM told
                WHERE created_at <= $3 AND event_type <> 'room_closed'
                ORDER BY connection, created_at DESC, position DESC
            ), behind AS (
                SELECT DISTINCT ON (connection) * FROM told
                WHERE created_at > $3 AND event_type <> 'room_closed'
                ORDER BY connection, created_at, position
            ), inside AS (
                SELECT user_id, connection, created_at AS since FROM before
                WHERE event_type = 'join'
                    AND NOT EXISTS (
                        SELECT FROM told closed
                        WHERE closed.event_type = 'room_closed' AND closed.created_at <= $3
                            AND (closed.created_at, closed.position) > (before.created_at, before.position))
                    AND NOT EXISTS (
                        SELECT FROM emptied
                        WHERE emptied.created_at <= $3 AND emptied.created_at > before.created_at
                            AND emptied.incarnation <> before.incarnation)
                UNION ALL
                SELECT user_id, connection, NULL FROM behind
                WHERE event_type = 'leave' AND NOT EXISTS (
                    SELECT FROM before WHERE before.connection = behind.connection)
                UNION ALL
                SELECT member.user_id, NULL, member.joined_at
                FROM realtime_room_members member JOIN realtime_rooms room ON room.id = member.room_id
                WHERE room.name = $1 AND room.is_active AND member.is_joined AND member.joined_at <= $3
                    AND NOT EXISTS (
                        SELECT FROM before WHERE before.user_id = member.user_id)
            )
            SELECT user_id, min(since), bool_or(since IS NULL),
                coalesce(array_agg(connection ORDER BY connection) FILTER (WHERE connection IS NOT NULL), '{{}}')
            FROM inside WHERE user_id COLLATE "C" > $4
            GROUP BY user_id ORDER BY user_id COLLATE "C" LIMIT {}"#,
            limit.min(PAGE_MAX)
        );
        let values: [&(dyn ToSql + Sync); 4] = [&self.room, &self.chain, &self.at, &after];
        let rows = self.snapshot.query(&statement, &values).await?;
        let present = |row: &tokio_postgres::Row| -> Result<Present, tokio_postgres::Error> {
            let since: Option<SystemTime> = row.try_get(1)?;
            let is_older: bool = row.try_get(2)?;
            Ok(Present {
                user_id: row.try_get(0)?,
                since: since.filter(|_| !is_older).map(timestamp),
                connections: row.try_get(3)?,
            })
        };
        Ok(rows.iter().map(present).collect::<Result<_, _>>()?)
    }

    async fn caveats(&self) -> Result<Vec<Caveat>, QueryError> {
        let mut caveats = self.gaps().await?;
        let oldest = self
            .snapshot
            .query_opt(
                "SELECT day::text, (day::text || ' UTC')::timestamptz > $2 FROM realtime_archive_batches \
                 WHERE partition = $1 ORDER BY batch LIMIT 1",
                &[&self.chain, &self.at],
            )
            .await?;
        if let Some(row) = oldest
            && row.try_get(1)?
        {
            caveats.push(Caveat::Retention { since: row.try_get(0)? });
        }
        let records = self
            .snapshot
            .query_one(
                "SELECT EXISTS (SELECT FROM realtime_events \
                 WHERE room_name = $1 AND event_type IN ('join', 'leave'))",
                &[&self.room],
            )
            .await?;
        if !records.try_get::<_, bool>(0)? {
            caveats.push(Caveat::NoRecords);
        }
        Ok(caveats)
    }

    /// Gaps that began before the time in question, back to where Redis was last emptied: nothing from before it counts.
    async fn gaps(&self) -> Result<Vec<Caveat>, QueryError> {
        let statement = format!(
            "SELECT created_at, payload::text FROM realtime_events \
             WHERE chain = $1 AND event_type = 'gap' ORDER BY created_at DESC LIMIT {GAPS_MAX}"
        );
        let rows = self.snapshot.query(&statement, &[&self.chain]).await?;
        let mut caveats = Vec::new();
        for row in &rows {
            let to = timestamp(row.try_get(0)?);
            let payload = json(row.try_get(1)?).unwrap_or_default();
            let from = payload["from"].as_str().and_then(|text| text.parse().ok());
            if from.unwrap_or(to) > timestamp(self.at) {
                continue;
            }
            let caveat = caveat(&payload, from, to);
            let is_end = matches!(caveat, Caveat::RedisEmptied { .. }) && to <= timestamp(self.at);
            caveats.push(caveat);
            if is_end {
                break;
            }
        }
        caveats.reverse();
        Ok(caveats)
    }
}

fn caveat(payload: &Value, from: Option<Timestamp>, to: Timestamp) -> Caveat {
    if payload["reason"] == REDIS_EMPTIED {
        Caveat::RedisEmptied { from, to }
    } else {
        Caveat::Gap {
            from,
            to,
            count: payload["count"].as_u64(),
        }
    }
}
