//! The calls of connections' lives, in the order of a life: rooms of ten in which everybody speaks.

use std::cell::OnceCell;
use std::time::Duration;

use nself_realtime::hot::Hot;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::messages::{self, Send, SendRequest};
use nself_realtime::hot::presence::{self, Connect, Enter, Facts, Held};
use nself_realtime::hot::rooms::{self, Join, JoinRequest, LeaveRequest, Making};
use nself_realtime::hot::typing::{self, Mark, Typing};
use nself_realtime::types::{ConnectionId, LeaveReason, NodeId, Presence, RoomName, UserId};

use crate::Table;

const MEMBERS: usize = 10;
/// Messages of one call under load.
const BATCH: usize = 16;
/// Bytes of what is said.
const CONTENT: usize = 200;
/// Members that a join is shown.
const SHOWN: u32 = 100;
const TYPES_FOR: Duration = Duration::from_secs(5);

/// One connection of one user, and the room it is in.
struct Member {
    lease: Lease,
    room: RoomName,
    body: String,
    /// As the first half of the join gave it.
    presence: OnceCell<Presence>,
}

/// Everybody, by rooms.
pub struct Life(Vec<Member>);

impl Life {
    /// At least one room of ten.
    pub fn new(connections: usize) -> Self {
        let node = NodeId::parse("n1").expect("a valid id");
        let member = |number: usize| {
            let (user, room) = (format!("user-{number}"), format!("auto:{}", number / MEMBERS));
            let body = serde_json::json!({ "roomName": room, "content": "x".repeat(CONTENT), "userId": user });
            let body = body.to_string();
            Member {
                lease: Lease {
                    connection: ConnectionId::parse(&format!("{number:020}.0")).expect("a valid id"),
                    node: node.clone(),
                    user: UserId::parse(&user).expect("a valid id"),
                },
                room: RoomName::parse(&room).expect("a valid name"),
                body: body.trim_end_matches('}').to_owned(),
                presence: OnceCell::new(),
            }
        };
        Self((0..connections.next_multiple_of(MEMBERS)).map(member).collect())
    }

    /// What a node listens to that holds them all.
    pub fn channels(&self, hot: &Hot) -> Vec<String> {
        let rooms = self.0.iter().step_by(MEMBERS);
        rooms.map(|member| hot.keys().room_channel(&member.room)).collect()
    }
}

impl Member {
    fn says(&self) -> SendRequest<'_> {
        SendRequest {
            lease: &self.lease,
            room: &self.room,
            body: &self.body,
            client_message_id: None,
            listens_only: false,
            tokens: 1,
        }
    }

    fn types(&self) -> Mark<'_> {
        Mark {
            lease: &self.lease,
            room: &self.room,
            thread: "",
            room_type: "",
        }
    }
}

/// Every line asserts that what it measures was done: a refusal would be cheap.
pub async fn run(hot: &Hot, table: &Table, life: &Life) {
    let everybody = || life.0.iter();
    let facts = Facts {
        transport: "websocket".to_owned(),
        ip: "203.0.113.7".to_owned(),
        agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".to_owned(),
        recovers: true,
        ..Facts::default()
    };
    let connects = everybody().map(async |member| {
        let connected = presence::connect(hot, &member.lease, &facts, None).await;
        assert!(matches!(connected, Ok(Connect::Connected { .. })), "{connected:?}");
        1
    });
    table.row("presence/connect, a connection", connects).await;
    let enters = everybody().map(async |member| {
        let entered = presence::enter(hot, &member.lease, &member.room, None).await;
        let Ok((Enter::Entered(presence), _)) = entered else {
            panic!("{entered:?}");
        };
        member.presence.set(presence).expect("everybody enters once");
        1
    });
    table.row("presence/enter, a join", enters).await;
    let joins = everybody().map(async |member| {
        let request = JoinRequest {
            lease: &member.lease,
            room: &member.room,
            presence: member.presence.get().expect("everybody entered"),
            autocreate: Some(Making::CHANNEL),
            is_named: false,
            known: None,
            members: SHOWN,
            since: None,
        };
        let joined = rooms::join(hot, &request).await;
        assert!(matches!(joined, Ok(Join::Joined(_))), "{joined:?}");
        1
    });
    table.row("rooms/join, a join", joins).await;

    speak(hot, table, life).await;

    let starts = everybody().map(async |member| {
        let started = typing::start(hot, &member.types(), TYPES_FOR).await;
        assert!(matches!(started, Ok(Typing::Done)), "{started:?}");
        1
    });
    table.row("typing/start, a mark", starts).await;
    let stops = everybody().map(async |member| {
        let stopped = typing::stop(hot, &member.types()).await;
        assert!(matches!(stopped, Ok(Typing::Done)), "{stopped:?}");
        1
    });
    table.row("typing/stop, a mark", stops).await;

    renew(hot, table, life).await;

    let leaves = everybody().map(async |member| {
        let request = LeaveRequest {
            lease: &member.lease,
            room: &member.room,
            reason: LeaveReason::Left,
            presence: None,
            ended: false,
        };
        let left = rooms::leave(hot, &request).await;
        assert!(matches!(&left, Ok(Some(left)) if left.last), "{left:?}");
        1
    });
    table.row("rooms/leave, a leave", leaves).await;
    let exits = everybody().map(async |member| {
        let lease = &member.lease;
        let exited = presence::exit(hot, &lease.user, &lease.connection, &member.room).await;
        exited.expect("redis answers");
        1
    });
    table.row("presence/exit, a leave", exits).await;
    let ends = everybody().map(async |member| {
        let finished = presence::finish(hot, &member.lease, "left").await;
        assert!(matches!(finished, Ok(Some(_))), "{finished:?}");
        1
    });
    table.row("presence/finish, a connection", ends).await;
}

/// A call is of one partition.
fn by_partition<'a>(
    members: impl Iterator<Item = &'a Member>,
    partition_of: impl Fn(&Member) -> Partition,
) -> Vec<(Partition, Vec<&'a Member>)> {
    let mut partitions: Vec<_> = Partition::all().map(|partition| (partition, Vec::new())).collect();
    members.for_each(|member| partitions[partition_of(member).index()].1.push(member));
    partitions.retain(|(_, members)| !members.is_empty());
    partitions
}

async fn speak(hot: &Hot, table: &Table, life: &Life) {
    let say = async |requests: Vec<SendRequest<'_>>| {
        let sent = messages::send(hot, &requests, 0).await.expect("redis answers");
        assert!(sent.iter().all(|sent| matches!(sent, Send::Sent(_))), "{sent:?}");
        sent.len()
    };
    let alone = life.0.iter().map(|member| say(vec![member.says()]));
    table.row("messages/send, a message by itself", alone).await;
    let of_a_room = life.0.chunks(MEMBERS).map(|room| {
        let speakers = room.iter().cycle().take(BATCH);
        say(speakers.map(Member::says).collect())
    });
    table.row("messages/send, one of a room's", of_a_room).await;
    // One of every room: what is said at the same time in many small ones.
    let speakers = by_partition(life.0.iter().step_by(MEMBERS), |member| {
        Partition::of_room(&member.room)
    });
    let turns = (0..MEMBERS).flat_map(|_| &speakers);
    let of_rooms = turns.flat_map(|(_, speakers)| speakers.chunks(BATCH));
    let of_rooms = of_rooms.map(|speakers| say(speakers.iter().map(|member| member.says()).collect()));
    table.row("messages/send, one of many rooms'", of_rooms).await;
}

async fn renew(hot: &Hot, table: &Table, life: &Life) {
    for (name, idle) in [
        ("presence/renew, an idle lease", None),
        ("presence/renew, an active lease", Some(Duration::ZERO)),
    ] {
        let members = by_partition(life.0.iter(), |member| Partition::of_user(&member.lease.user));
        let rounds = members.iter().map(async |(partition, members)| {
            let held = members.iter().map(|member| Held {
                lease: member.lease.clone(),
                idle,
            });
            let held: Vec<Held> = held.collect();
            let missing = presence::renew(hot, *partition, &held).await;
            assert!(missing.expect("redis answers").is_empty(), "every lease is there");
            held.len()
        });
        table.row(name, rounds).await;
    }
}
