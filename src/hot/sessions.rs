//! Sessions that a stock client may recover: one typed function per file of lua/sessions. A session is made and ended by the
//! scripts of the connection that holds it (`presence`). Not here: whether it can be recovered (`domain::sessions`).

use std::sync::LazyLock;

use super::keys::Lease;
use super::rooms::Since;
use super::script::{Script, script};
use super::{Hot, HotError};
use crate::types::{Pid, RoomName, UserId};

script!(READ = "sessions/read");
script!(KEEP = "sessions/keep");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&READ, &KEEP];

/// The rooms of a session, and where in each it began. `None`: there is none of that user.
pub async fn read(hot: &Hot, user: &UserId, pid: &Pid) -> Result<Option<Vec<(RoomName, Since)>>, HotError> {
    let mut reply = READ
        .call()
        .key(hot.keys().session(user, pid))
        .arg(user.as_str())
        .run(hot)
        .await?;
    READ.read(|| {
        if !reply.flag()? {
            return Ok(None);
        }
        let mut rooms = Vec::new();
        while !reply.is_empty() {
            let (room, epoch, seq) = (reply.id()?, reply.text()?, reply.integer()?);
            rooms.push((room, Since { epoch, seq }));
        }
        Ok(Some(rooms))
    })
}

/// Notes that a connection has joined a room, and where. False: another connection holds its session.
pub async fn keep(hot: &Hot, lease: &Lease, room: &RoomName, since: &Since) -> Result<bool, HotError> {
    let mut reply = KEEP
        .call()
        .key(hot.keys().session(&lease.user, &lease.connection.pid()))
        .arg(lease.connection.as_str())
        .arg(room.as_str())
        .arg(&since.epoch[..])
        .number(since.seq)
        .run(hot)
        .await?;
    KEEP.read(|| reply.flag())
}
