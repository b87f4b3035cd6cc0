//! `init`: creates the rooms that everybody expects. Safe to repeat; touches nothing that lives.

use super::{Error, say};
use crate::domain::rooms::{self, Created, NewRoom};
use crate::hot::Hot;
use crate::types::{RoomName, RoomType, Visibility};

const DEFAULT_ROOMS: &[&str] = &["general", "announcements"];

pub(super) async fn run(hot: &Hot) -> Result<(), Error> {
    say!("Creating default rooms...");
    for name in DEFAULT_ROOMS {
        let room = NewRoom {
            name: RoomName::parse(name).expect("the default rooms' names are valid"),
            kind: RoomType::Channel,
            visibility: Visibility::Public,
            max_members: None,
            owner: None,
        };
        let note = match rooms::create(hot, &room).await?.0 {
            Created::New(_) => "",
            Created::Existing(_) => " (was there)",
        };
        say!("  {name}{note}");
    }
    say!("✓ Initialization complete");
    Ok(())
}
