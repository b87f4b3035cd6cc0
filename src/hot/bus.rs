//! The bus: one task owns this node's subscriptions (wanted against confirmed) on a connection of their own. Sharded
//! pub/sub always, so that the same code runs on a Cluster. Not here: what a frame says (`frame`), who hears it (the
//! gateway, through the sink).

use std::collections::{HashMap, hash_map};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep, timeout};

use super::keys::{Keys, Partition};
use super::{HotError, frame, link};
use crate::types::{NodeId, RoomName, UserId};

/// What can be listened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    Room(RoomName),
    User(UserId),
    /// Everybody's presence in one partition.
    Presence(Partition),
    /// This node's own channel: while its subscription stands, the bus works.
    Node(NodeId),
}

impl Topic {
    fn channel(&self, keys: &Keys) -> String {
        match self {
            Self::Room(room) => keys.room_channel(room),
            Self::User(user) => keys.user_channel(user),
            Self::Presence(partition) => keys.presence_channel(*partition),
            Self::Node(node) => keys.node(node),
        }
    }

    /// Channels of one slot may share a command.
    fn slot(&self) -> usize {
        match self {
            Self::Room(room) => Partition::of_room(room).index(),
            Self::User(user) => Partition::of_user(user).index(),
            Self::Presence(partition) => partition.index(),
            Self::Node(_) => usize::MAX,
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
/// Frames that came and were not handed on yet; when it is full, the connection is given up and made anew.
const PUSHES_MAX: usize = 65_536;
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

#[derive(Debug, Default)]
struct Status {
    connected: AtomicBool,
    node_confirmed: AtomicBool,
    topics: AtomicUsize,
}

/// Handle to the bus; clones speak to the same task.
#[derive(Debug, Clone)]
pub struct Bus {
    commands: mpsc::Sender<Command>,
    status: Arc<Status>,
}

/// The task that [`Bus::open`] returns; the caller decides on which runtime it turns.
pub struct Driver {
    client: Client,
    keys: Keys,
    topics: HashMap<String, Entry>,
    /// Channels that are wanted and were not asked for yet.
    fresh: Vec<String>,
    commands: mpsc::Receiver<Command>,
    sink: Sink,
    status: Arc<Status>,
}

struct Entry {
    topic: Topic,
    shards: Shards,
    state: State,
    waiting: Vec<oneshot::Sender<()>>,
    /// When a confirmed subscription was lost.
    lost: Option<Instant>,
    /// Since when nobody listens.
    idle_since: Option<Instant>,
}

impl Entry {
    /// The subscription no longer stands; since when is kept until it does again.
    fn lose(&mut self) {
        if self.state == State::Confirmed {
            self.lost = Some(Instant::now());
        }
        self.state = State::Unasked;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unasked,
    Asked(Instant),
    Confirmed,
}

impl Bus {
    /// A bus of this node, and its task. Fails when the URL is none.
    pub fn open(url: &str, keys: Keys, node: NodeId, sink: Sink) -> Result<(Self, Driver), HotError> {
        let fail = |error| HotError::of("open the bus", error);
        let info = link::client(url)
            .map_err(fail)?
            .get_connection_info()
            .clone()
            .into_connection_info()
            .map_err(fail)?;
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(redis)).map_err(fail)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let status = Arc::new(Status::default());
        let (topics, fresh) = (HashMap::new(), Vec::new());
        let mut driver = Driver {
            client,
            keys,
            topics,
            fresh,
            commands: receiver,
            sink,
            status: Arc::clone(&status),
        };
        driver.want(Topic::Node(node), 0, None);
        Ok((Self { commands, status }, driver))
    }

    /// Whether the bus is connected, and the node's own subscription stands.
    pub fn is_up(&self) -> bool {
        self.status.connected.load(Ordering::Relaxed) && self.status.node_confirmed.load(Ordering::Relaxed)
    }

    /// Channels that this node listens to.
    pub fn topics(&self) -> usize {
        self.status.topics.load(Ordering::Relaxed)
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
        let mut failures: u32 = 0;
        loop {
            let overrun = Arc::new(AtomicBool::new(false));
            let (sender, mut pushes) = mpsc::channel(PUSHES_MAX);
            match dial(self.client.clone(), sender, Arc::clone(&overrun)).await {
                Ok(connection) => {
                    failures = 0;
                    if self.serve(connection, &mut pushes, &overrun).await {
                        return;
                    }
                    tracing::warn!("bus connection lost; dialling again");
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 || failures.is_multiple_of(10) {
                        tracing::warn!(failures, error = %error, "the bus cannot reach Redis; retrying");
                    }
                    sleep(link::backoff(failures)).await;
                }
            }
            self.status.connected.store(false, Ordering::Relaxed);
            self.status.node_confirmed.store(false, Ordering::Relaxed);
            self.topics.values_mut().for_each(Entry::lose);
            if self.commands.is_closed() && self.commands.is_empty() {
                return;
            }
        }
    }

    /// One life of a connection. True: the handles are gone, and so is the task.
    async fn serve(
        &mut self,
        mut connection: MultiplexedConnection,
        pushes: &mut mpsc::Receiver<PushInfo>,
        overrun: &AtomicBool,
    ) -> bool {
        self.status.connected.store(true, Ordering::Relaxed);
        if self.ask_overdue(&mut connection).await.is_err() {
            return false;
        }
        tracing::info!(topics = self.topics.len(), "the bus is connected");
        let mut upkeep = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                push = pushes.recv() => match push {
                    Some(push) if push.kind == PushKind::Disconnection => return false,
                    Some(push) => self.take(push),
                    None => return false,
                },
                command = self.commands.recv() => {
                    let Some(command) = command else { return true };
                    self.obey(command);
                    while let Ok(command) = self.commands.try_recv() {
                        self.obey(command);
                    }
                    if self.ask_fresh(&mut connection).await.is_err() {
                        return false;
                    }
                },
                _ = upkeep.tick() => {
                    if overrun.load(Ordering::Relaxed) {
                        tracing::error!("the bus brought more than this node could take; connecting anew");
                        return false;
                    }
                    probe(&connection);
                    if self.forget_idle(&mut connection).await.is_err() || self.ask_overdue(&mut connection).await.is_err() {
                        return false;
                    }
                },
            }
        }
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
                entry.insert(Entry {
                    topic,
                    shards: 0,
                    state: State::Unasked,
                    waiting: Vec::new(),
                    lost: None,
                    idle_since: None,
                })
            }
        };
        entry.shards |= shards;
        entry.idle_since = None;
        match confirmed {
            // A shard that no longer waits has been answered by its own patience.
            Some(confirmed) if entry.state == State::Confirmed => {
                confirmed.send(()).unwrap_or_default();
            }
            Some(confirmed) => entry.waiting.push(confirmed),
            None => {}
        }
        self.status.topics.store(self.topics.len(), Ordering::Relaxed);
    }

    /// Asks for what came since the last call.
    async fn ask_fresh(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let fresh = std::mem::take(&mut self.fresh);
        self.ask(connection, fresh).await
    }

    /// Asks for whatever is wanted and not confirmed, unless it was asked for lately.
    async fn ask_overdue(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        self.fresh.clear();
        let overdue = |entry: &Entry| match entry.state {
            State::Unasked => true,
            State::Asked(at) => at.elapsed() > CONFIRM_PATIENCE,
            State::Confirmed => false,
        };
        let channels = self
            .topics
            .iter()
            .filter(|(_, entry)| overdue(entry))
            .map(|(channel, _)| channel.clone())
            .collect();
        self.ask(connection, channels).await
    }

    /// One command per slot, since a Cluster takes no other.
    async fn ask(&mut self, connection: &mut MultiplexedConnection, channels: Vec<String>) -> Result<(), RedisError> {
        let mut by_slot: HashMap<usize, Vec<&str>> = HashMap::new();
        for channel in &channels {
            if let Some(entry) = self.topics.get_mut(channel) {
                entry.state = State::Asked(Instant::now());
                by_slot.entry(entry.topic.slot()).or_default().push(channel);
            }
        }
        for channels in by_slot.values().flat_map(|channels| channels.chunks(CHANNELS_MAX)) {
            send(connection, "SSUBSCRIBE", channels).await?;
        }
        Ok(())
    }

    async fn forget_idle(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let now = Instant::now();
        let idle: Vec<String> = self
            .topics
            .iter()
            .filter(|(_, entry)| entry.idle_since.is_some_and(|since| now.duration_since(since) > LINGER))
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in idle {
            self.topics.remove(&channel);
            send(connection, "SUNSUBSCRIBE", &[&channel]).await?;
        }
        self.status.topics.store(self.topics.len(), Ordering::Relaxed);
        Ok(())
    }

    fn take(&mut self, push: PushInfo) {
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
            PushKind::SMessage => {
                if let Some(Value::BulkString(payload)) = data.next() {
                    (self.sink)(&entry.topic, entry.shards, &payload);
                }
            }
            PushKind::SSubscribe => {
                entry.state = State::Confirmed;
                if let Some(lost) = entry.lost.take() {
                    let outage = lost.elapsed() + UNNOTICED;
                    (self.sink)(&entry.topic, entry.shards, frame::restored(outage).as_bytes());
                }
                if matches!(entry.topic, Topic::Node(_)) {
                    self.status.node_confirmed.store(true, Ordering::Relaxed);
                }
                // A shard that no longer waits has been answered by its own patience.
                for confirmed in entry.waiting.drain(..) {
                    confirmed.send(()).unwrap_or_default();
                }
            }
            // The server ended a subscription that is still wanted: the next upkeep asks again.
            PushKind::SUnsubscribe => {
                entry.lose();
                if matches!(entry.topic, Topic::Node(_)) {
                    self.status.node_confirmed.store(false, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }
}

async fn dial(
    client: Client,
    pushes: mpsc::Sender<PushInfo>,
    overrun: Arc<AtomicBool>,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(link::PATIENCE))
        .set_push_sender(move |push: PushInfo| {
            pushes.try_send(push).map_err(|_| {
                overrun.store(true, Ordering::Relaxed);
                redis::aio::SendError
            })
        });
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Keeps data on the way, so that the kernel notices a peer that is gone. The answer is awaited elsewhere: frames that
/// come meanwhile must not wait for it.
fn probe(connection: &MultiplexedConnection) {
    let mut connection = connection.clone();
    tokio::spawn(async move { drop(connection.send_packed_command(&redis::cmd("PING")).await) });
}

/// Confirmations come as pushes, so the command itself awaits nothing.
async fn send(connection: &mut MultiplexedConnection, verb: &str, channels: &[&str]) -> Result<(), RedisError> {
    let mut command = redis::cmd(verb);
    command.arg(channels);
    command.set_no_response(true);
    connection.send_packed_command(&command).await.map(drop)
}
