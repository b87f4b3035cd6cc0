//! The nodes of the cluster, and whether Redis works. One typed function per file of lua/nodes.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::script::{Script, script};
use super::{Hot, HotError, millis};
use crate::types::NodeId;

script!(BEAT = "nodes/beat");
script!(CHECK = "nodes/check");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&BEAT, &CHECK];

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
