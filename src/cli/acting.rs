//! For commands that change something: what Redis has lost comes back before, and what was changed is in Postgres behind it,
//! also where no gateway runs. Not here: what a command does.

use std::time::{Duration, Instant};

use super::{Error, note};
use crate::archive::Archive;
use crate::config::Config;
use crate::domain::restore;
use crate::domain::sink::{Chosen, Failure, Pump};
use crate::hot::{self, Hot};

/// How long a command writes to Postgres; a gateway writes what is left.
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// Writes down what was done. Where that cannot be, it is done all the same: Redis has it, and a gateway writes it later.
    pub async fn end(self) {
        let Some((archive, chosen)) = self.behind else { return };
        let mut pump = Pump::new(self.hot, archive, chosen);
        match tokio::time::timeout(PATIENCE, write(&mut pump)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => note!("done, and not in Postgres yet: {error}"),
            Err(_) => note!("done, and not in Postgres yet: other things wait for it, too"),
        }
    }
}

async fn write(pump: &mut Pump) -> Result<(), Failure> {
    let started = Instant::now();
    while pump.turn().await?.has_more && started.elapsed() < PATIENCE {}
    Ok(())
}
