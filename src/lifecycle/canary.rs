//! Sings through every master: whatever does not come back over the node's own bus makes the node unready. Not here: what is
//! known of it (`hot`), who asks (`http`).

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::hot::bus::Bus;
use crate::hot::{Hot, nodes};
use crate::types::NodeId;

/// Longest time between two songs: with the three seconds that one may take, whoever looks hears of silence within seven.
pub const EVERY_MAX: Duration = Duration::from_secs(2);

/// Sings until it is dropped: `every` so often, and at once where the bus has made a new subscription.
pub async fn run(hot: Hot, bus: Bus, node: NodeId, every: Duration) {
    let mut ticks = interval(every.min(EVERY_MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = bus.resubscribed() => {}
        }
        let perches = bus.perches();
        let at = Instant::now();
        match nodes::sing(&hot, &node, &perches).await {
            Ok(sung) => perches.iter().zip(sung).for_each(|(perch, sung)| {
                if let Err(error) = &sung {
                    tracing::debug!(%error, "a master did not take a write");
                }
                bus.has_sung(*perch, at, sung.is_ok());
            }),
            Err(error) => {
                tracing::debug!(%error, "Redis did not take a write");
                perches.iter().for_each(|perch| bus.has_sung(*perch, at, false));
            }
        }
    }
}
