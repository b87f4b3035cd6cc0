//! The connections of the cluster, for the administration. Not here: how one comes and goes (`presence`, `endings`), who may
//! ask.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::hot::{self, Hot, HotError};
use crate::types::{ConnectionId, NodeId, UserId};

pub use crate::hot::connections::{BadPlace, Connection, Filter, PAGE_MAX, Page, Place, State};

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

/// Sends away the one socket that has this id, or whose connection has it.
pub async fn dismiss_one(hot: &Hot, id: &str) -> Result<Dismissed, HotError> {
    let Some(connection) = by_either_id(hot, id).await? else {
        return Ok(Dismissed::default());
    };
    let user = connection.lease.user.clone();
    dismiss(hot, &user, vec![connection]).await
}

/// The id of a connection leads to it; that of a socket is looked for among all.
async fn by_either_id(hot: &Hot, id: &str) -> Result<Option<Connection>, HotError> {
    if let Ok(id) = ConnectionId::parse(id)
        && let Some(found) = find(hot, &id).await?
    {
        return Ok(Some(found).filter(|found| found.state == State::Live));
    }
    let mut place = None;
    loop {
        let page = hot::connections::page(hot, &Filter::default(), place.as_ref(), PAGE_MAX).await?;
        let is_meant = |one: &Connection| one.socket == id && one.state == State::Live;
        if let Some(found) = page.connections.into_iter().find(is_meant) {
            return Ok(Some(found));
        }
        place = page.next;
        if place.is_none() {
            return Ok(None);
        }
    }
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

/// Tells the nodes, again and again, until the connections have gone or patience is over.
async fn dismiss(hot: &Hot, user: &UserId, connections: Vec<Connection>) -> Result<Dismissed, HotError> {
    let mut dismissed = Dismissed::default();
    for connection in &connections {
        *dismissed.nodes.entry(connection.lease.node.clone()).or_default() += 1;
    }
    let mut left: Vec<ConnectionId> = connections.into_iter().map(|one| one.lease.connection).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut say_at = Instant::now();
    while !left.is_empty() && Instant::now() < deadline {
        if Instant::now() >= say_at {
            hot::connections::dismiss(hot, &left).await?;
            say_at = Instant::now() + SAY_EVERY;
        }
        sleep(LOOK_EVERY).await;
        let held = held(hot, user).await?;
        left.retain(|id| held.iter().any(|one| one.lease.connection == *id));
    }
    dismissed.remaining = left.len() as u64;
    Ok(dismissed)
}
