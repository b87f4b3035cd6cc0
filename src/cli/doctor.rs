//! `doctor`: compares everything that is derived with the leases, and repairs what drifted where it is told to.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::progress::Progress;
use super::{Error, say};
use crate::domain::doctor::{self, Progress as Look};
use crate::hot::Hot;
use crate::hot::keys::PARTITIONS;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// End what drifted; rooms hear of it
    #[arg(long)]
    repair: bool,
    /// One JSON object for each finding, a line each; one that says so where there is none
    #[arg(long)]
    json: bool,
}

/// 0: nothing drifted; 1: something did, repaired or not.
pub(super) async fn run(hot: &Hot, options: &Options) -> Result<ExitCode, Error> {
    let progress = Progress::of("Looking at the leases", PARTITIONS);
    let found = doctor::examine_telling(hot, |look| match look {
        Look::Partitions(done) => progress.reach(done),
        Look::Steps(_) => progress.say("Looking at every key"),
    });
    let found = found.await?;
    drop(progress);
    for drift in &found {
        if options.repair {
            doctor::repair(hot, drift).await?;
        }
        if options.json {
            say!("{}", json!({ "drift": drift.to_string(), "repaired": options.repair }));
        } else {
            say!("{} {drift}", if options.repair { "repaired" } else { "found" });
        }
    }
    if !options.json || found.is_empty() {
        let (leased, in_grace) = doctor::census(hot).await?;
        if options.json {
            say!("{}", json!({ "drift": [], "leased": leased, "inGrace": in_grace }));
        } else {
            let drifted = found.len();
            say!("{leased} connections are leased, {in_grace} in grace; {drifted} drifted");
        }
    }
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
