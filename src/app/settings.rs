//! What each layer is told of the configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus::Registry;

use crate::config::{Config, Limits, PresenceAudience, Profile, RoomOwnership};
use crate::domain::identity::TokenRules;
use crate::domain::revocations::REVOCATIONS_MAX;
use crate::gateway::Node;
use crate::hot::{self, HistoryTerms, Terms};
use crate::{engine, gateway, http};

/// How long a user who comes back has, beyond the grace, to rejoin rooms.
const PROLONG: Duration = Duration::from_secs(5);
/// How long records of users who are gone, and empty rooms that were made by joining, are kept.
const KEEP: Duration = Duration::from_secs(86_400);
/// What is kept of one room's messages, whatever their number.
const HISTORY_BYTES: u32 = 4 * 1024 * 1024;

pub(super) fn token_rules(config: &Config) -> TokenRules {
    let jwt = &config.jwt;
    TokenRules {
        algorithms: jwt.algorithms.clone(),
        audience: jwt.audience.clone(),
        issuer: jwt.issuer.clone(),
        // Rounded up: nobody is refused earlier than the setting says.
        leeway_s: jwt.leeway.as_millis().div_ceil(1_000) as u64,
    }
}

pub(super) fn gateway_settings(config: &Config) -> gateway::Settings {
    gateway::Settings {
        allow_anonymous: config.allow_anonymous,
        anonymous_may_send: config.anonymous_may_send,
        enable_presence: config.enable_presence,
        enable_typing: config.enable_typing,
        typing_timeout: config.typing_timeout,
        heartbeat: config.presence_heartbeat,
        grace: config.presence_grace,
        drain_grace: config.drain_grace,
        batch_size: config.batch_size,
        max_content: config.max_content,
        room_autocreate: config.room_autocreate.clone(),
        presence_to_all: config.presence_audience == PresenceAudience::All,
        profile: config.profile,
        insecure_user_tokens: config.insecure_user_tokens,
        custom_status_shape: config.custom_status_shape,
        trusted_proxies: config.trusted_proxies.clone(),
        recovery: config.recovery,
        limits: config.limits,
        rates: rates(config),
        max_connections: config.max_connections,
        max_rooms: config.max_rooms,
    }
}

fn rates(config: &Config) -> gateway::Rates {
    gateway::Rates {
        handshakes: config.rate_limit,
        events: config.rate_events,
        messages: config.rate_messages,
        typing: config.rate_typing,
        presence: config.rate_presence,
        joins: config.rate_joins,
        creations: config.rate_creations,
        refreshes: config.rate_refreshes,
        requests: config.rate_requests,
    }
}

/// A count that holds only where limits are enforced.
fn counted(config: &Config, most: u64) -> u64 {
    if config.limits == Limits::Enforce {
        most
    } else {
        UNLIMITED
    }
}

/// More than there can be, and still a whole number to Lua.
const UNLIMITED: u64 = u64::MAX >> 12;

pub(super) fn origins(config: &Config) -> engine::Origins {
    match &*config.cors_origin {
        [] => engine::Origins::SameOrigin,
        origins if origins.iter().any(|origin| origin == "*") => engine::Origins::Any,
        origins => engine::Origins::List(origins.to_vec()),
    }
}

pub(super) fn engine_settings(config: &Config) -> engine::Settings {
    engine::Settings {
        tag: engine::Tag::of(config.node_id.as_str()),
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        max_payload: config.max_payload,
        compression: config.enable_compression,
        frames_per_write: config.batch_size,
        origins: origins(config),
        ..engine::Settings::default()
    }
}

pub(super) fn sockets(node: &Arc<Node>) -> Box<dyn Fn() -> u64 + Send + Sync> {
    let node = Arc::clone(node);
    Box::new(move || node.connections.load(Ordering::Relaxed))
}

pub(super) fn words(config: &Config) -> http::Words {
    use gateway::protocol::outgoing::{is_reserved, is_reserved_from_nchat};

    let shape = config.custom_status_shape;
    http::Words {
        is_reserved: match config.profile {
            None => is_reserved,
            Some(Profile::Nchat) => is_reserved_from_nchat,
        },
        presence: Box::new(move |user, presence| gateway::outgoing::presence(user, presence, shape)),
    }
}

/// What a handle on the hot state is made of, for a command that runs no node.
pub fn hot_settings(config: &Config) -> hot::Settings {
    hot_settings_in(config, &Registry::new()).expect("a new registry holds no other collectors")
}

pub(super) fn hot_settings_in(config: &Config, registry: &Registry) -> Result<hot::Settings, prometheus::Error> {
    Ok(hot::Settings {
        url: config.redis_url.expose().to_owned(),
        prefix: config.redis_prefix.clone(),
        terms: Terms {
            lease: config.lease(),
            prolong: PROLONG,
            keep: KEEP,
            away_after: config.presence_away_after,
            presence_limit: config.presence_room_limit,
            presence_to_all: config.presence_audience == PresenceAudience::All,
            user_connections: match config.limits {
                Limits::Off => UNLIMITED,
                Limits::Enforce | Limits::Shadow => config.max_user_connections,
            },
            room_messages: (config.limits != Limits::Off).then_some(config.rate_room_messages),
            only_counted: config.limits == Limits::Shadow,
            makers_own: config.room_ownership == RoomOwnership::Creator,
            nchat_names: config.profile == Some(Profile::Nchat),
            connection_rooms: counted(config, config.max_rooms as u64),
            revocation_keep: config.revocation_keep,
            revocations: REVOCATIONS_MAX,
            history: HistoryTerms {
                size: config.history_size,
                bytes: HISTORY_BYTES,
                ttl: config.history_ttl,
            },
            outbox: config.database_url.as_ref().map_or(0, |_| config.outbox_max),
            keeps_messages: config.database_url.is_some() && config.persist_messages,
            recovery_window: config.recovery_window,
        },
        metrics: hot::Metrics::new(registry)?,
    })
}
