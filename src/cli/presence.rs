//! `presence`: how users are, those who are named, or all who are here. Not here: why (`explain`).

use clap::Args;
use serde_json::{Value, json};

use super::progress::Progress;
use super::table::Table;
use super::{Error, note, say, time};
use crate::domain::presence::{self, Seen};
use crate::hot::Hot;
use crate::types::UserId;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Whom to look for; everybody who is here, when nobody is named
    #[arg(value_name = "USER")]
    users: Vec<UserId>,
    /// How many of those who are here
    #[arg(short, long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    number: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 100;

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    let progress = Progress::start("Looking");
    let (seen, is_cut) = if options.users.is_empty() {
        presence::whoever_is_here(hot, options.number as usize).await?
    } else {
        (presence::see(hot, &options.users).await?, false)
    };
    drop(progress);
    if options.json {
        seen.iter().for_each(|user| say!("{}", as_json(user)));
    } else {
        tell(&seen);
    }
    if is_cut {
        note!("There are more; --number shows up to 1000000");
    }
    Ok(())
}

fn tell(seen: &[Seen]) {
    let heading = row("USER ID", "STATUS", "CONNECTIONS", "LAST SEEN", "CUSTOM STATUS");
    let table = Table::open("User Presence", WIDTH, &heading);
    for user in seen {
        let presence = &user.presence;
        let words: Vec<&str> = [&presence.emoji, &presence.text]
            .into_iter()
            .flatten()
            .map(|word| &**word)
            .collect();
        let last_seen = presence.seen_ms.map(time);
        say!(
            "{}",
            row(
                user.user.as_str(),
                presence.status.as_str(),
                &user.connections.to_string(),
                last_seen.as_deref().unwrap_or("-"),
                &words.join(" "),
            )
        );
    }
    table.close();
}

fn row(user: &str, status: &str, connections: &str, last_seen: &str, custom: &str) -> String {
    format!("{user:<20} {status:<10} {connections:<12} {last_seen:<24} {custom}")
        .trim_end()
        .to_owned()
}

fn as_json(user: &Seen) -> Value {
    let presence = &user.presence;
    json!({
        "userId": user.user.as_str(),
        "status": presence.status.as_str(),
        "customStatus": presence.text,
        "customEmoji": presence.emoji,
        "expiresAt": presence.until_ms.map(time),
        "connections": user.connections,
        "lastSeen": presence.seen_ms.map(time),
    })
}
