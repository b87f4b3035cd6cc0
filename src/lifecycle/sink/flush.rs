//! Writes at once what somebody waits for: the partitions that are asked for, whoever has the lease. Demands that come
//! together are answered together.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Metrics;
use crate::domain::sink::{Demand, Durability, Failure, Pump, Sink};
use crate::hot::keys::Partition;
use crate::hot::outbox::{self, Life};

/// Demands that are answered together, at most.
const TOGETHER: usize = 256;
/// … and those that wait for it meanwhile.
const WAITING_MAX: usize = 1_024;

/// Before it is looked again for what was not there.
const AGAIN: Duration = Duration::from_millis(5);

/// Answers demands.
pub(super) struct Flusher {
    pub pump: Pump,
    pub sink: Sink,
    pub metrics: Metrics,
}

/// A demand, and the life of the partition's data that it was first seen in.
struct Waiting {
    demand: Demand,
    life: Option<String>,
}

impl Flusher {
    /// Answers until nobody can ask any more.
    pub async fn run(mut self, mut demands: mpsc::Receiver<Demand>) {
        loop {
            let mut came = Vec::new();
            if demands.recv_many(&mut came, TOGETHER).await == 0 {
                // The handles are gone; the sink goes on without.
                std::future::pending::<()>().await;
            }
            let mut waiting = Vec::new();
            if let Err(error) = self.serve(came, &mut waiting, &mut demands).await {
                self.fail(&error);
            }
            for left in waiting {
                left.demand.answer(Durability::NotYet);
            }
        }
    }

    /// Writes until every demand is answered, those that come meanwhile included; those whose time is over are left.
    async fn serve(
        &mut self,
        mut came: Vec<Demand>,
        waiting: &mut Vec<Waiting>,
        demands: &mut mpsc::Receiver<Demand>,
    ) -> Result<(), Failure> {
        loop {
            let first = waiting.len();
            waiting.extend(came.drain(..).map(|demand| Waiting { demand, life: None }));
            if waiting.is_empty() {
                return Ok(());
            }
            if waiting.len() > first {
                self.pump.refresh(&partitions(&waiting[first..])).await?;
            }
            // Looked at before anything is said: what is behind an entry that a failover has lost is not what Postgres has.
            let turn = self.pump.advance(&partitions(waiting)).await?;
            self.metrics.note_turn(&turn);
            self.answer(waiting).await?;
            waiting.retain(|waiting| !waiting.demand.is_over());
            let place = WAITING_MAX.saturating_sub(waiting.len());
            while came.len() < place
                && let Ok(demand) = demands.try_recv()
            {
                came.push(demand);
            }
            if came.is_empty() && !waiting.is_empty() && turn.written.entries == 0 {
                // Another sink may be at it, or there is no such entry.
                sleep(AGAIN).await;
            }
        }
    }

    /// Answers the demands whose partitions have come so far. What Postgres has of a life that Redis has lost meanwhile may have
    /// come too late to be brought back, so it is not durable.
    async fn answer(&self, waiting: &mut Vec<Waiting>) -> Result<(), Failure> {
        let is_reached = |one: &Waiting| {
            let reached = self.pump.reached(one.demand.partition);
            reached.is_some_and(|(life, last)| !life.is_empty() && last >= one.demand.up_to)
        };
        let lives = match waiting.iter().any(is_reached) {
            true => outbox::lives(self.pump.hot()).await?,
            false => Vec::new(),
        };
        let pending = std::mem::take(waiting);
        for mut one in pending {
            let Some((life, last)) = self.pump.reached(one.demand.partition) else {
                waiting.push(one);
                continue;
            };
            let is_known = !life.is_empty();
            let is_same = one.life.as_deref().is_none_or(|seen| seen == life);
            if !is_same {
                // Redis was emptied meanwhile: it may be lost there, and never come here.
                one.demand.answer(Durability::NotYet);
            } else if is_known && last >= one.demand.up_to {
                let is_its_life = |now: &Life| now.partition == one.demand.partition && now.incarnation == life;
                let durability = match lives.iter().any(is_its_life) {
                    true => Durability::Durable,
                    false => Durability::NotYet,
                };
                one.demand.answer(durability);
            } else {
                one.life = is_known.then(|| life.to_owned());
                waiting.push(one);
            }
        }
        Ok(())
    }

    fn fail(&self, error: &Failure) {
        if !matches!(error, Failure::Hot(_)) {
            self.metrics.note_failure("postgres");
        }
        if !error.is_of_postgres() {
            tracing::debug!(error = %error, "what somebody waits for is not written now");
        } else if self.sink.note_away() {
            // Whoever comes next must not wait for it; the keeper looks when it is back.
            tracing::warn!(error = %error, "the sink cannot write to Postgres; what happens waits in Redis");
        }
    }
}

fn partitions(waiting: &[Waiting]) -> Vec<Partition> {
    let distinct: BTreeSet<Partition> = waiting.iter().map(|waiting| waiting.demand.partition).collect();
    distinct.into_iter().collect()
}
