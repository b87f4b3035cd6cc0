//! `init`: brings the schema up to date, creates the rooms that everybody expects, and ends what has run out, also where no
//! gateway does. Safe to repeat; touches nothing that lives.

use std::time::Duration;

use super::acting::Acting;
use super::paint::tick;
use super::progress::Progress;
use super::{Error, say};
use crate::archive::Archive;
use crate::config::Config;
use crate::domain::endings;
use crate::domain::rooms::{self, Created, NewRoom};
use crate::hot::{self, Hot};
use crate::types::{RoomName, RoomType, Visibility};

const DEFAULT_ROOMS: &[&str] = &["general", "announcements"];

/// How long another migration, or a transaction on the tables, is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

pub(super) async fn run(config: &Config, hot_settings: fn(&Config) -> hot::Settings) -> Result<(), Error> {
    let archive = Archive::new(config.database_url.as_ref())?;
    migrate(&archive).await?;
    let acting = Acting::begin(config, hot_settings).await?;
    let rooms = create_rooms(&acting.hot).await?;
    say!("Cleaning up stale data...");
    endings::sweep(&acting.hot).await?;
    acting.end(&rooms).await;
    say!("{} Initialization complete", tick());
    Ok(())
}

async fn migrate(archive: &Archive) -> Result<(), Error> {
    say!("Migrating the database...");
    let progress = Progress::start("Migrating");
    let done = archive.migrate(LOCK_WAIT).await;
    drop(progress);
    let Some(done) = done? else {
        say!("  none is configured: the archive is off");
        return Ok(());
    };
    for migration in &done.applied {
        say!("  {migration}");
    }
    if done.applied.is_empty() {
        say!("  V{} (was there)", done.version);
    }
    Ok(())
}

async fn create_rooms(hot: &Hot) -> Result<Vec<RoomName>, Error> {
    say!("Creating default rooms...");
    let mut created = Vec::new();
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
        created.push(room.name);
    }
    Ok(created)
}
