//! The connections of the cluster, for the administration. Not here: how one comes and goes (`presence`, `endings`), who may
//! ask.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::hot::keys::Lease;
use crate::hot::{self, Hot, HotError};
use crate::types::{ConnectionId, NodeId, UserId};

pub use crate::hot::connections::{BadPlace, Connection, Filter, PAGE_MAX, Page, Place, State, answer};

/// One page of at most `limit` (up to [`PAGE_MAX`]) connections; fewer, or none, is no sign that it is the last.
pub async fn page(hot: &Hot, filter: &Filter, place: Option<&Place>, limit: usize) -> Result<Page, HotError> {
    hot::connections::page(hot, filter, place, limit).await
}

/// The connection of an id. `None`: there is none.
pub async fn find(hot: &Hot, id: &ConnectionId) -> Result<Option<Connection>, HotError> {
    hot::connections::find(hot, id).await
}

/// Connections among which the latest are looked for, where fewer are wanted.
const LOOKED_AT: usize = 100_000;

/// The `most` latest connections, each once, the latest first; and whether there are more. In a cluster with more than 100,000
/// they are the latest of as many.
pub async fn latest(hot: &Hot, filter: &Filter, most: usize) -> Result<(Vec<Connection>, bool), HotError> {
    let (mut connections, mut met) = (Vec::new(), HashSet::new());
    let mut place = None;
    loop {
        let page = hot::connections::page(hot, filter, place.as_ref(), PAGE_MAX).await?;
        let news = page.connections.into_iter();
        connections.extend(news.filter(|connection| met.insert(connection.lease.connection.clone())));
        place = page.next;
        if place.is_none() || connections.len() >= most.max(LOOKED_AT) {
            break;
        }
    }
    let is_cut = connections.len() > most || place.is_some();
    connections.sort_by_key(|connection| std::cmp::Reverse(connection.connected_ms));
    connections.truncate(most);
    Ok((connections, is_cut))
}

/// How long it is waited for that connections go.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks, …
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// … and between two words to the nodes: the bus may have lost one.
const SAY_EVERY: Duration = Duration::from_millis(300);

/// Connections that were sent away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dismissed {
    /// How many each node held.
    pub nodes: BTreeMap<NodeId, u64>,
    /// Of these so many are still there.
    pub remaining: u64,
}

/// Sends away the sockets that a user has now; in grace there is none that could be sent.
pub async fn dismiss_user(hot: &Hot, user: &UserId) -> Result<Dismissed, HotError> {
    let held = held(hot, user).await?;
    dismiss(hot, user, held).await
}

/// Sends away the one socket that has this id, or whose connection has it. Without control characters.
pub async fn dismiss_one(hot: &Hot, id: &str) -> Result<Dismissed, HotError> {
    if let Ok(id) = ConnectionId::parse(id)
        && let Some(found) = find(hot, &id).await?
    {
        let live = Vec::from_iter(Some(found).filter(|found| found.state == State::Live));
        return match live.first().map(|found| found.lease.user.clone()) {
            Some(user) => dismiss(hot, &user, live).await,
            None => Ok(Dismissed::default()),
        };
    }
    // Nothing leads from a socket's id to its connection but the node that has it: everybody hears the id as it is, and that
    // node answers. What an earlier question was answered is not meant.
    hot::connections::answered(hot, id).await?;
    let word = [id.to_owned()];
    let deadline = Instant::now() + PATIENCE;
    let mut say_at = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= say_at {
            hot::connections::dismiss(hot, &word).await?;
            say_at = Instant::now() + SAY_EVERY;
        }
        sleep(LOOK_EVERY).await;
        if let Some(lease) = hot::connections::answered(hot, id).await? {
            return see_off(hot, lease).await;
        }
    }
    Ok(Dismissed::default())
}

/// Waits until the lease of a socket that was sent away has gone.
async fn see_off(hot: &Hot, lease: Lease) -> Result<Dismissed, HotError> {
    let deadline = Instant::now() + PATIENCE;
    let is_held = async || {
        let held = find(hot, &lease.connection).await?;
        Ok::<_, HotError>(held.is_some_and(|held| held.state == State::Live))
    };
    let mut remains = is_held().await?;
    while remains && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
        remains = is_held().await?;
    }
    Ok(Dismissed {
        remaining: remains.into(),
        nodes: BTreeMap::from([(lease.node, 1)]),
    })
}

async fn held(hot: &Hot, user: &UserId) -> Result<Vec<Connection>, HotError> {
    let filter = Filter {
        user: Some(user.clone()),
        node: None,
    };
    let (mut held, _) = latest(hot, &filter, PAGE_MAX).await?;
    held.retain(|connection| connection.state == State::Live);
    Ok(held)
}

/// Whether it is the same client still: one whose lease Redis had lost is registered anew meanwhile, as a further life.
fn is_same(one: &Connection, other: &Connection) -> bool {
    one.lease.connection.pid() == other.lease.connection.pid() || (one.socket == other.socket && !one.socket.is_empty())
}

/// Tells the nodes, again and again, until the connections have gone or patience is over.
async fn dismiss(hot: &Hot, user: &UserId, connections: Vec<Connection>) -> Result<Dismissed, HotError> {
    let mut dismissed = Dismissed::default();
    for connection in &connections {
        *dismissed.nodes.entry(connection.lease.node.clone()).or_default() += 1;
    }
    let mut left = connections;
    let deadline = Instant::now() + PATIENCE;
    let mut say_at = Instant::now();
    while !left.is_empty() && Instant::now() < deadline {
        if Instant::now() >= say_at {
            hot::connections::dismiss(hot, &ids(&left)).await?;
            say_at = Instant::now() + SAY_EVERY;
        }
        sleep(LOOK_EVERY).await;
        let mut held = held(hot, user).await?;
        held.retain(|now| left.iter().any(|one| is_same(one, now)));
        left = held;
    }
    dismissed.remaining = left.len() as u64;
    Ok(dismissed)
}

/// By either id: the socket's stays the same when it is registered anew, and a node of an earlier version does not know it.
fn ids(connections: &[Connection]) -> Vec<String> {
    let mut ids = Vec::with_capacity(2 * connections.len());
    for connection in connections {
        ids.push(connection.lease.connection.to_string());
        ids.extend(Some(connection.socket.clone()).filter(|socket| !socket.is_empty()));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: &str, socket: &str) -> Connection {
        Connection {
            lease: Lease {
                connection: ConnectionId::parse(id).expect("an id"),
                node: NodeId::parse("n").expect("an id"),
                user: UserId::parse("u").expect("an id"),
            },
            state: State::Live,
            end_ms: 0,
            rooms: 0,
            connected_ms: 0,
            socket: socket.to_owned(),
            transport: String::new(),
            ip: String::new(),
            agent: String::new(),
            device: String::new(),
            session: String::new(),
            latency_ms: None,
            lost: String::new(),
        }
    }

    #[test]
    fn one_that_is_registered_anew_meanwhile_has_not_gone() {
        let listed = connection("pid.1", "socket");
        assert!(is_same(&listed, &connection("pid.2", "socket")));
        assert!(is_same(&listed, &connection("pid.2", "")));
        assert!(is_same(&listed, &connection("another.1", "socket")));
        assert!(!is_same(&listed, &connection("another.1", "other")));
        assert!(!is_same(&connection("pid.1", ""), &connection("another.1", "")));
        assert_eq!(ids(&[listed]), ["pid.1", "socket"]);
        assert_eq!(ids(&[connection("pid.1", "")]), ["pid.1"]);
    }
}
