//! Presence and the leases of connections: one typed function per file of lua/presence. Not here: who is told what.

mod encoding;
mod status;

use std::sync::LazyLock;
use std::time::Duration;

pub use self::encoding::{decode, encode};
pub use self::status::{Choice, Told, expire, idle, restore, update, wake};
use super::keys::{Bucket, Lease, Partition};
use super::limits::{Draw, Drawn, JOINS};
use super::reply::Reply;
use super::script::{self, Call, Script, script};
use super::{Hot, HotError, millis};
use crate::types::{ConnectionId, NodeId, Presence, Rate, RoomName, UserId};

script!(CONNECT = "presence/connect");
script!(RENEW = "presence/renew");
script!(LOSE = "presence/lose");
script!(FINISH = "presence/finish");
script!(ENTER = "presence/enter");
script!(EXIT = "presence/exit");
script!(READ = "presence/read");
script!(REFRESH = "presence/refresh");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[
    &CONNECT,
    &RENEW,
    &LOSE,
    &FINISH,
    &ENTER,
    &EXIT,
    &READ,
    &REFRESH,
    &status::UPDATE,
    &status::EXPIRE,
    &status::IDLE,
    &status::WAKE,
    &status::RESTORE,
];

/// What a connection tells of itself; shown to operators and kept in the archive.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub transport: String,
    pub ip: String,
    pub agent: String,
    /// JSON text.
    pub device: String,
    pub session: String,
    /// The socket's id, as the client knows it.
    pub socket: String,
    /// Since its last activity.
    pub idle: Duration,
    /// Its session is kept, so that the client can come back to it.
    pub recovers: bool,
}

/// Outcome of [`connect`].
#[derive(Debug)]
pub enum Connect {
    Connected {
        presence: Presence,
        now_ms: i64,
        rooms: Vec<RoomName>,
        /// Something of the user was in grace: nobody saw a flap.
        returned: bool,
        /// One more than a user may have, where that is only counted.
        is_over: bool,
    },
    /// The user has as many connections as one user may have.
    Full,
}

/// Creates the lease. A repeat finds it, and changes nothing. `known` is what the node knows of the user where the
/// connection is registered anew: it is put back where Redis has lost the user.
pub async fn connect(hot: &Hot, lease: &Lease, facts: &Facts, known: Option<&Presence>) -> Result<Connect, HotError> {
    let (keys, user) = (hot.keys(), &lease.user);
    let partition = Partition::of_user(user);
    let known = known.unwrap_or(&Presence::UNKNOWN);
    let mut reply = CONNECT
        .call()
        .key(keys.leases(partition))
        .key(keys.grace(partition))
        .key(keys.connection(user, &lease.connection))
        .key(keys.user(user))
        .key(keys.user_connections(user))
        .key(keys.user_rooms(user))
        .key(keys.node_leases(partition, &lease.node))
        .key(presence_channel(hot, user))
        .key(keys.due(partition))
        .key(keys.user_log(user))
        .key(keys.session(user, &lease.connection.pid()))
        .arg(lease.encode())
        .arg(lease.connection.as_str())
        .arg(lease.node.as_str())
        .arg(user.as_str())
        .number(millis(hot.terms().lease))
        .number(millis(hot.terms().prolong))
        .arg(&facts.transport[..])
        .arg(&facts.ip[..])
        .arg(&facts.agent[..])
        .arg(&facts.device[..])
        .arg(&facts.session[..])
        .number(hot.terms().user_connections)
        .known(known)
        .number(millis(facts.idle))
        .number(away_ms(hot))
        .arg(match facts.recovers {
            false => "",
            true if known.version == 0 => "take",
            true => "keep",
        })
        .flag(hot.terms().only_counted)
        .arg(&facts.socket[..])
        .outbox(hot, partition)
        .run(hot)
        .await?;
    CONNECT.read(|| {
        if reply.text()? == "full" {
            return Ok(Connect::Full);
        }
        let _appeared = reply.flag()?;
        Ok(Connect::Connected {
            presence: reply.presence()?,
            now_ms: reply.integer()?,
            rooms: reply.rooms()?,
            returned: reply.flag()?,
            is_over: reply.flag()?,
        })
    })
}

/// The channel on which a user's presence is told beside the rooms.
fn presence_channel(hot: &Hot, user: &UserId) -> String {
    if hot.terms().presence_to_all {
        hot.keys().presence_channel(Partition::of_user(user))
    } else {
        hot.keys().user_channel(user)
    }
}

fn away_ms(hot: &Hot) -> i128 {
    millis(hot.terms().away_after)
}

/// A lease that a node holds.
#[derive(Debug, Clone)]
pub struct Held {
    pub lease: Lease,
    /// Since the connection's last activity; `None` where an earlier call told it.
    pub idle: Option<Duration>,
}

/// Extends leases of one partition, and notes which users are active; the missing leases are returned.
pub async fn renew(hot: &Hot, partition: Partition, held: &[Held]) -> Result<Vec<Lease>, HotError> {
    let idle_ms = |idle: Option<Duration>| idle.map_or(String::new(), |idle| millis(idle).to_string());
    let mut reply = RENEW
        .call()
        .key(hot.keys().leases(partition))
        .key(hot.keys().due(partition))
        .number(millis(hot.terms().lease))
        .number(away_ms(hot))
        .args(held.iter().flat_map(|held| [held.lease.encode(), idle_ms(held.idle)]))
        .run(hot)
        .await?;
    RENEW.read(|| {
        let mut missing = Vec::new();
        while !reply.is_empty() {
            missing.extend(Lease::decode(&reply.text()?));
        }
        Ok(missing)
    })
}

/// Moves a lease into grace; `cause` is for whoever asks why. False: there was none.
pub async fn lose(hot: &Hot, lease: &Lease, grace: Duration, cause: &str) -> Result<bool, HotError> {
    let partition = Partition::of_user(&lease.user);
    let mut reply = LOSE
        .call()
        .key(hot.keys().leases(partition))
        .key(hot.keys().grace(partition))
        .key(hot.keys().user(&lease.user))
        .key(hot.keys().user_connections(&lease.user))
        .key(hot.keys().user_log(&lease.user))
        .key(hot.keys().connection(&lease.user, &lease.connection))
        .arg(lease.encode())
        .arg(lease.connection.as_str())
        .number(millis(grace))
        .arg(cause)
        .arg(lease.user.as_str())
        .outbox(hot, partition)
        .run(hot)
        .await?;
    LOSE.read(|| reply.flag())
}

/// Why a connection ends.
enum End<'a> {
    /// Somebody wants it to, and why.
    Asked(&'a str),
    /// The sweep saw that it ended at this time, Unix ms.
    Due(i64),
}

/// What the end of a connection leaves to be done.
#[derive(Debug)]
pub struct Finished {
    /// The user's presence, where this end changed it.
    pub changed: Option<Presence>,
    /// Rooms that the connection must still leave.
    pub rooms: Vec<RoomName>,
    /// The record that makes it happen, in the user's partition.
    pub todo: Option<String>,
}

fn finish_call(hot: &Hot, lease: &Lease, why: &End<'_>) -> Call {
    let (keys, user) = (hot.keys(), &lease.user);
    let partition = Partition::of_user(user);
    let (seen_end_ms, cause) = match why {
        End::Asked(cause) => (String::new(), *cause),
        End::Due(end_ms) => (end_ms.to_string(), ""),
    };
    // Nobody comes back as the same anonymous user.
    let keep_ms = if user.is_anonymous() {
        0
    } else {
        millis(hot.terms().keep)
    };
    FINISH
        .call()
        .key(keys.leases(partition))
        .key(keys.grace(partition))
        .key(keys.connection(user, &lease.connection))
        .key(keys.user(user))
        .key(keys.user_connections(user))
        .key(keys.user_rooms(user))
        .key(keys.node_leases(partition, &lease.node))
        .key(keys.todo(partition))
        .key(presence_channel(hot, user))
        .key(keys.due(partition))
        .key(keys.user_log(user))
        .key(keys.session(user, &lease.connection.pid()))
        .arg(lease.encode())
        .arg(lease.connection.as_str())
        .arg(user.as_str())
        .arg(seen_end_ms)
        .number(keep_ms)
        .number(millis(hot.terms().recovery_window))
        .arg(cause)
        .outbox(hot, partition)
}

fn finished(mut reply: Reply) -> Result<Option<Finished>, HotError> {
    FINISH.read(|| {
        if !reply.flag()? {
            return Ok(None);
        }
        let _last = reply.flag()?;
        let changed = reply.flag()?;
        let presence = reply.presence()?;
        let todo = Some(reply.text()?).filter(|id| !id.is_empty());
        Ok(Some(Finished {
            changed: changed.then_some(presence),
            rooms: reply.rooms()?,
            todo,
        }))
    })
}

/// Ends a connection now. `None`: it had ended.
pub async fn finish(hot: &Hot, lease: &Lease, cause: &str) -> Result<Option<Finished>, HotError> {
    finished(finish_call(hot, lease, &End::Asked(cause)).run(hot).await?)
}

/// Ends connections whose leases end as the sweep saw them end (ms); in the order given, `None` where another was first.
pub async fn finish_due(hot: &Hot, due: &[(Lease, i64)]) -> Result<Vec<Result<Option<Finished>, HotError>>, HotError> {
    let calls = due
        .iter()
        .map(|(lease, end_ms)| finish_call(hot, lease, &End::Due(*end_ms)))
        .collect();
    Ok(script::run_all(hot, calls)
        .await?
        .into_iter()
        .map(|reply| finished(reply?))
        .collect())
}

/// Outcome of [`enter`].
#[derive(Debug)]
pub enum Enter {
    Entered(Presence),
    /// The connection has no lease: it ended, or Redis lost it.
    Gone,
    /// The connection is in as many rooms as it may be.
    TooManyRooms,
}

/// First half of a join, in the user's partition; with it tokens are drawn that the join owes, whatever comes of it.
pub async fn enter(
    hot: &Hot,
    lease: &Lease,
    room: &RoomName,
    joins: Option<(Rate, Draw)>,
) -> Result<(Enter, Drawn), HotError> {
    let (keys, user) = (hot.keys(), &lease.user);
    let call = ENTER
        .call()
        .key(keys.leases(Partition::of_user(user)))
        .key(keys.user(user))
        .key(keys.user_rooms(user))
        .key(keys.limit(&Bucket::User(user, JOINS)))
        .arg(lease.encode())
        .arg(lease.connection.as_str())
        .arg(room.as_str())
        .number(hot.terms().connection_rooms);
    let call = match joins {
        Some((rate, draw)) => call.draw(rate, draw),
        None => call.draw_nothing(),
    };
    let mut reply = call.run(hot).await?;
    ENTER.read(|| {
        let (word, drawn) = (reply.text()?, reply.drawn()?);
        let outcome = match &*word {
            "ok" => Enter::Entered(reply.presence()?),
            "many" => Enter::TooManyRooms,
            _ => Enter::Gone,
        };
        Ok((outcome, drawn))
    })
}

/// Second half of a leave, in the user's partition.
pub async fn exit(hot: &Hot, user: &UserId, connection: &ConnectionId, room: &RoomName) -> Result<(), HotError> {
    EXIT.call()
        .key(hot.keys().user_rooms(user))
        .key(hot.keys().session(user, &connection.pid()))
        .arg(connection.as_str())
        .arg(room.as_str())
        .run(hot)
        .await
        .map(drop)
}

/// What others see of users, and the rooms each is in; in the order asked.
pub async fn read_all(hot: &Hot, users: &[UserId]) -> Result<Vec<(Presence, Vec<RoomName>)>, HotError> {
    let call = |user| {
        READ.call()
            .key(hot.keys().user(user))
            .key(hot.keys().user_connections(user))
            .key(hot.keys().user_rooms(user))
    };
    let replies = script::run_all(hot, users.iter().map(call).collect()).await?;
    replies
        .into_iter()
        .map(|reply| {
            let mut reply = reply?;
            READ.read(|| Ok((reply.presence()?, reply.rooms()?)))
        })
        .collect()
}

/// Writes what changes while a connection lasts: its transport, its latency.
pub async fn refresh(hot: &Hot, lease: &Lease, transport: &str, latency_ms: Option<u64>) -> Result<(), HotError> {
    REFRESH
        .call()
        .key(hot.keys().connection(&lease.user, &lease.connection))
        .arg(transport)
        .arg(latency_ms.map(|ms| ms.to_string()).unwrap_or_default())
        .run(hot)
        .await
        .map(drop)
}

/// Live connections of the whole cluster; those in grace do not count.
pub async fn count_connections(hot: &Hot) -> Result<u64, HotError> {
    let mut pipeline = redis::Pipeline::new();
    for partition in Partition::all() {
        pipeline.cmd("ZCARD").arg(hot.keys().leases(partition));
    }
    let fail = |error| HotError::of("count connections", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let counts = connection.send_pipeline(&pipeline).await.map_err(fail)?;
    counts
        .into_iter()
        .map(|count| redis::from_redis_value::<u64>(count).map_err(|error| fail(error.into())))
        .sum()
}

/// Every lease that a node holds in one partition.
pub async fn node_leases(hot: &Hot, partition: Partition, node: &NodeId) -> Result<Vec<Lease>, HotError> {
    let fail = |error| HotError::of("read a node's leases", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let value = connection
        .send(redis::cmd("SMEMBERS").arg(hot.keys().node_leases(partition, node)))
        .await
        .map_err(fail)?;
    let members: Vec<String> = redis::from_redis_value(value).map_err(|error| fail(error.into()))?;
    Ok(members.iter().filter_map(|member| Lease::decode(member)).collect())
}
