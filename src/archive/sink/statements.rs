//! What the sink says to Postgres beside the projections: rows, batches and heads. Each statement is prepared once per
//! connection.

use std::time::Duration;

use tokio_postgres::{Client, Error, Statement};

use super::projections::{CONNECTED, EMPTIED, ENDED, MEMBERS, MESSAGES, PRESENCE, ROOMS};

/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(10);
/// How long one may wait for a lock; the other sink that holds it is done long before.
const LOCK: Duration = Duration::from_secs(3);
/// How long a transaction may wait for us: what holds locks must not outlive a node that hangs.
const IDLE: Duration = Duration::from_secs(10);

/// A partition's head is there before it is locked.
const ENSURE: &str = "
INSERT INTO realtime_archive_heads (partition, incarnation) SELECT partition, '' FROM generate_series(0, 63) AS s (partition)
ON CONFLICT DO NOTHING";

const READ: &str = "
SELECT partition, incarnation, last_id, gone, batch, hash FROM realtime_archive_heads WHERE partition = ANY ($1::INT2[])";

/// In one order, so that no two sinks wait for each other.
const LOCKED: &str = "
SELECT partition, incarnation, last_id, gone, batch, hash FROM realtime_archive_heads WHERE partition = ANY ($1::INT2[])
ORDER BY partition FOR UPDATE";

const HEADS: &str = "
UPDATE realtime_archive_heads AS h
SET incarnation = u.incarnation, last_id = u.last_id, gone = u.gone, batch = u.batch, hash = u.hash, updated_at = now()
FROM unnest($1::INT2[], $2::TEXT[], $3::TEXT[], $4::INT8[], $5::INT8[], $6::BYTEA[])
    AS u (partition, incarnation, last_id, gone, batch, hash)
WHERE h.partition = u.partition";

const BATCHES: &str = "
INSERT INTO realtime_archive_batches (partition, batch, day, incarnation, first_id, last_id, rows, digest, hash)
SELECT partition, batch, DATE '1970-01-01' + day, incarnation, first_id, last_id, rows, digest, hash
FROM unnest($1::INT2[], $2::INT8[], $3::INT4[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::INT4[], $8::BYTEA[], $9::BYTEA[])
    AS u (partition, batch, day, incarnation, first_id, last_id, rows, digest, hash)";

const EVENTS: &str = "
INSERT INTO realtime_events (id, event_type, socket_id, user_id, room_id, room_name, payload, ip_address, metadata,
    created_at, chain, incarnation, stream_id, batch)
SELECT u.id, u.event_type, u.socket_id, u.user_id, r.id, u.room_name, u.payload, u.ip, u.metadata, u.created_at, u.chain,
    u.incarnation, u.stream_id, u.batch
FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::JSONB[], $7::INET[], $8::JSONB[],
        $9::TIMESTAMPTZ[], $10::INT2[], $11::TEXT[], $12::TEXT[], $13::INT8[])
    AS u (id, event_type, socket_id, user_id, room_name, payload, ip, metadata, created_at, chain, incarnation, stream_id,
        batch)
LEFT JOIN realtime_rooms AS r ON r.name = u.room_name";

/// Of whatever day they are.
const FOUND: &str = "SELECT uuid_send(id) FROM realtime_events WHERE id = ANY ($1::UUID[])";

const EVENT_DAY: &str = "SELECT realtime_events_day(DATE '1970-01-01' + $1::INT4)";
const MESSAGE_DAY: &str = "SELECT realtime_messages_day(DATE '1970-01-01' + $1::INT4)";

/// The prepared statements of a connection.
pub(super) struct Statements {
    pub read: Statement,
    pub locked: Statement,
    pub heads: Statement,
    pub batches: Statement,
    pub events: Statement,
    pub found: Statement,
    pub event_day: Statement,
    pub message_day: Statement,
    pub emptied: Statement,
    pub rooms: Statement,
    pub members: Statement,
    pub connected: Statement,
    pub ended: Statement,
    pub presence: Statement,
    pub messages: Statement,
}

impl Statements {
    /// Sets the connection's terms, and prepares it. Fails where there is no schema.
    pub async fn prepare(client: &Client) -> Result<Self, Error> {
        let terms = format!(
            // What is looked up is few and has an index. A plan that was made when a table was small must not read all of it
            // once it is large.
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
             SET plan_cache_mode = force_generic_plan; SET timezone = 'UTC'; SET client_min_messages = warning; \
             SET synchronous_commit = on; SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}",
            STATEMENT.as_millis(),
            LOCK.as_millis(),
            IDLE.as_millis()
        );
        client.batch_execute(&terms).await?;
        client.execute(ENSURE, &[]).await?;
        Ok(Self {
            read: client.prepare(READ).await?,
            locked: client.prepare(LOCKED).await?,
            heads: client.prepare(HEADS).await?,
            batches: client.prepare(BATCHES).await?,
            events: client.prepare(EVENTS).await?,
            found: client.prepare(FOUND).await?,
            event_day: client.prepare(EVENT_DAY).await?,
            message_day: client.prepare(MESSAGE_DAY).await?,
            emptied: client.prepare(EMPTIED).await?,
            rooms: client.prepare(ROOMS).await?,
            members: client.prepare(MEMBERS).await?,
            connected: client.prepare(CONNECTED).await?,
            ended: client.prepare(ENDED).await?,
            presence: client.prepare(PRESENCE).await?,
            messages: client.prepare(MESSAGES).await?,
        })
    }
}
