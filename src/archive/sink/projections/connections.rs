//! `realtime_connections`: one row per socket, by the id that its client knows, in its present life. Not here: what a user
//! is shown as (`presence`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};
use tokio_postgres::types::ToSql;

use crate::archive::sink::cells::{Json, Moment};
use crate::archive::sink::events::device_of;
use crate::archive::sink::record::{Record, TEXT_MAX, shortened};

/// A socket that is registered anew keeps the time at which it came.
pub(in crate::archive::sink) const CONNECTED: &str = "
INSERT INTO realtime_connections AS c (socket_id, user_id, session_id, status, transport, ip_address, user_agent,
    device_info, connected_at, disconnected_at, last_ping, last_pong, metadata)
SELECT socket_id, user_id, session_id, status, transport, ip, agent, device, connected_at, disconnected_at, connected_at,
    connected_at, metadata
FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::INET[], $7::TEXT[], $8::JSONB[],
        $9::TIMESTAMPTZ[], $10::TIMESTAMPTZ[], $11::JSONB[])
    AS u (socket_id, user_id, session_id, status, transport, ip, agent, device, connected_at, disconnected_at, metadata)
ON CONFLICT (socket_id) DO UPDATE SET
    user_id = excluded.user_id, session_id = excluded.session_id, status = excluded.status,
    transport = excluded.transport, ip_address = excluded.ip_address, user_agent = excluded.user_agent,
    device_info = excluded.device_info, connected_at = least(c.connected_at, excluded.connected_at),
    disconnected_at = excluded.disconnected_at, last_ping = greatest(c.last_ping, excluded.last_ping),
    last_pong = greatest(c.last_pong, excluded.last_pong), metadata = excluded.metadata";

/// Only of the life that is meant: a socket may have begun another one since. One that was taken for gone, since nobody told
/// its end, has an end that is known now.
pub(in crate::archive::sink) const ENDED: &str = "
UPDATE realtime_connections AS c SET
    status = u.status,
    disconnected_at = u.disconnected_at,
    metadata = CASE WHEN u.cause IS NULL THEN c.metadata - 'cause' ELSE c.metadata || jsonb_build_object('cause', u.cause) END
FROM unnest($1::TEXT[], $2::TEXT[], $3::TIMESTAMPTZ[], $4::TEXT[]) AS u (connection, status, disconnected_at, cause)
WHERE c.metadata ->> 'connection' = u.connection
    AND (c.status <> 'disconnected' OR c.metadata ->> 'cause' = 'unseen')";

const TRANSPORTS: &[&str] = &["websocket", "polling"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Connected,
    Reconnecting,
    Disconnected,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Disconnected => "disconnected",
        }
    }
}

/// How a life ended, or was interrupted.
#[derive(Debug, Clone)]
struct End {
    status: Status,
    at: Option<Moment>,
    cause: Option<String>,
}

#[derive(Debug)]
struct Socket {
    connection: String,
    user: Option<String>,
    session: Option<String>,
    transport: Option<&'static str>,
    ip: Option<IpAddr>,
    agent: Option<String>,
    device: Option<Json>,
    connected_at: Moment,
    node: Option<String>,
    end: Option<End>,
}

/// The last state of each socket that came, and the ends of others.
#[derive(Debug, Default)]
pub(super) struct Connections {
    sockets: BTreeMap<String, Socket>,
    /// Connection → socket, of those above.
    places: BTreeMap<String, String>,
    ends: BTreeMap<String, End>,
}

/// The columns of [`CONNECTED`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct ConnectedColumns {
    sockets: Vec<String>,
    users: Vec<Option<String>>,
    sessions: Vec<Option<String>>,
    statuses: Vec<&'static str>,
    transports: Vec<Option<&'static str>>,
    ips: Vec<Option<IpAddr>>,
    agents: Vec<Option<String>>,
    devices: Vec<Option<Json>>,
    connected_at: Vec<Moment>,
    disconnected_at: Vec<Option<Moment>>,
    metadata: Vec<Json>,
}

/// The columns of [`ENDED`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct EndedColumns {
    connections: Vec<String>,
    statuses: Vec<&'static str>,
    disconnected_at: Vec<Option<Moment>>,
    causes: Vec<Option<String>>,
}

impl Connections {
    pub fn connect(&mut self, record: &Record) {
        let Some(connection) = &record.connection else { return };
        let name = record.socket.as_ref().unwrap_or(connection);
        let transport = record.text("transport");
        let socket = Socket {
            connection: connection.clone(),
            user: record.user.clone(),
            session: record.text("session").map(|text| shortened(text, TEXT_MAX)),
            transport: TRANSPORTS.iter().find(|known| Some(**known) == transport).copied(),
            ip: record.ip,
            agent: record.text("agent").map(str::to_owned),
            device: record
                .text("device")
                .map(|text| Json(device_of(Value::from(text)).to_string())),
            connected_at: Moment(record.at_ms),
            node: record.node.clone(),
            end: None,
        };
        // The same connection may have ended before, and have come back.
        self.ends.remove(connection);
        self.places.insert(connection.clone(), name.clone());
        if let Some(former) = self.sockets.insert(name.clone(), socket)
            && former.connection != *connection
        {
            self.places.remove(&former.connection);
        }
    }

    pub fn lose(&mut self, record: &Record) {
        self.end(record, Status::Reconnecting, None);
    }

    pub fn disconnect(&mut self, record: &Record) {
        self.end(record, Status::Disconnected, Some(Moment(record.at_ms)));
    }

    fn end(&mut self, record: &Record, status: Status, at: Option<Moment>) {
        let Some(connection) = &record.connection else { return };
        let cause = record.text("cause").filter(|_| at.is_some()).map(str::to_owned);
        let end = End { status, at, cause };
        let socket = self.places.get(connection).and_then(|name| self.sockets.get_mut(name));
        match socket {
            Some(socket) => socket.end = Some(end),
            None => {
                self.ends.insert(connection.clone(), end);
            }
        }
    }

    pub fn columns(self) -> (ConnectedColumns, EndedColumns) {
        let (mut connected, mut ended) = (ConnectedColumns::default(), EndedColumns::default());
        for (name, socket) in self.sockets {
            connected.push(name, socket);
        }
        for (connection, end) in self.ends {
            ended.connections.push(connection);
            ended.statuses.push(end.status.as_str());
            ended.disconnected_at.push(end.at);
            ended.causes.push(end.cause);
        }
        (connected, ended)
    }
}

impl ConnectedColumns {
    fn push(&mut self, name: String, socket: Socket) {
        let mut metadata = Map::new();
        metadata.insert("connection".to_owned(), socket.connection.into());
        if let Some(node) = socket.node {
            metadata.insert("node".to_owned(), node.into());
        }
        let (mut status, mut ended_at) = (Status::Connected, None);
        if let Some(end) = socket.end {
            (status, ended_at) = (end.status, end.at);
            if let Some(cause) = end.cause {
                metadata.insert("cause".to_owned(), cause.into());
            }
        }
        self.sockets.push(name);
        self.users.push(socket.user);
        self.sessions.push(socket.session);
        self.statuses.push(status.as_str());
        self.transports.push(socket.transport);
        self.ips.push(socket.ip);
        self.agents.push(socket.agent);
        self.devices.push(socket.device);
        self.connected_at.push(socket.connected_at);
        self.disconnected_at.push(ended_at);
        self.metadata.push(Json(Value::Object(metadata).to_string()));
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.sockets,
            &self.users,
            &self.sessions,
            &self.statuses,
            &self.transports,
            &self.ips,
            &self.agents,
            &self.devices,
            &self.connected_at,
            &self.disconnected_at,
            &self.metadata,
        ]
    }
}

impl EndedColumns {
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.connections, &self.statuses, &self.disconnected_at, &self.causes]
    }
}
