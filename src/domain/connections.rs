//! The connections of the cluster, for the administration. Not here: how one comes and goes (`presence`, `endings`), who may
//! ask.

use std::collections::HashSet;

use crate::hot::{self, Hot, HotError};
use crate::types::ConnectionId;

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
