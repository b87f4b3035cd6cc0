//! The bus: one task owns this node's subscriptions (wanted against confirmed) on connections of their own. Sharded
//! pub/sub always, each channel at the owner of its slot, so that the same code runs on a Cluster. Not here: the
//! connections (`wires`), what a frame says (`frame`), who hears it (the gateway, through the sink).

mod perches;
mod status;

use std::collections::{HashMap, hash_map};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};

pub(super) use self::status::Status;
pub use super::canary::Trouble;
use super::keys::{Keys, Partition, Perch};
use super::topology::Topology;
use super::wires::{Happening, WireId, Wires};
use super::{HotError, Metrics, frame, link, slots};
use crate::types::{NodeId, RoomName, UserId};

/// What can be listened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    Room(RoomName),
    User(UserId),
    /// Everybody's presence in one partition.
    Presence(Partition),
    /// This node's own channel: while what is published there comes back, the bus works at its master.
    Node(NodeId),
    /// The same at another master.
    Canary(NodeId, Partition),
    /// What every node hears; listened to from the start.
    Everybody,
}

impl Topic {
    fn channel(&self, keys: &Keys) -> String {
        match self {
            Self::Room(room) => keys.room_channel(room),
            Self::User(user) => keys.user_channel(user),
            Self::Presence(partition) => keys.presence_channel(*partition),
            Self::Node(node) => keys.canary(node, Perch::Nodes),
            Self::Canary(node, partition) => keys.canary(node, Perch::Partition(*partition)),
            Self::Everybody => keys.everybody_channel(),
        }
    }
}

/// The shards that listen to a topic, one bit each.
pub type Shards = u64;
/// More shards than bits cannot be told apart.
pub const SHARDS_MAX: usize = 64;

/// Takes what came: called on the bus's task, in the order of each channel; must not block.
pub type Sink = Box<dyn FnMut(&Topic, Shards, &[u8]) + Send>;

/// How long a subscription without listeners is kept: whoever comes back soon need not wait.
const LINGER: Duration = Duration::from_secs(30);
const COMMANDS_MAX: usize = 16_384;
/// Most channels of one SSUBSCRIBE.
const CHANNELS_MAX: usize = 256;
/// A connection may be dead for this long before that is noticed.
const UNNOTICED: Duration = Duration::from_secs(10);
/// An unconfirmed subscription is asked for again after this long.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

enum Command {
    Subscribe {
        topic: Topic,
        shard: usize,
        confirmed: oneshot::Sender<()>,
    },
    Release {
        topic: Topic,
        shard: usize,
    },
}

/// Handle to the bus; clones speak to the same task.
#[derive(Debug, Clone)]
pub struct Bus {
    commands: mpsc::Sender<Command>,
    status: Arc<Status>,
}

/// The task that [`Bus::open`] returns; the caller decides on which runtime it turns.
pub struct Driver {
    wires: Wires,
    keys: Keys,
    node: NodeId,
    topics: HashMap<String, Entry>,
    /// Channels that are wanted and were not asked for yet.
    fresh: Vec<String>,
    commands: mpsc::Receiver<Command>,
    sink: Sink,
    status: Arc<Status>,
}

struct Entry {
    topic: Topic,
    slot: u16,
    shards: Shards,
    state: State,
    /// The wire whose frames are taken: the one that confirmed last, also while another has been asked.
    heard_on: Option<WireId>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Since when nothing is heard of what was.
    lost: Option<Instant>,
    /// Since when nobody listens.
    idle_since: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unasked,
    Asked(Instant, WireId),
    Confirmed(WireId),
}

impl Entry {
    /// Nothing is heard on this wire any more; since when is kept until another takes its place. Whoever listens hears
    /// of it before anything newer comes, of whatever else the wire brought.
    fn go_deaf(&mut self, wire: WireId, sink: &mut Sink) {
        if self.heard_on == Some(wire) {
            self.heard_on = None;
            self.lost = Some(Instant::now());
            sink(&self.topic, self.shards, frame::INTERRUPTED);
        }
    }
}

impl State {
    fn wire(self) -> Option<WireId> {
        match self {
            Self::Unasked => None,
            Self::Asked(_, wire) | Self::Confirmed(wire) => Some(wire),
        }
    }
}

impl Bus {
    /// A bus of this node, and its task. Fails when the URL is none.
    pub fn open(
        url: &str,
        keys: Keys,
        node: NodeId,
        sink: Sink,
        metrics: &Metrics,
    ) -> Result<(Self, Driver), HotError> {
        let topology = Topology::parse(url).map_err(|error| HotError::of("open the bus", error))?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let status = Arc::new(Status::new(metrics.lag.clone()));
        metrics.watch_bus(&status);
        let (topics, fresh) = (HashMap::new(), Vec::new());
        let mut driver = Driver {
            wires: Wires::new(topology, metrics.bus.clone()),
            keys,
            node,
            topics,
            fresh,
            commands: receiver,
            sink,
            status: Arc::clone(&status),
        };
        driver.settle();
        driver.want(Topic::Everybody, Shards::MAX, None);
        Ok((Self { commands, status }, driver))
    }

    /// Whether the bus is connected to every master, the node's own subscriptions stand, and nothing that was published there
    /// is missing.
    pub fn is_up(&self) -> bool {
        self.status.is_up()
    }

    /// What is wrong with the bus; also that nothing has come back yet.
    pub fn trouble(&self) -> Option<Trouble> {
        self.status.trouble()
    }

    /// Where something is to be published, so that it comes back: one place at each master.
    pub fn perches(&self) -> Vec<Perch> {
        self.status.canaries.perches()
    }

    /// Something was published there at `at`, or a little later, and must come back; or it was not.
    pub fn has_sung(&self, perch: Perch, at: Instant, was_taken: bool) {
        match was_taken {
            true => self.status.note_lag(self.status.canaries.sent(perch, at)),
            false => self.status.canaries.refused(perch, at),
        }
    }

    /// Returns when one of the places is heard anew; one waits at most.
    pub async fn resubscribed(&self) {
        self.status.resubscribed.notified().await;
    }

    /// Channels that this node listens to.
    pub fn topics(&self) -> usize {
        self.status.topics()
    }

    /// Returns once Redis has confirmed that this shard hears the topic: whatever is published from now on arrives.
    /// Each successful or failed call is followed by one [`Bus::release`].
    pub async fn subscribe(&self, topic: Topic, shard: usize) -> Result<(), HotError> {
        let (confirmed, confirmation) = oneshot::channel();
        let asked = async {
            self.commands
                .send(Command::Subscribe {
                    topic,
                    shard,
                    confirmed,
                })
                .await
                .map_err(|_| HotError::Bus)?;
            confirmation.await.map_err(|_| HotError::Bus)
        };
        timeout(link::PATIENCE, asked).await.map_err(|_| HotError::Bus)?
    }

    /// The shard no longer listens; the subscription lingers for a while. When the bus has no place for the word, the
    /// subscription stays until the shard's next release of the topic.
    pub fn release(&self, topic: Topic, shard: usize) {
        if self.commands.try_send(Command::Release { topic, shard }).is_err() {
            tracing::debug!("the bus had no place for a release");
        }
    }
}

impl Driver {
    /// Connects, listens, and connects again, until every handle is gone.
    pub async fn run(mut self) {
        self.wires.start();
        self.settle();
        let mut upkeep = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                happening = self.wires.next() => self.react(happening).await,
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    self.obey(command);
                    while let Ok(command) = self.commands.try_recv() {
                        self.obey(command);
                    }
                    let fresh = std::mem::take(&mut self.fresh);
                    self.ask(fresh).await;
                },
                _ = upkeep.tick() => {
                    for wire in self.wires.keep_up() {
                        self.lose(wire);
                    }
                    self.renew_deaf();
                    self.forget_idle().await;
                    self.ask_overdue().await;
                },
            }
        }
    }

    async fn react(&mut self, happening: Happening) {
        match happening {
            Happening::Push(wire, push) => return self.take(wire, push).await,
            Happening::Up => self.ask_overdue().await,
            Happening::Down(wire) => self.lose(wire),
            Happening::Moved => self.follow().await,
            Happening::Nothing => return,
        }
        self.status.connected.store(self.wires.are_up(), Ordering::Relaxed);
    }

    /// Nothing is subscribed on this wire any more.
    fn lose(&mut self, wire: WireId) {
        for entry in self.topics.values_mut() {
            entry.go_deaf(wire, &mut self.sink);
            if entry.state.wire() == Some(wire) {
                entry.state = State::Unasked;
            }
        }
        self.status.connected.store(self.wires.are_up(), Ordering::Relaxed);
        self.note_canaries();
    }

    /// Asks for each channel at the owner of its slot, where that is another than before.
    async fn follow(&mut self) {
        for entry in self.topics.values_mut() {
            if let Some(wire) = entry.heard_on.filter(|wire| !self.wires.stands(*wire)) {
                entry.go_deaf(wire, &mut self.sink);
            }
            let owner = self.wires.owner(entry.slot);
            if let Some(wire) = entry.state.wire()
                && owner != Some(wire)
                && (owner.is_some() || !self.wires.stands(wire))
            {
                entry.state = State::Unasked;
            }
        }
        self.settle();
        self.ask_overdue().await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe {
                topic,
                shard,
                confirmed,
            } => self.want(topic, 1 << shard, Some(confirmed)),
            Command::Release { topic, shard } => {
                if let Some(entry) = self.topics.get_mut(&topic.channel(&self.keys)) {
                    entry.shards &= !(1 << shard);
                    if entry.shards == 0 {
                        entry.idle_since = Some(Instant::now());
                    }
                }
            }
        }
    }

    fn want(&mut self, topic: Topic, shards: Shards, confirmed: Option<oneshot::Sender<()>>) {
        let channel = topic.channel(&self.keys);
        let entry = match self.topics.entry(channel) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                self.fresh.push(entry.key().clone());
                // Nobody waits for it before the first connection: the first confirmation is the end of an outage too.
                let lost = matches!(topic, Topic::Everybody).then(Instant::now);
                let slot = slots::slot(entry.key().as_bytes());
                entry.insert(Entry {
                    topic,
                    slot,
                    shards: 0,
                    state: State::Unasked,
                    heard_on: None,
                    waiting: Vec::new(),
                    lost,
                    idle_since: None,
                })
            }
        };
        entry.shards |= shards;
        entry.idle_since = None;
        match confirmed {
            // A shard that no longer waits has been answered by its own patience.
            Some(confirmed) if matches!(entry.state, State::Confirmed(_)) => {
                confirmed.send(()).unwrap_or_default();
            }
            Some(confirmed) => entry.waiting.push(confirmed),
            None => {}
        }
        self.status.topics.store(self.topics.len(), Ordering::Relaxed);
    }

    /// Asks for whatever is wanted and not confirmed, unless it was asked for lately.
    async fn ask_overdue(&mut self) {
        self.fresh.clear();
        if self
            .topics
            .values()
            .any(|entry| matches!(entry.state, State::Asked(at, _) if at.elapsed() > CONFIRM_PATIENCE))
        {
            self.wires.doubt();
        }
        let overdue = |entry: &Entry| match entry.state {
            State::Unasked => true,
            State::Asked(at, _) => at.elapsed() > CONFIRM_PATIENCE,
            State::Confirmed(_) => false,
        };
        let channels = self
            .topics
            .iter()
            .filter(|(_, entry)| overdue(entry))
            .map(|(channel, _)| channel.clone())
            .collect();
        self.ask(channels).await;
    }

    /// One command per slot, since a Cluster takes no other. What has no owner now is asked for when there is one.
    async fn ask(&mut self, channels: Vec<String>) {
        let mut by_slot: HashMap<(WireId, u16), Vec<&str>> = HashMap::new();
        for channel in &channels {
            if let Some(entry) = self.topics.get_mut(channel)
                && let Some(wire) = self.wires.owner(entry.slot)
            {
                entry.state = State::Asked(Instant::now(), wire);
                by_slot.entry((wire, entry.slot)).or_default().push(channel);
            }
        }
        for ((wire, _), channels) in by_slot {
            for channels in channels.chunks(CHANNELS_MAX) {
                if !self.wires.send(wire, "SSUBSCRIBE", channels).await {
                    break;
                }
            }
        }
    }

    async fn forget_idle(&mut self) {
        let now = Instant::now();
        let mut idle = Vec::new();
        for (channel, entry) in &mut self.topics {
            // Whoever lost patience while nothing could be confirmed.
            entry.waiting.retain(|confirmed| !confirmed.is_closed());
            if entry.idle_since.is_some_and(|since| now.duration_since(since) > LINGER) {
                idle.push(channel.clone());
            }
        }
        for channel in idle {
            let Some(entry) = self.topics.remove(&channel) else {
                continue;
            };
            let former = entry.heard_on.filter(|wire| entry.state.wire() != Some(*wire));
            for wire in entry.state.wire().into_iter().chain(former) {
                self.wires.send(wire, "SUNSUBSCRIBE", &[&channel]).await;
            }
        }
        self.status.topics.store(self.topics.len(), Ordering::Relaxed);
    }

    async fn take(&mut self, wire: WireId, push: PushInfo) {
        let mut data = push.data.into_iter();
        let Some(Value::BulkString(channel)) = data.next() else {
            return;
        };
        let Ok(channel) = String::from_utf8(channel) else {
            return;
        };
        let Some(entry) = self.topics.get_mut(&channel) else {
            return;
        };
        match push.kind {
            PushKind::SMessage if entry.heard_on == Some(wire) => {
                if let Some(Value::BulkString(payload)) = data.next() {
                    if let Some(perch) = entry.topic.perch()
                        && payload == frame::BEAT
                    {
                        let lag = self.status.canaries.returned(perch, Instant::now());
                        return self.status.note_lag(lag);
                    }
                    (self.sink)(&entry.topic, entry.shards, &payload);
                }
            }
            PushKind::SSubscribe if entry.state.wire() == Some(wire) => {
                entry.state = State::Confirmed(wire);
                if let Some(perch) = entry.topic.perch() {
                    self.status.canaries.subscribed(perch);
                    self.status.resubscribed.notify_one();
                }
                // A shard that no longer waits has been answered by its own patience.
                for confirmed in std::mem::take(&mut entry.waiting) {
                    confirmed.send(()).unwrap_or_default();
                }
                // A former owner that is still there may hear what its successor does.
                let former = entry.heard_on.replace(wire).filter(|former| *former != wire);
                let lost = entry.lost.take().or(former.map(|_| Instant::now()));
                if let Some(lost) = lost {
                    let outage = lost.elapsed() + UNNOTICED;
                    (self.sink)(&entry.topic, entry.shards, frame::restored(outage).as_bytes());
                }
                if let Some(former) = former {
                    self.wires.send(former, "SUNSUBSCRIBE", &[&channel]).await;
                }
            }
            // The server ended a subscription that is still wanted: its slot went elsewhere, or will be back. Whoever has
            // it then is asked, by the next upkeep at the latest.
            PushKind::SUnsubscribe => {
                entry.go_deaf(wire, &mut self.sink);
                if entry.state == State::Confirmed(wire) {
                    entry.state = State::Unasked;
                    if let Some(perch) = entry.topic.perch() {
                        self.status.canaries.unsubscribed(perch);
                    }
                    self.wires.doubt();
                }
            }
            _ => {}
        }
    }
}
