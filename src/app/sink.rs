//! The sink of a node, where a database is configured: made of the node's settings, started with it, and ended behind its
//! sockets, whose ends it still writes.

use std::time::Duration;

use prometheus::Registry;

use super::Error;
use crate::archive::Archive;
use crate::config::Config;
use crate::domain::sink::{Chosen, Retention, Sink};
use crate::hot;
use crate::lifecycle::sink::{Metrics, Running, Settings};

/// Between two looks at what the archive keeps for too long.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How long a connection that lives can be in no snapshot: it is due twice a minute, so only Postgres can have been away.
const UNSEEN: Duration = Duration::from_secs(600);

/// Starts it; `None` without a database.
pub(super) fn start(
    config: &Config,
    hot: &hot::Settings,
    archive: &Archive,
    registry: &Registry,
) -> Result<Option<(Sink, Running)>, Error> {
    if config.database_url.is_none() {
        return Ok(None);
    }
    let settings = Settings {
        hot: hot.clone(),
        archive: archive.clone(),
        node: config.node_id.clone(),
        chosen: Chosen::new(config.log_events, config.log_event_types.clone()),
        retention: Retention {
            event_days: config.event_retention_days,
            connections: config.connection_retention,
            unseen: UNSEEN,
        },
        tidy_every: TIDY_EVERY,
        farewell: farewell(config),
    };
    let (sink, demands) = Sink::new();
    let running = Running::start(settings, sink.clone(), demands, Metrics::new(registry)?).map_err(Error::Sink)?;
    Ok(Some((sink, running)))
}

/// What it is under way with at the stop, and what it writes then, may take so long each; together no longer than
/// `lifecycle::drain` plans for it.
fn farewell(config: &Config) -> Duration {
    config.drain_timeout / 16
}
