//! Deletes every key under the prefix. Not here: whether that may be (`cli`).

use redis::{Cmd, Pipeline, RedisError, Value};

use super::{Hot, HotError};
use crate::types::NodeId;

/// Keys of one step of a scan, about.
const BATCH: usize = 1_000;

fn fail(error: RedisError) -> HotError {
    HotError::of("purge", error)
}

/// Nodes whose own lease stands. At most a cluster's worth of names.
pub async fn living(hot: &Hot) -> Result<Vec<NodeId>, HotError> {
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let names = connection.send(&Cmd::smembers(hot.keys().nodes())).await.map_err(fail)?;
    let names: Vec<String> = redis::from_redis_value(names).map_err(|error| fail(error.into()))?;
    let nodes: Vec<NodeId> = names.iter().filter_map(|name| NodeId::parse(name).ok()).collect();
    if nodes.is_empty() {
        return Ok(nodes);
    }
    let mut leases = Pipeline::with_capacity(nodes.len());
    for node in &nodes {
        leases.add_command(Cmd::exists(hot.keys().node(node)));
    }
    let leases = connection.send_pipeline(&leases).await.map_err(fail)?;
    let stands = |(node, lease)| (lease == Value::Int(1)).then_some(node);
    Ok(nodes.into_iter().zip(leases).filter_map(stands).collect())
}

/// Deletes the keys on every master, in batches; how many there were. What is written meanwhile may stay.
pub async fn purge(hot: &Hot) -> Result<u64, HotError> {
    let mut deleted = 0;
    for pool in hot.pools().await? {
        let mut connection = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
        let mut cursor = 0;
        loop {
            let (next, found): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(hot.keys().pattern())
                .arg("COUNT")
                .arg(BATCH)
                .query_async(&mut *connection)
                .await
                .map_err(fail)?;
            let ours: Vec<_> = found.iter().filter(|key| hot.keys().is_ours(key)).collect();
            if !ours.is_empty() {
                // One by one, since they lie in many slots.
                let mut unlinks = Pipeline::with_capacity(ours.len());
                for key in ours {
                    unlinks.add_command(Cmd::unlink(key));
                }
                let counts: Vec<u64> = unlinks.query_async(&mut *connection).await.map_err(fail)?;
                deleted += counts.iter().sum::<u64>();
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(deleted)
}
