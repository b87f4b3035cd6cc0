//! Who of a shard hears whose presence: a user's own sockets, and those who asked to watch the user. Not here: the rooms,
//! which are told as rooms.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::client::Client;
use super::fanout::News;
use super::shard::Shard;
use crate::hot::HotError;
use crate::hot::bus::Topic;
use crate::hot::keys::Partition;
use crate::types::{Presence, RoomName, Status, UserId};

/// How long a newcomer waits until the shard hears everybody's presence, right after the start.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);

/// Who hears a user's own channel.
#[derive(Default)]
pub(super) struct Listeners {
    /// Mostly one.
    pub(super) own: Vec<Rc<Client>>,
    /// Mostly nobody, and then without memory of their own.
    pub(super) watchers: BTreeMap<u64, Rc<Client>>,
    /// What was last heard of the user; put back where Redis loses it.
    known: Option<Arc<Presence>>,
    /// Subscriptions under way.
    pending: u32,
}

impl Listeners {
    /// A socket of the user's comes.
    pub(super) fn enter(&mut self, client: &Rc<Client>) {
        if self.own.is_empty() {
            self.own.reserve_exact(1);
        }
        self.own.push(Rc::clone(client));
    }

    /// A socket of the user's goes.
    pub(super) fn leave(&mut self, client: &Rc<Client>) {
        if let Some(place) = self.own.iter().position(|own| Rc::ptr_eq(own, client)) {
            self.own.swap_remove(place);
        }
    }

    /// What others see of the user, where the user has sockets here.
    fn shown(&self) -> Option<Status> {
        let known = self.known.as_ref()?;
        (!self.own.is_empty()).then_some(known.status)
    }
}

impl Shard {
    /// Hears everybody's presence from now on. What the bus does not confirm in time it goes on asking for.
    pub(super) async fn listen_to_all(self: Rc<Self>) {
        let bus = &self.node.bus;
        let asked = Partition::all().map(|partition| bus.subscribe(Topic::Presence(partition), self.index));
        let unconfirmed = join_all(asked).await.into_iter().filter(Result::is_err).count();
        if unconfirmed > 0 {
            tracing::warn!(unconfirmed, "presence is heard as soon as the bus stands");
        }
        self.hears_all.send_replace(true);
    }

    /// Hears a user's own channel from now on, on behalf of a client of the user's or of a watcher. Each call is
    /// followed by [`Shard::listening`].
    pub(super) async fn listen(&self, user: &UserId) -> Result<(), HotError> {
        if self.node.settings.presence_to_all {
            let mut hears_all = self.hears_all.subscribe();
            let heard = timeout(LISTEN_PATIENCE, hears_all.wait_for(|hears| *hears)).await;
            return heard.map(drop).map_err(|_| HotError::Bus);
        }
        self.users.borrow_mut().entry(user.clone()).or_default().pending += 1;
        self.node.bus.subscribe(Topic::User(user.clone()), self.index).await
    }

    /// A subscription that [`Shard::listen`] began has come to its end; whoever is to stay has been entered.
    pub(super) fn listening(&self, user: &UserId) {
        if !self.node.settings.presence_to_all {
            self.drop_listener(user, |listeners| {
                listeners.pending = listeners.pending.saturating_sub(1)
            });
        }
    }

    pub(super) fn watch(&self, user: &UserId, client: &Rc<Client>) {
        client.watching.borrow_mut().insert(user.clone());
        self.users
            .borrow_mut()
            .entry(user.clone())
            .or_default()
            .watchers
            .insert(client.key, Rc::clone(client));
    }

    pub(super) fn unwatch(&self, user: &UserId, client: &Client) {
        if client.watching.borrow_mut().remove(user) {
            self.drop_listener(user, |listeners| drop(listeners.watchers.remove(&client.key)));
        }
    }

    /// What this shard last heard of a user's presence.
    pub(super) fn known_presence(&self, user: &UserId) -> Option<Arc<Presence>> {
        self.users.borrow().get(user)?.known.clone()
    }

    /// Whether the user is away by inactivity, as far as this shard has heard.
    pub(super) fn is_idle(&self, user: &UserId) -> bool {
        self.known_presence(user).is_some_and(|known| known.is_idle())
    }

    /// Keeps what was heard of a user who has sockets here, unless something newer is known.
    pub(super) fn keep_presence(&self, user: &UserId, presence: Arc<Presence>) {
        let mut users = self.users.borrow_mut();
        let Some(listeners) = users.get_mut(user) else { return };
        let is_news = |known: &Arc<Presence>| known.version < presence.version;
        if listeners.known.as_ref().is_none_or(is_news) {
            self.count_change(listeners, |listeners| listeners.known = Some(presence));
        }
    }

    /// Whoever hears of the user, there or not yet.
    pub(super) fn change_listeners(&self, user: &UserId, change: impl FnOnce(&mut Listeners)) {
        let mut users = self.users.borrow_mut();
        self.count_change(users.entry(user.clone()).or_default(), change);
    }

    /// Users are counted by presence as they change: nobody has to go through all of them.
    fn count_change(&self, listeners: &mut Listeners, change: impl FnOnce(&mut Listeners)) {
        let before = listeners.shown();
        change(listeners);
        let now = listeners.shown();
        if now != before {
            let users = |status: Status| self.node.metrics.users.with_label_values(&[status.as_str()]);
            before.into_iter().for_each(|status| users(status).dec());
            now.into_iter().for_each(|status| users(status).inc());
        }
    }

    pub(super) fn drop_listener(&self, user: &UserId, drop_one: impl FnOnce(&mut Listeners)) {
        let mut users = self.users.borrow_mut();
        let Some(listeners) = users.get_mut(user) else { return };
        self.count_change(listeners, drop_one);
        if listeners.own.is_empty() && listeners.watchers.is_empty() && listeners.pending == 0 {
            users.remove(user);
            if !self.node.settings.presence_to_all {
                self.node.bus.release(Topic::User(user.clone()), self.index);
            }
        }
    }

    pub(super) fn tell_listeners(&self, origin: Option<&str>, rooms: &[RoomName], news: &News) -> usize {
        let users = self.users.borrow();
        let Some(listeners) = users.get(&news.user) else {
            return 0;
        };
        let shares = |client: &&Rc<Client>| {
            let joined = client.rooms.borrow();
            rooms.iter().any(|room| joined.contains(room))
        };
        let watchers = listeners.watchers.values().filter(shares);
        self.tell(listeners.own.iter().chain(watchers), origin, news)
    }

    pub(super) fn tell_everybody(&self, origin: Option<&str>, news: &News) -> usize {
        let clients = self.clients.borrow();
        self.tell(clients.iter().flat_map(|partition| partition.values()), origin, news)
    }

    fn tell<'a>(&self, clients: impl Iterator<Item = &'a Rc<Client>>, origin: Option<&str>, news: &News) -> usize {
        let mut told = self.told.borrow_mut();
        let mut delivered = 0;
        for client in clients {
            let is_origin = origin.is_some_and(|origin| client.is_connection(origin));
            if !is_origin && told.is_news(&news.user, news.presence.version, client.key) {
                client.socket.send_latest(news.key, &news.frame);
                delivered += 1;
            }
        }
        delivered
    }
}
