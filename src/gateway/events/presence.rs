//! `presence:update`, `presence:subscribe`, `presence:unsubscribe`, `presence:get`.

use ahash::AHashSet;
use serde_json::{Value, json};

use super::super::outgoing;
use super::super::payload::{Fields, Incoming};
use super::super::protocol::{ErrorCode, Failure};
use super::{Handled, Outcome, Turn};
use crate::domain::limits::Class;
use crate::domain::presence::{self, Choice};
use crate::types::{Presence, RoomName, Status, UserId};

/// Users that one call names.
const USERS_MAX: usize = 200;
/// Users that one socket watches.
const WATCHED_MAX: usize = 1_000;

/// `presence:update`: the user chooses a status, and what stands beside it.
pub async fn update(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let choice = decode_choice(incoming)?;
    require_presence(turn)?;
    turn.require_user()?;
    turn.limit(Class::Presence).await?;
    let (shard, client) = (turn.shard, turn.client);
    let mut chosen = presence::choose(&shard.hot, &client.lease(), &choice)
        .await
        .map_err(|error| turn.unavailable(error))?;
    if chosen.is_none() {
        shard
            .renew_registration(client)
            .await
            .map_err(|error| turn.unavailable(error))?;
        chosen = presence::choose(&shard.hot, &client.lease(), &choice)
            .await
            .map_err(|error| turn.unavailable(error))?;
    }
    let presence = chosen.ok_or_else(Failure::unavailable)?;
    Ok(Outcome::Done(Some(written(turn, &client.user, &presence).to_string())))
}

fn decode_choice(incoming: &Incoming<'_>) -> Result<Choice, Failure> {
    let mut fields = incoming.object()?;
    let status = fields.text("status")?;
    let status = Status::parse(&status)
        .ok_or_else(|| Failure::field("status", format_args!("must be one of {}", Status::NAMES.join(", "))))?;
    let custom = fields.custom_status()?;
    Ok(Choice {
        status,
        text: custom.text,
        emoji: custom.emoji,
        until_ms: custom.until_ms,
    })
}

/// `presence:subscribe`: hears of users from now on, as far as rooms are shared.
pub async fn subscribe(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let users = decode_users(turn, &mut incoming.object()?)?;
    turn.limit(Class::Presence).await?;
    let (shard, client) = (turn.shard, turn.client);
    let fresh: Vec<&UserId> = users
        .iter()
        .filter(|user| !client.watching.borrow().contains(*user))
        .collect();
    if client.watching.borrow().len() + fresh.len() > WATCHED_MAX {
        return Err(Failure::field(
            "userIds",
            format_args!("would be more than {WATCHED_MAX} on this socket"),
        ));
    }
    let listening = futures_util::future::join_all(fresh.iter().map(|user| shard.listen(user))).await;
    let listened: Result<Vec<()>, _> = listening.into_iter().collect();
    if listened.is_ok() {
        users.iter().for_each(|user| shard.watch(user, client));
    }
    fresh.iter().for_each(|user| shard.listening(user));
    listened.map_err(|error| turn.unavailable(error))?;

    let presences = look_up(turn, &users, !shard.node.settings.presence_to_all).await?;
    client.socket.send(&outgoing::presence_bulk(&presences));
    Ok(Outcome::Done(Some(json!({ "presences": presences }).to_string())))
}

/// `presence:unsubscribe`: no longer hears of users.
pub async fn unsubscribe(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let users = decode_users(turn, &mut incoming.object()?)?;
    turn.limit(Class::Presence).await?;
    users.iter().for_each(|user| turn.shard.unwatch(user, turn.client));
    Ok(Outcome::Done(None))
}

/// `presence:get`: how users are now.
pub async fn get(turn: &Turn<'_>, incoming: &Incoming<'_>) -> Handled {
    let users = decode_users(turn, &mut incoming.object()?)?;
    turn.limit(Class::Presence).await?;
    let presences = look_up(turn, &users, false).await?;
    Ok(Outcome::Done(Some(json!({ "presences": presences }).to_string())))
}

fn decode_users(turn: &Turn<'_>, fields: &mut Fields) -> Result<Vec<UserId>, Failure> {
    let mut users = fields.users(USERS_MAX)?;
    let mut met = AHashSet::new();
    users.retain(|user| met.insert(user.clone()));
    require_presence(turn)?;
    Ok(users)
}

fn require_presence(turn: &Turn<'_>) -> Result<(), Failure> {
    if turn.shard.node.settings.enable_presence {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::FeatureDisabled, "Presence is disabled"))
}

/// The presences asked for. With `shared_only`, whoever shares no room with the asker is offline to it.
async fn look_up(turn: &Turn<'_>, users: &[UserId], shared_only: bool) -> Result<Vec<Value>, Failure> {
    let found = presence::look_up(&turn.shard.hot, users)
        .await
        .map_err(|error| turn.unavailable(error))?;
    let joined = turn.client.rooms.borrow();
    let shares = |rooms: &[RoomName]| rooms.iter().any(|room| joined.contains(room));
    let presences = users.iter().zip(found).map(|(user, (presence, rooms))| {
        let visible = !shared_only || *user == turn.client.user || shares(&rooms);
        written(turn, user, if visible { &presence } else { &Presence::UNKNOWN })
    });
    Ok(presences.map(with_last_seen).collect())
}

/// Answers always name the field; events only where there is something to say.
fn with_last_seen(mut presence: Value) -> Value {
    if presence.get("lastSeen").is_none() {
        presence["lastSeen"] = Value::Null;
    }
    presence
}

fn written(turn: &Turn<'_>, user: &UserId, presence: &Presence) -> Value {
    outgoing::presence(user, presence, turn.shard.node.settings.custom_status_shape)
}
