//! `rooms`: lists the rooms, as a table or as JSON lines.

use clap::Args;
use serde_json::json;

use super::{Error, say};
use crate::domain::rooms::{self, Room};
use crate::hot::Hot;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 70;

pub(super) async fn run(hot: &Hot, options: &Options) -> Result<(), Error> {
    let mut rooms = rooms::list(hot).await?;
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    if options.json {
        rooms.iter().for_each(|room| say!("{}", as_json(room)));
    } else {
        table(&rooms);
    }
    Ok(())
}

fn table(rooms: &[Room]) {
    say!("\nActive Rooms");
    say!("{}", "=".repeat(WIDTH));
    say!(
        "{:<20}{:<12}{:<13}{:<12}MEMBERS",
        "NAME",
        "TYPE",
        "VISIBILITY",
        "CREATED"
    );
    say!("{}", "-".repeat(WIDTH));
    for room in rooms {
        let (kind, visibility) = (room.kind.as_str(), room.visibility.as_str());
        let created = created(room).strftime("%Y-%m-%d").to_string();
        say!(
            "{:<20} {kind:<12} {visibility:<12} {created} {:>8}",
            room.name.as_str(),
            room.members
        );
    }
    say!("{}", "=".repeat(WIDTH));
}

fn as_json(room: &Room) -> serde_json::Value {
    json!({
        "name": room.name.as_str(),
        "type": room.kind.as_str(),
        "visibility": room.visibility.as_str(),
        "maxMembers": room.max_members,
        "createdAt": format!("{:.3}", created(room)),
        "memberCount": room.members,
    })
}

/// A time that no calendar holds is shown as the epoch.
fn created(room: &Room) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(room.created_ms).unwrap_or_default()
}
