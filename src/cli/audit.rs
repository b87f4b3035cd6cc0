//! `audit verify`: whether the audit trail is as it was written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::progress::Progress;
use super::{Error, say};
use crate::archive::Archive;
use crate::archive::verify::Head;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

/// What is done with the audit trail.
#[derive(Debug, Subcommand)]
enum Command {
    /// Look for rows that were changed, removed or added; exit code 1 where there are any
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// What `audit verify --json` printed earlier, kept where nobody can change it: shows also a trail whose end was cut
    /// off, or that was written anew
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// One JSON object a line: what was found, and last what was looked at
    #[arg(long)]
    json: bool,
}

/// 0: everything is as it was written; 1: something is not.
pub(super) async fn run(archive: &Archive, options: Options) -> Result<ExitCode, Error> {
    let Command::Verify(Verify { against, json }) = options.command;
    let mut witnesses = Vec::new();
    for path in &against {
        witnesses.extend(heads(path)?);
    }
    let progress = Progress::start("Checking the audit trail");
    let verified = archive
        .verify(&witnesses, |finding| {
            let text = if json {
                serde_json::to_string(&finding).expect("numbers and texts are JSON")
            } else {
                finding.to_string()
            };
            progress.aside(|| say!("{text}"));
        })
        .await?;
    drop(progress);
    if json {
        say!(
            "{}",
            serde_json::to_string(&verified).expect("numbers and texts are JSON")
        );
    } else {
        say!(
            "{} rows in {} batches of {} partitions, and {} rows from before the schema; {} findings",
            verified.rows,
            verified.batches,
            verified.heads.len(),
            verified.rows_before,
            verified.findings
        );
    }
    Ok(if verified.findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The heads in what an earlier check printed.
fn heads(path: &Path) -> Result<Vec<Head>, Error> {
    let wrong = |cause: &dyn std::fmt::Display| Error::Usage(format!("--against {}: {cause}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines = lines.filter_map(|mut line| line.get_mut("heads").map(Value::take));
    let heads = lines
        .next()
        .ok_or_else(|| wrong(&"is no output of `audit verify --json`"))?;
    serde_json::from_value(heads).map_err(|error| wrong(&error))
}
