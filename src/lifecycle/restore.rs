//! Looks whether Redis has lost its data, and sees to it that it comes back: first what the archive knows, then the living.
//! Not here: what is brought back (`domain`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::archive::Archive;
use crate::config::Restore;
use crate::domain::restore::{self, Failure, Gate, Mark, Restored};
use crate::hot::keys::Partition;
use crate::hot::{Hot, outbox};

/// Between two looks: what is closed now, everybody waits for.
const EVERY: Duration = Duration::from_millis(250);
/// Between two tries while Postgres is away.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at what was opened without Postgres.
const DEBTS: Duration = Duration::from_secs(5);

/// Who looks.
pub struct Restorer {
    pub hot: Hot,
    pub archive: Archive,
    /// What an emptied Redis waits for.
    pub mode: Restore,
    /// Hears whether every partition is open.
    pub gate: Gate,
    /// Hears that data is from another life now: this node's living have to be registered.
    pub revived: Arc<Notify>,
}

impl Restorer {
    /// Looks until it is dropped.
    pub async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut known, mut marks): (Vec<String>, Vec<Mark>) = (Vec::new(), Vec::new());
        let (mut not_before, mut debts_at) = (Instant::now(), Instant::now());
        loop {
            ticks.tick().await;
            let lives = match outbox::lives(&self.hot).await {
                Ok(lives) => lives,
                Err(error) => {
                    tracing::debug!(error = %error, "the partitions cannot be looked at");
                    continue;
                }
            };
            let closed: Vec<Partition> = lives
                .iter()
                .filter(|life| !life.is_open)
                .map(|life| life.partition)
                .collect();
            self.show(&closed);
            if !closed.is_empty() {
                if Instant::now() >= not_before && !self.reopen(&closed).await {
                    not_before = Instant::now() + PAUSE;
                }
                continue;
            }
            let incarnations: Vec<String> = lives.into_iter().map(|life| life.incarnation).collect();
            if known != incarnations {
                self.revived.notify_one();
                known = incarnations;
            }
            if debts_at.elapsed() >= DEBTS {
                debts_at = Instant::now();
                self.pay_debts(&mut marks).await;
            }
        }
    }

    fn show(&self, closed: &[Partition]) {
        if self.gate.set_open(closed.is_empty()) {
            match closed.len() {
                0 => tracing::info!("every partition is open"),
                closed => tracing::warn!(
                    closed,
                    "Redis has lost data; partitions are closed until the archive has brought it back"
                ),
            }
        }
    }

    /// Whether it is worth to look again at once.
    async fn reopen(&self, closed: &[Partition]) -> bool {
        match restore::bring_back(&self.hot, &self.archive, &[]).await {
            Ok(Some(restored)) => {
                tracing::info!(
                    partitions = closed.len(),
                    rooms = restored.rooms,
                    statuses = restored.statuses,
                    "brought back from the archive"
                );
                true
            }
            Ok(None) => true,
            Err(Failure::Archive(error)) if self.mode == Restore::BestEffort => {
                tracing::warn!(error = %error, partitions = closed.len(), "opened without the archive, which is away");
                if let Err(error) = restore::open_without(&self.hot, closed).await {
                    tracing::warn!(error = %error, "partitions stay closed");
                }
                true
            }
            Err(error) => {
                tracing::warn!(error = %error, partitions = closed.len(), "partitions stay closed until the archive can be read");
                false
            }
        }
    }

    /// What was opened without Postgres gets what it knows beside what is known by now, once it has heard of everything that
    /// happened until this was seen first.
    async fn pay_debts(&self, marks: &mut Vec<Mark>) {
        let seen = match outbox::owed(&self.hot).await {
            Ok(owed) if !owed.is_empty() => outbox::last_ids(&self.hot, &owed).await,
            Ok(_) => {
                marks.clear();
                return;
            }
            Err(error) => Err(error),
        };
        match seen {
            Ok(seen) => {
                marks.retain(|(partition, _)| seen.iter().any(|(owed, _)| owed == partition));
                let is_new = |(partition, _): &Mark| marks.iter().all(|(known, _)| known != partition);
                let new: Vec<Mark> = seen.into_iter().filter(is_new).collect();
                marks.extend(new);
            }
            Err(error) => {
                tracing::debug!(error = %error, "what is owed cannot be looked at");
                return;
            }
        }
        match restore::bring_back(&self.hot, &self.archive, marks).await {
            // Asked again and again as long as there is no schema; then there is nothing to tell.
            Ok(Some(Restored { rooms: 0, statuses: 0 })) | Ok(None) => {}
            Ok(Some(restored)) => tracing::info!(
                rooms = restored.rooms,
                statuses = restored.statuses,
                "what the archive knows was brought back later"
            ),
            Err(error) => tracing::debug!(error = %error, "the archive is still away"),
        }
    }
}
