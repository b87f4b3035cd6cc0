//! Builds a [`Config`]: reads every row of the table once, checks what hangs together, says what deserves a warning.

use std::fmt;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;

use url::Url;

use super::jwt::SHORT_SECRET_BYTES;
use super::read::{DAY_MS, OneOf, Reader, items};
use super::stores::{asks_for_tls, database_url, redis_servers};
use super::{
    Config, ConfigError, CustomStatusShape, Flags, JwtSettings, Limits, LogFormat, LogLevel, Networks,
    PresenceAudience, Profile, Recovery, Restore, RoomOwnership, Secret, SecretUrl, Sources,
};
use crate::types::NodeId;

/// Paths that no setting may take.
const TAKEN_PATHS: &[&str] = &["/socket.io", "/api", "/livez", "/readyz"];

/// Shortest key of the administration that cannot be guessed, in bytes.
const SHORT_API_KEY_BYTES: usize = 16;

/// Something that is allowed, and that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// `Error` when clients are shut out by it, or anybody may be anybody; else `Warn`.
    pub level: LogLevel,
    /// What it is, and what to set.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Config {
    /// Reads flags, environment and files. The error names everything that is wrong.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::from_sources(&Sources::read(flags)?)
    }

    /// Exactly these variables and the defaults; nothing of the environment is read.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        Self::from_sources(&Sources::only(pairs))
    }

    /// Reads what the sources say.
    pub fn from_sources(sources: &Sources) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources);
        let config = Self::read(&mut reader, sources);
        reader.finish()?;
        Ok(config.expect("without a noted problem there is a Redis URL"))
    }

    /// Where the database is, for a command that asks nothing else; `None` = none is configured.
    pub fn database(sources: &Sources) -> Result<Option<SecretUrl>, ConfigError> {
        let mut reader = Reader::new(sources);
        let url = database_url(&mut reader);
        reader.finish().map(|()| url)
    }

    /// `None` only after a problem was noted.
    fn read(r: &mut Reader<'_>, sources: &Sources) -> Option<Self> {
        let redis_url = redis_servers(r);
        let config = Self {
            host: r.value("REALTIME_HOST", &"an IP address, or localhost", host),
            port: r.number("REALTIME_PORT", 0..=u16::MAX),
            shards: match r.number("REALTIME_SHARDS", 0..=1024) {
                0 => std::thread::available_parallelism().map_or(1, NonZero::get),
                shards => shards,
            },
            node_id: r
                .optional(
                    "REALTIME_NODE_ID",
                    &"1 to 64 bytes without control characters",
                    |text| NodeId::parse(text).ok(),
                )
                .unwrap_or_else(random_node_id),
            cors_origin: r.list(
                "REALTIME_CORS_ORIGIN",
                &"a comma list of * or scheme://host[:port]",
                origin,
            ),
            trusted_proxies: r.value(
                "REALTIME_TRUSTED_PROXIES",
                &"a comma list of addresses, networks (10.0.0.0/8), loopback, private, or none",
                |text| Networks::parse(items(text).filter(|item| *item != "none")).ok(),
            ),
            admin_port: r.optional("REALTIME_ADMIN_PORT", &"a port from 0 to 65535", |text| {
                text.parse().ok()
            }),
            profile: r.optional("REALTIME_PROFILE", &OneOf(Profile::NAMES), Profile::parse),

            drain_wait: r.millis("REALTIME_DRAIN_WAIT", 0..=3_600_000),
            drain_window: r.millis("REALTIME_DRAIN_WINDOW", 0..=3_600_000),
            drain_timeout: r.millis("REALTIME_DRAIN_TIMEOUT", 0..=3 * 3_600_000),
            drain_grace: r.millis("REALTIME_DRAIN_GRACE", 0..=3_600_000),

            redis_prefix: r.value("REALTIME_REDIS_PREFIX", &"1 to 32 letters, digits, - _ . :", prefix),
            database_url: database_url(r),
            migrate: r.boolean("REALTIME_MIGRATE"),
            batch_size: r.number("REALTIME_BATCH_SIZE", 1..=10_000),

            outbox_max: r.number("REALTIME_OUTBOX_MAX", 10..=10_000_000),
            restore: r.choice("REALTIME_RESTORE", Restore::NAMES, Restore::parse),
            durable_policy: r.boolean("REALTIME_DURABLE_POLICY"),
            persist_messages: r.boolean("REALTIME_PERSIST_MESSAGES"),
            event_retention_days: r.number("REALTIME_EVENT_RETENTION_DAYS", 0..=36_500),
            connection_retention: r.millis("REALTIME_CONNECTION_RETENTION", 60_000..=3_660 * DAY_MS),

            jwt: JwtSettings::read(r),
            revocation_keep: r.millis("REALTIME_REVOCATION_KEEP", 60_000..=366 * DAY_MS),
            insecure_user_tokens: r.boolean("REALTIME_INSECURE_USER_TOKENS"),
            allow_anonymous: r.boolean("REALTIME_ALLOW_ANONYMOUS"),
            anonymous_may_send: r.boolean("REALTIME_ANONYMOUS_MAY_SEND"),
            api_keys: r.list("REALTIME_API_KEYS", &"a comma list of keys", |text| {
                Some(Secret::new(text))
            }),

            ping_interval: r.millis("REALTIME_PING_INTERVAL", 100..=3_600_000),
            ping_timeout: r.millis("REALTIME_PING_TIMEOUT", 100..=3_600_000),
            max_payload: r.number("REALTIME_MAX_PAYLOAD", 1_024..=100_000_000),
            enable_compression: r.boolean("REALTIME_ENABLE_COMPRESSION"),

            limits: r.choice("REALTIME_LIMITS", Limits::NAMES, Limits::parse),
            max_connections: r.number("REALTIME_MAX_CONNECTIONS", 1..=10_000_000),
            max_user_connections: r.number("REALTIME_MAX_USER_CONNECTIONS", 1..=100_000),
            rate_limit: r.rate("REALTIME_RATE_LIMIT"),
            rate_events: r.rate("REALTIME_RATE_EVENTS"),
            rate_messages: r.rate("REALTIME_RATE_MESSAGES"),
            rate_room_messages: r.rate("REALTIME_RATE_ROOM_MESSAGES"),
            rate_typing: r.rate("REALTIME_RATE_TYPING"),
            rate_presence: r.rate("REALTIME_RATE_PRESENCE"),
            rate_joins: r.rate("REALTIME_RATE_JOINS"),
            rate_creations: r.rate("REALTIME_RATE_CREATIONS"),
            rate_refreshes: r.rate("REALTIME_RATE_REFRESHES"),
            rate_requests: r.rate("REALTIME_RATE_REQUESTS"),
            max_content: r.number("REALTIME_MAX_CONTENT", 1..=100_000_000),
            max_rooms: r.number("REALTIME_MAX_ROOMS", 1..=100_000),

            room_autocreate: r.patterns("REALTIME_ROOM_AUTOCREATE"),
            room_ownership: r.choice("REALTIME_ROOM_OWNERSHIP", RoomOwnership::NAMES, RoomOwnership::parse),
            history_size: r.number("REALTIME_HISTORY_SIZE", 0..=1_000_000),
            history_ttl: r.millis("REALTIME_HISTORY_TTL", 1_000..=30 * DAY_MS),
            recovery: r.choice("REALTIME_RECOVERY", Recovery::NAMES, Recovery::parse),
            recovery_window: r.millis("REALTIME_RECOVERY_WINDOW", 0..=DAY_MS),

            enable_presence: r.boolean("REALTIME_ENABLE_PRESENCE"),
            presence_heartbeat: r.millis("REALTIME_PRESENCE_HEARTBEAT", 100..=3_600_000),
            presence_grace: r.millis("REALTIME_PRESENCE_GRACE", 0..=3_600_000),
            presence_away_after: r.millis("REALTIME_PRESENCE_AWAY_AFTER", 100..=DAY_MS),
            presence_room_limit: r.number("REALTIME_PRESENCE_ROOM_LIMIT", 0..=1_000_000),
            presence_audience: r.choice(
                "REALTIME_PRESENCE_AUDIENCE",
                PresenceAudience::NAMES,
                PresenceAudience::parse,
            ),
            custom_status_shape: r.choice(
                "REALTIME_CUSTOM_STATUS_SHAPE",
                CustomStatusShape::NAMES,
                CustomStatusShape::parse,
            ),
            enable_typing: r.boolean("REALTIME_ENABLE_TYPING"),
            typing_timeout: r.millis("REALTIME_TYPING_TIMEOUT", 100..=3_600_000),

            node_beat: r.millis("REALTIME_NODE_BEAT", 50..=60_000),
            node_lease: r.millis("REALTIME_NODE_LEASE", 100..=600_000),
            // A partition that nobody sweeps for 3 s counts as unattended, so a sweep must come well before.
            sweep_interval: r.millis("REALTIME_SWEEP_INTERVAL", 10..=1_000),

            log_level: r.choice("LOG_LEVEL", LogLevel::NAMES, LogLevel::parse),
            log_format: log_format(r),
            log_events: r.boolean("REALTIME_LOG_EVENTS"),
            log_event_types: r.patterns("REALTIME_LOG_EVENT_TYPES"),
            enable_metrics: r.boolean("REALTIME_ENABLE_METRICS"),
            metrics_path: r.path("REALTIME_METRICS_PATH"),
            metrics_socket_io: r.boolean("REALTIME_METRICS_SOCKET_IO"),
            enable_health: r.boolean("REALTIME_ENABLE_HEALTH"),
            health_path: r.path("REALTIME_HEALTH_PATH"),

            redis_url: redis_url?,
            unknown: sources.unknown(),
            overrides: r.overrides(),
        };
        config.check(r);
        Some(config)
    }

    /// What one value says about another.
    fn check(&self, r: &mut Reader<'_>) {
        if self.node_lease < 2 * self.node_beat {
            r.problem(format_args!(
                "REALTIME_NODE_LEASE: {} ms is less than two beats (REALTIME_NODE_BEAT, {} ms): one late beat would end the node",
                self.node_lease.as_millis(),
                self.node_beat.as_millis(),
            ));
        }
        if self.drain_timeout < self.drain_wait + self.drain_window {
            r.problem(format_args!(
                "REALTIME_DRAIN_TIMEOUT: {} ms is less than REALTIME_DRAIN_WAIT and REALTIME_DRAIN_WINDOW together ({} ms)",
                self.drain_timeout.as_millis(),
                (self.drain_wait + self.drain_window).as_millis(),
            ));
        }
        if self.insecure_user_tokens && !self.host.is_loopback() {
            r.problem(format_args!(
                "REALTIME_INSECURE_USER_TOKENS: is true, and REALTIME_HOST is {}: anybody could be anybody; takes a loopback address",
                self.host
            ));
        }
        if self.insecure_user_tokens && self.cors_origin.iter().any(|origin| origin == "*") {
            r.problem(
                "REALTIME_INSECURE_USER_TOKENS: is true, and REALTIME_CORS_ORIGIN is *: any web page that is opened on this machine \
                 could be anybody; name the origins",
            );
        }
        if self.insecure_user_tokens && r.part("NODE_ENV") == Some("production") {
            r.problem(
                "REALTIME_INSECURE_USER_TOKENS: is true, and NODE_ENV is production; it is for development alone",
            );
        }
        for (name, path) in [
            ("REALTIME_METRICS_PATH", &self.metrics_path),
            ("REALTIME_HEALTH_PATH", &self.health_path),
        ] {
            let under = |taken: &&&str| {
                path.strip_prefix(**taken)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(taken) = TAKEN_PATHS.iter().find(under) {
                r.problem(format_args!("{name}: {path} is taken by {taken}"));
            }
        }
        if self.enable_metrics && self.enable_health && self.metrics_path == self.health_path {
            r.problem(format_args!(
                "REALTIME_METRICS_PATH, REALTIME_HEALTH_PATH: both are {}",
                self.health_path
            ));
        }
    }

    /// What an operator should know at start.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut say = |level, text: &str| {
            warnings.push(Warning {
                level,
                text: text.to_owned(),
            });
        };
        let warn = LogLevel::Warn;
        if self.insecure_user_tokens {
            say(
                LogLevel::Error,
                "REALTIME_INSECURE_USER_TOKENS is true: whoever reaches this gateway from this machine is believed to be \
                 anybody, by the token user:<id>; for development alone",
            );
        }
        if !self.jwt.has_key() && !self.allow_anonymous && !self.insecure_user_tokens {
            say(
                LogLevel::Error,
                "nobody can get in: there is no key to verify tokens with, and anonymous sockets are not allowed; \
                 set REALTIME_JWT_SECRET, REALTIME_JWT_JWKS_URL or REALTIME_JWT_JWKS_FILE, or REALTIME_ALLOW_ANONYMOUS",
            );
        }
        if !self.jwt.is_public_key()
            && self
                .jwt
                .secret
                .as_ref()
                .is_some_and(|secret| secret.expose().len() < SHORT_SECRET_BYTES)
        {
            say(warn, "REALTIME_JWT_SECRET is shorter than 32 bytes and may be guessed");
        }
        if self.api_keys.iter().any(|key| key.expose().len() < SHORT_API_KEY_BYTES) {
            say(
                warn,
                "a key in REALTIME_API_KEYS is shorter than 16 bytes and may be guessed",
            );
        }
        if self.anonymous_may_send && !self.allow_anonymous {
            say(
                warn,
                "REALTIME_ANONYMOUS_MAY_SEND does nothing without REALTIME_ALLOW_ANONYMOUS",
            );
        }
        if self.cors_origin.is_empty() {
            say(
                warn,
                "browsers are accepted from the gateway's own origin only; set REALTIME_CORS_ORIGIN",
            );
        }
        match &self.database_url {
            None => say(
                warn,
                "the archive is off: no database is configured; set REALTIME_DATABASE_URL",
            ),
            Some(url) if asks_for_tls(url.url()) => {
                say(
                    warn,
                    "the archive cannot connect: the database asks for TLS, which this version does not speak",
                );
            }
            Some(_) => {}
        }
        self.overrides.iter().for_each(|text| say(warn, text));
        self.unknown.iter().for_each(|text| say(warn, text));
        warnings
    }
}

fn host(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.trim_matches(['[', ']']).parse().ok()
}

fn random_node_id() -> NodeId {
    NodeId::parse(&format!("node-{:08x}", rand::random::<u32>())).expect("twelve letters and digits are an id")
}

/// Braces would become a hash tag, `*` and `?` a pattern.
fn prefix(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (text.len() <= 32 && text.chars().all(allowed)).then(|| text.to_owned())
}

/// As browsers write it: lower case, no path, no default port.
fn origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let url = Url::parse(text).ok()?;
    let (_, rest) = text.split_once("://")?;
    if rest.is_empty() || rest.contains(['/', '?', '#', '@', '*']) {
        return None;
    }
    let serialized = url.origin().ascii_serialization();
    // Schemes of apps (capacitor://localhost) have no origin of their own in the URL standard.
    Some(if serialized == "null" {
        text.to_ascii_lowercase()
    } else {
        serialized
    })
}

/// Logs go to standard error, so that is what has to be a terminal.
fn log_format(r: &mut Reader<'_>) -> LogFormat {
    let given = r.optional("LOG_FORMAT", &OneOf(LogFormat::NAMES), LogFormat::parse);
    let people = r.part("NODE_ENV") != Some("production") && std::io::stderr().is_terminal();
    given.unwrap_or(if people { LogFormat::Pretty } else { LogFormat::Json })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::settings;

    #[test]
    fn every_row_of_the_table_is_read() {
        let sources = Sources::only([("REALTIME_REDIS_URL", "redis://localhost")]);
        let mut reader = Reader::new(&sources);
        Config::read(&mut reader, &sources);
        let rows: BTreeSet<_> = settings().map(|row| row.name).collect();
        assert_eq!(reader.names_read(), &rows);
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (given, kept) in [
            ("https://Chat.Example", "https://chat.example"),
            ("https://chat.example:443", "https://chat.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("*", "*"),
        ] {
            assert_eq!(origin(given).as_deref(), Some(kept));
        }
        for wrong in [
            "chat.example",
            "https://chat.example/",
            "https://*.example",
            "https://a@b",
            "https://",
            "null",
        ] {
            assert_eq!(origin(wrong), None, "{wrong}");
        }
    }
}
