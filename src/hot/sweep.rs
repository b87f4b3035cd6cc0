//! What has come to its end: one read of every partition in one round trip. Not here: ending it (`domain`).

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use super::keys::{Due, Lease, Partition};
use super::reply::{Reply, UnexpectedReply};
use super::script::{self, Script, script};
use super::{Hot, HotError, millis, presence};
use crate::types::{Presence, RoomName, UserId};

script!(DUE = "sweep/due");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&DUE];

/// Entries of each kind that one look at a partition returns; the next look finds the rest.
const BATCH: u32 = 100;
/// Nobody swept for this long: leases may have ended by Redis's silence, not by their own. They may have, too, where another
/// master has taken over, which need not know of the last renewals.
const SILENCE: Duration = Duration::from_secs(3);
const AMNESTY: Duration = Duration::from_secs(10);
/// A step that is this old was left by a node that died.
const PATIENCE: Duration = Duration::from_secs(2);

/// A step in other partitions that somebody should have taken.
#[derive(Debug)]
pub struct Todo {
    pub id: String,
    pub partition: Partition,
    pub user: UserId,
    /// Set: this connection has ended and must leave the rooms. Unset: the rooms must be told the presence.
    pub lease: Option<Lease>,
    pub presence: Option<Presence>,
    pub rooms: Vec<RoomName>,
}

/// What one look at the partitions found.
#[derive(Debug, Default)]
pub struct Found {
    /// Leases that ended, with the end that was seen, Unix ms.
    pub leases: Vec<(Lease, i64)>,
    /// The same of leases whose grace ran out.
    pub graces: Vec<(Lease, i64)>,
    pub due: Vec<Due>,
    pub todo: Vec<Todo>,
    /// Partitions whose leases are spared for now.
    pub amnesties: u32,
    /// Redis's clock at the last look.
    pub now_ms: i64,
}

#[derive(Deserialize)]
struct TodoFields {
    user: String,
    lease: String,
    version: String,
    presence: String,
    rooms: String,
}

/// Looks at the partitions, in the order given. Fails only when Redis is away; a partition's own failure is skipped,
/// since the next look comes soon.
pub async fn look(hot: &Hot, partitions: &[Partition]) -> Result<Found, HotError> {
    let call = |&partition: &Partition| {
        let keys = hot.keys();
        DUE.call()
            .key(keys.leases(partition))
            .key(keys.grace(partition))
            .key(keys.due(partition))
            .key(keys.todo(partition))
            .key(keys.swept(partition))
            .number(BATCH)
            .number(millis(SILENCE))
            .number(millis(AMNESTY))
            .number(millis(PATIENCE))
            .master()
    };
    let mut found = Found::default();
    let replies = script::run_all(hot, partitions.iter().map(call).collect()).await?;
    for (partition, reply) in partitions.iter().zip(replies) {
        match reply.and_then(|reply| DUE.read(|| read(reply, *partition, &mut found))) {
            Ok(()) => {}
            Err(error) => tracing::warn!(error = %error, partition = partition.index(), "partition not swept"),
        }
    }
    Ok(found)
}

fn read(mut reply: Reply, partition: Partition, found: &mut Found) -> Result<(), UnexpectedReply> {
    found.now_ms = reply.integer()?;
    found.amnesties += u32::from(reply.flag()?);
    while !reply.is_empty() {
        let (kind, id) = (reply.text()?, reply.text()?);
        match &*kind {
            "lease" => found.leases.extend(Lease::decode(&id).zip(Some(reply.integer()?))),
            "grace" => found.graces.extend(Lease::decode(&id).zip(Some(reply.integer()?))),
            "due" => {
                let _end_ms: i64 = reply.integer()?;
                found.due.extend(Due::decode(&id));
            }
            _ => {
                let fields: TodoFields = reply.json()?;
                let rooms: Vec<String> = serde_json::from_str(&fields.rooms).unwrap_or_default();
                let Ok(user) = UserId::parse(&fields.user) else {
                    continue;
                };
                found.todo.push(Todo {
                    id,
                    partition,
                    user,
                    lease: Lease::decode(&fields.lease),
                    presence: fields
                        .version
                        .parse()
                        .ok()
                        .and_then(|version| presence::decode(version, &fields.presence)),
                    rooms: rooms.iter().filter_map(|room| RoomName::parse(room).ok()).collect(),
                });
            }
        }
    }
    Ok(())
}

/// Strikes a step off: it was taken.
pub async fn done(hot: &Hot, partition: Partition, id: &str) -> Result<(), HotError> {
    done_all(hot, &[(partition, id)]).await
}

/// Strikes many steps off in one round trip.
pub async fn done_all(hot: &Hot, steps: &[(Partition, &str)]) -> Result<(), HotError> {
    if steps.is_empty() {
        return Ok(());
    }
    let fail = |error| HotError::of("strike a todo off", error);
    let mut pipeline = redis::Pipeline::with_capacity(steps.len());
    for (partition, id) in steps {
        pipeline.cmd("XDEL").arg(hot.keys().todo(*partition)).arg(*id);
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let replies = connection.send_pipeline(&pipeline).await.map_err(fail)?;
    let mut replies = replies.into_iter().map(redis::Value::extract_error);
    replies.try_for_each(|reply| reply.map(drop)).map_err(fail)
}
