//! What happened: events by kind, user, room and time, newest first in pages, or as they arrive.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use super::{PAGE_MAX, Place, QueryError, json, timestamp, within, write_time};
use crate::archive::Archive;
use crate::types::{RoomName, UserId};

const COLUMNS: &str = "id::text, event_type, created_at, user_id, room_name, room_id::text, socket_id, \
                       host(ip_address), payload::text, metadata::text";

/// Rows that one look at what is new reads, unless a single batch has more.
const NEWS_MAX: i64 = 20_000;
/// Batches of one partition that one look takes.
const NEWS_BATCHES: i64 = 100;

/// Which events are asked for; everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Any of these kinds; empty = all.
    pub kinds: Vec<String>,
    /// Of this user.
    pub user: Option<UserId>,
    /// In this room.
    pub room: Option<RoomName>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// A row of `realtime_events`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// A UUID.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    #[serde(rename = "createdAt", serialize_with = "write_time")]
    pub at: Timestamp,
    /// Whom it is about.
    pub user_id: Option<String>,
    /// Where it was.
    pub room_name: Option<String>,
    /// The room's UUID, as long as the room has a row.
    pub room_id: Option<String>,
    /// The socket's id, as its client knows it.
    pub socket_id: Option<String>,
    /// Where it came from.
    pub ip: Option<String>,
    /// What else there is to say.
    pub payload: Option<Value>,
    /// Of which connection and node it is.
    pub metadata: Option<Value>,
}

impl Event {
    /// Where a page that ends with this event goes on.
    pub fn place(&self) -> Place {
        Place::of(self.at, &self.id)
    }

    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            at: timestamp(row.try_get(2)?),
            user_id: row.try_get(3)?,
            room_name: row.try_get(4)?,
            room_id: row.try_get(5)?,
            socket_id: row.try_get(6)?,
            ip: row.try_get(7)?,
            payload: json(row.try_get(8)?),
            metadata: json(row.try_get(9)?),
        })
    }
}

/// How far somebody who follows has read: the last batch of each partition. Not a time, since batches of different
/// partitions are committed in any order.
#[derive(Debug, Clone, Default)]
pub struct Follower(BTreeMap<i16, i64>);

/// What has arrived, oldest first, and whether more is there already.
#[derive(Debug)]
pub struct News {
    /// Events, by their time.
    pub events: Vec<Event>,
    /// Ask again at once.
    pub more: bool,
}

impl Archive {
    /// Events, newest first: at most `limit` (up to [`PAGE_MAX`]) of those before `before`. Fails when Postgres is away,
    /// or takes longer than `patience`.
    pub async fn events(
        &self,
        filter: &EventFilter,
        before: Option<&Place>,
        limit: u16,
        patience: Duration,
    ) -> Result<Vec<Event>, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            newest(&snapshot, filter, before, limit).await
        })
        .await
    }

    /// The newest events, newest first, and from where to go on with [`Archive::news`]: nothing falls between the two,
    /// and nothing is in both. Fails as [`Archive::events`] does.
    pub async fn follow(
        &self,
        filter: &EventFilter,
        limit: u16,
        patience: Duration,
    ) -> Result<(Vec<Event>, Follower), QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            let heads = snapshot
                .query("SELECT partition, batch FROM realtime_archive_heads", &[])
                .await?;
            let mut follower = Follower::default();
            for head in heads {
                follower.0.insert(head.try_get(0)?, head.try_get(1)?);
            }
            Ok((newest(&snapshot, filter, None, limit).await?, follower))
        })
        .await
    }

    /// What has been committed since the last look, by whichever node. Fails as [`Archive::events`] does; the follower
    /// then stands where it stood.
    pub async fn news(
        &self,
        filter: &EventFilter,
        follower: &mut Follower,
        patience: Duration,
    ) -> Result<News, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            let (batches, more) = new_batches(&snapshot, follower).await?;
            let events = match &batches[..] {
                [] => Vec::new(),
                batches => of_batches(&snapshot, filter, batches).await?,
            };
            for batch in batches {
                follower.0.insert(batch.partition, batch.number);
            }
            Ok(News { events, more })
        })
        .await
    }
}

/// A condition on rows, put together with its values.
struct Conditions<'a> {
    text: String,
    values: Vec<&'a (dyn ToSql + Sync)>,
}

impl<'a> Conditions<'a> {
    fn new() -> Self {
        Self {
            text: "TRUE".to_owned(),
            values: Vec::new(),
        }
    }

    /// `?` in the condition stands for the value.
    fn and(&mut self, condition: &str, value: &'a (dyn ToSql + Sync)) {
        self.values.push(value);
        let number = format!("${}", self.values.len());
        self.text.push_str(" AND ");
        self.text.push_str(&condition.replace('?', &number));
    }
}

/// A filter's values, as the driver takes them.
struct Values<'a> {
    kinds: Option<&'a [String]>,
    user: Option<&'a str>,
    room: Option<&'a str>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl<'a> Values<'a> {
    fn of(filter: &'a EventFilter) -> Self {
        Self {
            kinds: Some(&filter.kinds[..]).filter(|kinds| !kinds.is_empty()),
            user: filter.user.as_ref().map(UserId::as_str),
            room: filter.room.as_ref().map(RoomName::as_str),
            since: filter.since.map(SystemTime::from),
            until: filter.until.map(SystemTime::from),
        }
    }

    fn conditions(&self) -> Conditions<'_> {
        let mut conditions = Conditions::new();
        if let Some(kinds) = &self.kinds {
            conditions.and("event_type = ANY (?)", kinds);
        }
        if let Some(user) = &self.user {
            conditions.and("user_id = ?", user);
        }
        if let Some(room) = &self.room {
            conditions.and("room_name = ?", room);
        }
        if let Some(since) = &self.since {
            conditions.and("created_at >= ?", since);
        }
        if let Some(until) = &self.until {
            conditions.and("created_at < ?", until);
        }
        conditions
    }
}

async fn newest(
    snapshot: &Transaction<'_>,
    filter: &EventFilter,
    before: Option<&Place>,
    limit: u16,
) -> Result<Vec<Event>, QueryError> {
    if before.is_some_and(|place| !is_uuid(&place.name)) {
        return Err(QueryError::BadPlace);
    }
    let values = Values::of(filter);
    let mut conditions = values.conditions();
    let before = before.map(|place| (place.at(), &place.name));
    if let Some((at, id)) = &before {
        // The first says which partitions matter, the second where in them.
        conditions.and("created_at <= ?", at);
        let at = format!("${}", conditions.values.len());
        conditions.and(&format!("(created_at, id) < ({at}, ?::text::uuid)"), id);
    }
    let statement = format!(
        "SELECT {COLUMNS} FROM realtime_events WHERE {} ORDER BY created_at DESC, realtime_events.id DESC LIMIT {}",
        conditions.text,
        limit.min(PAGE_MAX)
    );
    let rows = snapshot.query(&statement, &conditions.values).await?;
    Ok(rows.iter().map(Event::read).collect::<Result<_, _>>()?)
}

/// A batch that a follower has not read.
struct Batch {
    partition: i16,
    number: i64,
    day: String,
}

/// The batches behind the follower, of each partition in their order, and whether that is not all.
async fn new_batches(snapshot: &Transaction<'_>, follower: &Follower) -> Result<(Vec<Batch>, bool), QueryError> {
    let statement = format!(
        "SELECT heads.partition, b.batch, b.rows, b.day::text \
         FROM realtime_archive_heads heads \
         LEFT JOIN unnest($1::smallint[], $2::bigint[]) AS seen (partition, batch) USING (partition) \
         CROSS JOIN LATERAL ( \
            SELECT batch, rows, day FROM realtime_archive_batches \
            WHERE partition = heads.partition AND batch > coalesce(seen.batch, 0) ORDER BY batch LIMIT {NEWS_BATCHES} \
         ) b ORDER BY b.batch - coalesce(seen.batch, 0), heads.partition"
    );
    let (partitions, numbers): (Vec<i16>, Vec<i64>) = follower.0.iter().unzip();
    let rows = snapshot.query(&statement, &[&partitions, &numbers]).await?;
    let (mut batches, mut sum) = (Vec::new(), 0);
    for row in &rows {
        sum += i64::from(row.try_get::<_, i32>(2)?);
        if sum > NEWS_MAX && !batches.is_empty() {
            return Ok((batches, true));
        }
        batches.push(Batch {
            partition: row.try_get(0)?,
            number: row.try_get(1)?,
            day: row.try_get(3)?,
        });
    }
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= NEWS_BATCHES;
    Ok((batches, more))
}

async fn of_batches(
    snapshot: &Transaction<'_>,
    filter: &EventFilter,
    batches: &[Batch],
) -> Result<Vec<Event>, QueryError> {
    let values = Values::of(filter);
    let partitions: Vec<i16> = batches.iter().map(|batch| batch.partition).collect();
    let numbers: Vec<i64> = batches.iter().map(|batch| batch.number).collect();
    let days = || batches.iter().map(|batch| &batch.day);
    let (first, last) = (days().min(), days().max());
    let mut conditions = values.conditions();
    conditions.and("created_at >= (?::text || ' UTC')::timestamptz", &first);
    conditions.and(
        "created_at < (?::text || ' UTC')::timestamptz + interval '24 hours'",
        &last,
    );
    conditions.values.extend([&partitions as &(dyn ToSql + Sync), &numbers]);
    let count = conditions.values.len();
    let statement = format!(
        "SELECT {COLUMNS} FROM realtime_events \
         JOIN unnest(${}::smallint[], ${count}::bigint[]) AS new (of, number) ON chain = of AND batch = number \
         WHERE {} ORDER BY created_at, realtime_events.id",
        count - 1,
        conditions.text
    );
    let rows = snapshot.query(&statement, &conditions.values).await?;
    Ok(rows.iter().map(Event::read).collect::<Result<_, _>>()?)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_asked_for() {
        let filter = EventFilter {
            kinds: vec!["join".into()],
            until: Some(Timestamp::UNIX_EPOCH),
            ..EventFilter::default()
        };
        let values = Values::of(&filter);
        let conditions = values.conditions();
        assert_eq!(conditions.text, "TRUE AND event_type = ANY ($1) AND created_at < $2");
        assert_eq!(conditions.values.len(), 2);
        let all = EventFilter::default();
        assert_eq!(Values::of(&all).conditions().text, "TRUE");
    }

    #[test]
    fn a_uuid_is_told_by_its_form() {
        assert!(is_uuid("0190aaaa-bbbb-8ccc-9ddd-eeeeffff0000"));
        for wrong in [
            "",
            "0190aaaa-bbbb-8ccc-9ddd-eeeeffff000",
            "0190aaaabbbb-8ccc-9ddd-eeeeffff0000-",
            "x",
        ] {
            assert!(!is_uuid(wrong), "{wrong}");
        }
    }
}
