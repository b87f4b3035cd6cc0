//! The connections of the bus: one to each master, dialled again when it breaks, dropped when the master is one no
//! longer. Whatever happens on any of them comes out of one bounded queue, so a channel's frames keep their order. Not
//! here: which channels are wanted, and where they are subscribed (`bus`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ProtocolVersion, PushInfo, PushKind, RedisError};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::link;
use super::metrics::Dials;
use super::topology::{Layout, Topology};

/// Frames that came and were not handed on yet; when it is full, the connection that brought more is made anew.
const WORDS_MAX: usize = 65_536;
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Masters are looked up this often without any doubt.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(5);

/// One life of one connection; never used again.
pub type WireId = u64;

/// What happened on a wire.
pub enum Happening {
    Push(WireId, PushInfo),
    /// A connection stands, and nothing is subscribed on it yet.
    Up,
    /// It is gone, with whatever was subscribed on it.
    Down(WireId),
    /// Slots may have other owners than before.
    Moved,
    Nothing,
}

/// What the tasks behind the wires say.
enum Word {
    Push(WireId, PushInfo),
    Dialled(WireId, Result<MultiplexedConnection, RedisError>),
    Closed(WireId),
    LookedUp(Result<Layout, RedisError>),
    Doubt,
}

struct Wire {
    id: WireId,
    address: ConnectionAddr,
    connection: Option<MultiplexedConnection>,
    failures: u32,
    /// Its end was heard before its beginning.
    ended: bool,
    overrun: Arc<AtomicBool>,
    _dialling: AbortOnDropHandle<()>,
}

/// The wires of one bus, and what is known of the masters.
pub struct Wires {
    topology: Topology,
    layout: Option<Layout>,
    /// In the order of the layout's masters.
    wires: Vec<Wire>,
    next_id: WireId,
    words: mpsc::Sender<Word>,
    heard: mpsc::Receiver<Word>,
    looking_up: Option<AbortOnDropHandle<()>>,
    looked_up: Instant,
    failures: u32,
    doubt: bool,
    dials: Dials,
}

impl Wires {
    /// Dials once a runtime turns [`Wires::start`].
    pub fn new(topology: Topology, dials: Dials) -> Self {
        let (words, heard) = mpsc::channel(WORDS_MAX);
        Self {
            topology,
            layout: None,
            wires: Vec::new(),
            next_id: 0,
            words,
            heard,
            looking_up: None,
            looked_up: Instant::now(),
            failures: 0,
            doubt: false,
            dials,
        }
    }

    /// Starts dialling on the current runtime.
    pub fn start(&mut self) {
        match self.topology.fixed() {
            Some(layout) => self.follow(layout),
            None => self.look_up(Duration::ZERO),
        }
    }

    /// Whether every master is connected.
    pub fn are_up(&self) -> bool {
        self.layout.is_some() && self.wires.iter().all(|wire| wire.connection.is_some())
    }

    /// The standing wire to the owner of a slot.
    pub fn owner(&self, slot: u16) -> Option<WireId> {
        let owner = self.layout.as_ref()?.owner(slot)?;
        let wire = self.wires.get(owner)?;
        wire.connection.is_some().then_some(wire.id)
    }

    /// Confirmations come as pushes, so the command itself awaits nothing. False: the wire is down, or has just broken,
    /// which will be told.
    pub async fn send(&mut self, id: WireId, verb: &str, channels: &[&str]) -> bool {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.id == id) else {
            return false;
        };
        let Some(connection) = &mut wire.connection else {
            return false;
        };
        let mut command = redis::cmd(verb);
        command.arg(channels);
        command.set_no_response(true);
        connection.send_packed_command(&command).await.is_ok()
    }

    /// The next thing that happened; cancellation loses nothing.
    pub async fn next(&mut self) -> Happening {
        let word = self.heard.recv().await.expect("the sender is here, too");
        match word {
            Word::Push(id, push) if push.kind == PushKind::Disconnection => self.closed(id),
            Word::Push(id, push) => Happening::Push(id, push),
            Word::Closed(id) => self.closed(id),
            Word::Dialled(id, Ok(connection)) => {
                let Some(at) = self.position(id) else {
                    return Happening::Nothing;
                };
                let wire = &mut self.wires[at];
                if wire.ended {
                    self.dial(at, 1);
                    return Happening::Nothing;
                }
                wire.connection = Some(connection);
                self.dials.made.inc();
                wire.failures = 0;
                tracing::info!(address = %wire.address, "the bus is connected");
                Happening::Up
            }
            Word::Dialled(id, Err(error)) => {
                let Some(at) = self.position(id) else {
                    return Happening::Nothing;
                };
                let failures = self.wires[at].failures.saturating_add(1);
                self.dials.failed.inc();
                if failures == 1 || failures.is_multiple_of(10) {
                    let address = &self.wires[at].address;
                    tracing::warn!(%address, failures, error = %error, "the bus cannot reach Redis; retrying");
                }
                self.dial(at, failures);
                self.doubt();
                Happening::Nothing
            }
            Word::LookedUp(result) => self.learn(result),
            Word::Doubt => {
                self.doubt();
                Happening::Nothing
            }
        }
    }

    fn position(&self, id: WireId) -> Option<usize> {
        self.wires.iter().position(|wire| wire.id == id)
    }

    /// A connection ended; where its dialling has not told of it yet, that will say how.
    fn closed(&mut self, id: WireId) -> Happening {
        let Some(at) = self.position(id) else {
            return Happening::Nothing;
        };
        if self.wires[at].connection.is_none() {
            self.wires[at].ended = true;
            return Happening::Nothing;
        }
        tracing::warn!(address = %self.wires[at].address, "bus connection lost; dialling again");
        self.dial(at, 0);
        self.doubt();
        Happening::Down(id)
    }

    /// Puts a new life in the place of a wire.
    fn dial(&mut self, at: usize, failures: u32) {
        let address = self.wires[at].address.clone();
        self.wires[at] = self.wire(address, failures);
    }

    fn wire(&mut self, address: ConnectionAddr, failures: u32) -> Wire {
        self.next_id += 1;
        let id = self.next_id;
        let overrun = Arc::new(AtomicBool::new(false));
        let tail = Tail {
            id,
            words: self.words.clone(),
            overrun: Arc::clone(&overrun),
        };
        let client = self.client(&address);
        let words = self.words.clone();
        let dialling = tokio::spawn(async move {
            if failures > 0 {
                sleep(link::backoff(failures)).await;
            }
            let dialled = match client {
                Ok(client) => dial(&client, tail).await,
                Err(error) => Err(error),
            };
            // Fails only when the bus has ended.
            words.send(Word::Dialled(id, dialled)).await.unwrap_or_default();
        });
        Wire {
            id,
            address,
            connection: None,
            failures,
            ended: false,
            overrun,
            _dialling: AbortOnDropHandle::new(dialling),
        }
    }

    fn client(&self, address: &ConnectionAddr) -> Result<Client, RedisError> {
        let info = self.topology.info(address);
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Client::open(info.set_redis_settings(settings))
    }

    /// Asks, in the background, who the masters are; after a failure a little later.
    pub fn doubt(&mut self) {
        if self.topology.is_fixed() {
            return;
        }
        self.doubt = true;
        if self.looking_up.is_none() {
            self.look_up(link::backoff(self.failures));
        }
    }

    fn look_up(&mut self, after: Duration) {
        self.doubt = false;
        let (topology, known, words) = (self.topology.clone(), self.layout.clone(), self.words.clone());
        let task = tokio::spawn(async move {
            sleep(after).await;
            let layout = topology.layout(known.as_ref()).await;
            // Fails only when the bus has ended.
            words.send(Word::LookedUp(layout)).await.unwrap_or_default();
        });
        self.looking_up = Some(AbortOnDropHandle::new(task));
    }

    fn learn(&mut self, result: Result<Layout, RedisError>) -> Happening {
        self.looking_up = None;
        self.looked_up = Instant::now();
        match result {
            Ok(layout) => {
                self.failures = 0;
                if self.layout.as_ref() != Some(&layout) {
                    self.follow(layout);
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 || self.failures.is_multiple_of(10) {
                    tracing::warn!(failures = self.failures, error = %error, "the bus does not know Redis's masters");
                }
                self.doubt = true;
            }
        }
        if self.doubt {
            self.look_up(link::backoff(self.failures));
        }
        // Also where nothing moved: a subscription that the server ended is made again where it was.
        Happening::Moved
    }

    /// Makes wires to new masters and drops those to others, which ends their subscriptions.
    fn follow(&mut self, layout: Layout) {
        let mut old = std::mem::take(&mut self.wires);
        for master in &layout.masters {
            let wire = match old.iter().position(|wire| wire.address == *master) {
                Some(at) => old.swap_remove(at),
                None => self.wire(master.clone(), 0),
            };
            self.wires.push(wire);
        }
        self.layout = Some(layout);
    }

    /// Whether a wire is still in use.
    pub fn stands(&self, id: WireId) -> bool {
        self.wires.iter().any(|wire| wire.id == id && wire.connection.is_some())
    }

    /// Puts a new life in the place of one that brings nothing; where it belongs is asked, too.
    pub fn renew(&mut self, id: WireId) {
        if let Some(at) = self.position(id) {
            tracing::error!(address = %self.wires[at].address, "the bus brings nothing; connecting anew");
            self.dial(at, 0);
            self.doubt();
        }
    }

    /// Once a second: keeps data on the way, gives up what brought more than was taken, looks the masters up.
    pub fn keep_up(&mut self) -> Vec<WireId> {
        let mut lost = Vec::new();
        for at in 0..self.wires.len() {
            let wire = &self.wires[at];
            if wire.overrun.load(Ordering::Relaxed) {
                tracing::error!(address = %wire.address, "the bus brought more than this node could take; connecting anew");
                lost.push(wire.id);
                self.dial(at, 0);
            } else if let Some(connection) = &wire.connection {
                probe(connection.clone(), self.words.clone());
            }
        }
        if self.looked_up.elapsed() > LOOK_UP_INTERVAL {
            self.doubt();
        }
        lost
    }
}

/// Goes with the connection: whatever comes, and at last its end.
struct Tail {
    id: WireId,
    words: mpsc::Sender<Word>,
    overrun: Arc<AtomicBool>,
}

impl Tail {
    fn tell(&self, word: Word) -> Result<(), redis::aio::SendError> {
        self.words.try_send(word).map_err(|_| {
            self.overrun.store(true, Ordering::Relaxed);
            redis::aio::SendError
        })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Without a place in the queue the wire is marked, and the next upkeep makes it anew.
        self.tell(Word::Closed(self.id)).unwrap_or_default();
    }
}

async fn dial(client: &Client, tail: Tail) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DIAL_TIMEOUT))
        .set_response_timeout(Some(link::PATIENCE))
        .set_push_sender(move |push: PushInfo| tail.tell(Word::Push(tail.id, push)));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Keeps data on the way, so that the kernel notices a peer that is gone. The answer is awaited elsewhere: frames that
/// come meanwhile must not wait for it. None in time may mean that another server is the master now.
fn probe(mut connection: MultiplexedConnection, words: mpsc::Sender<Word>) {
    tokio::spawn(async move {
        let answer = connection.send_packed_command(&redis::cmd("PING")).await;
        if answer.is_err() {
            // A full queue has other worries.
            words.try_send(Word::Doubt).unwrap_or_default();
        }
    });
}
