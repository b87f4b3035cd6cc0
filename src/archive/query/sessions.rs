//! When a user was connected, and from where: what the table of connections has, and, of those that it no longer has,
//! what the events of their begin and end tell.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;

use super::{PAGE_MAX, Place, QueryError, json, timestamp, within, write_some_time};
use crate::archive::Archive;
use crate::types::UserId;

/// One life of one connection. Rows of the existing plugin have no connection, and are told apart by their sockets.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The gateway's name of the connection.
    pub connection: Option<String>,
    /// The socket's id, as its client knows it.
    pub socket_id: Option<String>,
    /// When it began; `None` where that is kept no longer.
    #[serde(serialize_with = "write_some_time")]
    pub connected_at: Option<Timestamp>,
    /// When it ended; `None` while it lasts, and where its end is not known.
    #[serde(serialize_with = "write_some_time")]
    pub disconnected_at: Option<Timestamp>,
    /// Whether it lasts, as far as the archive has heard.
    pub open: bool,
    /// Why it ended.
    pub cause: Option<String>,
    /// The node that held it.
    pub node: Option<String>,
    /// websocket or polling.
    pub transport: Option<String>,
    /// Where it came from.
    pub ip: Option<String>,
    /// The client's own name.
    pub user_agent: Option<String>,
    /// What the client said of its device.
    pub device: Option<Value>,
    #[serde(skip)]
    place: Place,
}

const STATEMENT: &str = "
WITH lives AS (
    SELECT coalesce('c' || (metadata ->> 'connection'), 's' || socket_id) AS name,
        metadata ->> 'connection' AS connection, socket_id,
        CASE event_type WHEN 'connect' THEN created_at END AS connected_at,
        CASE event_type WHEN 'disconnect' THEN created_at END AS disconnected_at,
        FALSE AS is_open,
        CASE event_type WHEN 'disconnect' THEN coalesce(payload ->> 'cause', payload ->> 'reason') END AS cause,
        metadata ->> 'node' AS node, payload ->> 'transport' AS transport, host(ip_address) AS ip,
        coalesce(payload ->> 'agent', payload ->> 'userAgent') AS agent, payload -> 'device' AS device
    FROM realtime_events WHERE user_id = $1 AND event_type IN ('connect', 'disconnect')
    UNION ALL
    SELECT coalesce('c' || (metadata ->> 'connection'), 's' || socket_id),
        metadata ->> 'connection', socket_id, connected_at, disconnected_at,
        status <> 'disconnected' AND disconnected_at IS NULL, metadata ->> 'cause',
        metadata ->> 'node', transport, host(ip_address), user_agent, device_info
    FROM realtime_connections WHERE user_id = $1
), sessions AS (
    SELECT name, max(connection) AS connection, max(socket_id) AS socket_id,
        min(connected_at) AS connected_at, max(disconnected_at) AS disconnected_at,
        bool_or(is_open) AND max(disconnected_at) IS NULL AS is_open, max(cause) AS cause, max(node) AS node,
        max(transport) AS transport, max(ip) AS ip, max(agent) AS agent, max(device::text) AS device,
        coalesce(min(connected_at), max(disconnected_at)) AS at
    FROM lives WHERE name IS NOT NULL GROUP BY name
)
SELECT name, at, connection, socket_id, connected_at, disconnected_at, is_open, cause, node, transport, ip, agent, device
FROM sessions
WHERE at IS NOT NULL AND ($2::timestamptz IS NULL OR (at, name COLLATE \"C\") < ($2, $3::text))
ORDER BY at DESC, name COLLATE \"C\" DESC LIMIT $4";

impl Session {
    /// Where a page that ends with this session goes on.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let name: String = row.try_get(0)?;
        let at: SystemTime = row.try_get(1)?;
        Ok(Self {
            place: Place::of(timestamp(at), &name),
            connection: row.try_get(2)?,
            socket_id: row.try_get(3)?,
            connected_at: row.try_get::<_, Option<SystemTime>>(4)?.map(timestamp),
            disconnected_at: row.try_get::<_, Option<SystemTime>>(5)?.map(timestamp),
            open: row.try_get(6)?,
            cause: row.try_get(7)?,
            node: row.try_get(8)?,
            transport: row.try_get(9)?,
            ip: row.try_get(10)?,
            user_agent: row.try_get(11)?,
            device: json(row.try_get(12)?),
        })
    }
}

impl Archive {
    /// A user's connections, the latest first: at most `limit` (up to [`PAGE_MAX`]) of those before `before`. Fails when
    /// Postgres is away, or takes longer than `patience`.
    pub async fn sessions(
        &self,
        user: &UserId,
        before: Option<&Place>,
        limit: u16,
        patience: Duration,
    ) -> Result<Vec<Session>, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            let (at, name) = (before.map(Place::at), before.map(|place| &place.name));
            let limit = i64::from(limit.min(PAGE_MAX));
            let rows = snapshot.query(STATEMENT, &[&user.as_str(), &at, &name, &limit]).await?;
            Ok(rows.iter().map(Session::read).collect::<Result<_, _>>()?)
        })
        .await
    }
}
