//! Every key and channel name of the hot state, and (`partition`) the partitions that they lie in. The only module that knows them.
//!
//! `<prefix>:{<tag>}:<noun>:<id>`: the noun stands before the name, so no name that a client chooses collides with
//! another key; the hash tag puts all that one script touches into one Redis Cluster slot (of
//! messages/send: all that one message touches).

mod partition;

use std::sync::Arc;

use self::partition::TAGS;
pub use self::partition::{PARTITIONS, Partition};
use crate::types::{ConnectionId, NodeId, Pid, RoomName, UserId};

/// Where a canary sits: in the slot of a partition, or of `{nodes}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Perch {
    Nodes,
    Partition(Partition),
}

/// What a lease is called in `leases` and `grace`: whoever sweeps knows at once whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    pub connection: ConnectionId,
    pub node: NodeId,
    pub user: UserId,
}

impl Lease {
    /// `<connection>\0<node>\0<user>`; ids have no control characters.
    pub fn encode(&self) -> String {
        [
            self.connection.as_str(),
            "\0",
            self.node.as_str(),
            "\0",
            self.user.as_str(),
        ]
        .concat()
    }

    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '\0');
        Some(Self {
            connection: ConnectionId::parse(parts.next()?).ok()?,
            node: NodeId::parse(parts.next()?).ok()?,
            user: UserId::parse(parts.next()?).ok()?,
        })
    }

    /// What [`Lease::member`] made.
    pub fn of_member(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('\0')?;
        // Of the connection's and the node's id the latter alone may have an `@`: the former is the node's own making.
        let (connection, node) = rest.split_once('@')?;
        Some(Self {
            connection: ConnectionId::parse(connection).ok()?,
            node: NodeId::parse(node).ok()?,
            user: UserId::parse(user).ok()?,
        })
    }

    /// The same in a room: lexical ranges answer "is it the user's last here?".
    pub fn member(&self) -> String {
        [
            self.user.as_str(),
            "\0",
            self.connection.as_str(),
            "@",
            self.node.as_str(),
        ]
        .concat()
    }
}

/// Something other than a lease that ends by time, as it stands in `due`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    Typing(RoomName),
    Count(RoomName),
    CustomStatus(UserId),
    /// No device of the user was active for long.
    Away(UserId),
}

impl Due {
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once('\0')?;
        match kind {
            "typing" => RoomName::parse(id).ok().map(Self::Typing),
            "count" => RoomName::parse(id).ok().map(Self::Count),
            "status" => UserId::parse(id).ok().map(Self::CustomStatus),
            "away" => UserId::parse(id).ok().map(Self::Away),
            _ => None,
        }
    }
}

/// Whose a key is, as far as the leases decide over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    Connection(ConnectionId),
    Connections(UserId),
    Rooms(UserId),
    Room(RoomName),
    Tombstone,
}

/// What a key is counted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted<'a> {
    Room(&'a str),
    /// A room with somebody in it.
    ActiveRoom(&'a str),
    /// A user of whom something is remembered.
    Known(UserId),
    /// A user with a connection.
    Connected(UserId),
}

/// Whose tokens, and for what: the class stands before the id, so that no id is another class's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket<'a> {
    User(&'a UserId, &'static str),
    Address(&'a str, &'static str),
    /// A user in one room; in the room's partition.
    Room(&'a RoomName, &'a UserId, &'static str),
}

/// Builds names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// `prefix` has no braces: the configuration sees to it, since they would move the hash tag.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: Arc::from(prefix),
        }
    }

    fn plain(&self, partition: Partition, noun: &str) -> String {
        let mut tag = itoa::Buffer::new();
        [&*self.prefix, ":{", tag.format(TAGS[partition.index()]), "}:", noun].concat()
    }

    fn named(&self, partition: Partition, noun: &str, id: &str) -> String {
        let mut tag = itoa::Buffer::new();
        let tag = tag.format(TAGS[partition.index()]);
        [&*self.prefix, ":{", tag, "}:", noun, ":", id].concat()
    }

    pub fn leases(&self, partition: Partition) -> String {
        self.plain(partition, "leases")
    }

    pub fn grace(&self, partition: Partition) -> String {
        self.plain(partition, "grace")
    }

    pub fn due(&self, partition: Partition) -> String {
        self.plain(partition, "due")
    }

    pub fn todo(&self, partition: Partition) -> String {
        self.plain(partition, "todo")
    }

    /// What Postgres must hear of; there as long as the partition is open.
    pub fn outbox(&self, partition: Partition) -> String {
        self.plain(partition, "outbox")
    }

    /// Which life of the partition's data this is.
    pub fn restored(&self, partition: Partition) -> String {
        self.plain(partition, "restored")
    }

    pub fn swept(&self, partition: Partition) -> String {
        self.plain(partition, "swept")
    }

    pub fn said(&self, partition: Partition) -> String {
        self.plain(partition, "said")
    }

    pub fn node_leases(&self, partition: Partition, node: &NodeId) -> String {
        self.named(partition, "node", node.as_str())
    }

    pub fn connection(&self, user: &UserId, connection: &ConnectionId) -> String {
        self.connection_in(Partition::of_user(user), connection)
    }

    /// The same, of a connection whose user is not known: it lies in one of the partitions.
    pub fn connection_in(&self, partition: Partition, connection: &ConnectionId) -> String {
        self.named(partition, "conn", connection.as_str())
    }

    /// The session that a connection holds: the first part of its id, which stays through all of its lives.
    pub fn session(&self, user: &UserId, pid: &Pid) -> String {
        self.named(Partition::of_user(user), "session", pid.as_str())
    }

    pub fn user(&self, user: &UserId) -> String {
        self.named(Partition::of_user(user), "user", user.as_str())
    }

    pub fn user_connections(&self, user: &UserId) -> String {
        self.named(Partition::of_user(user), "user.conns", user.as_str())
    }

    pub fn user_rooms(&self, user: &UserId) -> String {
        self.named(Partition::of_user(user), "user.rooms", user.as_str())
    }

    pub fn user_log(&self, user: &UserId) -> String {
        self.named(Partition::of_user(user), "user.log", user.as_str())
    }

    pub fn user_channel(&self, user: &UserId) -> String {
        self.named(Partition::of_user(user), "bus.user", user.as_str())
    }

    /// Where presence is told to everybody, one channel per partition, with `REALTIME_PRESENCE_AUDIENCE=all`.
    pub fn presence_channel(&self, partition: Partition) -> String {
        self.plain(partition, "bus.presence")
    }

    /// In the partition of whoever is limited.
    pub fn limit(&self, bucket: &Bucket<'_>) -> String {
        let in_room: String;
        let (partition, class, id) = match bucket {
            Bucket::User(user, class) => (Partition::of_user(user), class, user.as_str()),
            Bucket::Address(address, class) => (Partition::of(address), class, *address),
            Bucket::Room(room, user, class) => {
                in_room = [room.as_str(), "\0", user.as_str()].concat();
                (Partition::of_room(room), class, &*in_room)
            }
        };
        self.named(partition, "limit", &[class, ":", id].concat())
    }

    pub fn room(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room", room.as_str())
    }

    /// Matches every key that [`Keys::room`] makes, and some others, since names may have braces and colons.
    pub fn room_pattern(&self) -> String {
        format!("{}:{{*}}:room:*", glob_escaped(&self.prefix))
    }

    /// The room whose key this is; `None` for every other key.
    pub fn room_of(&self, key: &str) -> Option<RoomName> {
        let (_, name) = key.strip_prefix(&*self.prefix)?.split_once("}:room:")?;
        RoomName::parse(name).ok().filter(|room| self.room(room) == key)
    }

    /// Matches every key with a partition, and perhaps others.
    pub fn pattern(&self) -> String {
        format!("{}:{{*}}:*", glob_escaped(&self.prefix))
    }

    /// Whether a key may have been made here: by its prefix and its hash tag.
    pub fn is_ours(&self, key: &str) -> bool {
        let tag = key.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_prefix(":{"));
        tag.and_then(|rest| rest.split_once("}:"))
            .is_some_and(|(tag, _)| tag == "nodes" || tag.parse().is_ok_and(|tag| TAGS.contains(&tag)))
    }

    /// The noun and the id of a key that has both.
    fn parts_of<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        let (_, rest) = key.strip_prefix(&*self.prefix)?.split_once("}:")?;
        rest.split_once(':')
    }

    /// What a key is counted as; `None` for those that are not counted.
    pub fn counted<'a>(&self, key: &'a str) -> Option<Counted<'a>> {
        match self.parts_of(key)? {
            ("room", name) => Some(Counted::Room(name)),
            ("room.users", name) => Some(Counted::ActiveRoom(name)),
            ("user", id) => UserId::parse(id).ok().map(Counted::Known),
            ("user.conns", id) => UserId::parse(id).ok().map(Counted::Connected),
            _ => None,
        }
    }

    /// What a key belongs to; `None` for those that the leases do not decide over.
    pub fn object_of(&self, key: &str) -> Option<Object> {
        let (noun, id) = self.parts_of(key)?;
        match noun {
            "conn" => ConnectionId::parse(id).ok().map(Object::Connection),
            "user.conns" => UserId::parse(id).ok().map(Object::Connections),
            "user.rooms" => UserId::parse(id).ok().map(Object::Rooms),
            "room.live" | "room.users" | "room.typing" => RoomName::parse(id).ok().map(Object::Room),
            "tombstone" => Some(Object::Tombstone),
            _ => None,
        }
    }

    pub fn room_live(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.live", room.as_str())
    }

    pub fn room_users(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.users", room.as_str())
    }

    pub fn room_policy(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.policy", room.as_str())
    }

    pub fn room_typing(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.typing", room.as_str())
    }

    pub fn room_changes(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.changes", room.as_str())
    }

    pub fn room_history(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "room.history", room.as_str())
    }

    /// Room and user have no control characters, so the client's id, which may have any, stands last.
    pub fn room_dedupe(&self, room: &RoomName, user: &UserId, client_message_id: &str) -> String {
        self.named(
            Partition::of_room(room),
            "room.dedupe",
            &[room.as_str(), "\0", user.as_str(), "\0", client_message_id].concat(),
        )
    }

    /// The room has been told the event of this token.
    pub fn room_emitted(&self, room: &RoomName, token: &str) -> String {
        self.named(Partition::of_room(room), "room.emitted", &format!("{room}\0{token}"))
    }

    /// How many connections the event of this token went to.
    pub fn emitted(&self, token: &str) -> String {
        self.named(Partition::of(token), "emitted", token)
    }

    pub fn room_channel(&self, room: &RoomName) -> String {
        self.named(Partition::of_room(room), "bus.room", room.as_str())
    }

    /// Marks, beside a room, that a connection has ended.
    pub fn tombstone(&self, room: &RoomName, connection: &ConnectionId) -> String {
        self.named(Partition::of_room(room), "tombstone", connection.as_str())
    }

    pub fn nodes(&self) -> String {
        format!("{}:{{nodes}}:nodes", self.prefix)
    }

    pub fn node(&self, node: &NodeId) -> String {
        format!("{}:{{nodes}}:node:{node}", self.prefix)
    }

    /// Somebody wants the node to drain.
    pub fn node_drain(&self, node: &NodeId) -> String {
        format!("{}:{{nodes}}:node.drain:{node}", self.prefix)
    }

    /// Whose the socket was that was sent away by this id.
    pub fn dismissed(&self, id: &str) -> String {
        format!("{}:{{nodes}}:dismissed:{id}", self.prefix)
    }

    pub fn node_ends(&self) -> String {
        format!("{}:{{nodes}}:node.ends", self.prefix)
    }

    /// Whose tokens are no longer good.
    pub fn revocations(&self) -> String {
        format!("{}:{{nodes}}:revocations", self.prefix)
    }

    /// Partitions that were opened without the archive.
    pub fn owed(&self) -> String {
        format!("{}:{{nodes}}:owed", self.prefix)
    }

    /// Which node writes the outboxes to Postgres.
    pub fn sink(&self) -> String {
        format!("{}:{{nodes}}:sink", self.prefix)
    }

    /// What every node hears, in the slot of `{nodes}`.
    pub fn everybody_channel(&self) -> String {
        format!("{}:{{nodes}}:bus.all", self.prefix)
    }

    /// Written by whoever looks whether a master takes writes.
    pub fn check(&self, perch: Perch) -> String {
        match perch {
            Perch::Nodes => format!("{}:{{nodes}}:check", self.prefix),
            Perch::Partition(partition) => self.plain(partition, "check"),
        }
    }

    /// A channel of the node's own.
    pub fn canary(&self, node: &NodeId, perch: Perch) -> String {
        match perch {
            Perch::Nodes => self.node(node),
            Perch::Partition(partition) => self.named(partition, "bus.canary", node.as_str()),
        }
    }
}

fn glob_escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            matches!(c, '*' | '?' | '[' | ']' | '\\')
                .then_some('\\')
                .into_iter()
                .chain([c])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_its_name() {
        let lease = Lease {
            connection: ConnectionId::parse("abc.1").expect("valid"),
            node: NodeId::parse("n1").expect("valid"),
            user: UserId::parse("anon:x@y z").expect("valid"),
        };
        assert_eq!(Lease::decode(&lease.encode()), Some(lease));
        assert_eq!(Lease::decode("no separators"), None);
    }

    #[test]
    fn keys_of_others_are_not_ours() {
        let keys = Keys::new("rt");
        let room = RoomName::parse("a}:b").expect("valid");
        for ours in [keys.room(&room), keys.nodes(), keys.outbox(Partition::of("x"))] {
            assert!(keys.is_ours(&ours), "{ours}");
        }
        for other in [
            "rt:{463}:room:x",
            "rt:{app}:room:x",
            "rt2:{464}:room:x",
            "rt:room",
            "rt:{464}",
        ] {
            assert!(!keys.is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_room_cannot_name_another_key() {
        let keys = Keys::new("rt");
        let room = RoomName::parse("live:x").expect("valid");
        assert!(keys.room(&room).ends_with(":room:live:x"));
        assert_eq!(keys.room_of(&keys.room(&room)), Some(room.clone()));
        let sly = RoomName::parse("a}:room:live:x").expect("valid");
        assert_eq!(keys.room_of(&keys.room(&sly)), Some(sly.clone()));
        assert_eq!(keys.room_of(&keys.room_live(&sly)), None);
        assert_ne!(keys.room(&room), keys.room_live(&RoomName::parse("x").expect("valid")));
    }
}
