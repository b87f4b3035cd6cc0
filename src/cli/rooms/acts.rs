//! `rooms kick`, `ban`, `unban`, `mute`, `unmute`, `role`, `close`, by these and other names: what the administration does, above every rank.

use clap::Args;
use serde_json::json;

use super::super::paint::tick;
use super::super::{Error, say};
use super::no_such_room;
use crate::domain::moderation::{self, Act, Actor, POLICY_MAX, REASON_MAX_BYTES, Receipt, Refusal, Term};
use crate::hot::{Hot, HotError};
use crate::types::{Role, RoomName, UserId};

#[derive(Debug, Args)]
pub(super) struct OnUser {
    /// The room's name
    name: RoomName,
    /// The user's id
    user: UserId,
    /// Why; for the audit trail
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UntilThen {
    #[command(flatten)]
    on: OnUser,
    /// When it ends, an ISO-8601 date in the future; never when not given
    #[arg(long, value_name = "DATE", value_parser = date)]
    until: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct Appointment {
    /// The room's name
    name: RoomName,
    /// The user's id
    user: UserId,
    /// admin, moderator, member or guest; without one it is an invitation, and whoever has a role keeps it
    #[arg(value_parser = role)]
    role: Option<Role>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Closing {
    /// The room's name
    name: RoomName,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn date(text: &str) -> Result<i64, String> {
    let date = text.parse::<jiff::Timestamp>();
    date.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "takes an ISO-8601 date".to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_MAX_BYTES {
        return Err(format!("takes at most {REASON_MAX_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("takes {}", Role::NAMES.join(", ")))
}

impl OnUser {
    pub(super) fn room(&self) -> &RoomName {
        &self.name
    }

    fn act(&self) -> Act<'_> {
        Act {
            actor: Actor::Administration,
            room: &self.name,
            user: &self.user,
            reason: self.reason.as_deref(),
        }
    }

    fn report(&self, done: &str, outcome: Result<Result<Receipt, Refusal>, HotError>) -> Result<(), Error> {
        let receipt = outcome?.map_err(|refusal| refused(&self.name, refusal))?;
        show(&format!("{} is {done} {}", self.user, self.name), &receipt, self.json);
        Ok(())
    }
}

impl UntilThen {
    pub(super) fn room(&self) -> &RoomName {
        self.on.room()
    }

    fn term(&self) -> Term {
        self.until.map_or(Term::Forever, Term::Until)
    }
}

impl Appointment {
    pub(super) fn room(&self) -> &RoomName {
        &self.name
    }
}

impl Closing {
    pub(super) fn room(&self) -> &RoomName {
        &self.name
    }
}

/// `rooms kick`
pub(super) async fn kick(hot: &Hot, options: &OnUser) -> Result<(), Error> {
    options.report("kicked from", moderation::kick(hot, &options.act()).await)
}

/// `rooms ban`
pub(super) async fn ban(hot: &Hot, options: &UntilThen) -> Result<(), Error> {
    let banned = moderation::ban(hot, &options.on.act(), options.term()).await;
    options.on.report("banned from", banned)
}

/// `rooms unban`
pub(super) async fn unban(hot: &Hot, options: &OnUser) -> Result<(), Error> {
    options.report("no longer banned from", moderation::unban(hot, &options.act()).await)
}

/// `rooms mute`
pub(super) async fn mute(hot: &Hot, options: &UntilThen) -> Result<(), Error> {
    let muted = moderation::mute(hot, &options.on.act(), options.term()).await;
    options.on.report("muted in", muted)
}

/// `rooms unmute`
pub(super) async fn unmute(hot: &Hot, options: &OnUser) -> Result<(), Error> {
    options.report("no longer muted in", moderation::unmute(hot, &options.act()).await)
}

/// `rooms role`
pub(super) async fn appoint(hot: &Hot, options: &Appointment) -> Result<(), Error> {
    let Appointment { name, user, role, json } = options;
    let act = Act {
        actor: Actor::Administration,
        room: name,
        user,
        reason: None,
    };
    let appointed = match *role {
        Some(role) => moderation::appoint(hot, &act, role).await?.map(|_| role),
        None => moderation::invite(hot, &act).await?.map(|(role, _)| role),
    };
    let role = appointed.map_err(|refusal| refused(name, refusal))?;
    if *json {
        say!("{}", json!({ "userId": user.as_str(), "role": role.as_str() }));
    } else {
        say!("{} {user} is {role} in {name}", tick());
    }
    Ok(())
}

/// `rooms close`
pub(super) async fn close(hot: &Hot, options: &Closing) -> Result<(), Error> {
    let closed = moderation::close(hot, &options.name).await?;
    let receipt = closed.ok_or_else(|| no_such_room(&options.name))?;
    show(&format!("{} is closed", options.name), &receipt, options.json);
    Ok(())
}

fn show(done: &str, receipt: &Receipt, json: bool) {
    if json {
        let nodes: Vec<_> = receipt
            .reach
            .iter()
            .map(|reach| json!({ "node": reach.node.as_str(), "sockets": reach.sockets }))
            .collect();
        say!("{}", json!({ "nodes": nodes }));
        return;
    }
    say!("{} {done}", tick());
    for reach in &receipt.reach {
        say!("  {:<40} {:>8} sockets", reach.node.as_str(), reach.sockets);
    }
}

/// The administration is in no room and above every rank, so few refusals are left.
fn refused(room: &RoomName, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Missing => no_such_room(room),
        Refusal::Past => Error::Usage("--until must be in the future".to_owned()),
        Refusal::Full => Error::Failed(format!(
            "{room} remembers {POLICY_MAX} users already; lift a ban, a mute or a role"
        )),
        Refusal::Banned | Refusal::Stranger | Refusal::Forbidden => Error::Failed(format!("{room} does not allow it")),
    }
}
