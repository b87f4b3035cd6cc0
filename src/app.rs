//! Wires everything. (The lead's file; this branch holds its signatures.)

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, PresenceAudience};
use crate::hot::{self, Metrics, Terms};

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
#[error("not wired yet")]
pub struct Error;

/// Runs a node.
pub async fn run(_config: Config, stop: CancellationToken) -> Result<(), Error> {
    stop.cancelled().await;
    Ok(())
}

/// What the hot state is made of.
pub fn hot_settings(config: &Config) -> hot::Settings {
    hot::Settings {
        url: config.redis_url.expose().to_owned(),
        prefix: config.redis_prefix.clone(),
        terms: Terms {
            lease: config.lease(),
            grace: config.presence_grace,
            prolong: Duration::from_secs(5),
            keep: Duration::from_secs(86_400),
            presence_limit: config.presence_room_limit,
            presence_to_all: config.presence_audience == PresenceAudience::All,
            user_connections: 100,
            connection_rooms: config.max_rooms as u64,
        },
        metrics: Metrics::new(&prometheus::Registry::new()).expect("a new registry holds no other collectors"),
    }
}
