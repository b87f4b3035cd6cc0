//! `sessions`: when a user was connected, and from where.

use clap::Args;
use jiff::Timestamp;

use super::{ARCHIVE_PATIENCE, Error, say};
use crate::archive::Archive;
use crate::archive::query::{PAGE_MAX, Session};
use crate::types::UserId;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The user's id
    user: UserId,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 100;

pub(super) async fn run(archive: &Archive, options: &Options) -> Result<(), Error> {
    let mut place = None;
    loop {
        let page = archive
            .sessions(&options.user, place.as_ref(), PAGE_MAX, ARCHIVE_PATIENCE)
            .await?;
        if place.is_none() && !options.json {
            head(&options.user);
        }
        for session in &page {
            show(session, options.json);
        }
        if page.len() < usize::from(PAGE_MAX) {
            break;
        }
        place = page.last().map(|session| session.place().clone());
    }
    if !options.json {
        say!("{}", "=".repeat(WIDTH));
    }
    Ok(())
}

fn head(user: &UserId) {
    say!("\nSessions of {user}");
    say!("{}", "=".repeat(WIDTH));
    row(["CONNECTED", "ENDED", "TRANSPORT", "NODE", "IP", "CAUSE"]);
    say!("{}", "-".repeat(WIDTH));
}

fn show(session: &Session, json: bool) {
    if json {
        say!("{}", serde_json::to_string(session).expect("texts and JSON are JSON"));
        return;
    }
    let (connected, ended) = (session.connected_at.map(time), session.disconnected_at.map(time));
    let open = if session.open { "open" } else { "-" };
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
    row([
        connected.as_deref().unwrap_or("-"),
        ended.as_deref().unwrap_or(open),
        &text(&session.transport),
        &text(&session.node),
        &text(&session.ip),
        &text(&session.cause),
    ]);
}

fn row([connected, ended, transport, node, ip, cause]: [&str; 6]) {
    say!("{connected:<20} {ended:<20} {transport:<10} {node:<15} {ip:<15} {cause}");
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
