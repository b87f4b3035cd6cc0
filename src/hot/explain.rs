//! Why a user is shown so, as Redis knows it: one look at everything that decides it. Not here: what it means
//! (`domain::explain`).

use std::sync::LazyLock;

use redis::Value;
use serde::Deserialize;

use super::keys::{Lease, Partition};
use super::script::{Script, script};
use super::{Hot, HotError};
use crate::types::{ConnectionId, NodeId, Presence, RoomName, UserId};

script!(EXPLAIN = "presence/explain");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&EXPLAIN];

/// What holds a connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A lease that its node extends.
    Leased,
    /// Its transport is lost, or its node is dead.
    Grace,
    /// Nothing: a drift, which `doctor` repairs.
    Nothing,
}

/// One connection of the user; times in Unix ms.
#[derive(Debug, Clone)]
pub struct Connection {
    pub lease: Lease,
    pub state: State,
    pub end_ms: i64,
    pub node_lives: bool,
    /// Fields of its record; empty where it has none.
    pub transport: String,
    pub ip: String,
    pub agent: String,
    /// JSON text.
    pub device: String,
    pub connected_ms: i64,
}

/// Something that changed how the user is shown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Transition {
    /// Unix ms.
    #[serde(rename = "at")]
    pub at_ms: f64,
    pub what: String,
    pub cause: String,
    /// Empty where none of the user's connections caused it.
    pub connection: String,
    /// The status that others saw from then on.
    pub status: String,
}

/// Everything that decides how a user is shown, at one moment; times in Unix ms.
#[derive(Debug)]
pub struct Explained {
    pub now_ms: i64,
    pub presence: Presence,
    /// When inactivity was noticed.
    pub away_since_ms: Option<i64>,
    /// When it will be, unless somebody is active before.
    pub away_at_ms: Option<i64>,
    pub connections: Vec<Connection>,
    pub rooms: Vec<(ConnectionId, RoomName)>,
    /// The newest first.
    pub log: Vec<Transition>,
}

/// Looks at one user.
pub async fn explain(hot: &Hot, user: &UserId) -> Result<Explained, HotError> {
    let (keys, partition) = (hot.keys(), Partition::of_user(user));
    let mut reply = EXPLAIN
        .call()
        .key(keys.user(user))
        .key(keys.user_connections(user))
        .key(keys.user_rooms(user))
        .key(keys.leases(partition))
        .key(keys.grace(partition))
        .key(keys.due(partition))
        .key(keys.user_log(user))
        .arg(user.as_str())
        .run(hot)
        .await?;
    let mut leases = Vec::new();
    let mut explained = EXPLAIN.read(|| {
        let now_ms = reply.integer()?;
        let presence = reply.presence()?;
        let time = |ms: i64| Some(ms).filter(|&ms| ms > 0);
        let mut explained = Explained {
            now_ms,
            presence,
            away_since_ms: time(reply.integer()?),
            away_at_ms: time(reply.integer()?),
            connections: Vec::new(),
            rooms: Vec::new(),
            log: Vec::new(),
        };
        while !reply.is_empty() {
            match &*reply.text()? {
                "conn" => {
                    let lease = Lease::decode(&reply.text()?);
                    let state = match &*reply.text()? {
                        "lease" => State::Leased,
                        "grace" => State::Grace,
                        _ => State::Nothing,
                    };
                    leases.extend(lease.zip(Some((state, reply.integer()?))));
                }
                "room" => explained.rooms.push((reply.id()?, reply.id()?)),
                _ => explained.log.push(reply.json()?),
            }
        }
        Ok(explained)
    })?;
    explained.connections = complete(hot, leases).await?;
    Ok(explained)
}

const FIELDS: [&str; 5] = ["transport", "ip", "agent", "device", "connected"];

/// Adds the connections' records, and whether their nodes live.
async fn complete(hot: &Hot, leases: Vec<(Lease, (State, i64))>) -> Result<Vec<Connection>, HotError> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let fail = |error| HotError::of("read connections", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let (mut records, mut nodes) = (redis::Pipeline::new(), redis::Pipeline::new());
    for (lease, _) in &leases {
        records
            .cmd("HMGET")
            .arg(hot.keys().connection(&lease.user, &lease.connection))
            .arg(&FIELDS);
        nodes.cmd("EXISTS").arg(hot.keys().node(&lease.node));
    }
    let records = connection.send_pipeline(&records).await.map_err(fail)?;
    let lives = connection.send_pipeline(&nodes).await.map_err(fail)?;
    leases
        .into_iter()
        .zip(records)
        .zip(lives)
        .map(|(((lease, (state, end_ms)), record), lives)| {
            let record: Vec<Option<String>> = redis::from_redis_value(record).map_err(|error| fail(error.into()))?;
            let [transport, ip, agent, device, connected] =
                <[Option<String>; FIELDS.len()]>::try_from(record).unwrap_or_default();
            Ok(Connection {
                lease,
                state,
                end_ms,
                node_lives: lives == Value::Int(1),
                transport: transport.unwrap_or_default(),
                ip: ip.unwrap_or_default(),
                agent: agent.unwrap_or_default(),
                device: device.unwrap_or_default(),
                connected_ms: connected.and_then(|ms| ms.parse().ok()).unwrap_or(0),
            })
        })
        .collect()
}

impl Explained {
    /// Where a connection is, by the connection's id.
    pub fn rooms_of<'a>(&'a self, connection: &'a ConnectionId) -> impl Iterator<Item = &'a RoomName> {
        let of = move |(id, room): &'a (ConnectionId, RoomName)| (id == connection).then_some(room);
        self.rooms.iter().filter_map(of)
    }
}

impl Connection {
    /// The node that holds it, or held it.
    pub fn node(&self) -> &NodeId {
        &self.lease.node
    }
}
