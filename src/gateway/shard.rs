//! One shard of the gateway: its clients, its rooms, who watches whom, on one thread without locks. It takes deliveries
//! from the bus and hands them to sockets. Everything here can be dropped: Redis and the clients know it all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use prometheus::IntGauge;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::interval;

use super::activity::Untold;
use super::client::Client;
use super::fanout::{Delivery, Inbox, News, Order};
use super::limits::Book;
use super::listeners::Listeners;
use super::node::Node;
use super::outgoing;
use super::parcel::Parcel;
use super::protocol::{ErrorCode, Failure};
use super::revocations::Revocations;
use super::rooms::{Rooms, Turn};
use super::sends::{self, Lanes, Message};
use super::snapshot::{Marks, Slot};
use super::told::Told;
use crate::archive::snapshot::Snapshot;
use crate::domain::connections;
use crate::domain::presence::Held;
use crate::engine::CloseReason;
use crate::hot::Hot;
use crate::hot::bus::Topic;
use crate::hot::keys::{Lease, PARTITIONS, Partition};
use crate::types::{RoomName, UserId};

/// What the node's own work asks of a shard.
pub enum Ask {
    /// The leases that it holds in one partition.
    Leases(Partition, oneshot::Sender<Vec<Held>>),
    /// Redis does not have these: whoever holds one registers it anew.
    RegisterAnew(Vec<Lease>),
    /// The node goes away: every socket is told its moment within that time. Answered when the words are on their way.
    Drain(Duration, oneshot::Sender<()>),
    /// Nothing: whoever answers, turns.
    Turn(oneshot::Sender<()>),
    /// How its connections are, those of one slot.
    Snapshot(Slot, oneshot::Sender<Snapshot>),
}

/// One shard.
pub struct Shard {
    pub index: usize,
    pub node: Arc<Node>,
    pub hot: Hot,
    pub(super) rooms: RefCell<Rooms>,
    /// By partition of the user, as leases are renewed.
    pub(super) clients: RefCell<Vec<AHashMap<u64, Rc<Client>>>>,
    pub(super) users: RefCell<AHashMap<UserId, Listeners>>,
    pub(super) told: RefCell<Told>,
    pub(super) untold: RefCell<Untold>,
    pub(super) limits: Book,
    pub(super) sends: Lanes<Message>,
    pub(super) marks: Marks,
    /// By the end of the token, Unix seconds.
    expiries: RefCell<BTreeMap<(i64, u64), Weak<Client>>>,
    pub(super) revocations: Revocations,
    next_key: Cell<u64>,
    /// How many rooms it has, for metrics.
    rooms_now: IntGauge,
    /// Once the node sends its sockets away: until when.
    pub(super) leaving_until: Cell<Option<Instant>>,
    /// With presence told to everybody: whether this shard hears it yet.
    pub(super) hears_all: watch::Sender<bool>,
}

impl Shard {
    /// A shard, and its tasks on the current thread: deliveries until the inbox closes, and what is overdue.
    pub fn start(index: usize, node: Arc<Node>, hot: Hot, mut inbox: Inbox, mut asks: mpsc::Receiver<Ask>) -> Rc<Self> {
        let shard = Rc::new(Self {
            rooms_now: node.metrics.rooms.with_label_values(&[&index.to_string()]),
            index,
            node,
            sends: sends::lanes(&hot),
            hot,
            rooms: RefCell::default(),
            clients: RefCell::new((0..PARTITIONS).map(|_| AHashMap::new()).collect()),
            users: RefCell::default(),
            told: RefCell::default(),
            untold: RefCell::default(),
            limits: Book::default(),
            marks: Marks::default(),
            expiries: RefCell::default(),
            revocations: Revocations::default(),
            next_key: Cell::new(0),
            leaving_until: Cell::new(None),
            hears_all: watch::Sender::new(false),
        });
        shard.node.metrics.shards.enter(index);
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
        tokio::task::spawn_local(Self::tell_activity(Rc::downgrade(&shard), shard.hot.terms().away_after));
        let heartbeat = shard.node.settings.heartbeat;
        tokio::task::spawn_local(Self::keep_up(Rc::downgrade(&shard), heartbeat));
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

    fn answer(self: &Rc<Self>, ask: Ask) {
        match ask {
            // Whoever asked and went away needs no answer.
            Ask::Leases(partition, answer) => drop(answer.send(self.leases(partition))),
            Ask::Snapshot(slot, answer) => drop(answer.send(self.snapshot(slot))),
            Ask::RegisterAnew(leases) => self.register_anew(&leases),
            Ask::Drain(window, told) => {
                self.send_everybody_away(window);
                told.send(()).unwrap_or_default();
            }
            Ask::Turn(turns) => turns.send(()).unwrap_or_default(),
        }
    }

    pub(super) fn next_key(&self) -> u64 {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        key
    }

    pub(super) fn insert(&self, client: &Rc<Client>) {
        let partition = Partition::of_user(&client.user).index();
        self.clients.borrow_mut()[partition].insert(client.key, Rc::clone(client));
        self.change_listeners(&client.user, |listeners| listeners.enter(client));
    }

    /// Forgets a client; its rooms and users are released where it was the last.
    pub(super) fn remove(&self, client: &Rc<Client>) {
        let partition = Partition::of_user(&client.user).index();
        if self.clients.borrow_mut()[partition].remove(&client.key).is_none() {
            return;
        }
        self.forget_expiry(client);
        self.forget_activity(client);
        for room in client.rooms.take() {
            self.leave_room(&room, client);
        }
        for user in client.watching.take() {
            self.drop_listener(&user, |listeners| drop(listeners.watchers.remove(&client.key)));
        }
        self.drop_listener(&client.user, |listeners| listeners.leave(client));
    }

    pub(super) fn leave_room(&self, room: &RoomName, client: &Client) {
        if self.rooms.borrow_mut().leave(room, client) {
            self.node.bus.release(Topic::Room(room.clone()), self.index);
        }
    }

    /// The leases of this shard in one partition; on the way, what the engine's pings told is recorded.
    fn leases(self: &Rc<Self>, partition: Partition) -> Vec<Held> {
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
            let idle = client.active.get().elapsed();
            if idle < self.hot.terms().away_after && self.is_idle(&client.user) {
                // An activity that the sweep did not know of yet.
                let (shard, client) = (Rc::clone(self), Rc::clone(client));
                tokio::task::spawn_local(async move { shard.wake(&client).await });
            }
            // What was before the lease was extended last was told then, or the lease would have ended.
            let news = idle < self.hot.terms().lease;
            if news {
                client.told.set(client.active.get());
            }
            Held {
                lease: client.lease(),
                idle: news.then_some(idle),
            }
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

    /// Delivers an event in its turn; where something before it is missing, that is read first.
    pub(super) fn deliver(self: &Rc<Self>, delivery: &Arc<Delivery>) {
        if let Delivery::Room { room, order, .. } = &**delivery {
            let turn = self.rooms.borrow_mut().turn_of(room, order, delivery);
            match turn {
                Turn::Now => {}
                Turn::Known => return,
                Turn::Kept { is_lossy } => return self.node.metrics.lost_deliveries.inc_by(u64::from(is_lossy)),
                Turn::Gap => return self.heal(room, Duration::ZERO),
            }
        }
        self.deliver_now(delivery);
    }

    pub(super) fn deliver_now(self: &Rc<Self>, delivery: &Delivery) {
        if let Delivery::UserPresence { news, .. } | Delivery::Presence { news, .. } = delivery {
            self.keep_presence(&news.user, Arc::clone(&news.presence));
            if news.presence.is_idle() {
                self.contradict_idle(&news.user);
            }
        }
        let delivered = match delivery {
            Delivery::Room {
                room,
                order,
                except,
                expelled,
                token,
                parcel,
                news,
            } => {
                let sent_out = expelled
                    .as_ref()
                    .map_or(0, |user| self.expel(room, order, user, parcel));
                let hears = |client: &Client| except.as_ref() != Some(&client.user);
                let delivered = self
                    .rooms
                    .borrow_mut()
                    .deliver(room, order, parcel, token.as_ref(), hears);
                let told = |news| self.tell_room(room, news, hears);
                sent_out + delivered + news.as_ref().map_or(0, told)
            }
            Delivery::RoomClosed {
                room,
                epoch,
                rev,
                at_ms,
            } => self.close_room(room, epoch, *rev, *at_ms),
            Delivery::RoomPresence { room, news } => self.tell_room(room, news, |_| true),
            Delivery::UserPresence { origin, rooms, news } => self.tell_listeners(origin.as_deref(), rooms, news),
            Delivery::Presence { origin, news } => self.tell_everybody(origin.as_deref(), news),
            Delivery::RoomInterrupted { room } => {
                self.rooms.borrow_mut().interrupt(room);
                self.told.borrow_mut().interrupted();
                0
            }
            Delivery::RoomRestored { room, outage } => {
                self.heal_anew(room, *outage);
                0
            }
            Delivery::UserRestored { user } => {
                self.look_after(user);
                0
            }
            Delivery::Revoked(revocation) => self.revoke(std::slice::from_ref(revocation)),
            Delivery::Dismissed(ids) => self.dismiss(ids),
            Delivery::RevocationsRestored { outage } => {
                self.look_for_revocations(*outage);
                0
            }
        };
        self.node.metrics.deliveries.inc_by(delivered as u64);
    }

    /// Sends away those that are here and have these ids, of a socket or a connection, for good: their clients do not come back
    /// by themselves.
    fn dismiss(&self, ids: &[String]) -> usize {
        let wanted: AHashSet<&str> = ids.iter().map(String::as_str).collect();
        let clients = self.clients.borrow();
        let here = clients.iter().flat_map(|partition| partition.values());
        let meant = |client: &&Rc<Client>| {
            wanted.contains(client.socket.id()) || wanted.contains(client.lease.borrow().connection.as_str())
        };
        let dismissed: Vec<Rc<Client>> = here.filter(meant).cloned().collect();
        drop(clients);
        for client in &dismissed {
            tracing::info!(user = %client.user, "sent away by the administration");
            client.socket.disconnect(CloseReason::ServerDisconnect);
        }
        if let ([id], [client]) = (ids, &dismissed[..]) {
            let (hot, id, lease) = (self.hot.clone(), id.clone(), client.lease());
            tokio::task::spawn_local(async move {
                // Whoever asked says the word again, and hears that there is none.
                if let Err(error) = connections::answer(&hot, &id, &lease).await {
                    tracing::debug!(error = %error, "not said who was sent away");
                }
            });
        }
        dismissed.len()
    }

    /// Tells a presence to those in a room who are to hear of it, and have not heard that version yet.
    pub(super) fn tell_room(&self, room: &RoomName, news: &News, is_to_hear: impl Fn(&Client) -> bool) -> usize {
        let mut told = self.told.borrow_mut();
        let hears = |client: &Client| is_to_hear(client) && told.is_news(&news.user, news.presence.version, client.key);
        let parcel = Parcel::new(news.frame.clone(), Some(news.key));
        self.rooms
            .borrow_mut()
            .deliver(room, &Order::None, &parcel, None, hears)
    }

    fn keep_time(self: &Rc<Self>) {
        let overdue = self.rooms.borrow_mut().overdue();
        for room in &overdue.rooms {
            self.heal_anew(room, Duration::ZERO);
        }
        self.node.metrics.late_acks.inc_by(overdue.released as u64);
        self.rooms_now
            .set(i64::try_from(self.rooms.borrow().len()).unwrap_or(i64::MAX));
        self.end_expired();
        self.limits.forget(Instant::now());
        self.told.borrow_mut().forget();
        self.look_for_lost_revocations();
    }

    /// Ends the connection when its token runs out, unless another is shown before.
    pub(super) fn watch_expiry(&self, client: &Rc<Client>) {
        if let Some(expires_at) = client.expires_at.get() {
            self.expiries
                .borrow_mut()
                .insert((expires_at, client.key), Rc::downgrade(client));
        }
    }

    /// The entry would keep the client's memory until its token ends, long after the client has gone.
    pub(super) fn forget_expiry(&self, client: &Client) {
        if let Some(expires_at) = client.expires_at.get() {
            self.expiries.borrow_mut().remove(&(expires_at, client.key));
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
