//! The command line: one file per command. Results go to standard output, everything else to standard error.
//!
//! `serve` is what runs when no command is named, so that a loader's `nself-realtime --config FILE` works.

mod acting;
mod audit;
mod check_config;
mod completions;
mod connections;
mod create_room;
mod dev;
mod doctor;
mod drain;
mod events;
mod explain;
mod health;
mod init;
mod paint;
mod presence;
mod progress;
mod purge;
mod revoke;
mod rooms;
mod serve;
mod sessions;
mod stats;
mod status;
mod table;
mod token;
mod who;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::archive::query::{BadMoment, QueryError, parse_moment};
use crate::archive::{Archive, ArchiveError, MigrateError, PurgeError};
use crate::config::{Config, ConfigError, Flags, Sources};
use crate::domain::restore;
use crate::hot::{self, Hot, HotError};
use acting::Acting;
use paint::{Tone, painted_aside};

/// A Redis-centric, stateless Socket.IO gateway: presence, typing, rooms and messages.
///
/// Settings are flags, environment variables, lines of the --config file, or lines of ./.env, the first that is set;
/// --help lists them all, with their defaults.
#[derive(Debug, Parser)]
#[command(
    name = "nself-realtime",
    version,
    max_term_width = 120,
    subcommand_value_name = "COMMAND"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; the default
    Serve,
    /// Run gateways for development, with a Redis (and Postgres) of their own
    Dev(dev::Options),
    /// Print a token for a user, signed with the configured secret
    Token(token::Options),
    /// Bring the database's schema up to date, and create the default rooms
    Init(init::Options),
    /// Delete everything that is in Postgres and Redis, for good
    Purge(purge::Options),
    /// Create a room
    CreateRoom(create_room::Options),
    /// Ask the gateway on this machine whether it lives; exit code 1 where it does not
    Health(health::Options),
    /// Compare everything that is derived with the leases; exit code 1 where something drifted
    Doctor(doctor::Options),
    /// Say why a user is shown as the user is
    Explain(explain::Options),
    /// Make the tokens of a user, or one token, good for nothing, on every node at once
    Revoke(revoke::Options),
    /// Have a node send its connections away, and wait until it has none; it stays up until it is stopped
    Drain(drain::Options),
    /// Show what happened, newest first
    Events(events::Options),
    /// Say who was in a room at a time
    Who(who::Options),
    /// List the connections of a user, the latest first
    Sessions(sessions::Options),
    /// Check the audit trail
    Audit(audit::Options),
    /// List the rooms, or look at and govern one of them
    Rooms(rooms::Options),
    /// List who is connected, the latest first
    Connections(connections::Options),
    /// Show how users are: those who are named, or all who are here
    Presence(presence::Options),
    /// Show the cluster in figures
    Stats(stats::Options),
    /// Show how the cluster is; exit code 0 where Redis answers
    Status(status::Options),
    /// Show what would hold, and what deserves a warning; exit code 2 where something is wrong
    CheckConfig(check_config::Options),
    /// Print what a shell needs to complete this command line
    Completions(completions::Options),
}

/// Why a command failed; what is printed after `Error: `.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("Redis: {0}")]
    Hot(#[from] HotError),
    #[error("Postgres: {0}")]
    Query(#[from] QueryError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Purge(#[from] PurgeError),
    #[error(transparent)]
    Restore(#[from] restore::Failure),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error("{0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
}

impl Error {
    /// 2 = asked for wrongly, trying again is no use; 1 = went wrong.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Hot(_)
            | Self::Archive(_)
            | Self::Migrate(_)
            | Self::Purge(_)
            | Self::Query(_)
            | Self::Restore(_)
            | Self::Failed(_)
            | Self::Io(..) => ExitCode::FAILURE,
        }
    }
}

/// Runs what the command line asks for. `serve` and `hot_settings` come from the layer above.
pub fn run<E: Display, F: Future<Output = Result<(), E>>>(
    serve: impl FnOnce(Config, CancellationToken) -> F,
    hot_settings: fn(&Config) -> hot::Settings,
) -> ExitCode {
    let Cli { command, flags } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::Io("cannot start", error)),
    };
    let outcome = runtime.block_on(async {
        match command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(&flags, serve).await,
            Command::Dev(options) => dev::run(&flags, &options).await,
            Command::Token(options) => token::run(&flags, &options),
            Command::Init(options) => init::run(&Config::load(&flags)?, hot_settings, &options).await,
            Command::Purge(options) => purge::run(&Config::load(&flags)?, hot_settings, &options).await,
            Command::CreateRoom(options) => {
                let acting = Acting::begin(&Config::load(&flags)?, hot_settings).await?;
                let room = create_room::run(&acting.hot, options).await?;
                acting.end(&[room]).await;
                Ok(())
            }
            Command::Health(options) => health::run(&flags, &options).await,
            Command::Doctor(options) => return doctor::run(&connect(&flags, hot_settings)?, &options).await,
            Command::Explain(options) => explain::run(&connect(&flags, hot_settings)?, &options).await,
            Command::Revoke(options) => revoke::run(&connect(&flags, hot_settings)?, options).await,
            Command::Drain(options) => drain::run(&connect(&flags, hot_settings)?, options).await,
            Command::Events(options) => events::run(&archive(&flags)?, options).await,
            Command::Who(options) => who::run(&archive(&flags)?, &options).await,
            Command::Sessions(options) => sessions::run(&archive(&flags)?, &options).await,
            Command::Audit(options) => return audit::run(&archive(&flags)?, options).await,
            Command::Rooms(options) => match options.acts_on().cloned() {
                Some(room) => {
                    let acting = Acting::begin(&Config::load(&flags)?, hot_settings).await?;
                    rooms::run(&acting.hot, options).await?;
                    acting.end(&[room]).await;
                    Ok(())
                }
                // Whoever only looks changes nothing, and needs no database.
                None => rooms::run(&connect(&flags, hot_settings)?, options).await,
            },
            Command::Connections(options) => connections::run(&connect(&flags, hot_settings)?, options).await,
            Command::Presence(options) => presence::run(&connect(&flags, hot_settings)?, options).await,
            Command::Stats(options) => {
                let (hot, archive) = both(&flags, hot_settings)?;
                stats::run(&hot, &archive, &options).await
            }
            Command::Status(options) => {
                let (hot, archive) = both(&flags, hot_settings)?;
                status::run(&hot, &archive, &options).await
            }
            Command::CheckConfig(options) => return check_config::run(&flags, &options),
            Command::Completions(options) => {
                completions::run(&options);
                Ok(())
            }
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // What a thread of its own still looks up, such as a name, is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn report(error: &Error) -> ExitCode {
    note!("{} {error}", painted_aside(Tone::Bad, "Error:"));
    error.exit_code()
}

fn connect(flags: &Flags, hot_settings: fn(&Config) -> hot::Settings) -> Result<Hot, Error> {
    let config = Config::load(flags)?;
    Ok(Hot::open(hot_settings(&config))?)
}

/// Redis, and Postgres where one is configured.
fn both(flags: &Flags, hot_settings: fn(&Config) -> hot::Settings) -> Result<(Hot, Archive), Error> {
    let config = Config::load(flags)?;
    let hot = Hot::open(hot_settings(&config))?;
    Ok((hot, Archive::new(config.database_url.as_ref())?))
}

/// The archive alone: its questions need no Redis.
fn archive(flags: &Flags) -> Result<Archive, Error> {
    let url = Config::database(&Sources::read(flags)?)?;
    let url = url.ok_or_else(|| Error::Failed("no database is configured: set REALTIME_DATABASE_URL".to_owned()))?;
    Ok(Archive::new(Some(&url))?)
}

/// How long a command waits for one answer of the archive.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(60);

/// A date, or how long ago.
fn moment(text: &str) -> Result<Timestamp, BadMoment> {
    parse_moment(text, Timestamp::now())
}

/// As every command writes times. One that no calendar holds is shown as the epoch.
fn time(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// Prints a line of a command's result. A reader that went away (`| head`) is no error.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _reader_gone = writeln!(std::io::stdout().lock(), $($argument)*);
    }};
}
use say;

/// Tells the person at the terminal something that is no result. Nobody reading is no error.
macro_rules! note {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _reader_gone = writeln!(std::io::stderr().lock(), $($argument)*);
    }};
}
use note;
