//! What travels on the bus: a first line of fields, then the rest. Scripts write it, every node reads it. Not here: what
//! clients see of it (`gateway::protocol`).
//!
//! | first line | lines behind |
//! |---|---|
//! | `m <epoch> <seq> <sent_ms>` | the message's JSON object without its closing brace |
//! | `j <epoch> <rev> <at_ms> <version> <connection>` | user, presence JSON |
//! | `l <epoch> <rev> <at_ms> <version> <reason>` | user, presence JSON or nothing |
//! | `p <version> <connection or ->` | user, rooms JSON, presence JSON |
//! | `t` | thread, room type, the user who is not told, JSON list of [user, started_ms] |
//! | `c <count>` | |
//! | `r <at_ms> user` or `r <at_ms> token` | the id that was revoked |
//! | `! <outage_ms>` | said by the node's own bus: the subscription was interrupted, and stands again |

use std::time::Duration;

use crate::hot::presence;
use crate::hot::revocations::{Revocation, Subject};
use crate::types::{LeaveReason, Presence, RoomName, UserId};

/// Longest frame that is read; a longer one is no frame of ours.
pub const FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One event of the bus.
#[derive(Debug, Clone, PartialEq)]
pub enum BusEvent {
    Message {
        epoch: String,
        seq: u64,
        sent_ms: i64,
        body: String,
    },
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
    /// Whatever was published for this long may not have come.
    Restored {
        outage_ms: u64,
    },
    Count {
        members: u64,
    },
    Revoked(Revocation),
}

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
        "m" => Some(BusEvent::Message {
            epoch: fields.next()?.to_owned(),
            seq: fields.next()?.parse().ok()?,
            sent_ms: fields.next()?.parse().ok()?,
            body: rest.to_owned(),
        }),
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
        "!" => Some(BusEvent::Restored {
            outage_ms: fields.next()?.parse().ok()?,
        }),
        "r" => {
            let at_ms = fields.next()?.parse().ok()?;
            let subject = Subject::parse(fields.next()?, rest)?;
            Some(BusEvent::Revoked(Revocation { subject, at_ms }))
        }
        "c" => Some(BusEvent::Count {
            members: fields.next()?.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_keeps_its_lines() {
        let event = decode(b"m e1 7 1700000000000\n{\"content\":\"a\nb\"").expect("a frame");
        let body = "{\"content\":\"a\nb\"".to_owned();
        assert_eq!(
            event,
            BusEvent::Message {
                epoch: "e1".into(),
                seq: 7,
                sent_ms: 1_700_000_000_000,
                body
            }
        );
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
        fn no_text_is_too_strange(head in "[mjlptcr]( [a-z0-9-]{0,6}){0,6}", rest in "(\n[ -~]{0,12}){0,5}") {
            let _ = decode(format!("{head}{rest}").as_bytes());
        }
    }
}
