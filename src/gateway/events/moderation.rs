//! `room:kick`, `room:ban`, `room:unban`, `room:mute`, `room:unmute`, `room:role`.

use serde_json::{Value, json};

use super::super::payload::{Fields, Incoming};
use super::super::protocol::{ErrorCode, Failure};
use super::{Handled, Outcome, Turn};
use crate::domain::limits::Class;
use crate::domain::moderation::{self, Act, Actor, Receipt, Refusal, Term};
use crate::hot::HotError;
use crate::types::{Role, RoomName, UserId};

/// `room:kick`: out of the room, at once on every node.
pub async fn kick(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let asked = decode(&mut incoming.object()?)?;
    authorise(turn).await?;
    let lease = turn.client.lease();
    let receipt = done(turn, moderation::kick(&turn.shard.hot, &asked.act(&lease)).await)?;
    // Nothing of it has to outlast Redis.
    Ok(Outcome::Done(Some(written(&receipt))))
}

/// `room:ban`: out of the room, and not back in until the end.
pub async fn ban(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let mut fields = incoming.object()?;
    let (asked, term) = (decode(&mut fields)?, decode_term(&mut fields)?);
    authorise(turn).await?;
    let lease = turn.client.lease();
    keep(turn, moderation::ban(&turn.shard.hot, &asked.act(&lease), term).await).await
}

/// `room:unban`: may come back.
pub async fn unban(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let asked = decode(&mut incoming.object()?)?;
    authorise(turn).await?;
    let lease = turn.client.lease();
    keep(turn, moderation::unban(&turn.shard.hot, &asked.act(&lease)).await).await
}

/// `room:mute`: hears, and is not heard until the end.
pub async fn mute(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let mut fields = incoming.object()?;
    let (asked, term) = (decode(&mut fields)?, decode_term(&mut fields)?);
    authorise(turn).await?;
    let lease = turn.client.lease();
    keep(turn, moderation::mute(&turn.shard.hot, &asked.act(&lease), term).await).await
}

/// `room:unmute`: is heard again.
pub async fn unmute(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let asked = decode(&mut incoming.object()?)?;
    authorise(turn).await?;
    let lease = turn.client.lease();
    keep(turn, moderation::unmute(&turn.shard.hot, &asked.act(&lease)).await).await
}

/// `room:role`: appoints, demotes, or invites.
pub async fn role(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let mut fields = incoming.object()?;
    let asked = decode(&mut fields)?;
    let role = fields.text("role")?;
    let role = Role::parse(&role)
        .ok_or_else(|| Failure::field("role", format_args!("must be one of {}", Role::NAMES.join(", "))))?;
    authorise(turn).await?;
    let lease = turn.client.lease();
    let receipt = done(
        turn,
        moderation::appoint(&turn.shard.hot, &asked.act(&lease), role).await,
    )?;
    Ok(turn.kept(&receipt, None).await)
}

/// Not too often, and only users.
async fn authorise(turn: &Turn<'_>) -> Result<(), Failure> {
    turn.limit(Class::Requests).await?;
    turn.require_user()
}

struct Asked {
    room: RoomName,
    user: UserId,
    reason: Option<String>,
}

impl Asked {
    fn act<'a>(&'a self, lease: &'a crate::hot::keys::Lease) -> Act<'a> {
        Act {
            actor: Actor::Member(lease),
            room: &self.room,
            user: &self.user,
            reason: self.reason.as_deref(),
        }
    }
}

fn decode(fields: &mut Fields) -> Result<Asked, Failure> {
    let (room, user, reason) = (fields.room()?, fields.user()?, fields.reason()?);
    Ok(Asked { room, user, reason })
}

/// Whether the end is in the future, Redis' clock decides.
fn decode_term(fields: &mut Fields) -> Result<Term, Failure> {
    Ok(fields.until()?.map_or(Term::Forever, Term::Until))
}

fn done(turn: &Turn<'_>, outcome: Result<Result<Receipt, Refusal>, HotError>) -> Result<Receipt, Failure> {
    outcome.map_err(|error| turn.unavailable(error))?.map_err(refused)
}

/// A change of the room's policy, which has to outlast Redis.
async fn keep(turn: &Turn<'_>, outcome: Result<Result<Receipt, Refusal>, HotError>) -> Handled {
    let receipt = done(turn, outcome)?;
    let data = written(&receipt);
    Ok(turn.kept(&receipt, Some(data)).await)
}

fn written(receipt: &Receipt) -> String {
    let nodes: Vec<Value> = receipt
        .reach
        .iter()
        .map(|reach| json!({ "node": reach.node.as_str(), "sockets": reach.sockets }))
        .collect();
    json!({ "nodes": nodes }).to_string()
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Missing => Failure::room_not_found(),
        Refusal::Banned => Failure::new(ErrorCode::Banned, "You are banned from this room"),
        Refusal::Stranger => Failure::not_a_member(),
        Refusal::Forbidden => Failure::new(ErrorCode::Forbidden, "Your role does not allow this"),
        Refusal::Past => Failure::field("until", "must be in the future"),
        Refusal::Full => Failure::new(
            ErrorCode::TooLarge,
            format!(
                "The room remembers {} users already: lift a ban, a mute or a role first",
                moderation::POLICY_MAX
            ),
        ),
    }
}
