//! `create-room`: creates a room, or shows the one that has the name.

use clap::Args;

use super::paint::tick;
use super::rooms::as_json;
use super::{Error, note, say};
use crate::domain::rooms::{self, Created, NewRoom};
use crate::hot::Hot;
use crate::types::{RoomName, RoomType, UserId, Visibility};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// 1 to 255 bytes, no control characters
    name: RoomName,
    /// channel, dm, group or broadcast
    #[arg(short = 't', long = "type", default_value = "channel", value_parser = kind)]
    kind: RoomType,
    /// public, private or secret
    #[arg(short, long, default_value = "public", value_parser = visibility)]
    visibility: Visibility,
    /// Users that it holds; unlimited when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_members: Option<u32>,
    /// The user who is its admin; nobody when not given, nor where the room exists
    #[arg(long, value_name = "USER")]
    owner: Option<UserId>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The same, as the existing plugin's action took it.
#[derive(Debug, Args)]
pub(super) struct Positional {
    /// 1 to 255 bytes, no control characters
    name: RoomName,
    /// channel, dm, group or broadcast
    #[arg(value_name = "TYPE", default_value = "channel", value_parser = kind)]
    kind: RoomType,
    /// public, private or secret
    #[arg(default_value = "public", value_parser = visibility)]
    visibility: Visibility,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Positional {
    pub fn room(&self) -> &RoomName {
        &self.name
    }
}

impl From<Positional> for Options {
    fn from(options: Positional) -> Self {
        let Positional {
            name,
            kind,
            visibility,
            json,
        } = options;
        Self {
            name,
            kind,
            visibility,
            max_members: None,
            owner: None,
            json,
        }
    }
}

fn kind(text: &str) -> Result<RoomType, String> {
    RoomType::parse(text).ok_or_else(|| format!("takes {}", RoomType::NAMES.join(", ")))
}

fn visibility(text: &str) -> Result<Visibility, String> {
    Visibility::parse(text).ok_or_else(|| format!("takes {}", Visibility::NAMES.join(", ")))
}

/// The room's name.
pub(super) async fn run(hot: &Hot, options: Options) -> Result<RoomName, Error> {
    let Options {
        name,
        kind,
        visibility,
        max_members,
        owner,
        json,
    } = options;
    let room = NewRoom {
        name,
        kind,
        visibility,
        max_members,
        owner,
    };
    let created = rooms::create(hot, &room).await?.0;
    let is_new = matches!(created, Created::New(_));
    let (Created::New(found) | Created::Existing(found)) = created;
    if json {
        let mut shown = as_json(&found);
        shown["created"] = is_new.into();
        say!("{shown}");
    } else {
        // The existing plugin said so of a room that was there, too, and showed that one.
        say!(
            "{} Room created: {} ({}, {})",
            tick(),
            found.name,
            found.kind,
            found.visibility
        );
    }
    if !is_new {
        note!("It was there before, and stays as it is");
    }
    Ok(room.name)
}
