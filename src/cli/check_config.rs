//! `check-config`: what would hold, what deserves a warning, and what is wrong; nothing is started. Exit code 2 where
//! something is wrong.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::paint::{Tone, painted, tick};
use super::table::Table;
use super::{Error, say};
use crate::config::{Config, ConfigError, Flags, LogLevel, Shown, Sources, Warning};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 100;

pub(super) fn run(flags: &Flags, options: &Options) -> Result<ExitCode, Error> {
    match read(flags) {
        Ok((settings, warnings)) => {
            if options.json {
                say!("{}", as_json(&settings, &warnings));
            } else {
                tell(&settings, &warnings);
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if options.json => {
            let errors: Vec<&str> = error.problems().collect();
            say!("{}", json!({ "valid": false, "errors": errors }));
            Ok(Error::Config(error.clone()).exit_code())
        }
        Err(error) => Err(error.into()),
    }
}

fn read(flags: &Flags) -> Result<(Vec<Shown>, Vec<Warning>), ConfigError> {
    let sources = Sources::read(flags)?;
    let config = Config::from_sources(&sources)?;
    Ok((config.shown(&sources), config.warnings()))
}

fn tell(settings: &[Shown], warnings: &[Warning]) {
    let table = Table::open("Configuration", WIDTH, &row("SETTING", "VALUE", "FROM"));
    for Shown { name, value, origin } in settings {
        say!("{}", row(name, if value.is_empty() { "-" } else { value }, origin));
    }
    table.close();
    for Warning { level, text } in warnings {
        let word = if *level == LogLevel::Error {
            painted(Tone::Bad, "Serious:")
        } else {
            painted(Tone::Doubtful, "Warning:")
        };
        say!("{word} {text}");
    }
    say!("{} The configuration is valid", tick());
}

fn row(name: &str, value: &str, origin: &str) -> String {
    format!("{name:<32} {value:<40} {origin}")
}

fn as_json(settings: &[Shown], warnings: &[Warning]) -> serde_json::Value {
    let setting = |shown: &Shown| json!({ "name": shown.name, "value": shown.value, "from": shown.origin });
    let warning = |warning: &Warning| json!({ "level": warning.level.as_str(), "text": warning.text });
    json!({
        "valid": true,
        "settings": settings.iter().map(setting).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}
