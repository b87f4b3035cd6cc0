//! How many events the archive has. Not here: which (`events`).

use std::time::Duration;

use super::{QueryError, within};
use crate::archive::Archive;

/// Rows of the audit trail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// All that is kept.
    pub total: u64,
    /// Those of the last hour, by Postgres' clock.
    pub last_hour: u64,
}

const TOTAL: &str = "SELECT count(*) FROM realtime_events";
const LAST_HOUR: &str = "SELECT count(*) FROM realtime_events WHERE created_at > now() - INTERVAL '1 hour'";

impl Archive {
    /// Counts the events. All of them are looked at, so that `patience` may be too short for years of them; fails when
    /// Postgres is away, or takes longer.
    pub async fn count_events(&self, patience: Duration) -> Result<EventCounts, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            let total: i64 = snapshot.query_one(TOTAL, &[]).await?.try_get(0)?;
            let last_hour: i64 = snapshot.query_one(LAST_HOUR, &[]).await?.try_get(0)?;
            Ok(EventCounts {
                total: total.unsigned_abs(),
                last_hour: last_hour.unsigned_abs(),
            })
        })
        .await
    }

    /// Counts the events of the last hour alone. Fails like [`Archive::count_events`].
    pub async fn count_latest_events(&self, patience: Duration) -> Result<u64, QueryError> {
        within(patience, async {
            let mut reader = self.reader().await?;
            let snapshot = reader.snapshot(Some(patience)).await?;
            let last_hour: i64 = snapshot.query_one(LAST_HOUR, &[]).await?.try_get(0)?;
            Ok(last_hour.unsigned_abs())
        })
        .await
    }
}
