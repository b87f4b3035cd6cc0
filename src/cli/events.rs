//! `events`: what happened, newest first, as a table or as JSON lines; or, with `--follow`, what happens, as it arrives
//! in the archive.

use std::future::pending;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::{ARCHIVE_PATIENCE, Error, moment, note};
use crate::archive::Archive;
use crate::archive::query::{Event, EventFilter, PAGE_MAX, QueryError};
use crate::types::{RoomName, UserId};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many
    #[arg(short, long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=100_000))]
    number: u32,
    /// Of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// About this user
    #[arg(long)]
    user: Option<UserId>,
    /// In this room
    #[arg(long)]
    room: Option<RoomName>,
    /// Not before this time: a date (2026-01-30T12:00:00Z), or how long ago (15m, 2h, 3d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Print new ones as they come, oldest first, until interrupted
    #[arg(long, conflicts_with = "until")]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 100;
/// Between two looks at what is new.
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn run(archive: &Archive, options: Options) -> Result<(), Error> {
    let Options {
        number, follow, json, ..
    } = options;
    let filter = EventFilter {
        kinds: options.kinds,
        user: options.user,
        room: options.room,
        since: options.since,
        until: options.until,
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        return Err(Error::Usage("--until must be later than --since".to_owned()));
    }
    let printer = Printer { json };
    if !follow {
        return list(archive, &filter, number, printer).await;
    }
    let number = u16::try_from(number).ok().filter(|number| *number <= PAGE_MAX);
    let number = number.ok_or_else(|| Error::Usage(format!("--number is at most {PAGE_MAX} with --follow")))?;
    tokio::select! {
        ended = watch(archive, &filter, number, printer) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| Error::Io("cannot wait for a signal", error)),
        () = reader_gone() => Ok(()),
    }
}

async fn list(archive: &Archive, filter: &EventFilter, number: u32, printer: Printer) -> Result<(), Error> {
    let mut left = number;
    let mut place = None;
    let mut is_heard = true;
    while left > 0 && is_heard {
        let limit = u16::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = archive.events(filter, place.as_ref(), limit, ARCHIVE_PATIENCE).await?;
        is_heard = (place.is_some() || printer.head()) && page.iter().all(|event| printer.event(event));
        if page.len() < usize::from(limit) {
            break;
        }
        place = page.last().map(Event::place);
        left -= u32::from(limit);
    }
    if is_heard {
        printer.foot();
    }
    Ok(())
}

/// Prints what comes until nobody reads it. A Postgres that goes away is waited for: nothing is passed over meanwhile.
async fn watch(archive: &Archive, filter: &EventFilter, number: u16, printer: Printer) -> Result<(), Error> {
    let (mut events, mut follower) = archive.follow(filter, number, ARCHIVE_PATIENCE).await?;
    events.reverse();
    let mut is_heard = printer.head() && events.iter().all(|event| printer.event(event));
    let mut is_away = false;
    while is_heard {
        match archive.news(filter, &mut follower, ARCHIVE_PATIENCE).await {
            Ok(news) => {
                is_away = false;
                is_heard = news.events.iter().all(|event| printer.event(event));
                if news.more {
                    continue;
                }
            }
            Err(error @ (QueryError::Away(_) | QueryError::TooSlow)) => {
                if !is_away {
                    note!("Postgres: {error}; trying again");
                }
                is_away = true;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Returns when nobody reads standard output any more. Never for what is no pipe or terminal.
async fn reader_gone() {
    let output = io::stdout().as_fd().try_clone_to_owned();
    match output.and_then(pipe::Sender::from_owned_fd_unchecked) {
        Ok(output) => {
            // Whatever it says: this interest is told of nothing but the end.
            drop(output.ready(Interest::ERROR).await);
        }
        Err(_) => pending().await,
    }
}

/// Each method says whether anybody reads on.
#[derive(Clone, Copy)]
struct Printer {
    json: bool,
}

impl Printer {
    fn head(self) -> bool {
        self.json
            || line("\nRecent Events")
                && line(&"=".repeat(WIDTH))
                && line(&row("TIME", "EVENT TYPE", "USER ID", "ROOM ID"))
                && line(&"-".repeat(WIDTH))
    }

    fn event(self, event: &Event) -> bool {
        if self.json {
            return line(&serde_json::to_string(event).expect("texts and JSON are JSON"));
        }
        // A room without a row has no id, but a name.
        let room = event.room_id.as_ref().or(event.room_name.as_ref());
        line(&row(
            &event.at.strftime("%H:%M:%S").to_string(),
            &event.kind,
            event.user_id.as_deref().unwrap_or("-"),
            room.map_or("-", String::as_str),
        ))
    }

    fn foot(self) -> bool {
        self.json || line(&"=".repeat(WIDTH))
    }
}

fn row(time: &str, kind: &str, user: &str, room: &str) -> String {
    format!("{time:<20} {kind:<20} {user:<20} {room:<36}")
        .trim_end()
        .to_owned()
}

fn line(text: &str) -> bool {
    writeln!(io::stdout().lock(), "{text}").is_ok()
}
