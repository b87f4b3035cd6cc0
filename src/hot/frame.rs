//! What travels on the bus: a first line of fields, then the rest. Scripts write it, every node reads it. Not here: what
//! clients see of it (`gateway::protocol`).
//!
//! | first line | lines behind |
//! |---|---|
//! | `m <epoch> <seq> <sent_ms> <master>.<position> <token>` | the message's JSON object without its closing brace |
//! | `s <length>…` | several messages of a room, one behind the other, each so many bytes long |
//! | `j <epoch> <rev> <at_ms> <version> <connection>` | user, presence JSON |
//! | `l <epoch> <rev> <at_ms> <version> <reason>` | user, presence JSON or nothing |
//! | `p <version> <connection or ->` | user, rooms JSON, presence JSON |
//! | `t` | thread, room type, the user who is not told, JSON list of [user, started_ms] |
//! | `c <count>` | |
//! | `e <epoch> <seq> <rev> <token or ->` | an event that the gateway has no part in: its name, its payload as JSON; the token says in several rooms that it is the same |
//! | `r <at_ms> user` or `r <at_ms> token` | the id that was revoked |
//! | `d` | connections, one a line: whoever holds one sends it away |
//! | `x <epoch> <rev> <at_ms>` | the room is closed |
//! | `b` | what this node published through a channel of its own: it is for the bus alone |
//! | `?` | said by the node's own bus: the subscription is interrupted |
//! | `! <outage_ms>` | said by the node's own bus: it stands again |

use std::fmt;
use std::str::{FromStr, Split};
use std::time::Duration;

use crate::hot::presence;
use crate::hot::revocations::{Revocation, Subject};
use crate::types::{LeaveReason, Presence, RoomName, UserId};

/// What the node published through a channel of its own.
pub const BEAT: &[u8] = b"b";

/// Longest frame that is read; a longer one is no frame of ours.
pub const FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Where a message stands among those of all rooms that one master has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The beginning of the master's replication id: positions of two masters do not compare.
    pub master: String,
    /// µs of its clock; rising with each message, unless the clock is set back.
    pub at_us: u64,
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (master, at_us) = text.split_once('.').ok_or(InvalidPosition)?;
        let is_master = master.len() <= MASTER_LEN && master.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match at_us.parse() {
            Ok(at_us) if is_master => Ok(Self {
                master: master.to_owned(),
                at_us,
            }),
            _ => Err(InvalidPosition),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.master, self.at_us)
    }
}

/// A text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no position of a message")]
pub struct InvalidPosition;

/// Characters of a replication id that name a master.
const MASTER_LEN: usize = 8;

/// What somebody said, as the history keeps it too.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub epoch: String,
    pub seq: u64,
    pub sent_ms: i64,
    pub position: Position,
    /// The event's JSON object without its closing brace.
    pub body: String,
}

impl Message {
    fn decode(mut fields: Split<'_, char>, body: &str) -> Option<Self> {
        Some(Self {
            epoch: fields.next()?.to_owned(),
            seq: fields.next()?.parse().ok()?,
            sent_ms: fields.next()?.parse().ok()?,
            position: fields.next()?.parse().ok()?,
            body: body.to_owned(),
        })
    }
}

/// One event of the bus.
#[derive(Debug, Clone, PartialEq)]
pub enum BusEvent {
    Message(Message),
    /// What was said in a room at once, in order.
    Messages(Vec<Message>),
    Joined {
        epoch: String,
        rev: u64,
        at_ms: i64,
        origin: String,
        user: UserId,
        presence: Presence,
    },
    Left {
        epoch: String,
        rev: u64,
        at_ms: i64,
        reason: LeaveReason,
        user: UserId,
        presence: Option<Presence>,
    },
    /// `rooms`: where the user could be met, on the user's own channel.
    Presence {
        origin: Option<String>,
        user: UserId,
        rooms: Vec<RoomName>,
        presence: Presence,
    },
    Typing {
        thread: Option<String>,
        room_type: Option<String>,
        except: Option<UserId>,
        users: Vec<(UserId, i64)>,
    },
    /// Nothing comes any more, until it is restored.
    Interrupted,
    /// Whatever was published for this long may not have come.
    Restored {
        outage_ms: u64,
    },
    Count {
        members: u64,
    },
    /// For whoever was in the room at this place of its order.
    Emitted {
        epoch: String,
        seq: u64,
        rev: u64,
        /// The event is of several rooms: this is the same one in each.
        token: Option<String>,
        event: String,
        /// JSON.
        payload: String,
    },
    Revoked(Revocation),
    /// Whoever holds a socket that has one of these ids, or whose connection has it, sends it away.
    Dismissed(Vec<String>),
    /// Everybody is out of the room, and the room is no more.
    Closed {
        epoch: String,
        rev: u64,
        at_ms: i64,
    },
}

impl BusEvent {
    /// When what has a place in a room's order happened, Unix ms of Redis; 0 for everything else.
    pub fn at_ms(&self) -> i64 {
        match self {
            Self::Message(message) => message.sent_ms,
            Self::Joined { at_ms, .. } | Self::Left { at_ms, .. } => *at_ms,
            _ => 0,
        }
    }
}

/// What a node's own bus says where nothing is heard any more.
pub const INTERRUPTED: &[u8] = b"?";

/// What a node's own bus says where a subscription stands again after an outage.
pub fn restored(outage: Duration) -> String {
    format!("! {}", outage.as_millis())
}

/// Reads a frame. `None`: none of ours, or damaged; it is dropped and counted.
pub fn decode(payload: &[u8]) -> Option<BusEvent> {
    if payload.len() > FRAME_MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut fields = head.split(' ');
    match fields.next()? {
        "m" => Message::decode(fields, rest).map(BusEvent::Message),
        "s" => several(fields, rest).map(BusEvent::Messages),
        "j" => {
            let (epoch, rev, at_ms) = (
                fields.next()?.to_owned(),
                fields.next()?.parse().ok()?,
                fields.next()?.parse().ok()?,
            );
            let (version, origin) = (fields.next()?.parse().ok()?, fields.next()?.to_owned());
            let (user, json) = rest.split_once('\n')?;
            let presence = presence::decode(version, json)?;
            Some(BusEvent::Joined {
                epoch,
                rev,
                at_ms,
                origin,
                user: UserId::parse(user).ok()?,
                presence,
            })
        }
        "l" => {
            let (epoch, rev, at_ms) = (
                fields.next()?.to_owned(),
                fields.next()?.parse().ok()?,
                fields.next()?.parse().ok()?,
            );
            let (version, reason) = (fields.next()?.parse().ok()?, LeaveReason::parse(fields.next()?)?);
            let (user, json) = rest.split_once('\n')?;
            let presence = presence::decode(version, json);
            Some(BusEvent::Left {
                epoch,
                rev,
                at_ms,
                reason,
                user: UserId::parse(user).ok()?,
                presence,
            })
        }
        "p" => {
            let version = fields.next()?.parse().ok()?;
            let origin = Some(fields.next()?).filter(|origin| *origin != "-").map(str::to_owned);
            let mut lines = rest.splitn(3, '\n');
            let user = UserId::parse(lines.next()?).ok()?;
            let rooms: Vec<String> = serde_json::from_str(lines.next()?).ok()?;
            let presence = presence::decode(version, lines.next()?)?;
            let rooms = rooms.iter().filter_map(|room| RoomName::parse(room).ok()).collect();
            Some(BusEvent::Presence {
                origin,
                user,
                rooms,
                presence,
            })
        }
        "t" => {
            let mut lines = rest.splitn(4, '\n');
            let mut optional = || lines.next().map(|line| Some(line).filter(|line| !line.is_empty()));
            let (thread, room_type, except) = (optional()?, optional()?, optional()?);
            let users: Vec<(String, f64)> = serde_json::from_str(lines.next()?).ok()?;
            Some(BusEvent::Typing {
                thread: thread.map(str::to_owned),
                room_type: room_type.map(str::to_owned),
                except: except.and_then(|user| UserId::parse(user).ok()),
                users: users
                    .into_iter()
                    .filter_map(|(user, started_ms)| Some((UserId::parse(&user).ok()?, started_ms as i64)))
                    .collect(),
            })
        }
        "?" => Some(BusEvent::Interrupted),
        "!" => Some(BusEvent::Restored {
            outage_ms: fields.next()?.parse().ok()?,
        }),
        "r" => {
            let at_ms = fields.next()?.parse().ok()?;
            let subject = Subject::parse(fields.next()?, rest)?;
            Some(BusEvent::Revoked(Revocation { subject, at_ms }))
        }
        "e" => {
            let (epoch, seq, rev) = (
                fields.next()?.to_owned(),
                fields.next()?.parse().ok()?,
                fields.next()?.parse().ok()?,
            );
            let token = Some(fields.next()?).filter(|token| *token != "-").map(str::to_owned);
            let (event, payload) = rest.split_once('\n')?;
            Some(BusEvent::Emitted {
                epoch,
                seq,
                rev,
                token,
                event: event.to_owned(),
                payload: payload.to_owned(),
            })
        }
        "d" => Some(BusEvent::Dismissed(rest.split('\n').map(str::to_owned).collect())),
        "x" => Some(BusEvent::Closed {
            epoch: fields.next()?.to_owned(),
            rev: fields.next()?.parse().ok()?,
            at_ms: fields.next()?.parse().ok()?,
        }),
        "c" => Some(BusEvent::Count {
            members: fields.next()?.parse().ok()?,
        }),
        _ => None,
    }
}

fn several(lengths: Split<'_, char>, mut rest: &str) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    for length in lengths {
        let (frame, behind) = rest.split_at_checked(length.parse().ok()?)?;
        let (head, body) = frame.split_once('\n')?;
        messages.push(Message::decode(head.strip_prefix("m ")?.split(' '), body)?);
        rest = behind;
    }
    rest.is_empty().then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_keeps_its_lines() {
        let event =
            decode(b"m e1 7 1700000000000 0a1b2c3d.1700000000000123 c.1/2\n{\"content\":\"a\nb\"").expect("a frame");
        let message = Message {
            epoch: "e1".into(),
            seq: 7,
            sent_ms: 1_700_000_000_000,
            position: Position {
                master: "0a1b2c3d".into(),
                at_us: 1_700_000_000_000_123,
            },
            body: "{\"content\":\"a\nb\"".to_owned(),
        };
        assert_eq!(event, BusEvent::Message(message));
    }

    #[test]
    fn several_messages_are_told_apart_by_their_lengths() {
        let frames = ["m e 7 5 aa.1 c/1\n{\"content\":\"ä\nm e 8\"", "m e 8 5 aa.2 c/2\n{"];
        let lengths = frames.map(|frame| frame.len().to_string()).join(" ");
        let each = |frame: &str| match decode(frame.as_bytes()) {
            Some(BusEvent::Message(message)) => message,
            other => panic!("{other:?}"),
        };
        let joined = format!("s {lengths}\n{}", frames.concat());
        assert_eq!(
            decode(joined.as_bytes()),
            Some(BusEvent::Messages(frames.map(each).to_vec()))
        );
        for damaged in [
            format!("{joined}x"),
            joined[..joined.len() - 1].to_owned(),
            format!("s 1\n{}", frames[0]),
        ] {
            assert_eq!(decode(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_leave_may_come_without_a_presence() {
        let event = decode(b"l e1 3 5 0 left\nalice\n").expect("a frame");
        assert!(matches!(
            event,
            BusEvent::Left {
                presence: None,
                rev: 3,
                reason: LeaveReason::Left,
                ..
            }
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_text_is_too_strange(head in "[msjlptcrxed]( [a-z0-9-]{0,6}){0,6}", rest in "(\n[ -~]{0,12}){0,5}") {
            let _ = decode(format!("{head}{rest}").as_bytes());
        }
    }
}
