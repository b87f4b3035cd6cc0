//! The node's own lease. Not here: what the others do when it runs out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::hot::{Hot, nodes};
use crate::types::NodeId;

/// Beats until it is dropped. `connections` tells how many sockets the node holds now; `revived` hears
/// that the lease was not there.
pub async fn run(
    hot: Hot,
    node: NodeId,
    every: Duration,
    lease: Duration,
    revived: Arc<Notify>,
    connections: impl Fn() -> u64,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let about = json!({ "connections": connections(), "version": env!("CARGO_PKG_VERSION") }).to_string();
        match nodes::beat(&hot, &node, &about, lease).await {
            Ok(true) => {
                tracing::info!("the node has a new lease");
                revived.notify_one();
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %error, "the node's lease was not extended"),
        }
    }
}
