//! The node's own lease, and what it tells of itself with it; each beat also looks whether the node was asked to drain. Not
//! here: what the others do when the lease runs out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::drain::Drain;
use crate::hot::{Hot, nodes};
use crate::types::NodeId;

/// The beats of a node.
pub struct Beats {
    pub hot: Hot,
    pub node: NodeId,
    pub every: Duration,
    pub lease: Duration,
    pub grace: Duration,
    /// Told where somebody asked for it; each of its steps is told with a beat at once.
    pub drain: Drain,
    /// Hears that the lease was not there, or that connections passed into grace.
    pub revived: Arc<Notify>,
}

impl Beats {
    /// Beats until it is dropped. `connections` tells how many sockets the node holds now.
    pub async fn run(self, connections: impl Fn() -> u64) {
        let Self {
            hot,
            node,
            revived,
            drain,
            ..
        } = &self;
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut begun, mut is_itself) = (false, false);
        let mut steps = drain.steps();
        let process = format!("{:016x}", rand::random::<u64>());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = steps.changed() => {}
            }
            if !is_itself {
                // Before it is seen alive: whoever was asked to drain by now was another process.
                match nodes::forget_drain(hot, node).await {
                    Ok(()) => is_itself = true,
                    Err(error) => {
                        tracing::debug!(error = %error, "the node does not beat yet");
                        continue;
                    }
                }
            }
            if !begun {
                begun = begin(hot, node, self.grace, revived).await;
            }
            let about = json!({
                "connections": connections(),
                "version": env!("CARGO_PKG_VERSION"),
                "phase": drain.phase().as_str(),
                "process": process,
            });
            let about = about.to_string();
            let beating = nodes::beat(hot, node, &about, self.lease);
            let (beaten, ()) = tokio::join!(beating, self.look_for_a_request());
            match beaten {
                Ok(true) => {
                    tracing::info!("the node has a new lease");
                    revived.notify_one();
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(error = %error, "the node's lease was not extended"),
            }
        }
    }

    /// Asked by `nself-realtime drain`, or over HTTP.
    async fn look_for_a_request(&self) {
        if self.drain.has_begun() {
            return;
        }
        match nodes::is_asked_to_drain(&self.hot, &self.node).await {
            Ok(true) if self.drain.begin() => tracing::info!("asked to drain"),
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error, "not looked whether the node is to drain"),
        }
    }
}

/// A process that died a moment ago under this name has left connections that nobody holds, and this one's beats would keep
/// the others from burying it. Whoever came to this process already is found missing at once, and registered anew.
async fn begin(hot: &Hot, node: &NodeId, grace: Duration, revived: &Notify) -> bool {
    match nodes::bury(hot, node, grace).await {
        Ok(0) => true,
        Ok(left) => {
            tracing::warn!(
                connections = left,
                "a process of this name died; its connections pass into grace"
            );
            revived.notify_one();
            true
        }
        Err(error) => {
            tracing::debug!(error = %error, "what an earlier process may have left was not looked for");
            false
        }
    }
}
