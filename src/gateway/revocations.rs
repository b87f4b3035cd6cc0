//! Sends away whose token was revoked, as soon as the bus brings it; and those whose token is only being asked about
//! when it comes. What the bus may not have brought is read from Redis.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use tokio::time::sleep;

use super::client::Client;
use super::outgoing;
use super::protocol::{ErrorCode, Failure};
use super::shard::Shard;
use crate::domain::identity::Issued;
use crate::domain::revocations::{self, Revocation, Subject};
use crate::engine::CloseReason;
use crate::hot::HotError;
use crate::types::UserId;

/// Between two tries to read what was missed; it is tried until Redis answers.
const PAUSE: Duration = Duration::from_millis(250);
/// How far to look back where deliveries found no place: longer than a full inbox takes to be noticed.
const LOST_WITHIN: Duration = Duration::from_secs(30);

/// What a shard knows of revocations.
#[derive(Default)]
pub(super) struct Revocations {
    arriving: RefCell<AHashMap<u64, Rc<Arrival>>>,
    /// When it was said that something may have been missed, and since how long before. One task sees to it.
    missed: Cell<Option<(Instant, Duration)>>,
    is_looking: Cell<bool>,
    /// Deliveries that this node has lost, as of the last look.
    lost: Cell<u64>,
}

/// Somebody whose token is being asked about: a revocation that Redis had not yet when it answered comes here.
struct Arrival {
    user: UserId,
    issued: Issued,
    is_revoked: Cell<bool>,
}

/// Holds an [`Arrival`] until whoever arrives is among the clients, or is not let in.
pub(super) struct Arriving {
    shard: Rc<Shard>,
    key: u64,
    arrival: Rc<Arrival>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.shard.revocations.arriving.borrow_mut().remove(&self.key);
    }
}

impl Arriving {
    /// Asks Redis. The answer is old as soon as it is there: [`Arriving::is_revoked`] says what came since.
    pub(super) async fn ask(&self) -> Result<bool, HotError> {
        let arrival = &self.arrival;
        let revoked = revocations::is_revoked(&self.shard.hot, &arrival.user, &arrival.issued).await?;
        arrival.is_revoked.set(arrival.is_revoked.get() || revoked);
        Ok(revoked)
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.arrival.is_revoked.get()
    }
}

impl Shard {
    /// From now on revocations reach this token, while Redis is asked about it.
    pub(super) fn arrive(self: &Rc<Self>, user: &UserId, issued: &Issued) -> Arriving {
        let arrival = Rc::new(Arrival {
            user: user.clone(),
            issued: issued.clone(),
            is_revoked: Cell::new(false),
        });
        let key = self.next_key();
        self.revocations.arriving.borrow_mut().insert(key, Rc::clone(&arrival));
        Arriving {
            shard: Rc::clone(self),
            key,
            arrival,
        }
    }

    /// Sends away whoever these mean; how many.
    pub(super) fn revoke(&self, revoked: &[Revocation]) -> usize {
        for arrival in self.revocations.arriving.borrow().values() {
            let meant = |one| revocations::means(one, &arrival.user, &arrival.issued);
            if revoked.iter().any(meant) {
                arrival.is_revoked.set(true);
            }
        }
        let meant = self.meant(revoked);
        meant.iter().for_each(|client| self.send_away(client));
        meant.len()
    }

    /// Ends a client whose token was revoked, and tells it so.
    pub(super) fn send_away(&self, client: &Client) {
        client.socket.send(&outgoing::auth_error(&Failure::new(
            ErrorCode::Unauthenticated,
            "Token revoked",
        )));
        client.socket.disconnect(CloseReason::TokenExpired);
        self.node.metrics.revoked.inc();
        tracing::info!(user = %client.user, "the token was revoked");
    }

    /// The clients that these mean: a user's are found by name, those of tokens in one walk, since hardly anybody revokes.
    fn meant(&self, revoked: &[Revocation]) -> Vec<Rc<Client>> {
        let mut meant: AHashMap<u64, Rc<Client>> = AHashMap::new();
        let mut tokens = AHashSet::new();
        let users = self.users.borrow();
        for revocation in revoked {
            match &revocation.subject {
                Subject::Token(token) => drop(tokens.insert(token)),
                Subject::User(user) => {
                    let own = users.get(user).into_iter().flat_map(|listeners| listeners.own.iter());
                    let older = own.filter(|client| revocations::means(revocation, user, &client.issued()));
                    meant.extend(older.map(|client| (client.key, Rc::clone(client))));
                }
            }
        }
        if !tokens.is_empty() {
            let clients = self.clients.borrow();
            let clients = clients.iter().flat_map(|partition| partition.values());
            let theirs = clients.filter(|client| client.token().is_some_and(|token| tokens.contains(&token)));
            meant.extend(theirs.map(|client| (client.key, Rc::clone(client))));
        }
        meant.into_values().collect()
    }

    /// Whatever was revoked within `outage` may not have been heard: it is read, until Redis has answered.
    pub(super) fn look_for_revocations(self: &Rc<Self>, outage: Duration) {
        let (now, state) = (Instant::now(), &self.revocations);
        let age = |(at, outage): (Instant, Duration)| now.duration_since(at) + outage;
        let longest = state.missed.get().map_or(outage, |missed| age(missed).max(outage));
        state.missed.set(Some((now, longest)));
        if state.is_looking.replace(true) {
            return;
        }
        let shard = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            while let Some(shard) = shard.upgrade() {
                let Some(missed) = shard.revocations.missed.get() else {
                    shard.revocations.is_looking.set(false);
                    return;
                };
                match revocations::since(&shard.hot, missed.0.elapsed() + missed.1).await {
                    Ok(found) => {
                        shard.revoke(&found);
                        // Unless more was missed meanwhile.
                        if shard.revocations.missed.get() == Some(missed) {
                            shard.revocations.missed.set(None);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(error = %error, "revocations not read yet");
                        sleep(PAUSE).await;
                    }
                }
            }
        });
    }

    /// A shard without a place for deliveries may have had none for a revocation.
    pub(super) fn look_for_lost_revocations(self: &Rc<Self>) {
        let lost = self.node.metrics.lost_deliveries.get();
        if self.revocations.lost.replace(lost) != lost {
            self.look_for_revocations(LOST_WITHIN);
        }
    }
}
