//! What all shards of a node share: what the gateway was told, and the services that it stands on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fanout::Encoder;
use super::limits::Rates;
use super::metrics::Metrics;
use crate::archive::Archive;
use crate::config::{CustomStatusShape, Limits, NamePatterns, Networks, Profile, Recovery};
use crate::domain::drain::Drain;
use crate::domain::identity::Verifier;
use crate::domain::journal::{Entry, Journal};
use crate::domain::restore::Gate;
use crate::domain::sink::{Durability, Sink};
use crate::hot::Hot;
use crate::hot::bus::Bus;
use crate::hot::keys::Lease;
use crate::hot::outbox::Record;
use crate::types::{ConnectionId, NodeId, Pid, UserId};

/// How long a change waits for Postgres, before it is answered as one that Redis alone has.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);

/// What the gateway was told.
pub struct Settings {
    pub allow_anonymous: bool,
    pub anonymous_may_send: bool,
    pub enable_presence: bool,
    pub enable_typing: bool,
    pub typing_timeout: Duration,
    /// Between two looks at how far the rooms are.
    pub heartbeat: Duration,
    /// From the loss of a transport to the end of the lease.
    pub grace: Duration,
    /// The same where the node went away.
    pub drain_grace: Duration,
    /// Messages that go to Redis in one call, at most.
    pub batch_size: usize,
    /// Bytes of a message's content.
    pub max_content: usize,
    pub room_autocreate: NamePatterns,
    pub presence_to_all: bool,
    /// Whose words payloads are read in.
    pub profile: Option<Profile>,
    /// Whoever comes from this machine is whom a token `user:<id>` names.
    pub insecure_user_tokens: bool,
    pub custom_status_shape: CustomStatusShape,
    pub trusted_proxies: Networks,
    /// Whose session is kept, to be recovered.
    pub recovery: Recovery,
    /// Whether counts and rates hold, or are only counted.
    pub limits: Limits,
    pub rates: Rates,
    /// Sockets that this node holds at most.
    pub max_connections: u64,
    /// Rooms that one socket is in at most.
    pub max_rooms: usize,
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
    /// Nobody is let in before what Redis has lost is back.
    pub gate: Gate,
    /// Where messages are that Redis no longer keeps; `None`: nowhere.
    pub messages: Option<Archive>,
    /// Asked whether Postgres has a change; `None`: nobody waits for that.
    pub sink: Option<Sink>,
    /// Somebody asks for snapshots.
    pub has_archive: bool,
    /// What the audit trail hears of refusals.
    pub journal: Journal,
    /// Newcomers are turned away once it is closed.
    pub drain: Drain,
    pub connections: AtomicU64,
    /// The latest position of a message that the bus has brought, µs.
    pub latest_us: Arc<AtomicU64>,
}

impl Node {
    /// How this node writes what it tells.
    pub(super) fn encoder(&self) -> Encoder {
        Encoder {
            shape: self.settings.custom_status_shape,
            tells_presence: self.settings.enable_presence,
            recovers: self.settings.recovery != Recovery::Off,
        }
    }

    /// Whether Postgres has a change by now; where there is no archive, or nobody waits for it, nothing else is asked for.
    pub(super) async fn is_durable(&self, record: Option<&Record>) -> bool {
        let (Some(sink), Some(record)) = (&self.sink, record) else {
            return true;
        };
        let deadline = Instant::now() + DURABLE_WITHIN;
        sink.flush(record.partition, &record.id, deadline).await == Durability::Durable
    }

    /// Notes what the audit trail is to hear, or counts that there was no place for it.
    pub(super) fn note(&self, entry: impl FnOnce() -> Entry) {
        if !self.journal.note(entry) {
            self.metrics.unnoted.inc();
        }
    }

    /// Whether a limit that is reached keeps somebody out. It is counted either way, unless limits are off.
    pub(super) fn is_barred(&self, limit: &str, is_reached: bool) -> bool {
        if is_reached && self.settings.limits != Limits::Off {
            self.metrics.limits.with_label_values(&[limit]).inc();
        }
        is_reached && self.settings.limits == Limits::Enforce
    }

    /// Whether a newcomer finds the node full.
    pub(super) fn is_full(&self) -> bool {
        let held = self.connections.load(Ordering::Relaxed);
        self.is_barred("connections", held >= self.settings.max_connections)
    }

    /// A place for one socket, unless the node is full; held until it is dropped.
    pub(super) fn claim_place(self: &Arc<Self>) -> Option<Place> {
        let enforced = self.settings.limits == Limits::Enforce;
        let most = if enforced {
            self.settings.max_connections
        } else {
            u64::MAX
        };
        let claim = |held: u64| (held < most).then_some(held + 1);
        let claimed = self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim);
        claimed.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// A lease for one life of a socket; its connection id was never used and never will be.
    pub(super) fn new_lease(&self, pid: &Pid, user: &UserId) -> Lease {
        Lease {
            connection: ConnectionId::draw(pid),
            node: self.id.clone(),
            user: user.clone(),
        }
    }
}

/// One of the sockets that a node may hold.
pub struct Place(Arc<Node>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
