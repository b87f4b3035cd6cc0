//! Acts on users of a room, by a moderator or the administration, and where they take effect. Not here: how an act is asked
//! for, nor how the sockets of whoever is sent out are told.

use std::collections::BTreeMap;

use crate::hot::keys::Lease;
use crate::hot::moderation::Done;
use crate::hot::outbox::Record;
use crate::hot::{self, Hot, HotError};
use crate::types::{NodeId, Role, RoomName};

pub use crate::hot::moderation::{Act, Actor, Entry, POLICY_MAX, Refusal, Term};

/// Longest reason of an act, in bytes.
pub const REASON_MAX_BYTES: usize = 500;

/// Sockets of the user on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub node: NodeId,
    pub sockets: u64,
}

/// An act that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Where it takes effect, by node.
    pub reach: Vec<Reach>,
    /// Where it stands in the outbox; where nothing had to be changed, how far that is: what was changed before may still
    /// wait there. `None` where there is no archive.
    pub record: Option<Record>,
}

/// Sends the user out of the room; coming back is not forbidden.
pub async fn kick(hot: &Hot, act: &Act<'_>) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::expel(hot, act, None).await?.map(receipt))
}

/// Sends the user out of the room and keeps the user out; powers go with it, an invitation stands when it is lifted.
pub async fn ban(hot: &Hot, act: &Act<'_>, term: Term) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::expel(hot, act, Some(term)).await?.map(receipt))
}

/// Lifts a ban, if there is one.
pub async fn unban(hot: &Hot, act: &Act<'_>) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::unban(hot, act).await?.map(receipt))
}

/// The user hears and is not heard; what the user types is taken back.
pub async fn mute(hot: &Hot, act: &Act<'_>, term: Term) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::mute(hot, act, Some(term)).await?.map(receipt))
}

/// Lifts a mute, if there is one.
pub async fn unmute(hot: &Hot, act: &Act<'_>) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::mute(hot, act, None).await?.map(receipt))
}

/// Gives the user a role; any is an invitation.
pub async fn appoint(hot: &Hot, act: &Act<'_>, role: Role) -> Result<Result<Receipt, Refusal>, HotError> {
    Ok(hot::moderation::appoint(hot, act, role).await?.map(receipt))
}

/// Lets the administration invite the user, who keeps the role that there is; which one that is.
pub async fn invite(hot: &Hot, act: &Act<'_>) -> Result<Result<(Role, Receipt), Refusal>, HotError> {
    let invited = hot::moderation::invite(hot, act).await?;
    Ok(invited.map(|(role, done)| (role, receipt(done))))
}

/// Ends a room: everybody is sent out, and nothing of it is left. `None`: there is none.
pub async fn close(hot: &Hot, room: &RoomName) -> Result<Option<Receipt>, HotError> {
    Ok(hot::moderation::close(hot, room).await?.map(receipt))
}

/// Of how many users a room remembers a role, a ban or a mute; and of some of them what.
pub async fn policy(hot: &Hot, room: &RoomName, limit: u32) -> Result<(u64, Vec<Entry>), HotError> {
    hot::moderation::read(hot, room, limit).await
}

/// The user's half of being sent out: the node that holds the connection takes this step once its socket was told.
pub async fn forget(hot: &Hot, lease: &Lease, room: &RoomName) -> Result<(), HotError> {
    hot::presence::exit(hot, &lease.user, &lease.connection, room)
        .await
        .map(drop)
}

fn receipt(Done { connections, record }: Done) -> Receipt {
    let mut sockets = BTreeMap::new();
    for lease in connections {
        *sockets.entry(lease.node).or_insert(0) += 1;
    }
    let reach = sockets.into_iter().map(|(node, sockets)| Reach { node, sockets });
    Receipt {
        reach: reach.collect(),
        record,
    }
}
