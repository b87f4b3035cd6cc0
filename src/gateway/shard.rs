//! One shard of the gateway: its clients, its rooms, who watches whom, on one thread without locks. It takes deliveries
//! from the bus and hands them to sockets. Everything here can be dropped: Redis and the clients know it all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use futures_util::future::join_all;
use rand::Rng as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};

use super::client::Client;
use super::fanout::{Delivery, Inbox, News, Order};
use super::metrics::Metrics;
use super::outgoing;
use super::protocol::{ErrorCode, Failure};
use super::rooms::Rooms;
use super::told::Told;
use crate::config::{CustomStatusShape, NamePatterns, Networks};
use crate::domain::identity::Verifier;
use crate::engine::CloseReason;
use crate::hot::bus::{Bus, Topic};
use crate::hot::keys::{Lease, PARTITIONS, Partition};
use crate::hot::{Hot, HotError};
use crate::types::{ConnectionId, NodeId, Presence, RoomName, UserId};

/// What the gateway was told.
pub struct Settings {
    pub allow_anonymous: bool,
    pub anonymous_may_send: bool,
    pub enable_presence: bool,
    pub enable_typing: bool,
    pub typing_timeout: Duration,
    /// From the loss of a transport to the end of the lease.
    pub grace: Duration,
    /// The same where the node went away.
    pub drain_grace: Duration,
    /// Bytes of a message's content.
    pub max_content: usize,
    pub room_autocreate: NamePatterns,
    pub presence_to_all: bool,
    pub custom_status_shape: CustomStatusShape,
    pub trusted_proxies: Networks,
    /// Sockets that this node holds at most.
    pub max_connections: u64,
}

/// What all shards of a node share; immutable but for counters.
pub struct Node {
    pub id: NodeId,
    pub settings: Settings,
    pub verifier: Verifier,
    pub bus: Bus,
    /// The node's own connection, which readiness asks too: whoever is told that the node is ready is let in.
    pub hot: Hot,
    pub metrics: Metrics,
    pub draining: Arc<AtomicBool>,
    pub connections: AtomicU64,
    incarnations: AtomicU64,
}

impl Node {
    /// A node without sockets yet; `draining` turns newcomers away once it is set.
    pub fn new(
        id: NodeId,
        settings: Settings,
        verifier: Verifier,
        bus: Bus,
        hot: Hot,
        metrics: Metrics,
        draining: Arc<AtomicBool>,
    ) -> Self {
        let (connections, incarnations) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            id,
            settings,
            verifier,
            bus,
            hot,
            metrics,
            draining,
            connections,
            incarnations,
        }
    }

    /// A lease for one life of a socket; its connection id was never used and never will be.
    pub(super) fn new_lease(&self, socket_id: &str, user: &UserId) -> Lease {
        let incarnation = self.incarnations.fetch_add(1, Ordering::Relaxed);
        let connection = ConnectionId::parse(&format!("{socket_id}.{incarnation}"))
            .expect("a socket id is short and has no control characters");
        Lease {
            connection,
            node: self.id.clone(),
            user: user.clone(),
        }
    }
}

/// How long a newcomer waits until the shard hears everybody's presence, right after the start.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);
/// Clients of a node that goes away are spread over this long.
const RECONNECT_WITHIN_MS: u64 = 1_000;

/// What the node's own work asks of a shard.
pub enum Ask {
    /// The leases that it holds in one partition.
    Leases(Partition, oneshot::Sender<Vec<Lease>>),
    /// Redis does not have these: whoever holds one registers it anew.
    RegisterAnew(Vec<Lease>),
    /// The node goes away: every socket is told when to come back. Answered when the word is on its way.
    Drain(oneshot::Sender<()>),
}

/// One shard.
pub struct Shard {
    pub index: usize,
    pub node: Arc<Node>,
    pub hot: Hot,
    pub(super) rooms: RefCell<Rooms>,
    /// By partition of the user, as leases are renewed.
    clients: RefCell<Vec<AHashMap<u64, Rc<Client>>>>,
    users: RefCell<AHashMap<UserId, Listeners>>,
    told: RefCell<Told>,
    /// By the end of the token, Unix seconds.
    expiries: RefCell<BTreeMap<(i64, u64), Weak<Client>>>,
    next_key: Cell<u64>,
    /// With presence told to everybody: whether this shard hears it yet.
    hears_all: watch::Sender<bool>,
}

/// Who hears a user's own channel.
#[derive(Default)]
struct Listeners {
    own: AHashMap<u64, Rc<Client>>,
    watchers: AHashMap<u64, Rc<Client>>,
    /// What was last heard of the user; put back where Redis loses it.
    known: Option<Arc<Presence>>,
    /// Subscriptions under way.
    pending: u32,
}

impl Shard {
    /// A shard, and its tasks on the current thread: deliveries until the inbox closes, and what is overdue.
    pub fn start(index: usize, node: Arc<Node>, hot: Hot, mut inbox: Inbox, mut asks: mpsc::Receiver<Ask>) -> Rc<Self> {
        let shard = Rc::new(Self {
            index,
            node,
            hot,
            rooms: RefCell::default(),
            clients: RefCell::new((0..PARTITIONS).map(|_| AHashMap::new()).collect()),
            users: RefCell::default(),
            told: RefCell::default(),
            expiries: RefCell::default(),
            next_key: Cell::new(0),
            hears_all: watch::Sender::new(false),
        });
        let deliverer = Rc::clone(&shard);
        tokio::task::spawn_local(async move {
            while let Some(delivery) = inbox.recv().await {
                deliverer.deliver(&delivery);
            }
        });
        if shard.node.settings.presence_to_all {
            tokio::task::spawn_local(Rc::clone(&shard).listen_to_all());
        }
        let asked = Rc::clone(&shard);
        tokio::task::spawn_local(async move {
            while let Some(ask) = asks.recv().await {
                asked.answer(ask);
            }
        });
        let keeper = Rc::downgrade(&shard);
        tokio::task::spawn_local(async move {
            let mut ticks = interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                let Some(shard) = keeper.upgrade() else { return };
                shard.keep_time();
            }
        });
        shard
    }

    /// Hears everybody's presence from now on. What the bus does not confirm in time it goes on asking for.
    async fn listen_to_all(self: Rc<Self>) {
        let bus = &self.node.bus;
        let asked = Partition::all().map(|partition| bus.subscribe(Topic::Presence(partition), self.index));
        let unconfirmed = join_all(asked).await.into_iter().filter(Result::is_err).count();
        if unconfirmed > 0 {
            tracing::warn!(unconfirmed, "presence is heard as soon as the bus stands");
        }
        self.hears_all.send_replace(true);
    }

    fn answer(self: &Rc<Self>, ask: Ask) {
        match ask {
            // Whoever asked and went away needs no answer.
            Ask::Leases(partition, answer) => drop(answer.send(self.leases(partition))),
            Ask::RegisterAnew(leases) => self.register_anew(&leases),
            Ask::Drain(told) => {
                self.announce_drain();
                told.send(()).unwrap_or_default();
            }
        }
    }

    pub(super) fn next_key(&self) -> u64 {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        key
    }

    pub(super) fn insert(&self, client: &Rc<Client>) {
        self.node.connections.fetch_add(1, Ordering::Relaxed);
        let partition = Partition::of_user(&client.user).index();
        self.clients.borrow_mut()[partition].insert(client.key, Rc::clone(client));
        self.users
            .borrow_mut()
            .entry(client.user.clone())
            .or_default()
            .own
            .insert(client.key, Rc::clone(client));
    }

    /// Forgets a client; its rooms and users are released where it was the last.
    pub(super) fn remove(&self, client: &Rc<Client>) {
        let partition = Partition::of_user(&client.user).index();
        if self.clients.borrow_mut()[partition].remove(&client.key).is_none() {
            return;
        }
        self.node.connections.fetch_sub(1, Ordering::Relaxed);
        for room in client.rooms.take() {
            self.leave_room(&room, client);
        }
        for user in client.watching.take() {
            self.drop_listener(&user, |listeners| drop(listeners.watchers.remove(&client.key)));
        }
        self.drop_listener(&client.user, |listeners| drop(listeners.own.remove(&client.key)));
    }

    pub(super) fn leave_room(&self, room: &RoomName, client: &Client) {
        if self.rooms.borrow_mut().leave(room, client) {
            self.node.bus.release(Topic::Room(room.clone()), self.index);
        }
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

    /// Keeps what was heard of a user who has sockets here, unless something newer is known.
    pub(super) fn keep_presence(&self, user: &UserId, presence: Arc<Presence>) {
        if let Some(listeners) = self.users.borrow_mut().get_mut(user)
            && listeners
                .known
                .as_ref()
                .is_none_or(|known| known.version < presence.version)
        {
            listeners.known = Some(presence);
        }
    }

    fn drop_listener(&self, user: &UserId, drop_one: impl FnOnce(&mut Listeners)) {
        let mut users = self.users.borrow_mut();
        let Some(listeners) = users.get_mut(user) else { return };
        drop_one(listeners);
        if listeners.own.is_empty() && listeners.watchers.is_empty() && listeners.pending == 0 {
            users.remove(user);
            if !self.node.settings.presence_to_all {
                self.node.bus.release(Topic::User(user.clone()), self.index);
            }
        }
    }

    /// The leases of this shard in one partition; on the way, what the engine's pings told is recorded.
    fn leases(self: &Rc<Self>, partition: Partition) -> Vec<Lease> {
        let clients = self.clients.borrow();
        let clients = clients[partition.index()].values();
        let heard = |client: &Rc<Client>| {
            if let Some(latency) = client.socket.latency() {
                self.node.metrics.latency.observe(latency.as_secs_f64());
            }
            if client.is_record_stale() {
                let (shard, client) = (Rc::clone(self), Rc::clone(client));
                tokio::task::spawn_local(async move { shard.show(&client).await });
            }
            client.lease()
        };
        clients.map(heard).collect()
    }

    /// The client that holds a lease, if it is still here.
    pub(super) fn holder(&self, lease: &Lease) -> Option<Rc<Client>> {
        let clients = self.clients.borrow();
        let partition = &clients[Partition::of_user(&lease.user).index()];
        partition
            .values()
            .find(|client| client.is_connection(lease.connection.as_str()))
            .cloned()
    }

    fn deliver(&self, delivery: &Delivery) {
        if let Delivery::UserPresence { news, .. } | Delivery::Presence { news, .. } = delivery {
            self.keep_presence(&news.user, Arc::clone(&news.presence));
        }
        let delivered = match delivery {
            Delivery::Room {
                room,
                order,
                key,
                except,
                frame,
                news,
            } => {
                let hears = |client: &Client| except.as_ref() != Some(&client.user);
                let delivered = self.rooms.borrow_mut().deliver(room, order, *key, frame, hears);
                delivered
                    + news
                        .as_ref()
                        .map_or(0, |news| self.tell_room(room, news, except.as_ref()))
            }
            Delivery::RoomPresence { room, news } => self.tell_room(room, news, None),
            Delivery::UserPresence { origin, rooms, news } => self.tell_listeners(origin.as_deref(), rooms, news),
            Delivery::Presence { origin, news } => self.tell_everybody(origin.as_deref(), news),
        };
        self.node.metrics.deliveries.inc_by(delivered as u64);
    }

    fn tell_room(&self, room: &RoomName, news: &News, except: Option<&UserId>) -> usize {
        let mut told = self.told.borrow_mut();
        let hears = |client: &Client| {
            except != Some(&client.user) && told.is_news(&news.user, news.presence.version, client.key)
        };
        self.rooms
            .borrow_mut()
            .deliver(room, &Order::None, Some(news.key), &news.frame, hears)
    }

    fn tell_listeners(&self, origin: Option<&str>, rooms: &[RoomName], news: &News) -> usize {
        let users = self.users.borrow();
        let Some(listeners) = users.get(&news.user) else {
            return 0;
        };
        let shares = |client: &&Rc<Client>| {
            let joined = client.rooms.borrow();
            rooms.iter().any(|room| joined.contains(room))
        };
        let watchers = listeners.watchers.values().filter(shares);
        self.tell(listeners.own.values().chain(watchers), origin, news)
    }

    fn tell_everybody(&self, origin: Option<&str>, news: &News) -> usize {
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

    /// Each socket gets a moment of its own, so that they do not come back all at once.
    fn announce_drain(&self) {
        for client in self.clients.borrow().iter().flat_map(|partition| partition.values()) {
            client
                .socket
                .send(&outgoing::draining(rand::rng().random_range(0..RECONNECT_WITHIN_MS)));
        }
    }

    fn keep_time(&self) {
        let late = self.rooms.borrow_mut().release_overdue();
        self.node.metrics.late_acks.inc_by(late as u64);
        let rooms = i64::try_from(self.rooms.borrow().len()).unwrap_or(i64::MAX);
        self.end_expired();
        self.node
            .metrics
            .rooms
            .with_label_values(&[&self.index.to_string()])
            .set(rooms);
    }

    /// Ends the connection when its token runs out, unless another is shown before.
    pub(super) fn watch_expiry(&self, client: &Rc<Client>) {
        if let Some(expires_at) = client.expires_at.get() {
            self.expiries
                .borrow_mut()
                .insert((expires_at, client.key), Rc::downgrade(client));
        }
    }

    fn end_expired(&self) {
        let now_s = outgoing::now_ms() / 1_000;
        loop {
            let Some(entry) = self
                .expiries
                .borrow_mut()
                .first_entry()
                .filter(|entry| entry.key().0 <= now_s)
                .map(OccupiedEntry::remove_entry)
            else {
                return;
            };
            let ((expires_at, _), client) = entry;
            // A token that was refreshed meanwhile has an entry of its own.
            if let Some(client) = client
                .upgrade()
                .filter(|client| client.expires_at.get() == Some(expires_at))
            {
                client.socket.send(&outgoing::auth_error(&Failure::new(
                    ErrorCode::Unauthenticated,
                    "Token expired",
                )));
                client.socket.disconnect(CloseReason::TokenExpired);
            }
        }
    }
}
