//! The nodes of the cluster, and whether Redis works. One typed function per file of lua/nodes.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::keys::Partition;
use super::script::{self, Script, script};
use super::{Hot, HotError, millis};
use crate::types::NodeId;

script!(BEAT = "nodes/beat");
script!(BURY = "nodes/bury");
script!(CHECK = "nodes/check");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&BEAT, &BURY, &CHECK];

/// Extends the node's own lease. True: it was not there, so this is a start, or the node was taken for dead.
pub async fn beat(hot: &Hot, node: &NodeId, about: &str, lease: Duration) -> Result<bool, HotError> {
    let mut reply = BEAT
        .call()
        .key(hot.keys().nodes())
        .key(hot.keys().node(node))
        .arg(node.as_str())
        .arg(about)
        .number(millis(lease))
        .run(hot)
        .await?;
    BEAT.read(|| reply.flag())
}

/// Leases that one call moves: what Redis does at once stays short.
const BURY_MAX: u32 = 1_000;

/// Nodes whose own lease has run out, and that nobody has struck off yet. At most a cluster's worth of names.
pub async fn dead(hot: &Hot) -> Result<Vec<NodeId>, HotError> {
    let fail = |error| HotError::of("look for dead nodes", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let names = connection
        .send(redis::cmd("SMEMBERS").arg(hot.keys().nodes()))
        .await
        .map_err(fail)?;
    let names: Vec<String> = redis::from_redis_value(names).map_err(|error| fail(error.into()))?;
    let nodes: Vec<NodeId> = names.iter().filter_map(|name| NodeId::parse(name).ok()).collect();
    if nodes.is_empty() {
        return Ok(nodes);
    }
    let mut lives = redis::Pipeline::with_capacity(nodes.len());
    for node in &nodes {
        lives.cmd("EXISTS").arg(hot.keys().node(node));
    }
    let lives = connection.send_all(&lives, nodes.len()).await.map_err(fail)?;
    Ok(nodes
        .into_iter()
        .zip(lives)
        .filter(|(_, lives)| *lives == redis::Value::Int(0))
        .map(|(node, _)| node)
        .collect())
}

/// Moves a dead node's leases into grace, and strikes the node off; how many it still held. A repeat finds nothing.
pub async fn bury(hot: &Hot, node: &NodeId, grace: Duration) -> Result<u64, HotError> {
    let mut partitions: Vec<Partition> = Partition::all().collect();
    let mut moved = 0;
    while !partitions.is_empty() {
        let call = |&partition: &Partition| {
            BURY.call()
                .key(hot.keys().node_leases(partition, node))
                .key(hot.keys().leases(partition))
                .key(hot.keys().grace(partition))
                .number(millis(grace))
                .number(BURY_MAX)
        };
        let replies = script::run_all(hot, partitions.iter().map(call).collect()).await?;
        let mut unfinished = Vec::new();
        for (partition, reply) in partitions.into_iter().zip(replies) {
            let mut reply = reply?;
            let (count, more): (u64, bool) = BURY.read(|| Ok((reply.integer()?, reply.flag()?)))?;
            moved += count;
            unfinished.extend(more.then_some(partition));
        }
        partitions = unfinished;
    }
    let fail = |error| HotError::of("strike a node off", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    connection
        .send(redis::cmd("SREM").arg(hot.keys().nodes()).arg(node.as_str()))
        .await
        .map_err(fail)?;
    Ok(moved)
}

impl Hot {
    /// Runs a script that writes; how long that took.
    pub async fn check(&self) -> Result<Duration, HotError> {
        let started = Instant::now();
        let expire = Duration::from_secs(60);
        CHECK
            .call()
            .key(self.keys().check())
            .number(millis(expire))
            .run(self)
            .await?;
        Ok(started.elapsed())
    }
}
