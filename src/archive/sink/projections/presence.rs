//! `realtime_presence`: what each user is shown as, and has chosen. Not of anonymous users, who never come back as the same.
//! Not here: their sockets (`connections`).

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use crate::archive::sink::cells::Moment;
use crate::archive::sink::record::{Record, shortened, whole};
use crate::types::{ANONYMOUS_PREFIX, Status};

/// What is older than what stands there changes nothing.
pub(in crate::archive::sink) const PRESENCE: &str = "
MERGE INTO realtime_presence AS p
USING unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TIMESTAMPTZ[], $7::INT8[], $8::INT4[],
        $9::TIMESTAMPTZ[], $10::TIMESTAMPTZ[])
    AS u (user_id, status, chosen, custom_status, custom_emoji, expires_at, version, connections, heard_at, active_at)
ON p.user_id = u.user_id
WHEN MATCHED AND coalesce(u.version, p.version, 0) >= coalesce(p.version, 0) THEN
    UPDATE SET
        status = u.status, chosen = u.chosen, custom_status = u.custom_status, custom_emoji = u.custom_emoji,
        expires_at = u.expires_at, version = coalesce(u.version, p.version), connections_count = u.connections,
        last_heartbeat = greatest(p.last_heartbeat, u.heard_at), last_active = greatest(p.last_active, u.active_at),
        metadata = p.metadata - 'unseen'
WHEN NOT MATCHED THEN
    INSERT (user_id, status, chosen, custom_status, custom_emoji, expires_at, version, connections_count, last_heartbeat,
        last_active)
    VALUES (u.user_id, u.status, u.chosen, u.custom_status, u.custom_emoji, u.expires_at, u.version, u.connections,
        u.heard_at, coalesce(u.active_at, u.heard_at))";

/// Longest emoji, in characters.
const EMOJI_MAX: usize = 100;

#[derive(Debug)]
struct Presence {
    status: Status,
    chosen: Option<Status>,
    text: Option<String>,
    emoji: Option<String>,
    until: Option<Moment>,
    version: Option<i64>,
    connections: i32,
    heard_at: Moment,
    active_at: Option<Moment>,
}

/// The last state of each user.
#[derive(Debug, Default)]
pub(super) struct Presences(BTreeMap<String, Presence>);

/// The columns of [`PRESENCE`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct PresenceColumns {
    users: Vec<String>,
    statuses: Vec<&'static str>,
    chosen: Vec<Option<&'static str>>,
    texts: Vec<Option<String>>,
    emoji: Vec<Option<String>>,
    until: Vec<Option<Moment>>,
    versions: Vec<Option<i64>>,
    connections: Vec<i32>,
    heard_at: Vec<Moment>,
    active_at: Vec<Option<Moment>>,
}

impl Presences {
    /// `is_active`: the user did something.
    pub fn take(&mut self, record: &Record, is_active: bool) {
        let Some(user) = record.user.as_ref().filter(|user| !user.starts_with(ANONYMOUS_PREFIX)) else {
            return;
        };
        let Some(presence) = record.rest.get("presence").filter(|presence| presence.is_object()) else {
            return;
        };
        let text = |name: &str| presence.get(name)?.as_str().filter(|text| !text.is_empty());
        let version = presence.get("version").and_then(whole).or(record.whole("version"));
        let before = self.0.get(user);
        if before.and_then(|before| before.version) > version && version.is_some() {
            return;
        }
        let at = Moment(record.at_ms);
        let next = Presence {
            status: text("status").and_then(Status::parse).unwrap_or(Status::Offline),
            chosen: text("chosen").and_then(Status::parse),
            text: text("text").map(str::to_owned),
            emoji: text("emoji").map(|emoji| shortened(emoji, EMOJI_MAX)),
            until: presence.get("until").and_then(whole).filter(|ms| *ms > 0).map(Moment),
            version: version.or(before.and_then(|before| before.version)),
            connections: record
                .whole("conns")
                .and_then(|conns| i32::try_from(conns).ok())
                .unwrap_or(0)
                .max(0),
            heard_at: at,
            active_at: is_active.then_some(at).or(before.and_then(|before| before.active_at)),
        };
        self.0.insert(user.clone(), next);
    }

    pub fn columns(self) -> PresenceColumns {
        let mut columns = PresenceColumns::default();
        for (user, presence) in self.0 {
            columns.users.push(user);
            columns.statuses.push(presence.status.as_str());
            columns.chosen.push(presence.chosen.map(Status::as_str));
            columns.texts.push(presence.text);
            columns.emoji.push(presence.emoji);
            columns.until.push(presence.until);
            columns.versions.push(presence.version);
            columns.connections.push(presence.connections);
            columns.heard_at.push(presence.heard_at);
            columns.active_at.push(presence.active_at);
        }
        columns
    }
}

impl PresenceColumns {
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.users,
            &self.statuses,
            &self.chosen,
            &self.texts,
            &self.emoji,
            &self.until,
            &self.versions,
            &self.connections,
            &self.heard_at,
            &self.active_at,
        ]
    }
}
