//! Rows of the audit trail as a sink writes them: in batches, each with its hash. Written by SQL here, so that what reads
//! them is tested without the sink.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use nself_realtime::archive::chain::{self, Hash, START};
use nself_realtime::hot::keys::Partition;
use nself_realtime::types::RoomName;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::postgres::{Database, Postgres};
use crate::{migrate, run};

/// One row that is to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: &'static str,
    pub at: Timestamp,
    pub user: Option<String>,
    pub room: Option<String>,
    pub socket: Option<String>,
    pub ip: Option<IpAddr>,
    pub payload: Option<Value>,
    pub metadata: Option<Value>,
}

/// An event of a user in a room, by one connection.
pub fn entry(kind: &'static str, at: Timestamp, room: &str, user: &str, connection: &str) -> Entry {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Entry {
        kind,
        at,
        user: some(user),
        room: some(room),
        socket: some(connection).map(|connection| format!("socket of {connection}")),
        ip: None,
        payload: Some(json!({})),
        metadata: Some(json!({ "connection": connection, "node": "node-a" })),
    }
}

/// Seconds behind noon of the day that the tests play on.
pub fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-01-30T12:00:00Z".parse().unwrap();
    noon.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap()
}

/// The outbox that a room's events go through.
pub fn partition_of(room: &str) -> u16 {
    let partition = Partition::of_room(&RoomName::parse(room).unwrap()).index();
    u16::try_from(partition).unwrap()
}

struct Head {
    batch: i64,
    hash: Hash,
    stream: u64,
}

/// A database with an audit trail, and how far it has come.
pub struct Trail {
    pub database: Arc<Database>,
    pub client: Client,
    /// The data that Redis has.
    pub incarnation: String,
    heads: BTreeMap<u16, Head>,
}

impl Trail {
    /// An empty one.
    pub async fn new() -> Trail {
        Trail::on(Postgres::shared().await.database().await).await
    }

    /// An empty one, in a database that is empty, too.
    pub async fn on(database: Database) -> Trail {
        migrate(&database).await.expect("the migrations run");
        let client = database.connect().await;
        Trail {
            database: Arc::new(database),
            client,
            incarnation: "first".to_owned(),
            heads: BTreeMap::new(),
        }
    }

    /// The same after Postgres was away.
    pub async fn reconnected(self) -> Trail {
        let client = self.database.connect().await;
        Trail { client, ..self }
    }

    /// Another sink of the same database, for other partitions.
    pub async fn beside(other: &Trail) -> Trail {
        Trail {
            database: Arc::clone(&other.database),
            client: other.database.connect().await,
            incarnation: other.incarnation.clone(),
            heads: BTreeMap::new(),
        }
    }

    /// Writes one batch, of one UTC day, in one transaction; returns its number.
    pub async fn batch(&mut self, partition: u16, entries: &[Entry]) -> i64 {
        self.written(partition, entries).await;
        self.commit().await;
        self.heads[&partition].batch
    }

    /// Writes each entry of a room as a batch of its own, in the room's partition.
    pub async fn tell(&mut self, entries: &[Entry]) {
        for entry in entries {
            let partition = partition_of(entry.room.as_deref().expect("it is in a room"));
            self.batch(partition, std::slice::from_ref(entry)).await;
        }
    }

    /// Writes one batch and does not commit it.
    pub async fn written(&mut self, partition: u16, entries: &[Entry]) {
        let day = entries[0].at.strftime("%Y-%m-%d").to_string();
        run(&self.client, &format!("SELECT realtime_events_day('{day}')")).await;
        run(&self.client, "BEGIN").await;
        let head = self.heads.entry(partition).or_insert(Head {
            batch: 0,
            hash: START,
            stream: 0,
        });
        head.batch += 1;
        let ids: Vec<String> = entries
            .iter()
            .map(|entry| {
                head.stream += 1;
                format!("{}-{}", entry.at.as_millisecond(), head.stream)
            })
            .collect();
        let rows: Vec<chain::Row<'_>> = entries
            .iter()
            .zip(&ids)
            .map(|(entry, id)| row(entry, partition, &self.incarnation, id))
            .collect();
        let digest = chain::digest(&rows);
        let count = u32::try_from(rows.len()).unwrap();
        let number = u64::try_from(head.batch).unwrap();
        head.hash = chain::next_hash(&head.hash, partition, number, count, &digest);
        let batch = head.batch;
        let hash = head.hash;
        for row in &rows {
            insert(&self.client, row, partition, batch).await;
        }
        let (first, last) = (&ids[0], &ids[ids.len() - 1]);
        let signed = i16::try_from(partition).unwrap();
        let statement = "INSERT INTO realtime_archive_batches \
             (partition, batch, day, incarnation, first_id, last_id, rows, digest, hash) \
             VALUES ($1, $2, $3::text::date, $4, $5, $6, $7, $8, $9)";
        let count = i32::try_from(count).unwrap();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
            &signed,
            &batch,
            &day,
            &self.incarnation,
            first,
            last,
            &count,
            &&digest[..],
            &&hash[..],
        ];
        self.client.execute(statement, &values).await.expect("a batch");
        let statement = "INSERT INTO realtime_archive_heads (partition, incarnation, last_id, batch, hash) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (partition) DO UPDATE \
             SET incarnation = excluded.incarnation, last_id = excluded.last_id, batch = excluded.batch, hash = excluded.hash";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&signed, &self.incarnation, last, &batch, &&hash[..]];
        self.client.execute(statement, &values).await.expect("a head");
    }

    pub async fn commit(&self) {
        run(&self.client, "COMMIT").await;
    }

    /// Goes on from what the head in the database says.
    pub async fn rewind(&mut self, partition: u16) {
        let statement = "SELECT batch, hash FROM realtime_archive_heads WHERE partition = $1";
        let signed = i16::try_from(partition).unwrap();
        let row = self.client.query_one(statement, &[&signed]).await.expect("a head");
        let head = self.heads.get_mut(&partition).expect("it was written");
        head.batch = row.get(0);
        head.hash = row.get::<_, &[u8]>(1).try_into().expect("32 bytes");
    }

    /// Drops a day as the retention does: the last batch of each partition that goes stays as an anchor.
    pub async fn drop_day(&self, day: &str) {
        run(
            &self.client,
            &format!(
                "BEGIN; \
                 INSERT INTO realtime_archive_anchors (partition, batch, hash) \
                 SELECT DISTINCT ON (partition) partition, batch, hash FROM realtime_archive_batches \
                 WHERE day = '{day}' ORDER BY partition, batch DESC; \
                 DELETE FROM realtime_archive_batches WHERE day = '{day}'; \
                 DROP TABLE realtime_events_{}; COMMIT",
                day.replace('-', "")
            ),
        )
        .await;
    }
}

fn row<'a>(entry: &'a Entry, partition: u16, incarnation: &'a str, stream_id: &'a str) -> chain::Row<'a> {
    chain::Row {
        id: chain::row_id(partition, incarnation, stream_id),
        event_type: entry.kind,
        socket_id: entry.socket.as_deref(),
        user_id: entry.user.as_deref(),
        room_name: entry.room.as_deref(),
        payload: entry.payload.as_ref(),
        ip: entry.ip,
        metadata: entry.metadata.as_ref(),
        created_at_ms: entry.at.as_millisecond(),
        incarnation,
        stream_id,
    }
}

async fn insert(client: &Client, row: &chain::Row<'_>, partition: u16, batch: i64) {
    let text = |json: Option<&Value>| json.map(Value::to_string);
    let (payload, metadata) = (text(row.payload), text(row.metadata));
    let ip = row.ip.map(|ip| ip.to_string());
    let id = row.id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let created_at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(row.created_at_ms).unwrap());
    let signed = i16::try_from(partition).unwrap();
    let statement = "INSERT INTO realtime_events (id, event_type, socket_id, user_id, room_name, payload, ip_address, metadata, \
         created_at, chain, incarnation, stream_id, batch) VALUES \
         ($1::text::uuid, $2, $3, $4, $5, $6::text::jsonb, $7::text::inet, $8::text::jsonb, $9, $10, $11, $12, $13)";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 13] = [
        &id,
        &row.event_type,
        &row.socket_id,
        &row.user_id,
        &row.room_name,
        &payload,
        &ip,
        &metadata,
        &created_at,
        &signed,
        &row.incarnation,
        &row.stream_id,
        &batch,
    ];
    client.execute(statement, &values).await.expect("a row");
}
