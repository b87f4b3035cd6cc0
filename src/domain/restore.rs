//! An emptied Redis gets back from Postgres what no living node knows: rooms, roles, mutes, bans, and what users had chosen.
//! Until then its partitions are closed. Not here: when to look (`lifecycle`); the living, whom their nodes register.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::archive::Archive;
use crate::archive::restore::{Beginning, Restore, RestoreError, RoomRow, StatusRow};
use crate::archive::sink::StreamId;
use crate::hot::keys::Partition;
use crate::hot::outbox;
use crate::hot::restore::{self as lost, LostRoom, LostStatus};
use crate::hot::{Hot, HotError};
use crate::types::{RoomName, UserId};

/// Rows that are read at once.
const PAGE: u32 = 1_000;

/// Whether every partition is open, as far as this node knows. Clones share it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Where there is no archive, there is nothing to wait for.
    pub fn new(has_archive: bool) -> Self {
        Self(Arc::new(AtomicBool::new(!has_archive)))
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// True where it was otherwise.
    pub fn set_open(&self, is_open: bool) -> bool {
        self.0.swap(is_open, Ordering::Relaxed) != is_open
    }
}

/// Why partitions stay closed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("Redis: {0}")]
    Hot(#[from] HotError),
    #[error(transparent)]
    Archive(#[from] RestoreError),
    #[error("another process is bringing back what Redis has lost; try again in a moment")]
    Taken,
}

/// What was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    pub rooms: usize,
    pub statuses: usize,
}

/// What a debt waits for: that Postgres has this entry of the partition, since what it knows before may have ended.
pub type Mark = (Partition, String);

/// Brings back what Postgres knows of the partitions that are closed, and of those that are owed it and of which it has
/// heard up to their `marks`; opens them. `None`: another node is at it. A crash on the way leaves them closed, and what is there
/// already is not written twice.
pub async fn bring_back(hot: &Hot, archive: &Archive, marks: &[Mark]) -> Result<Option<Restored>, Failure> {
    let restore = match archive.begin_restore().await? {
        Beginning::Begun(restore) => restore,
        Beginning::Taken => return Ok(None),
        Beginning::NoSchema | Beginning::Off => {
            open_without(hot, &closed(hot).await?).await?;
            return Ok(Some(Restored::default()));
        }
    };
    // Another node may have brought back something between the question and the lock.
    let mut wanted: BTreeSet<Partition> = closed(hot).await?.into_iter().collect();
    wanted.extend(ripe(hot, &restore, marks).await?);
    if wanted.is_empty() {
        return Ok(Some(Restored::default()));
    }
    let restored = Restored {
        rooms: rooms(hot, &restore, &wanted).await?,
        statuses: statuses(hot, &restore, &wanted).await?,
    };
    let wanted: Vec<Partition> = wanted.into_iter().collect();
    outbox::open(hot, &wanted).await?;
    outbox::owe(hot, &wanted, false).await?;
    restore.end().await?;
    Ok(Some(restored))
}

/// Which partitions are closed.
pub async fn closed(hot: &Hot) -> Result<Vec<Partition>, HotError> {
    let lives = outbox::lives(hot).await?.into_iter();
    Ok(lives.filter(|life| !life.is_open).map(|life| life.partition).collect())
}

/// Debts of which Postgres has heard what came before.
async fn ripe(hot: &Hot, restore: &Restore, marks: &[Mark]) -> Result<Vec<Partition>, Failure> {
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let (owed, lives, reached) = (
        outbox::owed(hot).await?,
        outbox::lives(hot).await?,
        restore.reached().await?,
    );
    let has_heard = |(partition, id): &&Mark| {
        let life = lives.iter().find(|life| life.partition == *partition);
        let head = reached
            .iter()
            .find(|head| usize::try_from(head.partition) == Ok(partition.index()));
        let (Some(life), Some(head), Some(mark)) = (life, head, StreamId::parse(id)) else {
            return false;
        };
        head.incarnation == life.incarnation && StreamId::parse(&head.last_id) >= Some(mark)
    };
    let ripe = marks.iter().filter(has_heard).map(|(partition, _)| *partition);
    Ok(ripe.filter(|partition| owed.contains(partition)).collect())
}

/// Tries of [`ensure_open`], and what lies between two.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// For a command that acts where no node may be running: brings back what is closed, or waits until whoever is at it has.
/// What is owed, since there was no schema, is brought back as well.
pub async fn ensure_open(hot: &Hot, archive: &Archive) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let owed = outbox::owed(hot).await?;
        let marks: Vec<Mark> = owed
            .into_iter()
            .map(|partition| (partition, "0-0".to_owned()))
            .collect();
        if (closed(hot).await?.is_empty() && marks.is_empty()) || bring_back(hot, archive, &marks).await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::Taken)
}

/// Opens partitions without what Postgres knows, which is away, or has no schema yet; it is asked later.
pub async fn open_without(hot: &Hot, partitions: &[Partition]) -> Result<(), HotError> {
    outbox::owe(hot, partitions, true).await?;
    outbox::open(hot, partitions).await.map(drop)
}

async fn rooms(hot: &Hot, restore: &Restore, wanted: &BTreeSet<Partition>) -> Result<usize, Failure> {
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let rows = restore.rooms(&after, PAGE, hot.terms().keeps_messages).await?;
        let is_last = rows.len() < PAGE as usize;
        if let Some(last) = rows.last() {
            after.clone_from(&last.name);
        }
        let found = rows.into_iter().filter_map(lost_room);
        let found: Vec<LostRoom> = found
            .filter(|room| wanted.contains(&Partition::of_room(&room.name)))
            .collect();
        let made = lost::rooms(hot, &found).await?;
        let back = found.iter().zip(made).filter(|(_, made)| *made);
        let back: Vec<&str> = back.map(|(room, _)| room.name.as_str()).collect();
        restore
            .let_run_out(&back, hot.terms().keep.max(hot.terms().history.ttl))
            .await?;
        count += found.len();
        if is_last {
            return Ok(count);
        }
    }
}

async fn statuses(hot: &Hot, restore: &Restore, wanted: &BTreeSet<Partition>) -> Result<usize, Failure> {
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let rows = restore.statuses(&after, PAGE).await?;
        let is_last = rows.len() < PAGE as usize;
        if let Some(last) = rows.last() {
            after.clone_from(&last.user);
        }
        let found = rows.into_iter().filter_map(lost_status);
        let found: Vec<LostStatus> = found
            .filter(|status| wanted.contains(&Partition::of_user(&status.user)))
            .collect();
        lost::statuses(hot, &found).await?;
        count += found.len();
        if is_last {
            return Ok(count);
        }
    }
}

/// `None` of a name that is none here: the existing plugin took any.
fn lost_room(row: RoomRow) -> Option<LostRoom> {
    let Ok(name) = RoomName::parse(&row.name) else {
        tracing::warn!(room = %row.name.escape_debug(), "a room of the archive has no valid name, and is left out");
        return None;
    };
    Some(LostRoom {
        name,
        id: row.id,
        kind: row.kind,
        visibility: row.visibility,
        max_members: row.max_members.try_into().unwrap_or(0),
        created_ms: row.created_ms,
        is_auto: row.is_auto,
        seq: row.seq.try_into().unwrap_or(0),
        owner: row.owner.and_then(|owner| UserId::parse(&owner).ok()),
        policy: row.policy.map(|json| entries(&json)).unwrap_or_default(),
    })
}

/// User → entry, each as `room.policy` has it. Only Postgres writes this JSON; what is no entry says nothing.
fn entries(json: &str) -> Vec<(UserId, String)> {
    let found: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let entry = |(user, entry): (String, serde_json::Value)| Some((UserId::parse(&user).ok()?, entry.to_string()));
    found.into_iter().filter_map(entry).collect()
}

fn lost_status(row: StatusRow) -> Option<LostStatus> {
    Some(LostStatus {
        user: UserId::parse(&row.user).ok()?,
        version: row.version.try_into().unwrap_or(1),
        chosen: row.chosen,
        text: row.text,
        emoji: row.emoji,
        until_ms: row.until_ms,
        seen_ms: row.seen_ms,
    })
}
