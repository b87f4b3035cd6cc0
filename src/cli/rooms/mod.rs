//! `rooms`: lists the rooms, as a table or as JSON lines; below it, what the administration sees and does in one of them.

mod acts;
mod look;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Error, say};
use crate::domain::rooms::{self, Room};
use crate::hot::Hot;
use crate::types::RoomName;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Args)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is asked of the rooms.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the rooms; the default
    List(List),
    /// Show a room, and whom it remembers a role, a ban or a mute of
    Info(look::Options),
    /// List who is in a room
    Members(look::Options),
    /// Send a user out of a room
    Kick(acts::OnUser),
    /// Send a user out of a room, and keep the user out
    Ban(acts::UntilThen),
    /// Let a banned user back in
    Unban(acts::OnUser),
    /// Let a user hear, and not be heard
    Mute(acts::UntilThen),
    /// Let a muted user be heard again
    Unmute(acts::OnUser),
    /// Give a user a role; any is an invitation
    Role(acts::Appointment),
    /// Send everybody out of a room, and end it
    Close(acts::Closing),
}

impl Options {
    /// The room that it changes something about; `None` of what only looks.
    pub(super) fn acts_on(&self) -> Option<&RoomName> {
        match self.command.as_ref()? {
            Command::List(_) | Command::Info(_) | Command::Members(_) => None,
            Command::Kick(on) | Command::Unban(on) | Command::Unmute(on) => Some(on.room()),
            Command::Ban(then) | Command::Mute(then) => Some(then.room()),
            Command::Role(appointment) => Some(appointment.room()),
            Command::Close(closing) => Some(closing.room()),
        }
    }
}

const WIDTH: usize = 70;

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    match options.command.unwrap_or(Command::List(options.list)) {
        Command::List(list) => listing(hot, list.json).await,
        Command::Info(options) => look::info(hot, &options).await,
        Command::Members(options) => look::members(hot, &options).await,
        Command::Kick(options) => acts::kick(hot, &options).await,
        Command::Ban(options) => acts::ban(hot, &options).await,
        Command::Unban(options) => acts::unban(hot, &options).await,
        Command::Mute(options) => acts::mute(hot, &options).await,
        Command::Unmute(options) => acts::unmute(hot, &options).await,
        Command::Role(options) => acts::appoint(hot, &options).await,
        Command::Close(options) => acts::close(hot, &options).await,
    }
}

async fn listing(hot: &Hot, json: bool) -> Result<(), Error> {
    let mut rooms = rooms::list(hot).await?;
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    if json {
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

fn created(room: &Room) -> jiff::Timestamp {
    time(room.created_ms)
}

/// A time that no calendar holds is shown as the epoch.
fn time(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn no_such_room(name: &RoomName) -> Error {
    Error::Failed(format!("there is no room {name}"))
}
