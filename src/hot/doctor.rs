//! Compares what is derived with the leases that it is derived from: reads in batches, and the few writes that no other
//! script makes. One typed function per file of lua/doctor. Not here: what a drift is, and how it ends (`domain::doctor`).

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, Value};

use super::keys::{Due, Lease, Object, Partition};
use super::script::{self, Script, script};
use super::{Hot, HotError};
use crate::types::{ConnectionId, NodeId, RoomName, UserId};

script!(CONNECTION = "doctor/connection");
script!(ROOM = "doctor/room");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&CONNECTION, &ROOM];

/// Entries that one command returns.
pub const BATCH: usize = 1_000;
/// Findings of one room.
const ROOM_MAX: usize = 100;
/// A tombstone outlives any join that may still be under way.
const TOMBSTONE_MS: u64 = 60_000;

fn fail(error: redis::RedisError) -> HotError {
    HotError::of("examine", error)
}

async fn ask<T: redis::FromRedisValue>(hot: &Hot, command: &Cmd) -> Result<T, HotError> {
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let value = connection.send(command).await.map_err(fail)?;
    redis::from_redis_value(value).map_err(|error| fail(error.into()))
}

/// One page of a partition's leases, those in grace after the others; empty behind the last.
pub async fn leases(hot: &Hot, partition: Partition, grace: bool, page: usize) -> Result<Vec<Lease>, HotError> {
    let keys = hot.keys();
    let key = if grace {
        keys.grace(partition)
    } else {
        keys.leases(partition)
    };
    let members = page_of(hot, key, page).await?;
    Ok(members.iter().filter_map(|member| Lease::decode(member)).collect())
}

async fn page_of(hot: &Hot, key: String, page: usize) -> Result<Vec<String>, HotError> {
    let (first, last) = (page * BATCH, (page + 1) * BATCH - 1);
    ask(hot, redis::cmd("ZRANGE").arg(key).arg(first).arg(last)).await
}

/// Nodes that have lived, as far as anybody remembers.
pub async fn nodes(hot: &Hot) -> Result<Vec<NodeId>, HotError> {
    let names: Vec<String> = ask(hot, redis::cmd("HKEYS").arg(hot.keys().node_ends())).await?;
    Ok(names.iter().filter_map(|name| NodeId::parse(name).ok()).collect())
}

/// What of a connection is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    pub leased: bool,
    pub record: bool,
    pub of_user: bool,
    pub of_node: bool,
    pub rooms: u64,
}

impl Pieces {
    /// All of it, or nothing.
    pub fn is_whole(self) -> bool {
        let pieces = [self.record, self.of_user, self.of_node];
        if self.leased {
            pieces == [true; 3]
        } else {
            pieces == [false; 3] && self.rooms == 0
        }
    }
}

/// What is there of connections, in the order asked. With `adopt` one that is not whole is made one of its user's, so
/// that `finish` ends it.
pub async fn connections(hot: &Hot, leases: &[Lease], adopt: bool) -> Result<Vec<Pieces>, HotError> {
    let call = |lease: &Lease| {
        let (keys, partition) = (hot.keys(), Partition::of_user(&lease.user));
        CONNECTION
            .call()
            .key(keys.leases(partition))
            .key(keys.grace(partition))
            .key(keys.connection(&lease.user, &lease.connection))
            .key(keys.user_connections(&lease.user))
            .key(keys.user_rooms(&lease.user))
            .key(keys.node_leases(partition, &lease.node))
            .arg(lease.encode())
            .arg(lease.connection.as_str())
            .flag(adopt)
    };
    let replies = script::run_all(hot, leases.iter().map(call).collect()).await?;
    replies
        .into_iter()
        .map(|reply| {
            let mut reply = reply?;
            CONNECTION.read(|| {
                Ok(Pieces {
                    leased: reply.flag()?,
                    record: reply.flag()?,
                    of_user: reply.flag()?,
                    of_node: reply.flag()?,
                    rooms: reply.integer()?,
                })
            })
        })
        .collect()
}

/// What a room says against itself: kind and user in turns, as lua/doctor/room.lua names them.
pub async fn room(hot: &Hot, room: &RoomName, repair: bool) -> Result<Vec<(String, UserId)>, HotError> {
    let keys = hot.keys();
    let mut reply = ROOM
        .call()
        .key(keys.room_live(room))
        .key(keys.room_users(room))
        .key(keys.room_typing(room))
        .key(keys.due(Partition::of_room(room)))
        .key(keys.room_channel(room))
        .arg(room.as_str())
        .number(ROOM_MAX as u64)
        .flag(repair)
        .run(hot)
        .await?;
    ROOM.read(|| {
        let mut found = Vec::new();
        while !reply.is_empty() {
            found.push((reply.text()?, reply.id()?));
        }
        Ok(found)
    })
}

/// One page of a room's connections.
pub async fn members(hot: &Hot, room: &RoomName, page: usize) -> Result<Vec<Lease>, HotError> {
    let members = page_of(hot, hot.keys().room_live(room), page).await?;
    Ok(members.iter().filter_map(|member| Lease::of_member(member)).collect())
}

/// Puts a connection into a room that has a user without any, so that the user can leave like everybody.
pub async fn hold(hot: &Hot, room: &RoomName, lease: &Lease) -> Result<(), HotError> {
    let mut command = redis::cmd("ZADD");
    command.arg(hot.keys().room_live(room)).arg(0).arg(lease.member());
    ask::<u64>(hot, &command).await.map(drop)
}

/// One page of what ends by time in a partition, and whether it has an owner.
pub async fn due(hot: &Hot, partition: Partition, page: usize) -> Result<Vec<(String, bool)>, HotError> {
    let members = page_of(hot, hot.keys().due(partition), page).await?;
    let keys = hot.keys();
    let mut owners = Pipeline::new();
    for member in &members {
        match Due::decode(member) {
            Some(Due::Typing(room)) => owners.cmd("EXISTS").arg(keys.room_typing(&room)),
            Some(Due::Count(room)) => owners.cmd("EXISTS").arg(keys.room(&room)),
            Some(Due::CustomStatus(user)) => owners.cmd("HEXISTS").arg(keys.user(&user)).arg("until"),
            Some(Due::Away(user)) => owners.cmd("EXISTS").arg(keys.user_connections(&user)),
            // A kind of a later version: its own entry shows that it is there.
            None => owners.cmd("ZCARD").arg(keys.due(partition)),
        };
    }
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let owned = connection.send_pipeline(&owners).await.map_err(fail)?;
    Ok(members
        .into_iter()
        .zip(owned.iter().map(|owned| *owned != Value::Int(0)))
        .collect())
}

/// Lets an entry of `due` end now: the script that ends it looks again.
pub async fn let_end(hot: &Hot, partition: Partition, member: &str) -> Result<(), HotError> {
    let mut command = redis::cmd("ZADD");
    command.arg(hot.keys().due(partition)).arg("XX").arg(0).arg(member);
    ask::<u64>(hot, &command).await.map(drop)
}

/// What a scan comes upon.
#[derive(Debug)]
pub enum Piece {
    /// A connection, by its record or by its user's.
    Connection(Lease),
    /// A room of a connection that its user does not have.
    StrayRoom(UserId, ConnectionId, RoomName),
    Room(RoomName),
    /// A key that should expire and does not.
    Lasting(String),
}

/// Where a scan stands: which master, and its cursor. It begins with the default.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    master: usize,
    cursor: u64,
}

/// One step of a scan over the keys of every master: what it came upon, and the place of the next step, if there is one.
pub async fn scan(hot: &Hot, place: Place) -> Result<(Option<Place>, Vec<Piece>), HotError> {
    let Place { master, cursor } = place;
    let pools = hot.pools().await?;
    // A master that is gone meanwhile is looked at the next time.
    let Some(pool) = pools.get(master) else {
        return Ok((None, Vec::new()));
    };
    let mut pool = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
    let (cursor, found): (u64, Vec<String>) = redis::cmd("SCAN")
        .arg(cursor)
        .arg("MATCH")
        .arg(hot.keys().pattern())
        .arg("COUNT")
        .arg(BATCH)
        .query_async(&mut *pool)
        .await
        .map_err(fail)?;
    drop(pool);
    let mut pieces = Vec::new();
    for key in found {
        match hot.keys().object_of(&key) {
            Some(Object::Connection(connection)) => {
                let fields: (Option<String>, Option<String>) =
                    ask(hot, redis::cmd("HMGET").arg(&key).arg(&["user", "node"])).await?;
                if let (Some(user), Some(node)) = fields {
                    let lease = format!("{connection}\0{node}\0{user}");
                    pieces.extend(Lease::decode(&lease).map(Piece::Connection));
                }
            }
            Some(Object::Connections(_)) => {
                let leases: Vec<String> = ask(hot, redis::cmd("HVALS").arg(&key)).await?;
                let leases = leases.iter().filter_map(|value| value.split_once(' '));
                pieces.extend(leases.filter_map(|(_, lease)| Lease::decode(lease).map(Piece::Connection)));
            }
            Some(Object::Rooms(user)) => pieces.extend(stray_rooms(hot, &user).await?),
            Some(Object::Room(room)) => pieces.push(Piece::Room(room)),
            Some(Object::Tombstone) => {
                let ttl_ms: i64 = ask(hot, redis::cmd("PTTL").arg(&key)).await?;
                pieces.extend((ttl_ms == -1).then_some(Piece::Lasting(key)));
            }
            None => {}
        }
    }
    let next = match cursor {
        0 => Some(Place {
            master: master + 1,
            cursor,
        })
        .filter(|next| next.master < pools.len()),
        cursor => Some(Place { master, cursor }),
    };
    Ok((next, pieces))
}

async fn stray_rooms(hot: &Hot, user: &UserId) -> Result<Vec<Piece>, HotError> {
    let members: Vec<String> = ask(
        hot,
        redis::cmd("ZRANGE").arg(hot.keys().user_rooms(user)).arg(0).arg(-1),
    )
    .await?;
    let own: Vec<String> = ask(hot, redis::cmd("HKEYS").arg(hot.keys().user_connections(user))).await?;
    let stray = |member: &String| {
        let (connection, room) = member.split_once('\0')?;
        if own.iter().any(|own| own == connection) {
            return None;
        }
        let (connection, room) = (ConnectionId::parse(connection).ok()?, RoomName::parse(room).ok()?);
        Some(Piece::StrayRoom(user.clone(), connection, room))
    };
    Ok(members.iter().filter_map(stray).collect())
}

/// Gives a tombstone the end that it lacks.
pub async fn bury(hot: &Hot, key: &str) -> Result<(), HotError> {
    ask::<u64>(hot, redis::cmd("PEXPIRE").arg(key).arg(TOMBSTONE_MS))
        .await
        .map(drop)
}

/// Leases of the cluster: those that are extended, and those in grace.
pub async fn census(hot: &Hot) -> Result<(u64, u64), HotError> {
    let mut counts = Pipeline::new();
    for partition in Partition::all() {
        counts.cmd("ZCARD").arg(hot.keys().leases(partition));
        counts.cmd("ZCARD").arg(hot.keys().grace(partition));
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let counts = connection.send_pipeline(&counts).await.map_err(fail)?;
    let mut sums = [0, 0];
    for (index, count) in counts.into_iter().enumerate() {
        // A master that is away has leases, too: a sum without them would be none.
        let count = count.extract_error().map_err(fail)?;
        sums[index % 2] += redis::from_redis_value::<u64>(count).map_err(|error| fail(error.into()))?;
    }
    Ok((sums[0], sums[1]))
}
