//! Looks whether anything drifted, and how many leases there are: one random partition at a time, so cheaply that every
//! node can. Not here: the repair, which a person asks for (`doctor`).

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{MissedTickBehavior, interval};

use super::Metrics;
use crate::domain::doctor;
use crate::hot::keys::{PARTITIONS, Partition};
use crate::hot::{Hot, HotError};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until it is dropped.
pub async fn run(hot: Hot, metrics: Metrics) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drifted = [0; PARTITIONS];
    loop {
        ticks.tick().await;
        if let Err(error) = look(&hot, &metrics, &mut drifted).await {
            tracing::debug!(error = %error, "not looked for drift");
        }
    }
}

async fn look(hot: &Hot, metrics: &Metrics, drifted: &mut [i64; PARTITIONS]) -> Result<(), HotError> {
    let (leased, in_grace) = doctor::census(hot).await?;
    for (state, count) in [("leased", leased), ("grace", in_grace)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metrics.leases.with_label_values(&[state]).set(count);
    }
    let random = rand::rng().random_range(0..PARTITIONS);
    let Some(partition) = Partition::all().nth(random) else {
        return Ok(());
    };
    let found = doctor::examine_partition(hot, partition).await?;
    for drift in &found {
        tracing::warn!(%drift, "state drifted from the leases; `doctor --repair` ends it");
    }
    drifted[partition.index()] = i64::try_from(found.len()).unwrap_or(i64::MAX);
    metrics.drift.set(drifted.iter().sum());
    Ok(())
}
