//! `drain`: has a node send its sockets away, and waits until it has none. The node stays up until it is stopped.

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::sleep;

use super::paint::tick;
use super::{Error, note, say};
use crate::domain::drain::{self, NodeEntry, NotAsked};
use crate::hot::Hot;
use crate::types::NodeId;

/// Between two looks at the node; it tells of itself with each of its beats.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A node that has not begun by then does not know how: it is of an earlier version, or its Redis is another.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// Between two requests to one that has not begun: a Redis that was emptied, or a master that failed, may have lost one.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// Of a node whose drain is over, and which has sockets yet: its next beats may tell that they have gone.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Redis may be away for so long meanwhile.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest wait and window that can be configured, together, and some more.
const LONGEST: Duration = Duration::from_secs(2 * 3_600 + 60);

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Options {
    /// The node, by its REALTIME_NODE_ID; the only one, where there is one
    node: Option<NodeId>,
    /// Only ask, and wait for nothing
    #[arg(long)]
    no_wait: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl From<NotAsked> for Error {
    fn from(error: NotAsked) -> Self {
        match error {
            NotAsked::Hot(error) => Self::Hot(error),
            NotAsked::Choice(choice) => Self::Usage(choice),
        }
    }
}

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    let asked = drain::ask(hot, options.node.as_ref()).await?;
    let node = &asked.node;
    let sent_away = asked.connections.unwrap_or(0);
    if options.no_wait {
        match options.json {
            true => say!(
                "{}",
                json!({ "node": node.as_str(), "asked": true, "connections": sent_away })
            ),
            false => say!("{} Asked: {node} drains; it has {sent_away} connections", tick()),
        }
        return Ok(());
    }
    let bar = bar(&asked);
    let outcome = wait(hot, &asked, &bar).await;
    bar.finish_and_clear();
    let end = outcome?;
    match (options.json, end) {
        (true, end) => {
            let is_stopped = end == End::Stopped;
            say!(
                "{}",
                json!({ "node": node.as_str(), "drained": true, "stopped": is_stopped, "connections": 0 })
            );
        }
        (false, End::Empty) => {
            say!(
                "{} Drained: {node} has no connections, of {sent_away}; it stays up until it is stopped",
                tick()
            )
        }
        (false, End::Stopped) => say!("{} Drained: {node} has stopped, of {sent_away} connections", tick()),
    }
    Ok(())
}

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Empty,
    /// That process is no more; another of its name may be.
    Stopped,
}

async fn wait(hot: &Hot, asked: &NodeEntry, bar: &ProgressBar) -> Result<End, Error> {
    let (started, mut heard, mut has_begun) = (Instant::now(), Instant::now(), false);
    let (mut said, mut over) = (Instant::now(), None);
    loop {
        sleep(LOOK_EVERY).await;
        let living = match drain::living(hot).await {
            Ok(living) => living,
            Err(error) if heard.elapsed() > SILENCE => return Err(error.into()),
            Err(_) => continue,
        };
        heard = Instant::now();
        let now = living.into_iter().find(|living| living.node == asked.node);
        let Some(now) = now.filter(|now| !drain::is_successor(now, asked, has_begun)) else {
            return Ok(End::Stopped);
        };
        let left = now.connections.unwrap_or(0);
        if drain::is_over(&now) {
            if left == 0 {
                return Ok(End::Empty);
            }
            if over.get_or_insert_with(Instant::now).elapsed() > STUCK_AFTER {
                return Err(Error::Failed(format!(
                    "{} has drained, and still has {left} connections; they end with it",
                    asked.node
                )));
            }
        }
        has_begun |= drain::has_begun(&now);
        bar.set_message(now.phase.unwrap_or_default());
        bar.set_position(asked.connections.unwrap_or(0).saturating_sub(left));
        if !has_begun && started.elapsed() > BEGINS_WITHIN {
            return Err(Error::Failed(format!("{} was asked, and does not begin", asked.node)));
        }
        if !has_begun && said.elapsed() > ASK_EVERY {
            said = Instant::now();
            // Of the one that was asked at first: what comes after it under its name is to stay.
            drain::ask_again(hot, asked).await?;
        }
        if started.elapsed() > LONGEST {
            return Err(Error::Failed(format!("{} still has {left} connections", asked.node)));
        }
    }
}

/// Shown on a terminal alone.
fn bar(asked: &NodeEntry) -> ProgressBar {
    let bar = ProgressBar::new(asked.connections.unwrap_or(0));
    let template = "{prefix} {msg:9} [{bar:30}] {pos}/{len} sent away, {elapsed}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.set_style(style.progress_chars("=> ")),
        Err(error) => note!("{error}"),
    }
    bar.set_prefix(asked.node.to_string());
    bar
}
