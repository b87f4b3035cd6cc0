//! `create-room`: creates a room, or shows the one that has the name.

use clap::Args;

use super::{Error, say};
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
    } = options;
    let room = NewRoom {
        name,
        kind,
        visibility,
        max_members,
        owner,
    };
    match rooms::create(hot, &room).await?.0 {
        Created::New(room) => say!("✓ Room created: {} ({}, {})", room.name, room.kind, room.visibility),
        Created::Existing(room) => say!("✓ Room exists: {} ({}, {})", room.name, room.kind, room.visibility),
    }
    Ok(room.name)
}
