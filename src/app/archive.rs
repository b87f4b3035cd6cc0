//! Starts what a node does for the archive: its schema, what an emptied Redis gets back, the journal, snapshots. Not here:
//! anything that a client waits for.

use std::sync::Arc;

use futures_util::future::{FutureExt as _, join_all};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::archive::Archive;
use crate::archive::snapshot::Snapshot;
use crate::config::Config;
use crate::domain::journal::Noted;
use crate::gateway::{Ask, Node, Slot};
use crate::hot::Hot;
use crate::lifecycle::restore::Restorer;
use crate::lifecycle::{journal, snapshot};

/// What the tasks work with.
pub(super) struct Parts {
    pub hot: Hot,
    pub archive: Archive,
    pub node: Arc<Node>,
    pub asks: Vec<mpsc::Sender<Ask>>,
    /// Entries of the journal that are to be written.
    pub noted: Noted,
    /// Hears that this node's living have to be registered.
    pub revived: Arc<Notify>,
}

/// Starts the tasks; each ends with its handle.
pub(super) fn start(config: &Config, parts: Parts) -> Vec<AbortOnDropHandle<()>> {
    let Parts {
        hot,
        archive,
        node,
        asks,
        noted,
        revived,
    } = parts;
    let (preparing, must_migrate) = (archive.clone(), config.migrate);
    let preparing = async move { preparing.prepare(must_migrate).await };
    let restoring = Restorer {
        hot: hot.clone(),
        archive: archive.clone(),
        mode: config.restore,
        gate: node.gate.clone(),
        revived,
    };
    let (id, metrics) = (node.id.clone(), node.metrics.clone());
    let writing = journal::run(hot, id, noted, move |count| metrics.unnoted.inc_by(count));
    let looking = snapshot::run(archive, move |number| look(asks.clone(), number).boxed());
    vec![
        AbortOnDropHandle::new(tokio::spawn(preparing)),
        AbortOnDropHandle::new(tokio::spawn(restoring.run())),
        AbortOnDropHandle::new(tokio::spawn(writing)),
        AbortOnDropHandle::new(tokio::spawn(looking)),
    ]
}

/// What all shards say; one that has ended says nothing.
async fn look(shards: Vec<mpsc::Sender<Ask>>, number: u64) -> Snapshot {
    let slot = Slot {
        number,
        of: snapshot::SLOTS,
    };
    let answers = shards.iter().map(|shard| async move {
        let (answer, answered) = oneshot::channel();
        shard.send(Ask::Snapshot(slot, answer)).await.ok()?;
        answered.await.ok()
    });
    let mut all = Snapshot::default();
    for one in join_all(answers).await.into_iter().flatten() {
        all.seen.extend(one.seen);
        all.typed.extend(one.typed);
    }
    all
}
