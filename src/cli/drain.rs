//! `drain`: has a node send its sockets away, and waits until it has none. The node stays up until it is stopped.

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::sleep;

use super::paint::tick;
use super::{Error, note, say};
use crate::domain::drain::{self, Living, NotAsked};
use crate::hot::Hot;
use crate::types::NodeId;

/// Between two looks at the node; it tells of itself with each of its beats.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A node that has not begun by then does not know how: it is of an earlier version, or its Redis is another.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
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
    if options.no_wait {
        match options.json {
            true => say!(
                "{}",
                json!({ "node": node.as_str(), "asked": true, "connections": asked.connections })
            ),
            false => say!(
                "{} Asked: {node} drains; it has {} connections",
                tick(),
                asked.connections
            ),
        }
        return Ok(());
    }
    let bar = bar(&asked);
    let outcome = wait(hot, &asked, &bar).await;
    bar.finish_and_clear();
    let end = outcome?;
    let sent_away = asked.connections;
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
    /// It is no more.
    Stopped,
}

async fn wait(hot: &Hot, asked: &Living, bar: &ProgressBar) -> Result<End, Error> {
    let (started, mut heard, mut has_begun) = (Instant::now(), Instant::now(), false);
    loop {
        sleep(LOOK_EVERY).await;
        let living = match drain::living(hot).await {
            Ok(living) => living,
            Err(error) if heard.elapsed() > SILENCE => return Err(error.into()),
            Err(_) => continue,
        };
        heard = Instant::now();
        let Some(now) = living.into_iter().find(|living| living.node == asked.node) else {
            return Ok(End::Stopped);
        };
        if now.is_drained() {
            return Ok(End::Empty);
        }
        has_begun |= now.has_begun();
        bar.set_message(now.phase.clone());
        bar.set_position(asked.connections.saturating_sub(now.connections));
        if !has_begun {
            // A Redis that was emptied, or a master that failed, may have lost the request.
            drain::ask(hot, Some(&asked.node)).await?;
        }
        if !has_begun && started.elapsed() > BEGINS_WITHIN {
            return Err(Error::Failed(format!("{} was asked, and does not begin", asked.node)));
        }
        if started.elapsed() > LONGEST {
            return Err(Error::Failed(format!(
                "{} still has {} connections",
                asked.node, now.connections
            )));
        }
    }
}

/// Shown on a terminal alone.
fn bar(asked: &Living) -> ProgressBar {
    let bar = ProgressBar::new(asked.connections);
    let template = "{prefix} {msg:9} [{bar:30}] {pos}/{len} sent away, {elapsed}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.set_style(style.progress_chars("=> ")),
        Err(error) => note!("{error}"),
    }
    bar.set_prefix(asked.node.to_string());
    bar
}
