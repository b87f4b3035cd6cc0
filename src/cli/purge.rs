//! `purge`: deletes everything that this program keeps in Postgres and Redis, for good. Only where no gateway runs: one would
//! write on, and bring half of it back.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::paint::tick;
use super::progress::Progress;
use super::{Error, say};
use crate::archive::Archive;
use crate::config::Config;
use crate::hot::{self, Hot, nodes, purge};

/// The lease of a node that has just ended stands a while longer.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Nothing brings it back; without this nothing is deleted
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: &Config,
    hot_settings: fn(&Config) -> hot::Settings,
    options: &Options,
) -> Result<(), Error> {
    if !options.yes {
        return Err(Error::Usage(
            "this deletes the tables in Postgres and the keys in Redis for good; say --yes".to_owned(),
        ));
    }
    let hot = Hot::open(hot_settings(config))?;
    nobody_runs(&hot).await?;
    // Postgres first, which may refuse: then nothing is gone.
    let archive = Archive::new(config.database_url.as_ref())?;
    let progress = Progress::start("Deleting");
    let is_dropped = archive.purge().await?;
    let keys = purge::purge(&hot).await?;
    drop(progress);
    if options.json {
        say!("{}", json!({ "schemaDropped": is_dropped, "keysDeleted": keys }));
        return Ok(());
    }
    if is_dropped {
        say!("{} Postgres: tables, views and functions are dropped", tick());
    } else {
        say!("  Postgres: none is configured");
    }
    say!("{} Redis: {keys} keys are deleted", tick());
    Ok(())
}

async fn nobody_runs(hot: &Hot) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let roster = nodes::roster(hot).await?;
        let living = roster.iter().filter(|entry| entry.lease.is_some());
        let names: Vec<_> = living.map(|entry| entry.node.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Failed(format!(
                "gateways run, and would write on; stop them first: {}",
                names.join(", ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
