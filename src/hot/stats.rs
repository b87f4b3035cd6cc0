//! The cluster in figures: counts of what Redis has, by one look at every key, in steps between which everybody else is
//! served. Not here: which figures are shown where (`domain::stats`), what each connection is (`connections`).

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::LazyLock;

use ahash::RandomState;

use super::keys::Counted;
use super::script::{self, Script, script};
use super::{Hot, HotError, doctor};
use crate::types::{Status, UserId};

script!(USER = "stats/user");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&USER];

/// Keys that one step of the look asks for.
const STEP: usize = 1_000;

/// Users with a token, by what others see of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    pub online: u64,
    pub away: u64,
    pub busy: u64,
    /// Connected and hidden, or gone and remembered.
    pub offline: u64,
}

/// What there is in the cluster, about now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections whose nodes extend their leases.
    pub live: u64,
    /// Connections that are lost, and may still come back.
    pub in_grace: u64,
    /// Of both, those without a token.
    pub anonymous: u64,
    /// Users with a token who have a connection.
    pub users: u64,
    pub presence: Shown,
    pub rooms: u64,
    /// Rooms with somebody in them.
    pub active_rooms: u64,
}

/// Counts. Redis spends about a microsecond on each key that it has, and ten on each user who is connected.
pub async fn figures(hot: &Hot) -> Result<Figures, HotError> {
    let mut look = Look::default();
    for pool in hot.pools().await? {
        let mut cursor = 0_u64;
        loop {
            let mut connection = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(hot.keys().pattern())
                .arg("COUNT")
                .arg(STEP)
                .query_async(&mut *connection)
                .await
                .map_err(|error| HotError::of("count", error))?;
            drop(connection);
            look.count(hot, &keys).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    let (live, in_grace) = doctor::census(hot).await?;
    Ok(look.figures(live, in_grace))
}

/// What was met: each once, though a scan may come upon a key twice. Hashes stand for the names, which need not be kept.
#[derive(Default)]
struct Look {
    hasher: RandomState,
    rooms: HashSet<u64>,
    active_rooms: HashSet<u64>,
    /// Users with a token, connected or not.
    known: HashSet<u64>,
    /// Users with a connection.
    connected: HashSet<u64>,
    anonymous_connections: u64,
    users: u64,
    shown: Shown,
}

impl Look {
    async fn count(&mut self, hot: &Hot, keys: &[String]) -> Result<(), HotError> {
        let mut connected = Vec::new();
        for key in keys {
            match hot.keys().counted(key) {
                Some(Counted::Room(name)) => {
                    note(&self.hasher, &mut self.rooms, name);
                }
                Some(Counted::ActiveRoom(name)) => {
                    note(&self.hasher, &mut self.active_rooms, name);
                }
                Some(Counted::Known(user)) if !user.is_anonymous() => {
                    note(&self.hasher, &mut self.known, &user);
                }
                Some(Counted::Connected(user)) => {
                    if note(&self.hasher, &mut self.connected, &user) {
                        connected.push(user);
                    }
                }
                Some(Counted::Known(_)) | None => {}
            }
        }
        let call = |user: &UserId| {
            USER.call()
                .key(hot.keys().user(user))
                .key(hot.keys().user_connections(user))
        };
        let replies = script::run_all(hot, connected.iter().map(call).collect()).await?;
        for (user, reply) in connected.iter().zip(replies) {
            let mut reply = reply?;
            let (connections, status): (u64, String) = USER.read(|| Ok((reply.integer()?, reply.text()?)))?;
            self.meet(user, connections, Status::parse(&status));
        }
        Ok(())
    }

    fn meet(&mut self, user: &UserId, connections: u64, status: Option<Status>) {
        if user.is_anonymous() {
            self.anonymous_connections += connections;
            return;
        }
        if connections == 0 {
            // Gone since the scan came upon the user.
            self.connected.remove(&self.hasher.hash_one(user));
            return;
        }
        self.known.insert(self.hasher.hash_one(user));
        self.users += 1;
        match status {
            Some(Status::Online) => self.shown.online += 1,
            Some(Status::Away) => self.shown.away += 1,
            Some(Status::Busy) => self.shown.busy += 1,
            Some(Status::Offline) | None => self.shown.offline += 1,
        }
    }

    fn figures(self, live: u64, in_grace: u64) -> Figures {
        let gone = self.known.difference(&self.connected).count() as u64;
        Figures {
            live,
            in_grace,
            // Counted at another moment than the leases.
            anonymous: self.anonymous_connections.min(live + in_grace),
            users: self.users,
            presence: Shown {
                offline: self.shown.offline + gone,
                ..self.shown
            },
            rooms: self.rooms.len() as u64,
            active_rooms: self.active_rooms.len() as u64,
        }
    }
}

/// Whether it was not met before.
fn note(hasher: &RandomState, met: &mut HashSet<u64>, name: impl Hash) -> bool {
    met.insert(hasher.hash_one(name))
}
