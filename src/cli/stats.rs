//! `stats`: the cluster in figures. Not here: how it is (`status`).

use clap::Args;
use serde_json::json;

use super::progress::Progress;
use super::table::Table;
use super::{ARCHIVE_PATIENCE, Error, note, say};
use crate::archive::Archive;
use crate::archive::query::{EventCounts, QueryError};
use crate::domain::stats::{self, Figures};
use crate::hot::Hot;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 50;

pub(super) async fn run(hot: &Hot, archive: &Archive, options: &Options) -> Result<(), Error> {
    let progress = Progress::start("Counting");
    let figures = stats::figures(hot).await?;
    if options.json {
        let events = known(archive.count_events(ARCHIVE_PATIENCE).await);
        drop(progress);
        say!("{}", as_json(&figures, events));
        return Ok(());
    }
    let latest = known(archive.count_latest_events(ARCHIVE_PATIENCE).await);
    drop(progress);
    tell(&figures, latest);
    Ok(())
}

/// Without an archive there are no events; one that does not answer is told of, and says nothing of Redis.
fn known<T: Default>(counted: Result<T, QueryError>) -> Option<T> {
    match counted {
        Ok(count) => Some(count),
        Err(QueryError::Off) => Some(T::default()),
        Err(error) => {
            note!("Postgres: {error}");
            None
        }
    }
}

fn tell(figures: &Figures, latest_events: Option<u64>) {
    let shown = &figures.presence;
    let table = Table::untitled("Realtime Server Statistics", WIDTH);
    say!("{:<24} {}", "Active Connections:", figures.live);
    say!("{:<24} {}", "Authenticated Users:", figures.users);
    say!("{:<24} {}", "Active Rooms:", figures.rooms);
    say!("\nPresence:");
    for (status, users) in [
        ("Online:", shown.online),
        ("Away:", shown.away),
        ("Busy:", shown.busy),
        ("Offline:", shown.offline),
    ] {
        say!("  {status:<8} {users}");
    }
    let events = latest_events.map_or("-".to_owned(), |events| events.to_string());
    say!("\n{:<24} {events}", "Events (last hour):");
    table.close();
    say!("");
}

fn as_json(figures: &Figures, events: Option<EventCounts>) -> serde_json::Value {
    let shown = &figures.presence;
    json!({
        "connections": {
            "total": figures.live + figures.in_grace,
            "active": figures.live,
            "inGrace": figures.in_grace,
            "authenticated": figures.live + figures.in_grace - figures.anonymous,
            "anonymous": figures.anonymous,
        },
        "users": figures.users,
        "rooms": { "total": figures.rooms, "active": figures.active_rooms },
        "presence": {
            "online": shown.online,
            "away": shown.away,
            "busy": shown.busy,
            "offline": shown.offline,
        },
        "events": {
            "total": events.map(|events| events.total),
            "lastHour": events.map(|events| events.last_hour),
        },
    })
}
