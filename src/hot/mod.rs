//! The hot state: the ONLY module that knows Redis. One atomic operation is one Lua file and one typed function here;
//! the bus brings what the scripts publish. Not here: the rules around the operations (`domain`), the wire (`gateway`).

pub mod archive;
pub mod broadcasts;
pub mod bus;
mod canary;
pub mod connections;
pub mod doctor;
pub mod explain;
pub mod frame;
pub mod healing;
pub mod keys;
pub mod limits;
mod line;
pub mod link;
pub mod messages;
mod metrics;
pub mod moderation;
pub mod nodes;
pub mod outbox;
pub mod presence;
pub mod purge;
mod reply;
pub mod restore;
pub mod revocations;
pub mod rooms;
pub mod script;
pub mod sessions;
mod slots;
pub mod stats;
pub mod sweep;
mod topology;
pub mod typing;
mod wires;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bb8_redis::RedisConnectionManager;

pub use self::metrics::Metrics;
use crate::types::Rate;
use keys::Keys;
use link::Link;
use redis::ConnectionAddr;
use reply::UnexpectedReply;
use topology::Topology;

/// The durations and bounds that scripts are given.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Life of a connection's lease: 2.5 heartbeats.
    pub lease: Duration,
    /// What entries in grace get once, when their user comes back.
    pub prolong: Duration,
    /// How long a user's record, or an empty room made by joining it, is kept.
    pub keep: Duration,
    /// Without activity on any device for this long a user is away.
    pub away_after: Duration,
    /// Users above which a room hears counts instead of people.
    pub presence_limit: u64,
    /// Presence goes to everybody, not to the rooms.
    pub presence_to_all: bool,
    /// Most connections of one user.
    pub user_connections: u64,
    /// What one user may say in one room; `None`: as much as anybody likes.
    pub room_messages: Option<Rate>,
    /// Who is over one of the two is let through, and told of.
    pub only_counted: bool,
    /// Whoever makes a room by joining is its admin.
    pub makers_own: bool,
    /// Rooms are made, and entered, as nchat names them.
    pub nchat_names: bool,
    /// Most rooms of one connection.
    pub connection_rooms: u64,
    /// How long a revocation is remembered.
    pub revocation_keep: Duration,
    /// Most revocations that are remembered at once.
    pub revocations: u32,
    /// What is kept of each room.
    pub history: HistoryTerms,
    /// Most entries of one partition's outbox; 0 where there is no archive.
    pub outbox: u32,
    /// What is said is written to the outbox, too.
    pub keeps_messages: bool,
    /// From the end of a connection's lease to that of the session that its client may recover.
    pub recovery_window: Duration,
}

/// The bounds of a room's history.
#[derive(Debug, Clone)]
pub struct HistoryTerms {
    /// Messages; 0 keeps none.
    pub size: u32,
    /// Bytes of messages; the last message is kept in any case.
    pub bytes: u32,
    /// From the last message to the end of the history.
    pub ttl: Duration,
}

/// Between two counts told to a large room.
pub const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What [`Hot`] is made of.
#[derive(Clone)]
pub struct Settings {
    /// May hold a password: never logged.
    pub url: String,
    pub prefix: String,
    pub terms: Terms,
    pub metrics: Metrics,
}

/// An operation on the hot state did not come back with a result. Its outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// Redis is away, silent, or refused the call.
    #[error("{operation}: {source}")]
    Redis {
        operation: &'static str,
        source: redis::RedisError,
    },
    /// The reply breaks the header contract of the script.
    #[error("{operation}: {source}")]
    Reply {
        operation: &'static str,
        source: UnexpectedReply,
    },
    /// The bus did not confirm a subscription in time.
    #[error("the bus did not confirm a subscription in time")]
    Bus,
    /// No connection of the pool was free in time.
    #[error("the pool of Redis connections: {0}")]
    Pool(String),
}

impl HotError {
    fn of(operation: &'static str, source: redis::RedisError) -> Self {
        Self::Redis { operation, source }
    }

    /// Whether the archive has to bring the partition back before anything happens in it.
    pub fn is_restoring(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if source.code() == Some("RESTORING"))
    }

    /// What went wrong, in one of a few words for metrics.
    fn cause(&self) -> &'static str {
        match self {
            Self::Redis { source, .. } if source.is_timeout() => "timeout",
            Self::Redis { source, .. } if source.is_connection_dropped() => "lost",
            Self::Redis { source, .. } if source.is_io_error() || source.code() == Some("CLUSTERDOWN") => "away",
            Self::Redis { source, .. } if source.code() == Some("RESTORING") => "restoring",
            Self::Redis { .. } => "refused",
            Self::Reply { .. } => "reply",
            Self::Bus | Self::Pool(_) => "away",
        }
    }

    /// Whether the connection went away under the call, so that it may or may not have been carried out, and a further
    /// try may know.
    fn is_broken_off(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if source.is_connection_dropped())
    }

    fn reply(operation: &'static str, source: UnexpectedReply) -> Self {
        Self::Reply { operation, source }
    }
}

type Pool = bb8::Pool<RedisConnectionManager>;

/// Handle to the hot state; clones share one connection to each master. Lives on the runtime that made it.
#[derive(Clone)]
pub struct Hot(Arc<Inner>);

struct Inner {
    link: Link,
    keys: Keys,
    terms: Terms,
    metrics: Metrics,
    topology: Topology,
    /// One for each master that was scanned.
    pools: Mutex<Vec<(ConnectionAddr, Pool)>>,
    /// Calls of scripts that wait for their reply.
    in_flight: AtomicU64,
}

/// Connections for scans and administration: few, and none is held while nobody asks.
const POOL_SIZE: u32 = 2;
const POOL_WAIT: Duration = Duration::from_secs(2);

impl Hot {
    /// Starts dialling on the current runtime, and returns at once; calls wait for the connection within their bound.
    /// Fails when the URL is none.
    pub fn open(settings: Settings) -> Result<Self, HotError> {
        let topology = Topology::parse(&settings.url).map_err(|source| HotError::of("connect", source))?;
        let inner = Arc::new(Inner {
            link: Link::open(topology.clone(), settings.metrics.calls.clone()),
            keys: Keys::new(&settings.prefix),
            terms: settings.terms,
            metrics: settings.metrics,
            topology,
            pools: Mutex::default(),
            in_flight: AtomicU64::new(0),
        });
        inner.metrics.watch(&inner);
        Ok(Self(inner))
    }

    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub fn terms(&self) -> &Terms {
        &self.0.terms
    }

    fn link(&self) -> &Link {
        &self.0.link
    }

    /// A pool for each master: whoever looks at all keys must ask every one of them.
    async fn pools(&self) -> Result<Vec<Pool>, HotError> {
        let fail = |source| HotError::of("connect", source);
        // Waits until the masters are known.
        self.link().connection().await.map_err(fail)?;
        let masters = self.link().masters();
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(address, _)| masters.contains(address));
        for master in masters {
            if pools.iter().all(|(address, _)| *address != master) {
                let manager = RedisConnectionManager::new(self.0.topology.info(&master)).map_err(fail)?;
                let pool = Pool::builder()
                    .max_size(POOL_SIZE)
                    .min_idle(0)
                    .connection_timeout(POOL_WAIT)
                    .build_unchecked(manager);
                pools.push((master, pool));
            }
        }
        Ok(pools.iter().map(|(_, pool)| pool.clone()).collect())
    }

    /// Whether Redis answered lately, as far as this handle's calls know; asks nobody.
    pub fn is_up(&self) -> bool {
        self.0.link.is_up()
    }
}

fn millis(duration: Duration) -> i128 {
    i128::try_from(duration.as_millis()).unwrap_or(i128::MAX)
}
