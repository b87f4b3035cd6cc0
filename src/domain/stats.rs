//! How the cluster is, as Redis tells it: figures, nodes, and what waits for Postgres. Not here: how one node is (`http`).

use std::time::Duration;

use super::sink::Backlog;
use crate::hot::archive::{self, Question};
use crate::hot::keys::Partition;
use crate::hot::{self, Hot, HotError, nodes};

pub use crate::hot::nodes::NodeEntry;
pub use crate::hot::stats::{Figures, Shown};

/// Counts everything, about now; see [`hot::stats::figures`] for how long that takes.
pub async fn figures(hot: &Hot) -> Result<Figures, HotError> {
    hot::stats::figures(hot).await
}

/// The cluster at a glance: cheap, whatever there is in it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// How long a script took that writes.
    pub redis: Duration,
    /// Connections whose nodes extend their leases.
    pub live: u64,
    /// Connections that are lost, and may still come back.
    pub in_grace: u64,
    /// By name.
    pub nodes: Vec<NodeEntry>,
    /// The node that writes to Postgres; `None`: no node does.
    pub writer: Option<String>,
    /// What waits for Postgres.
    pub backlog: Backlog,
    /// Partitions that are open: where all are closed, or some, Redis waits for Postgres to bring back what it has lost.
    pub open_partitions: usize,
}

/// Looks at the cluster. Fails where Redis does not answer.
pub async fn cluster(hot: &Hot) -> Result<Cluster, HotError> {
    let (live, in_grace) = hot::doctor::census(hot).await?;
    let nodes = nodes::roster(hot).await?;
    let writer = archive::writer(hot).await?;
    let question = |partition| Question {
        partition,
        entries: 0,
        bytes: 0,
        incarnation: String::new(),
        done: "0-0".to_owned(),
    };
    let questions: Vec<Question> = Partition::all().map(question).collect();
    let outboxes = archive::look(hot, &questions).await?;
    // Last: by now somebody has dialled.
    let redis = hot.check().await?;
    Ok(Cluster {
        redis,
        live,
        in_grace,
        nodes,
        // What stands behind the name tells one process from the next under it.
        writer: writer.map(|who| who.rsplit_once('/').map_or(who.clone(), |(node, _)| node.to_owned())),
        backlog: Backlog::of(&outboxes),
        open_partitions: outboxes.len(),
    })
}
