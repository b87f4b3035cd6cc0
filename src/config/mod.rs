//! Every setting: flag, variable, default, validation. The only reader of the environment.
//!
//! `table` names the settings, `sources` finds their texts (flag, environment, `--config` file, `.env`), `read` turns
//! texts into values and collects everything that is wrong. Not here: what a setting does.

mod jwt;
mod load;
mod profile;
mod read;
mod redis_url;
mod shown;
mod sources;
mod stores;
mod table;
mod values;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use self::jwt::JwtSettings;
pub use self::load::Warning;
pub use self::redis_url::{RedisServers, RedisUrl};
pub use self::shown::Shown;
pub use self::sources::{Flags, Sources, program_directories};
pub use self::table::{GROUPS, Group, Setting, example, settings};
pub use self::values::{
    CustomStatusShape, Limits, LogFormat, LogLevel, NamePatterns, Networks, PresenceAudience, Profile, Recovery,
    Restore, RoomOwnership, Secret, SecretUrl,
};
use crate::types::{NodeId, Rate};

/// What a process was told. Immutable; a field is named like its variable without `REALTIME_`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Port for health, metrics and `/api` alone; `None` = they are on `port`.
    pub admin_port: Option<u16>,
    /// Whose defaults hold.
    pub profile: Option<Profile>,
    /// Threads that hold sockets, at least 1; by default one per core.
    pub shards: usize,
    /// This process among its peers; random by default.
    pub node_id: NodeId,
    /// Origins that browsers may come from: empty = the same origin only, `*` = any.
    pub cors_origin: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Networks,

    /// Redis: one server, a master behind Sentinels, or a Cluster.
    pub redis_url: RedisUrl,
    /// Stands before every key and channel, followed by `:`.
    pub redis_prefix: String,
    /// Postgres; `None` = the archive is off.
    pub database_url: Option<SecretUrl>,
    /// Run the migrations at start.
    pub migrate: bool,

    /// Entries that wait for Postgres in each partition, at most.
    pub outbox_max: u32,
    /// What an emptied Redis waits for.
    pub restore: Restore,
    /// A client's change of role, mute or ban is acknowledged once Postgres has it, or says that it has not. A room that a
    /// join makes waits for nobody; commands always wait.
    pub durable_policy: bool,
    /// Messages are kept in Postgres, too.
    pub persist_messages: bool,
    /// Days of events and messages that Postgres keeps; 0 = all.
    pub event_retention_days: u32,
    /// How long Postgres shows a connection that has ended.
    pub connection_retention: Duration,

    /// Whom to believe.
    pub jwt: JwtSettings,
    /// How long a revocation is remembered.
    pub revocation_keep: Duration,
    /// The token `user:<id>` is believed; `host` is a loopback address then.
    pub insecure_user_tokens: bool,
    /// Sockets without a token may listen in public rooms.
    pub allow_anonymous: bool,
    /// … and speak in them.
    pub anonymous_may_send: bool,
    /// Keys of the administration; empty = `/api` answers 404.
    pub api_keys: Vec<Secret>,

    /// Silence after which a peer that was pinged is gone.
    pub ping_timeout: Duration,
    /// Time between two engine pings.
    pub ping_interval: Duration,
    /// Largest packet, in bytes.
    pub max_payload: usize,
    /// permessage-deflate for clients that ask for it.
    pub enable_compression: bool,

    /// Sockets that this node holds at most.
    pub max_connections: u64,
    /// Connections of one user, on all nodes.
    pub max_user_connections: u64,
    /// New connections from one address.
    pub rate_limit: Rate,
    /// Events of one connection, of any kind.
    pub rate_events: Rate,
    /// Messages of one user.
    pub rate_messages: Rate,
    /// Messages of one user in one room.
    pub rate_room_messages: Rate,
    /// Typing events of one user.
    pub rate_typing: Rate,
    /// Presence events of one user.
    pub rate_presence: Rate,
    /// Joins of one user.
    pub rate_joins: Rate,
    /// Rooms that one user makes by joining them.
    pub rate_creations: Rate,
    /// New tokens of one user.
    pub rate_refreshes: Rate,
    /// Everything else that one user asks.
    pub rate_requests: Rate,
    /// Whether rates and counts are enforced, only counted, or off.
    pub limits: Limits,
    /// Largest `content` of a message, in bytes.
    pub max_content: usize,
    /// Rooms that one socket may be in.
    pub max_rooms: usize,
    /// Items that go to Redis or Postgres in one call, at most.
    pub batch_size: usize,

    /// Rooms that are made when first joined.
    pub room_autocreate: NamePatterns,
    /// Whose such a room is.
    pub room_ownership: RoomOwnership,
    /// Messages that are kept of each room.
    pub history_size: u32,
    /// From a room's last message to the end of its history.
    pub history_ttl: Duration,
    /// The stock client's own recovery.
    pub recovery: Recovery,
    /// How long a session can be recovered after its lease ended.
    pub recovery_window: Duration,

    /// Presence events and answers.
    pub enable_presence: bool,
    /// Time between two extensions of a lease; a lease is 2.5 of it.
    pub presence_heartbeat: Duration,
    /// How long a lost transport may come back before anybody is told.
    pub presence_grace: Duration,
    /// The same for a connection of a node that drains.
    pub drain_grace: Duration,
    /// Inactivity on all devices after which a user is `away`.
    pub presence_away_after: Duration,
    /// Members above which a room gets counts instead of people.
    pub presence_room_limit: u64,
    /// Who hears a change of presence.
    pub presence_audience: PresenceAudience,
    /// How a custom status is written on the wire.
    pub custom_status_shape: CustomStatusShape,

    /// Typing events.
    pub enable_typing: bool,
    /// Life of a typing mark that is not renewed.
    pub typing_timeout: Duration,

    /// Time between two extensions of the node's own lease.
    pub node_beat: Duration,
    /// The node's own lease.
    pub node_lease: Duration,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
    /// How long a stopping node serves on while it is not ready.
    pub drain_wait: Duration,
    /// Time over which it sends its sockets away.
    pub drain_window: Duration,
    /// How long stopping takes at most; not less than wait and window.
    pub drain_timeout: Duration,

    /// Least severe line that is logged.
    pub log_level: LogLevel,
    /// How a line is written; decided at start, when not set.
    pub log_format: LogFormat,
    /// Write events to the audit trail.
    pub log_events: bool,
    /// Which types of events are written.
    pub log_event_types: NamePatterns,

    /// Serve metrics.
    pub enable_metrics: bool,
    /// … at this path.
    pub metrics_path: String,
    /// … and by the names that exporters of socket.io use.
    pub metrics_socket_io: bool,
    /// Serve health.
    pub enable_health: bool,
    /// … at this path.
    pub health_path: String,

    /// Variables that look like settings and are none.
    unknown: Vec<String>,
    /// What is set to something else than the profile would have it.
    overrides: Vec<String>,
}

/// Everything that is wrong with the configuration. Secrets are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<Problem>);

/// One thing that is wrong: which variable, what it got, what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem(String);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        self.0.iter().try_for_each(|Problem(text)| write!(f, "\n  {text}"))
    }
}

impl Config {
    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Life of a connection's lease: 2.5 heartbeats, so that two may be lost.
    pub fn lease(&self) -> Duration {
        self.presence_heartbeat * 5 / 2
    }
}
