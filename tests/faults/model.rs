//! What ought to be: who is connected where, and which of `user:joined`, `user:left` and `presence:changed` each client
//! must hear when somebody comes, goes or changes. Not here: the real clients.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Clients; the last of them are second devices of the first users, on other nodes.
pub const CLIENTS: usize = 200;
const SECOND_DEVICES: usize = 20;
pub const USERS: usize = CLIENTS - SECOND_DEVICES;
pub const NODES: usize = 3;
pub const ROOMS: usize = 10;

/// (client, what it heard) → how often.
pub type Told = BTreeMap<(usize, String), u32>;

/// Who is where.
#[derive(Clone)]
pub struct Model {
    /// The node of each client that is there.
    pub at: Vec<Option<usize>>,
    /// What each user chose, once it has.
    pub chosen: Vec<&'static str>,
}

pub fn user_of(client: usize) -> usize {
    if client < USERS { client } else { client - USERS }
}

pub fn user_name(user: usize) -> String {
    format!("user-{user}")
}

pub fn room_name(room: usize) -> String {
    format!("auto:room-{room}")
}

/// The two rooms that all devices of a user are in.
pub fn rooms_of(user: usize) -> [usize; 2] {
    [user % ROOMS, (user % ROOMS + 1 + user / ROOMS % (ROOMS - 1)) % ROOMS]
}

/// Every fourth client stays away when its node is lost; the others come back by themselves.
pub fn returns(client: usize) -> bool {
    !client.is_multiple_of(4)
}

/// Where a client begins.
pub fn home_of(client: usize) -> usize {
    if client < USERS {
        client % NODES
    } else {
        (user_of(client) + 1) % NODES
    }
}

impl Model {
    pub fn new() -> Model {
        Model {
            at: vec![None; CLIENTS],
            chosen: vec!["online"; USERS],
        }
    }

    pub fn present(&self) -> impl Iterator<Item = usize> + '_ {
        (0..CLIENTS).filter(|client| self.at[*client].is_some())
    }

    pub fn on(&self, node: usize) -> Vec<usize> {
        self.present().filter(|client| self.at[*client] == Some(node)).collect()
    }

    /// Users with a device that is there.
    pub fn users(&self) -> BTreeSet<usize> {
        self.present().map(user_of).collect()
    }

    pub fn members(&self, room: usize) -> Vec<usize> {
        self.present()
            .filter(|client| rooms_of(user_of(*client)).contains(&room))
            .collect()
    }

    fn tell(&self, told: &mut Told, user: usize, word: impl Fn(usize) -> Option<String>, status: &str) {
        for listener in self.present() {
            let shared: Vec<usize> = rooms_of(user)
                .into_iter()
                .filter(|room| rooms_of(user_of(listener)).contains(room))
                .collect();
            for room in &shared {
                if let Some(word) = word(*room) {
                    *told.entry((listener, word)).or_default() += 1;
                }
            }
            if !shared.is_empty() {
                *told.entry((listener, is_now(user, status))).or_default() += 1;
            }
        }
    }

    /// What those who are there hear when `users` have gone without a word.
    pub fn gone(&self, users: &BTreeSet<usize>) -> Told {
        let mut told = Told::new();
        for user in users {
            self.tell(
                &mut told,
                *user,
                |room| Some(left(room, *user, "disconnected")),
                "offline",
            );
        }
        told
    }

    /// What those who are there hear when `users` have come. A user's own devices hear the status, not the coming.
    pub fn came(&self, users: &BTreeSet<usize>) -> Told {
        let mut told = Told::new();
        for user in users {
            self.tell(&mut told, *user, |room| Some(joined(room, *user)), self.chosen[*user]);
        }
        told
    }

    /// What everybody hears when `user` has chosen `status`.
    pub fn changed(&self, told: &mut Told, user: usize, status: &str) {
        self.tell(told, user, |_| None, status);
    }
}

pub fn left(room: usize, user: usize, reason: &str) -> String {
    format!("{} left {}: {reason}", user_name(user), room_name(room))
}

pub fn joined(room: usize, user: usize) -> String {
    format!("{} joined {}", user_name(user), room_name(room))
}

pub fn is_now(user: usize, status: &str) -> String {
    format!("{} is {status}", user_name(user))
}

/// An event that the model speaks of, in its words.
pub fn word(event: &str, payload: &Value) -> Option<String> {
    let text = |field: &str| payload[field].as_str().unwrap_or("nobody");
    match event {
        "user:joined" => Some(format!("{} joined {}", text("userId"), text("roomName"))),
        "user:left" => Some(format!(
            "{} left {}: {}",
            text("userId"),
            text("roomName"),
            text("reason")
        )),
        "presence:changed" => Some(format!("{} is {}", text("userId"), text("status"))),
        _ => None,
    }
}

/// What differs, a few of it, for a failing test. Each (client, word) → how often.
pub fn difference(expected: &Told, came: &Told) -> String {
    let keys: BTreeSet<_> = expected.keys().chain(came.keys()).collect();
    let differing: Vec<String> = keys
        .into_iter()
        .map(|key| (key, expected.get(key).unwrap_or(&0), came.get(key).unwrap_or(&0)))
        .filter(|(_, expected, came)| expected != came)
        .map(|((client, word), expected, came)| format!("client {client}: {word:?} came {came} times, not {expected}"))
        .collect();
    let shown = &differing[..differing.len().min(30)];
    format!("{} differences:\n{}", differing.len(), shown.join("\n"))
}
