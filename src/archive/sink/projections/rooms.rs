//! `realtime_rooms`: one row per name, for as long as anybody knows the name. Not here: who is in a room (`members`).

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::archive::sink::cells::{Moment, Uuid};
use crate::archive::sink::record::Record;
use crate::types::{RoomType, Visibility};

/// A room that is mentioned, and was never told of, is there: it is shown as private, since nobody said public. A lasting room
/// stays what it is where a join made one of its name, or a node put back what it knew of it: Redis had lost it, and gets it back.
pub(in crate::archive::sink) const ROOMS: &str = "
MERGE INTO realtime_rooms AS r
USING (
    SELECT n.name, n.is_made AND NOT k.is_kept AS is_made, n.is_changed, n.id, n.type, n.visibility, n.max_members, n.owner,
        CASE WHEN NOT k.is_kept THEN n.created_at END AS created_at, CASE WHEN NOT k.is_kept THEN n.auto END AS auto, n.active,
        n.sets_expiry AND NOT k.is_kept AS sets_expiry, n.expires_at
    FROM unnest($1::TEXT[], $2::BOOL[], $3::UUID[], $4::TEXT[], $5::TEXT[], $6::INT4[], $7::TEXT[], $8::TIMESTAMPTZ[],
            $9::BOOL[], $10::BOOL[], $11::BOOL[], $12::TIMESTAMPTZ[], $13::BOOL[])
        AS n (name, is_made, id, type, visibility, max_members, owner, created_at, auto, active, sets_expiry, expires_at,
            is_changed)
    LEFT JOIN realtime_rooms AS o ON o.name = n.name
    CROSS JOIN LATERAL (SELECT coalesce(o.is_active AND NOT o.auto_created AND NOT coalesce(o.metadata ? 'assumed', FALSE)
        AND (n.auto OR n.is_made AND n.created_at IS NULL), FALSE)) AS k (is_kept)
) AS u
ON r.name = u.name
WHEN MATCHED AND (u.is_made OR u.is_changed
        OR u.active <> r.is_active
        OR u.auto <> r.auto_created
        OR u.sets_expiry AND u.expires_at IS DISTINCT FROM r.expires_at) THEN
    UPDATE SET
        type = CASE WHEN u.is_made OR u.is_changed THEN u.type ELSE r.type END,
        visibility = CASE WHEN u.is_made OR u.is_changed THEN u.visibility ELSE r.visibility END,
        max_members = CASE WHEN u.is_made OR u.is_changed THEN u.max_members ELSE r.max_members END,
        created_at = coalesce(u.created_at, r.created_at),
        is_active = coalesce(u.active, r.is_active),
        auto_created = coalesce(u.auto, r.auto_created),
        expires_at = CASE WHEN u.sets_expiry THEN u.expires_at ELSE r.expires_at END,
        metadata = CASE
            WHEN u.is_made THEN coalesce(r.metadata, '{}') - '{assumed,owner}'::TEXT[]
                || jsonb_strip_nulls(jsonb_build_object('owner', u.owner))
            WHEN u.is_changed THEN coalesce(r.metadata, '{}') - 'assumed'
            WHEN NOT u.active THEN coalesce(r.metadata, '{}') - 'owner'
            ELSE r.metadata END
WHEN NOT MATCHED AND (u.is_made OR u.is_changed OR u.active) THEN
    INSERT (id, name, type, visibility, max_members, created_at, is_active, auto_created, expires_at, metadata)
    VALUES (coalesce(u.id, gen_random_uuid()), u.name, coalesce(u.type, 'channel'), coalesce(u.visibility, 'private'),
        u.max_members, coalesce(u.created_at, now()), coalesce(u.active, TRUE), coalesce(u.auto, FALSE), u.expires_at,
        CASE WHEN u.is_made OR u.is_changed THEN jsonb_strip_nulls(jsonb_build_object('owner', u.owner)) ELSE '{\"assumed\": true}' END)";

/// Members of rooms that ended: all rows go where the room was closed; where it ran out, those without a policy, and the
/// others have joined no longer.
pub(in crate::archive::sink) const EMPTIED: &str = "
MERGE INTO realtime_room_members AS m
USING (
    SELECT r.id AS room_id, u.everything
    FROM unnest($1::TEXT[], $2::BOOL[]) AS u (name, everything)
    JOIN realtime_rooms AS r ON r.name = u.name
) AS s
ON m.room_id = s.room_id
WHEN MATCHED AND (s.everything
        OR m.policy IS NULL AND m.role = 'member' AND NOT m.is_muted AND NOT m.is_banned) THEN DELETE
WHEN MATCHED AND m.is_joined THEN UPDATE SET is_joined = FALSE";

#[derive(Debug, Default)]
struct Room {
    made: Option<Made>,
    /// What it is since, where it was not made in between.
    changed: Option<Rules>,
    active: Option<bool>,
    auto: Option<bool>,
    /// `Some(None)`: it does not run out.
    expires: Option<Option<Moment>>,
    emptied: Option<Emptied>,
}

#[derive(Debug)]
struct Made {
    id: Option<Uuid>,
    rules: Rules,
    owner: Option<String>,
    /// `None`: it was there before, and Redis had lost it.
    created: Option<Moment>,
}

/// What a room is for, and for whom.
#[derive(Debug, Clone, Copy)]
struct Rules {
    kind: RoomType,
    visibility: Visibility,
    max_members: Option<i32>,
}

impl Rules {
    fn of(record: &Record) -> Self {
        let most = record.whole("max").and_then(|most| i32::try_from(most).ok());
        Self {
            kind: record
                .text("type")
                .and_then(RoomType::parse)
                .unwrap_or(RoomType::Channel),
            visibility: record
                .text("visibility")
                .and_then(Visibility::parse)
                .unwrap_or(Visibility::Private),
            max_members: most.filter(|most| *most > 0),
        }
    }
}

/// Who is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emptied {
    /// Who had only joined.
    Joined,
    /// Everybody, and what the room knew of anybody.
    Everybody,
}

/// The last state of each room.
#[derive(Debug, Default)]
pub(super) struct Rooms(BTreeMap<String, Room>);

/// The columns of [`ROOMS`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct RoomColumns {
    names: Vec<String>,
    is_made: Vec<bool>,
    ids: Vec<Option<Uuid>>,
    types: Vec<Option<&'static str>>,
    visibilities: Vec<Option<&'static str>>,
    max_members: Vec<Option<i32>>,
    owners: Vec<Option<String>>,
    created: Vec<Option<Moment>>,
    autos: Vec<Option<bool>>,
    actives: Vec<Option<bool>>,
    sets_expiry: Vec<bool>,
    expires: Vec<Option<Moment>>,
    is_changed: Vec<bool>,
}

/// The columns of [`EMPTIED`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct EmptiedColumns {
    names: Vec<String>,
    everything: Vec<bool>,
}

impl Rooms {
    fn of(&mut self, record: &Record) -> Option<&mut Room> {
        let name = record.room.as_ref()?;
        Some(self.0.entry(name.clone()).or_default())
    }

    pub fn create(&mut self, record: &Record) {
        let is_auto = record.flag("auto");
        let made = Made {
            id: record.text("id").and_then(uuid),
            rules: Rules::of(record),
            owner: record.text("by").filter(|_| record.flag("owner")).map(str::to_owned),
            created: (!record.flag("anew")).then_some(Moment(record.at_ms)),
        };
        let Some(room) = self.of(record) else { return };
        if made.created.is_some() && room.emptied.is_none() {
            room.emptied = Some(Emptied::Joined);
        }
        (room.made, room.changed) = (Some(made), None);
        (room.active, room.auto, room.expires) = (Some(true), Some(is_auto), Some(None));
    }

    pub fn keep(&mut self, record: &Record) {
        if let Some(room) = self.of(record) {
            (room.active, room.auto, room.expires) = (Some(true), Some(false), Some(None));
        }
    }

    pub fn change(&mut self, record: &Record) {
        let Some(room) = self.of(record) else { return };
        match &mut room.made {
            Some(made) => made.rules = Rules::of(record),
            None => room.changed = Some(Rules::of(record)),
        }
        (room.active, room.auto, room.expires) = (Some(true), Some(false), Some(None));
    }

    pub fn close(&mut self, record: &Record) {
        if let Some(room) = self.of(record) {
            room.emptied = Some(Emptied::Everybody);
            room.changed = None;
            (room.active, room.expires) = (Some(false), Some(None));
        }
    }

    /// Somebody is in it.
    pub fn enter(&mut self, record: &Record) {
        if let Some(room) = self.of(record) {
            (room.active, room.expires) = (Some(true), Some(None));
        }
    }

    /// Somebody is out of it: perhaps nobody is left.
    pub fn leave(&mut self, record: &Record) {
        let Some(ends_ms) = record.whole("ends") else { return };
        if let Some(room) = self.of(record) {
            room.expires = Some(Some(Moment(ends_ms)));
        }
    }

    /// It is there.
    pub fn mention(&mut self, record: &Record) {
        if let Some(room) = self.of(record) {
            room.active = Some(true);
        }
    }

    pub fn columns(self) -> (RoomColumns, EmptiedColumns) {
        let (mut columns, mut emptied) = (RoomColumns::default(), EmptiedColumns::default());
        for (name, room) in self.0 {
            if let Some(how) = room.emptied {
                emptied.names.push(name.clone());
                emptied.everything.push(how == Emptied::Everybody);
            }
            columns.push(name, room);
        }
        (columns, emptied)
    }
}

impl RoomColumns {
    fn push(&mut self, name: String, room: Room) {
        let made = room.made.as_ref();
        let rules = made.map(|made| made.rules).or(room.changed);
        self.is_changed.push(room.changed.is_some());
        self.names.push(name);
        self.is_made.push(made.is_some());
        self.ids.push(made.and_then(|made| made.id));
        self.types.push(rules.map(|rules| rules.kind.as_str()));
        self.visibilities.push(rules.map(|rules| rules.visibility.as_str()));
        self.max_members.push(rules.and_then(|rules| rules.max_members));
        self.created.push(made.and_then(|made| made.created));
        self.autos.push(room.auto);
        self.actives.push(room.active);
        self.sets_expiry.push(room.expires.is_some());
        self.expires.push(room.expires.flatten());
        self.owners.push(room.made.and_then(|made| made.owner));
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.names,
            &self.is_made,
            &self.ids,
            &self.types,
            &self.visibilities,
            &self.max_members,
            &self.owners,
            &self.created,
            &self.autos,
            &self.actives,
            &self.sets_expiry,
            &self.expires,
            &self.is_changed,
        ]
    }
}

impl EmptiedColumns {
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.names, &self.everything]
    }
}

/// A UUID as it is written; `None` of what is none.
fn uuid(text: &str) -> Option<Uuid> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let bits = u128::from_str_radix(&hex, 16).ok()?;
    (hex.len() == 32).then(|| Uuid(bits.to_be_bytes()))
}

/// What a policy holds of an end: `None` for none, Unix ms or 0 for ever.
pub(super) fn end_of(policy: &Value, name: &str) -> Option<i64> {
    policy.get(name).and_then(crate::archive::sink::record::whole)
}
