//! How a node goes away: how far it is, and whom Redis knows that can be asked to. Not here: which step follows when
//! (`lifecycle::drain`), what becomes of the sockets (`gateway`).

use tokio::sync::watch;

use crate::hot::{Hot, HotError, nodes};
use crate::types::NodeId;

pub use crate::hot::nodes::NodeEntry;

/// How far a node is; it only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything as always.
    Serving,
    /// Not ready, so that balancers look elsewhere; newcomers are let in, since the balancers may not have looked yet.
    Draining,
    /// Newcomers are turned away, and those who are here are sent away.
    Leaving,
    /// Nobody is left, or the time for it is over.
    Drained,
}

impl Phase {
    /// The stable word, as the node tells it of itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Drained => "drained",
        }
    }
}

/// How far this node is. Clones share it.
#[derive(Debug, Clone)]
pub struct Drain(watch::Sender<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Drain {
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether the node was told to go away.
    pub fn has_begun(&self) -> bool {
        self.phase() > Phase::Serving
    }

    /// Whether newcomers are turned away.
    pub fn is_closed(&self) -> bool {
        self.phase() >= Phase::Leaving
    }

    /// Tells the node to go away. False: it had been told.
    pub fn begin(&self) -> bool {
        self.advance(Phase::Draining)
    }

    /// False: the node was as far already.
    pub fn advance(&self, phase: Phase) -> bool {
        self.0.send_if_modified(|now| {
            let is_further = phase > *now;
            *now = phase.max(*now);
            is_further
        })
    }

    /// Waits until the node is so far.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.0.subscribe();
        // This handle keeps the sender: there is no other end to wait for.
        let _is_reached = phases.wait_for(|now| *now >= phase).await;
    }

    /// Hears of every step from now on.
    pub fn steps(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }
}

/// Whether a node was told to go away, and knows it.
pub fn has_begun(node: &NodeEntry) -> bool {
    let begun = [Phase::Draining, Phase::Leaving, Phase::Drained];
    begun.iter().any(|phase| node.phase.as_deref() == Some(phase.as_str()))
}

/// Whether it sends nobody away any more; whoever has not gone by then goes with the process.
pub fn is_over(node: &NodeEntry) -> bool {
    node.phase.as_deref() == Some(Phase::Drained.as_str())
}

/// Whether `now` is a later process of the name of `before`. `has_begun`: the earlier one was going away.
pub fn is_successor(now: &NodeEntry, before: &NodeEntry, has_begun: bool) -> bool {
    // Of an earlier version a process does not tell itself from others; but none serves again once it goes away.
    now.process != before.process || (has_begun && now.phase.as_deref() == Some(Phase::Serving.as_str()))
}

/// The nodes that live, by name.
pub async fn living(hot: &Hot) -> Result<Vec<NodeEntry>, HotError> {
    let mut nodes = nodes::roster(hot).await?;
    nodes.retain(|node| node.lease.is_some());
    Ok(nodes)
}

/// Why nobody was asked.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    #[error(transparent)]
    Hot(#[from] HotError),
    /// No such node, or none, or several to choose from: the sentence says which there are.
    #[error("{0}")]
    Choice(String),
}

/// Asks a node to drain, the only one where none is named; how it was. A repeat changes nothing.
pub async fn ask(hot: &Hot, named: Option<&NodeId>) -> Result<NodeEntry, NotAsked> {
    let mut living = living(hot).await?;
    let names: Vec<&str> = living.iter().map(|living| living.node.as_str()).collect();
    let wrong = match (named, &names[..]) {
        (_, []) => Some("no node lives".to_owned()),
        (Some(named), names) if !names.contains(&named.as_str()) => {
            Some(format!("{named} does not live; there are {}", names.join(", ")))
        }
        (None, [_, _, ..]) => Some(format!("name one of {}", names.join(", "))),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(NotAsked::Choice(wrong));
    }
    living.retain(|living| named.is_none_or(|named| living.node == *named));
    let chosen = living.remove(0);
    if nodes::ask_to_drain(hot, &chosen.node).await? {
        Ok(chosen)
    } else {
        Err(NotAsked::Choice(format!("{} has just ended", chosen.node)))
    }
}

/// Asks it once more, unless another process has its name by now.
pub async fn ask_again(hot: &Hot, asked: &NodeEntry) -> Result<(), HotError> {
    let living = living(hot).await?;
    let is_it = |now: &NodeEntry| now.node == asked.node && !is_successor(now, asked, false);
    if living.iter().any(is_it) {
        nodes::ask_to_drain(hot, &asked.node).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_ever_goes_on() {
        let drain = Drain::default();
        assert!(!drain.has_begun() && !drain.is_closed());
        assert!(drain.begin() && !drain.begin());
        assert!(drain.has_begun() && !drain.is_closed());
        assert!(drain.advance(Phase::Drained));
        assert!(!drain.advance(Phase::Leaving));
        assert!(drain.is_closed() && drain.phase() == Phase::Drained);
    }

    #[test]
    fn a_process_is_told_from_the_next_of_its_name() {
        let node = |process: Option<&str>, phase: &str| NodeEntry {
            node: NodeId::parse("n").expect("an id"),
            lease: None,
            connections: None,
            version: None,
            phase: Some(phase.to_owned()),
            process: process.map(str::to_owned),
        };
        let before = node(Some("a"), "serving");
        assert!(!is_successor(&node(Some("a"), "serving"), &before, false));
        assert!(!is_successor(&node(Some("a"), "drained"), &before, true));
        for has_begun in [false, true] {
            for phase in ["serving", "draining"] {
                assert!(is_successor(&node(Some("b"), phase), &before, has_begun));
            }
        }
        let before = node(None, "serving");
        assert!(!is_successor(&node(None, "serving"), &before, false));
        assert!(!is_successor(&node(None, "leaving"), &before, true));
        assert!(is_successor(&node(None, "serving"), &before, true));
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_a_step_that_was_leapt_over() {
        let drain = Drain::default();
        let waiting = drain.clone();
        let waiter = tokio::spawn(async move { waiting.reached(Phase::Leaving).await });
        drain.advance(Phase::Drained);
        waiter.await.expect("it hears");
    }
}
