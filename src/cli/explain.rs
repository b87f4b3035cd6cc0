//! `explain`: why a user is shown as the user is, for people or as one JSON object.

use clap::Args;
use serde_json::{Value, json};

use super::{Error, say, time};
use crate::domain::explain::{self, Connection, Explained, Rule, State};
use crate::hot::Hot;
use crate::types::UserId;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The user's id
    user: UserId,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(hot: &Hot, options: &Options) -> Result<(), Error> {
    let (rule, explained) = explain::explain(hot, &options.user).await?;
    if options.json {
        say!("{}", as_json(&options.user, rule, &explained));
    } else {
        tell(&options.user, rule, &explained);
    }
    Ok(())
}

fn tell(user: &UserId, rule: Rule, explained: &Explained) {
    let presence = &explained.presence;
    say!("{user} is {}: {}", presence.status, rule.as_str());
    let chosen = presence.chosen.map_or("nothing", |status| status.as_str());
    say!("  chosen      {chosen}");
    if presence.text.is_some() || presence.emoji.is_some() {
        let words = [presence.emoji.as_deref(), presence.text.as_deref()];
        let ends = presence
            .until_ms
            .map_or("stays".to_owned(), |ms| format!("ends in {} ms", ms - explained.now_ms));
        say!(
            "  custom      {}, {ends}",
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        );
    }
    if let Some(since_ms) = explained.away_since_ms {
        say!("  inactive    noticed {} ms ago", explained.now_ms - since_ms);
    }
    if let Some(at_ms) = explained.away_at_ms {
        say!(
            "  inactive    in {} ms, unless a device is active",
            at_ms - explained.now_ms
        );
    }
    if let Some(seen_ms) = presence.seen_ms {
        say!("  last seen   {}", time(seen_ms));
    }
    say!("  version     {}", presence.version);
    say!("\nConnections ({})", explained.connections.len());
    for connection in &explained.connections {
        tell_connection(connection, explained);
    }
    say!("\nLast transitions ({})", explained.log.len());
    for transition in &explained.log {
        let by = if transition.connection.is_empty() {
            String::new()
        } else {
            format!(" ({})", transition.connection)
        };
        say!(
            "  {}  {:<8} {}: {}{by}",
            time(transition.at_ms as i64),
            transition.status,
            transition.what,
            transition.cause
        );
    }
}

fn tell_connection(connection: &Connection, explained: &Explained) {
    let lives = if connection.node_lives { "alive" } else { "dead" };
    say!("  {} on {} ({lives})", connection.lease.connection, connection.node());
    say!(
        "    {} from {}, device {}",
        connection.transport,
        connection.ip,
        connection.device
    );
    say!("    connected {}", time(connection.connected_ms));
    say!(
        "    {}, ends in {} ms",
        held_by(connection.state),
        connection.end_ms - explained.now_ms
    );
    let rooms: Vec<&str> = explained
        .rooms_of(&connection.lease.connection)
        .map(|room| room.as_str())
        .collect();
    say!("    rooms: {}", rooms.join(", "));
}

fn held_by(state: State) -> &'static str {
    match state {
        State::Leased => "lease",
        State::Grace => "grace",
        State::Nothing => "nothing",
    }
}

fn as_json(user: &UserId, rule: Rule, explained: &Explained) -> Value {
    let presence = &explained.presence;
    let from_now = |ms: i64| ms - explained.now_ms;
    let connections: Vec<Value> = explained
        .connections
        .iter()
        .map(|connection| {
            let id = &connection.lease.connection;
            let rooms: Vec<&str> = explained.rooms_of(id).map(|room| room.as_str()).collect();
            json!({
                "connection": id.as_str(),
                "node": connection.node().as_str(),
                "nodeAlive": connection.node_lives,
                "transport": connection.transport,
                "ip": connection.ip,
                "userAgent": connection.agent,
                "device": serde_json::from_str::<Value>(&connection.device).unwrap_or(Value::Null),
                "connectedAt": time(connection.connected_ms),
                "heldBy": held_by(connection.state),
                "endsInMs": from_now(connection.end_ms),
                "rooms": rooms,
            })
        })
        .collect();
    let transitions: Vec<Value> = explained
        .log
        .iter()
        .map(|transition| {
            json!({
                "at": time(transition.at_ms as i64),
                "status": transition.status,
                "what": transition.what,
                "cause": transition.cause,
                "connection": Some(&transition.connection).filter(|id| !id.is_empty()),
            })
        })
        .collect();
    json!({
        "user": user.as_str(),
        "status": presence.status.as_str(),
        "because": rule.as_str(),
        "chosen": presence.chosen.map(|status| status.as_str()),
        "text": presence.text,
        "emoji": presence.emoji,
        "customEndsInMs": presence.until_ms.map(from_now),
        "inactiveSince": explained.away_since_ms.map(time),
        "inactiveInMs": explained.away_at_ms.map(from_now),
        "lastSeen": presence.seen_ms.map(time),
        "version": presence.version,
        "connections": connections,
        "transitions": transitions,
    })
}
