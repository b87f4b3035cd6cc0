//! `init`: brings the schema up to date, creates the rooms that everybody expects, and ends what has run out, also where no
//! gateway does. Safe to repeat; touches nothing that lives.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::acting::Acting;
use super::paint::tick;
use super::progress::Progress;
use super::{Error, note, say};
use crate::archive::{Archive, Migrated};
use crate::config::Config;
use crate::domain::endings;
use crate::domain::rooms::{self, Created, NewRoom};
use crate::hot::{self, Hot};
use crate::types::{RoomName, RoomType, Visibility};

const DEFAULT_ROOMS: &[&str] = &["general", "announcements"];

/// How long another migration, or a transaction on the tables, is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: &Config,
    hot_settings: fn(&Config) -> hot::Settings,
    options: &Options,
) -> Result<(), Error> {
    let step = |words: String| {
        if !options.json {
            say!("{words}");
        }
    };
    let archive = Archive::new(config.database_url.as_ref())?;
    let migrated = migrate(&archive).await?;
    if !options.json {
        tell(migrated.as_ref());
    }
    let acting = Acting::begin(config, hot_settings).await?;
    step("Creating default rooms...".to_owned());
    let rooms = create_rooms(&acting.hot).await?;
    if !options.json {
        for (room, is_new) in &rooms {
            note!("  {room}{}", if *is_new { "" } else { " (was there)" });
        }
    }
    step("Cleaning up stale data...".to_owned());
    endings::sweep(&acting.hot).await?;
    let names: Vec<RoomName> = rooms.iter().map(|(room, _)| room.clone()).collect();
    acting.end(&names).await;
    step(format!("{} Initialization complete", tick()));
    if options.json {
        say!("{}", as_json(migrated.as_ref(), &rooms));
    }
    Ok(())
}

/// `None`: no database is configured.
async fn migrate(archive: &Archive) -> Result<Option<Migrated>, Error> {
    let progress = Progress::start("Migrating");
    let done = archive.migrate(LOCK_WAIT).await;
    drop(progress);
    Ok(done?)
}

fn tell(migrated: Option<&Migrated>) {
    let Some(done) = migrated else {
        note!("No database is configured: the archive is off");
        return;
    };
    note!("The database's schema:");
    for migration in &done.applied {
        note!("  {migration}");
    }
    if done.applied.is_empty() {
        note!("  V{} (was there)", done.version);
    }
}

/// The rooms, and whether each is new.
async fn create_rooms(hot: &Hot) -> Result<Vec<(RoomName, bool)>, Error> {
    let mut created = Vec::new();
    for name in DEFAULT_ROOMS {
        let room = NewRoom {
            name: RoomName::parse(name).expect("the default rooms' names are valid"),
            kind: RoomType::Channel,
            visibility: Visibility::Public,
            max_members: None,
            owner: None,
        };
        let is_new = matches!(rooms::create(hot, &room).await?.0, Created::New(_));
        created.push((room.name, is_new));
    }
    Ok(created)
}

/// `schema` is `null` where no database is configured.
fn as_json(migrated: Option<&Migrated>, rooms: &[(RoomName, bool)]) -> Value {
    let schema = migrated.map(|done| json!({ "version": done.version, "applied": done.applied }));
    let room = |(room, is_new): &(RoomName, bool)| json!({ "name": room.as_str(), "created": is_new });
    json!({ "schema": schema, "rooms": rooms.iter().map(room).collect::<Vec<_>>() })
}
