//! The node's own lease. Not here: what the others do when it runs out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::hot::{Hot, nodes};
use crate::types::NodeId;

/// The beats of a node.
pub struct Beats {
    pub hot: Hot,
    pub node: NodeId,
    pub every: Duration,
    pub lease: Duration,
    pub grace: Duration,
    /// Hears that the lease was not there, or that connections passed into grace.
    pub revived: Arc<Notify>,
}

impl Beats {
    /// Beats until it is dropped. `connections` tells how many sockets the node holds now.
    pub async fn run(self, connections: impl Fn() -> u64) {
        let Self { hot, node, revived, .. } = &self;
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = false;
        loop {
            ticks.tick().await;
            if !begun {
                begun = begin(hot, node, self.grace, revived).await;
            }
            let about = json!({ "connections": connections(), "version": env!("CARGO_PKG_VERSION") }).to_string();
            match nodes::beat(hot, node, &about, self.lease).await {
                Ok(true) => {
                    tracing::info!("the node has a new lease");
                    revived.notify_one();
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(error = %error, "the node's lease was not extended"),
            }
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
