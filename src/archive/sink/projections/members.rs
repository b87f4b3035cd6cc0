//! `realtime_room_members`: a row stands from a join until the user leaves or is sent out, and while there is a role, a
//! mute or a ban. Who only lost the connection is still a member. Not here: the rooms themselves (`rooms`).

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::rooms::end_of;
use crate::archive::sink::cells::{Json, Moment};
use crate::archive::sink::record::Record;
use crate::types::{ANONYMOUS_PREFIX, Role};

/// A row without a reason to stand goes. A role, a mute or a ban of a row from before has no policy beside it.
pub(in crate::archive::sink) const MEMBERS: &str = "
MERGE INTO realtime_room_members AS m
USING (
    SELECT r.id AS room_id, u.*
    FROM unnest($1::TEXT[], $2::TEXT[], $3::BOOL[], $4::TIMESTAMPTZ[], $5::TIMESTAMPTZ[], $6::BOOL[], $7::JSONB[],
            $8::TEXT[], $9::BOOL[], $10::TIMESTAMPTZ[], $11::BOOL[], $12::TIMESTAMPTZ[])
        AS u (room, user_id, joined, joined_at, seen_at, is_governed, policy, role, is_muted, muted_until, is_banned,
            banned_until)
    JOIN realtime_rooms AS r ON r.name = u.room
) AS s
ON m.room_id = s.room_id AND m.user_id = s.user_id
WHEN MATCHED AND NOT coalesce(s.joined, m.is_joined) AND CASE WHEN s.is_governed THEN s.policy IS NULL
        ELSE m.policy IS NULL AND m.role = 'member' AND NOT m.is_muted AND NOT m.is_banned END THEN DELETE
WHEN MATCHED THEN
    UPDATE SET
        is_joined = coalesce(s.joined, m.is_joined),
        joined_at = CASE WHEN s.joined THEN coalesce(s.joined_at, m.joined_at) ELSE m.joined_at END,
        last_seen = greatest(s.seen_at, m.last_seen),
        policy = CASE WHEN s.is_governed THEN s.policy ELSE m.policy END,
        role = CASE WHEN s.is_governed THEN s.role ELSE m.role END,
        is_muted = CASE WHEN s.is_governed THEN s.is_muted ELSE m.is_muted END,
        muted_until = CASE WHEN s.is_governed THEN s.muted_until ELSE m.muted_until END,
        is_banned = CASE WHEN s.is_governed THEN s.is_banned ELSE m.is_banned END,
        banned_until = CASE WHEN s.is_governed THEN s.banned_until ELSE m.banned_until END
WHEN NOT MATCHED AND (s.joined OR s.policy IS NOT NULL) THEN
    INSERT (room_id, user_id, is_joined, joined_at, last_seen, policy, role, is_muted, muted_until, is_banned, banned_until)
    VALUES (s.room_id, s.user_id, coalesce(s.joined, FALSE), coalesce(s.joined_at, s.seen_at), s.seen_at, s.policy, s.role,
        s.is_muted, s.muted_until, s.is_banned, s.banned_until)";

#[derive(Debug, Default)]
struct Member {
    /// `None`: as before.
    joined: Option<bool>,
    /// When the membership began, where it did.
    joined_at: Option<Moment>,
    seen_at_ms: i64,
    /// The user's whole entry; `None`: as before.
    policy: Option<Option<Value>>,
}

/// The last state of each member, by room and user.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<(String, String), Member>);

/// The columns of [`MEMBERS`].
#[derive(Debug, Default)]
pub(in crate::archive::sink) struct MemberColumns {
    rooms: Vec<String>,
    users: Vec<String>,
    joined: Vec<Option<bool>>,
    joined_at: Vec<Option<Moment>>,
    seen_at: Vec<Moment>,
    is_governed: Vec<bool>,
    policies: Vec<Option<Json>>,
    roles: Vec<&'static str>,
    is_muted: Vec<bool>,
    muted_until: Vec<Option<Moment>>,
    is_banned: Vec<bool>,
    banned_until: Vec<Option<Moment>>,
}

impl Member {
    /// Of a join or leave, which is no act on the user: it tells of a policy, and not that there is none, since Redis may have
    /// been opened without knowing.
    fn note_policy(&mut self, record: &Record) {
        if let Some(policy) = policy_of(record) {
            self.policy = Some(Some(policy));
        }
    }
}

impl Members {
    fn of(&mut self, record: &Record, user: Option<&str>) -> Option<&mut Member> {
        let key = (record.room.clone()?, user?.to_owned());
        let member = self.0.entry(key).or_default();
        member.seen_at_ms = record.at_ms;
        Some(member)
    }

    pub fn join(&mut self, record: &Record) {
        let is_first = record.flag("first") && !record.flag("anew");
        if let Some(member) = self.of(record, record.user.as_deref()) {
            if is_first || member.joined == Some(false) {
                member.joined_at = Some(Moment(record.at_ms));
            }
            member.joined = Some(true);
            member.note_policy(record);
        }
    }

    /// Only with the last connection; only this one tells of the policy.
    pub fn leave(&mut self, record: &Record) {
        let is_last = record.flag("last");
        let is_anonymous = record
            .user
            .as_deref()
            .is_some_and(|user| user.starts_with(ANONYMOUS_PREFIX));
        // Nobody comes back as an anonymous user.
        let is_over = record.text("reason") != Some("disconnected") || is_anonymous;
        if let Some(member) = self.of(record, record.user.as_deref())
            && is_last
        {
            if is_over {
                member.joined = Some(false);
            }
            member.note_policy(record);
        }
    }

    /// The user's entry is another.
    pub fn govern(&mut self, record: &Record, user: Option<&str>) {
        // A room that nobody owns says nothing of whoever made it.
        if record.user.is_none() && !record.rest.contains_key("policy") {
            return;
        }
        if let Some(member) = self.of(record, user) {
            member.policy = Some(policy_of(record));
        }
    }

    pub fn send_out(&mut self, record: &Record) {
        if let Some(member) = self.of(record, record.user.as_deref()) {
            member.joined = Some(false);
            member.policy = Some(policy_of(record));
        }
    }

    /// Nobody is in the room any more; where `everything`, it also knows nothing of anybody.
    pub fn empty(&mut self, record: &Record, everything: bool) {
        let Some(room) = &record.room else { return };
        let from = (room.clone(), String::new());
        let members = self.0.range_mut(from..).take_while(|((name, _), _)| name == room);
        for (_, member) in members {
            member.joined = Some(false);
            if everything {
                member.policy = Some(None);
            }
        }
    }

    pub fn columns(self) -> MemberColumns {
        let mut columns = MemberColumns::default();
        for ((room, user), member) in self.0 {
            columns.push(room, user, member);
        }
        columns
    }
}

fn policy_of(record: &Record) -> Option<Value> {
    let policy = record.rest.get("policy")?.as_object()?;
    (!policy.is_empty()).then(|| Value::Object(policy.clone()))
}

impl MemberColumns {
    fn push(&mut self, room: String, user: String, member: Member) {
        let policy = member.policy.as_ref().and_then(Option::as_ref);
        let end = |name| policy.and_then(|policy| end_of(policy, name));
        let until = |end: Option<i64>| end.filter(|end_ms| *end_ms > 0).map(Moment);
        let role = policy.and_then(|policy| policy.get("role")?.as_str().and_then(Role::parse));
        let (mute, ban) = (end("mute"), end("ban"));
        self.rooms.push(room);
        self.users.push(user);
        self.joined.push(member.joined);
        self.joined_at.push(member.joined_at);
        self.seen_at.push(Moment(member.seen_at_ms));
        self.is_governed.push(member.policy.is_some());
        self.policies.push(policy.map(|policy| Json(policy.to_string())));
        self.roles.push(role.unwrap_or(Role::Member).as_str());
        self.is_muted.push(mute.is_some());
        self.muted_until.push(until(mute));
        self.is_banned.push(ban.is_some());
        self.banned_until.push(until(ban));
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.rooms,
            &self.users,
            &self.joined,
            &self.joined_at,
            &self.seen_at,
            &self.is_governed,
            &self.policies,
            &self.roles,
            &self.is_muted,
            &self.muted_until,
            &self.is_banned,
            &self.banned_until,
        ]
    }
}
