//! The connections of the cluster as the administration sees them: in pages, or one. Not here: how they come and go
//! (`presence`), whether they are whole (`doctor`).

mod dismiss;
mod place;
mod walk;

use std::sync::LazyLock;

use redis::{Pipeline, Value};

pub use self::dismiss::{answer, answered, dismiss};
pub use self::place::{BadPlace, Place};
use self::walk::{sets, walk};
use super::keys::{Lease, Partition};
use super::reply::Reply;
use super::script::{self, Script, script};
use super::{Hot, HotError};
use crate::types::{ConnectionId, NodeId, UserId};

script!(READ = "connections/read");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&READ, &dismiss::DISMISS];

/// Most connections of one page.
pub const PAGE_MAX: usize = 1_000;

/// What holds a connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its node extends its lease.
    Live,
    /// Its transport is lost, or its node is dead or goes away: it may still come back.
    Grace,
}

/// A connection, at one moment. Texts are empty where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its id, its node and its user.
    pub lease: Lease,
    /// Whether it lives.
    pub state: State,
    /// The end of the lease or the grace, unless something happens before; Unix ms.
    pub end_ms: i64,
    /// Rooms that it is in.
    pub rooms: u64,
    /// Unix ms.
    pub connected_ms: i64,
    /// The socket's id, as the client knows it.
    pub socket: String,
    /// `polling` or `websocket`.
    pub transport: String,
    /// The client's address.
    pub ip: String,
    /// The `User-Agent`.
    pub agent: String,
    /// JSON text, as the client told it.
    pub device: String,
    /// What the token calls the session.
    pub session: String,
    /// The way to the client and back, ms.
    pub latency_ms: Option<u64>,
    /// Why its transport was lost.
    pub lost: String,
}

/// Which connections are asked for: those of a user, of a node, of both, or all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user alone.
    pub user: Option<UserId>,
    /// On this node alone.
    pub node: Option<NodeId>,
}

/// Some of the connections.
#[derive(Debug, Default)]
pub struct Page {
    /// In no particular order.
    pub connections: Vec<Connection>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Place>,
}

/// One page, of at most `limit` (up to [`PAGE_MAX`]); it may have fewer, or none, also where more follow. A connection that
/// lives all the while is on one of the pages; on a second, too, where Redis rearranges its sets meanwhile.
pub async fn page(hot: &Hot, filter: &Filter, place: Option<&Place>, limit: usize) -> Result<Page, HotError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let (leases, next) = match &filter.user {
        Some(user) => of_user(hot, user, filter.node.as_ref(), place, limit).await?,
        None => walk(hot, &sets(hot, filter.node.as_ref()), place, limit).await?,
    };
    let connections = read(hot, leases).await?;
    Ok(Page { connections, next })
}

/// The connection of an id. `None`: there is none.
pub async fn find(hot: &Hot, id: &ConnectionId) -> Result<Option<Connection>, HotError> {
    let mut records = Pipeline::with_capacity(64);
    for partition in Partition::all() {
        let key = hot.keys().connection_in(partition, id);
        records.cmd("HMGET").arg(key).arg(&["node", "user"]);
    }
    let records = send(hot, &records).await?;
    let lease = records.into_iter().find_map(|record| {
        let (node, user): (Option<String>, Option<String>) = redis::from_redis_value(record).ok()?;
        Lease::decode(&format!("{id}\0{}\0{}", node?, user?))
    });
    Ok(read(hot, lease.into_iter().collect()).await?.pop())
}

/// One page of users with a connection, some of them perhaps several times, anonymous ones too; and the next page's place.
pub async fn users(hot: &Hot, place: Option<&Place>) -> Result<(Vec<UserId>, Option<Place>), HotError> {
    let (leases, next) = walk(hot, &sets(hot, None), place, PAGE_MAX).await?;
    Ok((leases.into_iter().map(|lease| lease.user).collect(), next))
}

/// How many connections each user has, those in grace too; in the order asked.
pub async fn count_each(hot: &Hot, users: &[UserId]) -> Result<Vec<u64>, HotError> {
    let mut counts = Pipeline::with_capacity(users.len());
    for user in users {
        counts.cmd("HLEN").arg(hot.keys().user_connections(user));
    }
    let counts = send(hot, &counts).await?;
    counts
        .into_iter()
        .map(|count| redis::from_redis_value(count).map_err(|error| fail(error.into())))
        .collect()
}

fn fail(error: redis::RedisError) -> HotError {
    HotError::of("list connections", error)
}

async fn send(hot: &Hot, pipeline: &Pipeline) -> Result<Vec<Value>, HotError> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let values = connection.send_pipeline(pipeline).await.map_err(fail)?;
    values
        .into_iter()
        .map(|value| value.extract_error().map_err(fail))
        .collect()
}

/// Those of one user, by name: a user has so few that one look finds all.
async fn of_user(
    hot: &Hot,
    user: &UserId,
    node: Option<&NodeId>,
    place: Option<&Place>,
    limit: usize,
) -> Result<(Vec<Lease>, Option<Place>), HotError> {
    let mut command = Pipeline::with_capacity(1);
    command.cmd("HVALS").arg(hot.keys().user_connections(user));
    let values = send(hot, &command).await?.pop().unwrap_or(Value::Nil);
    let values: Vec<String> = redis::from_redis_value(values).map_err(|error| fail(error.into()))?;
    let names = values.iter().filter_map(|value| value.split_once(' '));
    let mut names: Vec<&str> = names.map(|(_, name)| name).collect();
    names.sort_unstable();
    let after = place.and_then(|place| place.after.as_deref());
    let behind = names.into_iter().filter(|name| after.is_none_or(|after| *name > after));
    let mut leases = behind
        .filter_map(Lease::decode)
        .filter(|lease| node.is_none_or(|node| lease.node == *node));
    let page: Vec<Lease> = leases.by_ref().take(limit).collect();
    let next = leases.next().and(page.last()).map(|last| Place {
        after: Some(last.encode()),
        ..Place::default()
    });
    Ok((page, next))
}

/// Those of the leases that are connections, in their order.
async fn read(hot: &Hot, leases: Vec<Lease>) -> Result<Vec<Connection>, HotError> {
    let call = |lease: &Lease| {
        let (keys, partition) = (hot.keys(), Partition::of_user(&lease.user));
        READ.call()
            .key(keys.leases(partition))
            .key(keys.grace(partition))
            .key(keys.connection(&lease.user, &lease.connection))
            .key(keys.user_rooms(&lease.user))
            .arg(lease.encode())
            .arg(lease.connection.as_str())
    };
    let replies = script::run_all(hot, leases.iter().map(call).collect()).await?;
    let mut connections = Vec::with_capacity(leases.len());
    for (lease, reply) in leases.into_iter().zip(replies) {
        connections.extend(connection(lease, reply?)?);
    }
    Ok(connections)
}

fn connection(lease: Lease, mut reply: Reply) -> Result<Option<Connection>, HotError> {
    if reply.is_empty() {
        return Ok(None);
    }
    READ.read(|| {
        let state = match &*reply.text()? {
            "live" => State::Live,
            _ => State::Grace,
        };
        Ok(Some(Connection {
            lease,
            state,
            end_ms: reply.integer()?,
            rooms: reply.integer()?,
            connected_ms: reply.text()?.parse().unwrap_or(0),
            socket: reply.lossy_text()?,
            transport: reply.lossy_text()?,
            ip: reply.lossy_text()?,
            agent: reply.lossy_text()?,
            device: reply.lossy_text()?,
            session: reply.lossy_text()?,
            latency_ms: reply.text()?.parse().ok(),
            lost: reply.lossy_text()?,
        }))
    })
}

impl State {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Grace => "grace",
        }
    }
}
