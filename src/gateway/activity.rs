//! Tells Redis in time who is active, so that users turn away when they should and not before. Heartbeats bring each
//! client's last activity for nothing; whom Redis would take for idle before the next one is renewed early. An idle
//! client has no entry here, and costs nothing. Not here: what is an activity (`session`), who is away (`lua/presence`).

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;
use super::shard::Shard;
use crate::domain::presence::{self, Held};
use crate::hot::keys::Partition;
use crate::types::UserId;

/// Clients that were active since Redis was last told of them, by when it is to hear of it; the number is the client's.
pub(super) type Untold = BTreeMap<(Instant, u64), Weak<Client>>;

/// How long Redis need not hear of an activity, counted from the one that it knows. The last quarter is for the call, and
/// for the clients that are looked after together.
fn patience(away_after: Duration) -> Duration {
    away_after / 4 * 3
}

/// Between two looks at who is due: everybody of a partition who is due goes into one call.
fn look_every(away_after: Duration) -> Duration {
    away_after / 20
}

impl Shard {
    /// The client does something. The first time since Redis was told, it gets a date by which Redis will be.
    pub(super) fn note_activity(&self, client: &Rc<Client>, at: Instant) {
        client.active.set(at);
        if client.to_be_told.get().is_none() {
            self.await_telling(client, client.told.get() + patience(self.hot.terms().away_after));
        }
    }

    fn await_telling(&self, client: &Rc<Client>, at: Instant) {
        client.to_be_told.set(Some(at));
        self.untold.borrow_mut().insert((at, client.key), Rc::downgrade(client));
    }

    /// The entry would keep the client's memory until its date.
    pub(super) fn forget_activity(&self, client: &Client) {
        if let Some(at) = client.to_be_told.take() {
            self.untold.borrow_mut().remove(&(at, client.key));
        }
    }

    /// Tells what is due until the shard is gone.
    pub(super) async fn tell_activity(shard: Weak<Self>, away_after: Duration) {
        let mut ticks = interval(look_every(away_after));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(shard) = shard.upgrade() else { return };
            let due = shard.take_due();
            join_all(
                due.iter()
                    .map(|(partition, clients)| shard.tell_of(*partition, clients)),
            )
            .await;
        }
    }

    /// Those of whom Redis must hear now, taken off the list.
    fn take_due(&self) -> BTreeMap<Partition, Vec<Rc<Client>>> {
        let mut due: BTreeMap<Partition, Vec<Rc<Client>>> = BTreeMap::new();
        let later = self.untold.borrow_mut().split_off(&(Instant::now(), 0));
        for client in self
            .untold
            .replace(later)
            .into_values()
            .filter_map(|client| client.upgrade())
        {
            client.to_be_told.set(None);
            if client.active.get() == client.told.get() {
                continue; // a heartbeat has told it
            }
            let date = client.told.get() + patience(self.hot.terms().away_after);
            if date > Instant::now() {
                self.await_telling(&client, date); // a heartbeat has told something newer than what was known then
            } else {
                due.entry(Partition::of_user(&client.user)).or_default().push(client);
            }
        }
        due
    }

    async fn tell_of(self: &Rc<Self>, partition: Partition, clients: &[Rc<Client>]) {
        let active: Vec<Instant> = clients.iter().map(|client| client.active.get()).collect();
        let held = clients.iter().zip(&active).map(|(client, active)| Held {
            lease: client.lease(),
            idle: Some(active.elapsed()),
        });
        let held: Vec<Held> = held.collect();
        let told = presence::renew(&self.hot, partition, &held).await;
        for (client, active) in clients.iter().zip(active) {
            // Whoever was active again meanwhile may have been put on the list, with the date of what was known before.
            self.forget_activity(client);
            let date = match &told {
                Ok(_) => {
                    client.told.set(active);
                    active + patience(self.hot.terms().away_after)
                }
                Err(_) => Instant::now(),
            };
            if client.active.get() != client.told.get() && client.socket.is_open() {
                self.await_telling(client, date);
            }
        }
        match told {
            Ok(missing) => self.register_anew(&missing),
            Err(error) => {
                tracing::debug!(error = %error, partition = partition.index(), "activity not told; trying again");
            }
        }
    }

    /// The user is said to be away. Whoever was active here, and was not told of in time, contradicts.
    pub(super) fn contradict_idle(self: &Rc<Self>, user: &UserId) {
        let users = self.users.borrow();
        let clients = users.get(user).into_iter().flat_map(|listeners| listeners.own.iter());
        let away_after = self.hot.terms().away_after;
        if let Some(client) = clients
            .into_iter()
            .find(|client| client.active.get().elapsed() < away_after)
        {
            let (shard, client) = (Rc::clone(self), Rc::clone(client));
            tokio::task::spawn_local(async move { shard.wake(&client).await });
        }
    }
}
