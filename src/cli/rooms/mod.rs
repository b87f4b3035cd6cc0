//! `rooms`: lists the rooms, as a table or as JSON lines; below it, what the administration sees and does in one of them. The
//! second words are those of the existing plugin's actions.

mod acts;
mod look;

use clap::{Args, Subcommand};
use serde_json::json;

use super::table::Table;
use super::{Error, create_room, note, say};
use crate::domain::rooms::{self, LIST_MAX, Room};
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
    /// List the rooms by id, with how many users are in each, and through how many connections
    List(List),
    /// Create a room
    Create(create_room::Positional),
    /// Show a room, and whom it remembers a role, a ban or a mute of
    Info(look::Options),
    /// List who is in a room
    Members(look::Options),
    /// Send a user out of a room
    #[command(visible_alias = "remove-member")]
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
    #[command(visible_alias = "add-member")]
    Role(acts::Appointment),
    /// Send everybody out of a room, and end it
    #[command(visible_alias = "delete")]
    Close(acts::Closing),
}

impl Options {
    /// The room that it changes something about; `None` of what only looks.
    pub(super) fn acts_on(&self) -> Option<&RoomName> {
        match self.command.as_ref()? {
            Command::List(_) | Command::Info(_) | Command::Members(_) => None,
            Command::Create(options) => Some(options.room()),
            Command::Kick(on) | Command::Unban(on) | Command::Unmute(on) => Some(on.room()),
            Command::Ban(then) | Command::Mute(then) => Some(then.room()),
            Command::Role(appointment) => Some(appointment.room()),
            Command::Close(closing) => Some(closing.room()),
        }
    }
}

const WIDTH: usize = 70;
/// Of the table that the existing plugin's action showed.
const WIDE: usize = 90;

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    let Some(command) = options.command else {
        return listing(hot, options.list.json, false).await;
    };
    match command {
        Command::List(list) => listing(hot, list.json, true).await,
        Command::Create(options) => create_room::run(hot, options.into()).await.map(drop),
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

async fn listing(hot: &Hot, json: bool, is_wide: bool) -> Result<(), Error> {
    let rooms = rooms::list(hot).await?;
    if json {
        rooms.iter().for_each(|room| say!("{}", found_as_json(room)));
    } else if is_wide {
        tell_counts(&rooms);
    } else {
        tell(&rooms);
    }
    if rooms.len() == LIST_MAX {
        note!("There may be more: at most {LIST_MAX} are listed");
    }
    Ok(())
}

/// The columns of the existing plugin's command.
fn tell(rooms: &[Room]) {
    let heading = format!("{:<20}{:<12}{:<13}CREATED", "NAME", "TYPE", "VISIBILITY");
    let table = Table::open("Active Rooms", WIDTH, &heading);
    for room in rooms {
        let (kind, visibility) = (room.kind.as_str(), room.visibility.as_str());
        let created = created(room).strftime("%Y-%m-%d");
        say!("{:<20} {kind:<12} {visibility:<12} {created}", room.name.as_str());
    }
    table.close();
}

/// The columns of the existing plugin's action: members are users, and active their connections.
fn tell_counts(rooms: &[Room]) {
    let row = |[id, name, kind, members, active]: [&str; 5]| {
        format!("{id:<36} {name:<20} {kind:<10} {members:<10} {active:<10}")
            .trim_end()
            .to_owned()
    };
    let table = Table::open("Active Rooms", WIDE, &row(["ID", "NAME", "TYPE", "MEMBERS", "ACTIVE"]));
    for room in rooms {
        let (members, active) = (room.members.to_string(), room.connections.to_string());
        say!(
            "{}",
            row([id(room), room.name.as_str(), room.kind.as_str(), &members, &active])
        );
    }
    table.close();
}

/// `-` of a room that has none, made by a version that gave it none.
fn id(room: &Room) -> &str {
    room.id.as_deref().unwrap_or("-")
}

/// What is known of a room that is there: also its id, and its connections.
fn found_as_json(room: &Room) -> serde_json::Value {
    let mut shown = as_json(room);
    shown["id"] = room.id.as_deref().into();
    shown["connectionCount"] = room.connections.into();
    shown
}

pub(super) fn as_json(room: &Room) -> serde_json::Value {
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
