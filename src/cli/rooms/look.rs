//! `rooms info` and `rooms members`: one room, as the administration sees it.

use std::cmp::Reverse;

use clap::Args;
use serde_json::{Value, json};

use super::super::{Error, say};
use super::{created, found_as_json, id, no_such_room, time};
use crate::domain::moderation::{self, Entry, Term};
use crate::domain::rooms::{self, Member};
use crate::hot::Hot;
use crate::types::RoomName;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The room's name
    name: RoomName,
    /// JSON: one object for info, one a line for members
    #[arg(long)]
    json: bool,
}

/// Entries of a policy that are shown.
const POLICY_SHOWN: u32 = 1_000;
/// Members that `rooms info` shows.
const RECENT: usize = 10;

/// `rooms info`
pub(super) async fn info(hot: &Hot, options: &Options) -> Result<(), Error> {
    let room = rooms::find(hot, &options.name).await?;
    let room = room.ok_or_else(|| no_such_room(&options.name))?;
    let (remembered, policy) = moderation::policy(hot, &options.name, POLICY_SHOWN).await?;
    let latest = latest(rooms::everybody(hot, &options.name).await?);
    if options.json {
        let mut shown = found_as_json(&room);
        shown["recentMembers"] = latest.iter().map(member_as_json).collect();
        shown["policyCount"] = remembered.into();
        shown["policy"] = policy.iter().map(entry_as_json).collect();
        say!("{shown}");
        return Ok(());
    }
    let most = room.max_members.map_or("unlimited".to_owned(), |most| most.to_string());
    say!("\nRoom: {}", room.name);
    say!("ID:             {}", id(&room));
    say!("Type:           {}", room.kind);
    say!("Visibility:     {}", room.visibility);
    say!("Max Members:    {most}");
    say!("Created:        {:.3}", created(&room));
    say!("Total Members:  {}", room.members);
    say!("Active Now:     {}", room.connections);
    say!("\nRecent Members:");
    for member in &latest {
        let (user, status) = (member.user.as_str(), member.status.as_str());
        say!("  {user:<40} {status:<8} {:.3}", time(member.joined_ms));
    }
    say!("\nRoles, bans and mutes ({remembered})");
    for entry in &policy {
        let role = entry.role.map(|role| role.to_string());
        let ban = entry.ban.map(|term| format!("banned {}", until(term)));
        let mute = entry.mute.map(|term| format!("muted {}", until(term)));
        let words: Vec<String> = [role, ban, mute].into_iter().flatten().collect();
        say!("  {}: {}", entry.user, words.join(", "));
    }
    Ok(())
}

/// Who joined last, that one first.
fn latest(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| Reverse(member.joined_ms));
    members.truncate(RECENT);
    members
}

fn until(term: Term) -> String {
    match term {
        Term::Forever => "for ever".to_owned(),
        Term::Until(ms) => format!("until {:.3}", time(ms)),
    }
}

/// Ends as dates; a ban or a mute for ever is `null`, none is left out.
fn entry_as_json(entry: &Entry) -> Value {
    let mut shown = json!({ "userId": entry.user.as_str(), "role": entry.role.map(|role| role.as_str()) });
    for (field, term) in [("bannedUntil", entry.ban), ("mutedUntil", entry.mute)] {
        match term {
            Some(Term::Forever) => shown[field] = Value::Null,
            Some(Term::Until(ms)) => shown[field] = format!("{:.3}", time(ms)).into(),
            None => {}
        }
    }
    shown
}

/// `rooms members`
pub(super) async fn members(hot: &Hot, options: &Options) -> Result<(), Error> {
    if rooms::find(hot, &options.name).await?.is_none() {
        return Err(no_such_room(&options.name));
    }
    for member in rooms::everybody(hot, &options.name).await? {
        if options.json {
            say!("{}", member_as_json(&member));
        } else {
            say!(
                "{:<40} {:<8} {:.3}",
                member.user.as_str(),
                member.status.as_str(),
                time(member.joined_ms)
            );
        }
    }
    Ok(())
}

fn member_as_json(member: &Member) -> Value {
    json!({
        "userId": member.user.as_str(),
        "status": member.status.as_str(),
        "joinedAt": format!("{:.3}", time(member.joined_ms)),
    })
}
