//! `who`: who was in a room at a time, by what the archive has kept; and what speaks against the answer.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{ARCHIVE_PATIENCE, Error, moment, note, say};
use crate::archive::Archive;
use crate::archive::query::{PAGE_MAX, Present, Who};
use crate::hot::keys::Partition;
use crate::types::RoomName;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The room's name
    #[arg(long)]
    room: RoomName,
    /// When: a date (2026-01-30T12:00:00Z), or how long ago (15m, 2h, 3d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Timestamp,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(archive: &Archive, options: &Options) -> Result<(), Error> {
    let Who { users, caveats } = everybody(archive, &options.room, options.at).await?;
    if options.json {
        let answer = json!({
            "roomName": options.room.as_str(),
            "at": format!("{:.3}", options.at),
            "complete": caveats.is_empty(),
            "caveats": caveats,
            "users": users,
        });
        say!("{answer}");
        return Ok(());
    }
    say!("In {} at {:.3}: {}", options.room, options.at, users.len());
    users.iter().for_each(tell);
    for caveat in &caveats {
        note!("May be incomplete: {caveat}");
    }
    Ok(())
}

/// All pages of one answer: it is about the past, so they fit together.
async fn everybody(archive: &Archive, room: &RoomName, at: Timestamp) -> Result<Who, Error> {
    let partition = Partition::of_room(room).index();
    let mut all: Vec<Present> = Vec::new();
    loop {
        let after = all.last().map(|user| user.user_id.clone());
        let page = archive
            .who(room, partition, at, after.as_deref(), PAGE_MAX, ARCHIVE_PATIENCE)
            .await?;
        let is_last = page.users.len() < usize::from(PAGE_MAX);
        all.extend(page.users);
        if is_last {
            return Ok(Who { users: all, ..page });
        }
    }
}

fn tell(user: &Present) {
    let since = user.since.map_or("earlier".to_owned(), |at| format!("{at:.3}"));
    say!(
        "  {:<40} since {since:<24}  {}",
        user.user_id,
        user.connections.join(", ")
    );
}
