//! What ought to be, in a cluster whose nodes die and sleep: connections, who holds them, and what was told. Pure; the
//! product is put to the same in `lives`.

use std::collections::{BTreeMap, BTreeSet};

use nself_realtime::hot::keys::Lease;
use nself_realtime::types::{ConnectionId, Status};

use crate::stage::{node, user};

pub const USERS: [&str; 3] = ["al", "alice", "b:{b} \"\u{1f680}"];
pub const TABS: usize = 2;
pub const ROOMS: usize = 2;

/// (user, which of the user's tabs)
pub type Tab = (usize, usize);

/// A connection that has not ended.
#[derive(Debug, Clone)]
pub struct Connection {
    pub tab: Tab,
    pub node: String,
    pub in_grace: bool,
    pub rooms: BTreeSet<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    Running(String),
    Paused(String),
}

impl Process {
    pub fn name(&self) -> &str {
        match self {
            Self::Running(name) | Self::Paused(name) => name,
        }
    }
}

#[derive(Debug, Default)]
pub struct Model {
    pub connections: BTreeMap<u32, Connection>,
    /// A tab's open socket: its connection, and the process that holds it.
    pub sockets: BTreeMap<Tab, (u32, usize)>,
    /// What a client remembers to join again.
    pub remembered: BTreeMap<Tab, BTreeSet<usize>>,
    pub processes: Vec<Process>,
    /// Closed while the process slept: connection, process, whether the client said so.
    pub unnoticed: Vec<(u32, usize, bool)>,
    /// Nodes whose own lease stands.
    pub alive: BTreeSet<String>,
    /// Nodes that nobody has buried.
    pub listed: BTreeSet<String>,
    pub chosen: [Option<Status>; USERS.len()],
    /// (room, user) → what was told there, in order.
    pub told: BTreeMap<(usize, usize), Vec<&'static str>>,
    /// user → the statuses that were told.
    pub shown: BTreeMap<usize, Vec<Status>>,
    names: u32,
}

impl Model {
    pub fn new_name(&mut self) -> u32 {
        self.names += 1;
        self.names
    }

    pub fn is_running(&self, process: usize) -> bool {
        matches!(self.processes[process], Process::Running(_))
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.processes.len())
            .filter(|process| self.is_running(*process))
            .collect()
    }

    /// The tab's connection, and its process, where that runs.
    pub fn socket(&self, tab: Tab) -> Option<(u32, usize)> {
        self.sockets
            .get(&tab)
            .copied()
            .filter(|(_, process)| self.is_running(*process))
    }

    pub fn status(&self, user: usize) -> Status {
        if self.connections.values().any(|connection| connection.tab.0 == user) {
            self.chosen[user].unwrap_or(Status::Online)
        } else {
            Status::Offline
        }
    }

    pub fn is_in(&self, user: usize, room: usize) -> bool {
        let mut all = self.connections.values();
        all.any(|connection| connection.tab.0 == user && connection.rooms.contains(&room))
    }

    fn tell(&mut self, user: usize, room: usize, word: &'static str) {
        self.told.entry((room, user)).or_default().push(word);
    }

    /// Does something that may change what is seen of a user.
    fn showing<T>(&mut self, user: usize, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.status(user);
        let outcome = change(self);
        let after = self.status(user);
        if before != after {
            self.shown.entry(user).or_default().push(after);
        }
        outcome
    }

    pub fn connect(&mut self, tab: Tab, process: usize) -> u32 {
        let id = self.new_name();
        let connection = Connection {
            tab,
            node: self.processes[process].name().to_owned(),
            in_grace: false,
            rooms: BTreeSet::new(),
        };
        self.showing(tab.0, |model| model.connections.insert(id, connection));
        self.sockets.insert(tab, (id, process));
        id
    }

    pub fn join(&mut self, id: u32, room: usize) {
        let tab = self.connections[&id].tab;
        let was_in = self.is_in(tab.0, room);
        self.connections.get_mut(&id).expect("it lives").rooms.insert(room);
        self.remembered.entry(tab).or_default().insert(room);
        if !was_in {
            self.tell(tab.0, room, "joined");
        }
    }

    pub fn leave(&mut self, id: u32, room: usize) {
        let connection = self.connections.get_mut(&id).expect("it lives");
        let (tab, removed) = (connection.tab, connection.rooms.remove(&room));
        self.remembered.entry(tab).or_default().remove(&room);
        if removed && !self.is_in(tab.0, room) {
            self.tell(tab.0, room, "left");
        }
    }

    pub fn choose(&mut self, user: usize, status: Status) {
        self.showing(user, |model| model.chosen[user] = Some(status));
    }

    pub fn lose(&mut self, id: u32) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.in_grace = true;
        }
    }

    /// Passes the connections of dead nodes into grace; how many were not there yet.
    pub fn bury(&mut self, dead: &BTreeSet<String>) -> u64 {
        let held = self.connections.values_mut().filter(|held| dead.contains(&held.node));
        held.map(|connection| u64::from(!std::mem::replace(&mut connection.in_grace, true)))
            .sum()
    }

    /// Ends a connection; false: it had ended.
    pub fn end(&mut self, id: u32) -> bool {
        let Some(tab) = self.connections.get(&id).map(|connection| connection.tab) else {
            return false;
        };
        let ended = self.showing(tab.0, |model| model.connections.remove(&id));
        for room in ended.expect("it was there").rooms {
            if !self.is_in(tab.0, room) {
                self.tell(tab.0, room, "disconnected");
            }
        }
        true
    }

    /// The names of leases (`false`) or of those in grace (`true`).
    pub fn names_of(&self, in_grace: bool) -> BTreeSet<String> {
        let these = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.in_grace == in_grace);
        these.map(|(id, _)| self.lease(*id).encode()).collect()
    }

    pub fn lease(&self, id: u32) -> Lease {
        let connection = &self.connections[&id];
        lease_of(id, connection.tab, &connection.node)
    }
}

pub fn lease_of(id: u32, tab: Tab, node_name: &str) -> Lease {
    Lease {
        connection: ConnectionId::parse(&format!("c{id}.0")).expect("a valid id"),
        node: node(node_name),
        user: user(USERS[tab.0]),
    }
}
