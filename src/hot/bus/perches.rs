//! Where the canaries sit: one channel of the node's own at every master, wherever the masters are now.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::keys::{Partition, Perch};
use super::super::slots;
use super::{Driver, Entry, State, Topic};

impl Topic {
    /// Of a canary's channel.
    pub(super) fn perch(&self) -> Option<Perch> {
        match self {
            Self::Node(_) => Some(Perch::Nodes),
            Self::Canary(_, partition) => Some(Perch::Partition(*partition)),
            _ => None,
        }
    }
}

impl Driver {
    /// Listens to a canary at every master, and to none that another one sings beside. The node's own channel is always one.
    pub(super) fn settle(&mut self) {
        let mut perches: BTreeMap<Perch, String> = BTreeMap::new();
        let mut masters = Vec::new();
        let partitions = Partition::all().map(Perch::Partition);
        for perch in std::iter::once(Perch::Nodes).chain(partitions) {
            let slot = slots::slot(self.keys.canary(&self.node, perch).as_bytes());
            let master = self.wires.address(slot);
            let is_first = master.as_ref().is_some_and(|master| !masters.contains(master));
            if is_first || perch == Perch::Nodes {
                perches.insert(perch, master.clone().unwrap_or_default());
                masters.extend(master);
            }
        }
        for entry in self.topics.values_mut() {
            let is_wanted = entry.topic.perch().is_none_or(|perch| perches.contains_key(&perch));
            if !is_wanted && entry.idle_since.is_none() {
                entry.idle_since = Some(Instant::now());
            }
        }
        self.status.canaries.settle(&perches);
        for perch in perches.into_keys() {
            let topic = match perch {
                Perch::Nodes => Topic::Node(self.node.clone()),
                Perch::Partition(partition) => Topic::Canary(self.node.clone(), partition),
            };
            self.want(topic, 0, None);
        }
        self.note_canaries();
    }

    /// A connection that stands and brings nothing is given up, while Redis still publishes.
    pub(super) fn renew_deaf(&mut self) {
        for perch in self.status.canaries.missing(Instant::now()) {
            let is_of = |entry: &&Entry| entry.topic.perch() == Some(perch);
            if let Some(State::Confirmed(wire)) = self.topics.values().find(is_of).map(|entry| entry.state) {
                self.wires.renew(wire);
                self.lose(wire);
            }
        }
    }

    /// Which canaries are not heard at the moment.
    pub(super) fn note_canaries(&self) {
        for entry in self.topics.values() {
            if let Some(perch) = entry.topic.perch()
                && !matches!(entry.state, State::Confirmed(_))
            {
                self.status.canaries.unsubscribed(perch);
            }
        }
    }
}
