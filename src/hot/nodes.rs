//! The nodes of the cluster, and whether Redis works. One typed function per file of lua/nodes.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::keys::{Partition, Perch};
use super::script::{self, Script, script};
use super::{Hot, HotError, millis};
use crate::types::NodeId;

script!(BEAT = "nodes/beat");
script!(BURY = "nodes/bury");
script!(CHECK = "nodes/check");
script!(DRAIN = "nodes/drain");
script!(SING = "nodes/sing");
script!(STOP = "nodes/stop");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&BEAT, &BURY, &CHECK, &DRAIN, &SING, &STOP];

/// Extends the node's own lease. True: it was not there, so this is a start, or the node was taken for dead.
pub async fn beat(hot: &Hot, node: &NodeId, about: &str, lease: Duration) -> Result<bool, HotError> {
    let mut reply = BEAT
        .call()
        .key(hot.keys().nodes())
        .key(hot.keys().node(node))
        .key(hot.keys().node_ends())
        .arg(node.as_str())
        .arg(about)
        .number(millis(lease))
        .run(hot)
        .await?;
    BEAT.read(|| reply.flag())
}

/// How long it is known when a dead node died.
const END_KEPT_MS: i64 = 3_600_000;

/// Leases that one call moves: what Redis does at once stays short.
const BURY_MAX: u32 = 1_000;

/// Every node that nobody has struck off yet. At most a cluster's worth of names.
async fn known(hot: &Hot, operation: &'static str) -> Result<Vec<NodeId>, HotError> {
    let fail = |error| HotError::of(operation, error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let names = connection
        .send(redis::cmd("SMEMBERS").arg(hot.keys().nodes()))
        .await
        .map_err(fail)?;
    let names: Vec<String> = redis::from_redis_value(names).map_err(|error| fail(error.into()))?;
    Ok(names.iter().filter_map(|name| NodeId::parse(name).ok()).collect())
}

/// How long a request to drain waits for a node that cannot read it.
const DRAIN_KEPT: Duration = Duration::from_secs(3_600);

/// Asks a node to drain; its next beat reads it. False: no such node lives. A repeat changes nothing.
pub async fn ask_to_drain(hot: &Hot, node: &NodeId) -> Result<bool, HotError> {
    let mut reply = DRAIN
        .call()
        .key(hot.keys().node(node))
        .key(hot.keys().node_drain(node))
        .number(millis(DRAIN_KEPT))
        .run(hot)
        .await?;
    DRAIN.read(|| reply.flag())
}

/// Whether somebody has asked this node to drain.
pub async fn is_asked_to_drain(hot: &Hot, node: &NodeId) -> Result<bool, HotError> {
    let fail = |error| HotError::of("look whether the node is to drain", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let asked = connection
        .send(redis::cmd("EXISTS").arg(hot.keys().node_drain(node)))
        .await
        .map_err(fail)?;
    Ok(asked == redis::Value::Int(1))
}

/// Whoever was asked to drain was an earlier process of this name.
pub async fn forget_drain(hot: &Hot, node: &NodeId) -> Result<(), HotError> {
    let fail = |error| HotError::of("forget that an earlier process was to drain", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    connection
        .send(redis::cmd("DEL").arg(hot.keys().node_drain(node)))
        .await
        .map(drop)
        .map_err(fail)
}

/// Nodes whose own lease has run out, and that nobody has struck off yet.
pub async fn dead(hot: &Hot) -> Result<Vec<NodeId>, HotError> {
    let fail = |error| HotError::of("look for dead nodes", error);
    let nodes = known(hot, "look for dead nodes").await?;
    if nodes.is_empty() {
        return Ok(nodes);
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let mut lives = redis::Pipeline::with_capacity(2 * nodes.len());
    for node in &nodes {
        lives.cmd("EXISTS").arg(hot.keys().node(node));
        // Behind that: one that has stopped since its name was read is no death.
        lives.cmd("SISMEMBER").arg(hot.keys().nodes()).arg(node.as_str());
    }
    let lives = connection.send_pipeline(&lives).await.map_err(fail)?;
    let is_dead = [redis::Value::Int(0), redis::Value::Int(1)];
    Ok(nodes
        .into_iter()
        .zip(lives.chunks(2))
        .filter(|(_, told)| *told == is_dead)
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
    let ends = connection
        .send(redis::cmd("HGETALL").arg(hot.keys().node_ends()))
        .await
        .map_err(fail)?;
    let ends: Vec<(String, i64)> = redis::from_redis_value(ends).map_err(|error| fail(error.into()))?;
    let newest_ms = ends.iter().map(|(_, end_ms)| *end_ms).max().unwrap_or(0);
    let old = ends.iter().filter(|(_, end_ms)| newest_ms - end_ms > END_KEPT_MS);
    let old: Vec<&str> = old.map(|(node, _)| node.as_str()).collect();
    if !old.is_empty() {
        connection
            .send(redis::cmd("HDEL").arg(hot.keys().node_ends()).arg(old))
            .await
            .map_err(fail)?;
    }
    Ok(moved)
}

/// When the nodes' own leases end, or ended, Unix ms; in the order asked, `None` for those that stopped or never were.
pub async fn ends(hot: &Hot, nodes: &[NodeId]) -> Result<Vec<Option<i64>>, HotError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let fail = |error| HotError::of("read the ends of nodes", error);
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let ends = connection
        .send(redis::cmd("HMGET").arg(hot.keys().node_ends()).arg(names))
        .await
        .map_err(fail)?;
    redis::from_redis_value(ends).map_err(|error| fail(error.into()))
}

/// A node, as it told of itself with its last beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    pub node: NodeId,
    /// What is left of its own lease; `None`: it is dead, and to be buried.
    pub lease: Option<Duration>,
    /// Sockets that it holds.
    pub connections: Option<u64>,
    /// Of the program.
    pub version: Option<String>,
    /// `serving`, or how far it is with going away.
    pub phase: Option<String>,
    /// Which of the processes of its name it is; of an earlier version it does not say.
    pub process: Option<String>,
}

/// What [`beat`] is told by a node; one of another version may say less, or more.
#[derive(Default, Deserialize)]
struct About {
    connections: Option<u64>,
    version: Option<String>,
    phase: Option<String>,
    process: Option<String>,
}

/// Every node that lives, or that nobody has buried yet, by name.
pub async fn roster(hot: &Hot) -> Result<Vec<NodeEntry>, HotError> {
    let fail = |error| HotError::of("list the nodes", error);
    let mut nodes = known(hot, "list the nodes").await?;
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    nodes.sort_unstable();
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let mut about = redis::Pipeline::with_capacity(2 * nodes.len());
    for node in &nodes {
        about.cmd("PTTL").arg(hot.keys().node(node));
        about.cmd("GET").arg(hot.keys().node(node));
    }
    let about = connection.send_pipeline(&about).await.map_err(fail)?;
    let entry = |(node, told): (NodeId, &[redis::Value])| {
        let [ttl, about] = told else { return None };
        let about: Option<String> = redis::from_redis_value(about.clone()).unwrap_or_default();
        let About {
            connections,
            version,
            phase,
            process,
        } = about
            .and_then(|about| serde_json::from_str(&about).ok())
            .unwrap_or_default();
        let left_ms: i64 = redis::from_redis_value(ttl.clone()).unwrap_or(-2);
        Some(NodeEntry {
            node,
            lease: u64::try_from(left_ms).ok().map(Duration::from_millis),
            connections,
            version,
            phase,
            process,
        })
    };
    Ok(nodes.into_iter().zip(about.chunks(2)).filter_map(entry).collect())
}

/// The node ends by itself and is struck off: nobody takes it for dead, and what its connections come to is no consequence
/// of a death. It beats no more. A repeat changes nothing.
pub async fn stop(hot: &Hot, node: &NodeId) -> Result<(), HotError> {
    let stop = STOP
        .call()
        .key(hot.keys().nodes())
        .key(hot.keys().node(node))
        .key(hot.keys().node_ends())
        .key(hot.keys().node_drain(node))
        .arg(node.as_str());
    stop.run(hot).await.map(drop)
}

/// How long is kept what shows that a master takes writes.
const CHECK_LIFE: Duration = Duration::from_secs(60);

/// Has each of these masters write something and publish it to the node; what came of each, in their order.
pub async fn sing(hot: &Hot, node: &NodeId, perches: &[Perch]) -> Result<Vec<Result<(), HotError>>, HotError> {
    let call = |&perch: &Perch| {
        SING.call()
            .key(hot.keys().check(perch))
            .key(hot.keys().canary(node, perch))
            .number(millis(CHECK_LIFE))
    };
    let replies = script::run_all(hot, perches.iter().map(call).collect()).await?;
    Ok(replies.into_iter().map(|reply| reply.map(drop)).collect())
}

impl Hot {
    /// Runs a script that writes; how long that took.
    pub async fn check(&self) -> Result<Duration, HotError> {
        let started = Instant::now();
        CHECK
            .call()
            .key(self.keys().check(Perch::Nodes))
            .number(millis(CHECK_LIFE))
            .run(self)
            .await?;
        Ok(started.elapsed())
    }
}
