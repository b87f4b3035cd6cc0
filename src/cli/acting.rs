//! For commands that change something: what Redis has lost comes back before, and what was changed is in Postgres behind it,
//! also where no gateway runs. Not here: what a command does.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Error, note};
use crate::archive::Archive;
use crate::config::Config;
use crate::domain::restore;
use crate::domain::sink::{Chosen, Failure, Pump, StreamId};
use crate::hot::keys::Partition;
use crate::hot::{self, Hot, archive as outboxes, outbox};
use crate::types::RoomName;

/// How long a command waits for Postgres; a gateway writes what is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the command has the office of the sink, between two turns.
const OFFICE: Duration = Duration::from_secs(3);
/// Between two looks at how far a gateway has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The hot state, and the archive behind it.
pub(super) struct Acting {
    pub hot: Hot,
    /// `None`: no database is configured.
    behind: Option<(Archive, Chosen)>,
}

impl Acting {
    pub async fn begin(config: &Config, hot_settings: fn(&Config) -> hot::Settings) -> Result<Self, Error> {
        let hot = Hot::open(hot_settings(config))?;
        let mut behind = None;
        if config.database_url.is_some() {
            let archive = Archive::new(config.database_url.as_ref())?;
            restore::ensure_open(&hot, &archive).await?;
            let chosen = Chosen::new(config.log_events, config.log_event_types.clone());
            behind = Some((archive, chosen));
        }
        Ok(Self { hot, behind })
    }

    /// Returns once Postgres has what was done with these rooms, or says that it has not. A gateway that writes is waited for,
    /// since it knows which events become rows; where none does, the command writes. Where that cannot be, the act is done all
    /// the same: Redis has it, and a gateway writes it later.
    pub async fn end(self, rooms: &[RoomName]) {
        let Some((archive, chosen)) = self.behind else { return };
        let partitions: BTreeSet<Partition> = rooms.iter().map(Partition::of_room).collect();
        let mut office = Office {
            who: format!("command/{:016x}", rand::random::<u64>()),
            is_held: false,
        };
        let mut pump = Pump::new(self.hot.clone(), archive, chosen);
        let partitions: Vec<Partition> = partitions.into_iter().collect();
        match timeout(PATIENCE, catch_up(&mut pump, &mut office, &partitions)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => note!("done, and not in Postgres yet: {error}"),
            Err(_) if office.is_held => note!("done, and not in Postgres yet: other things wait for it, too"),
            Err(_) => note!("done, and not in Postgres yet: the gateway that writes has not come to it"),
        }
        if office.is_held
            && let Err(error) = outboxes::resign(&self.hot, &office.who).await
        {
            // It runs out by itself.
            tracing::debug!(error = %error, "the office of the sink was not given up");
        }
    }
}

/// The office of whoever writes the outboxes, as the command has it.
struct Office {
    who: String,
    is_held: bool,
}

/// Until Postgres has what the partitions' outboxes have now.
async fn catch_up(pump: &mut Pump, office: &mut Office, partitions: &[Partition]) -> Result<(), Failure> {
    let wanted = outbox::last_ids(pump.hot(), partitions).await?;
    loop {
        pump.refresh(partitions).await?;
        let lives = outbox::lives(pump.hot()).await?;
        let has = |(partition, id): &(Partition, String)| {
            let life = lives.iter().find(|life| life.partition == *partition);
            let reached = pump.reached(*partition);
            let is_same =
                |(incarnation, _): &(&str, StreamId)| life.is_some_and(|life| life.incarnation == *incarnation);
            reached.filter(is_same).map(|(_, last)| last) >= StreamId::parse(id)
        };
        if wanted.iter().all(has) {
            return Ok(());
        }
        office.is_held = outboxes::claim(pump.hot(), &office.who, OFFICE).await?;
        if office.is_held {
            pump.turn().await?;
        } else {
            sleep(LOOK_EVERY).await;
        }
    }
}
