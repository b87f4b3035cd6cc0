//! What the name of a room says where rooms are named as nchat names them: what a room is that a join makes, and whom it
//! lets in. Not here: which names are made at all (`REALTIME_ROOM_AUTOCREATE`), and what a room that is there says itself.
//!
//! nchat's clients join `dm:<id>` by that name, and nobody invites them. So a name of two users is the invitation of both,
//! and of nobody else; any other id names nobody, and the room is whose who comes first, until the administration invites.

use crate::hot::rooms::Making;
use crate::types::{RoomName, RoomType, UserId, Visibility};

/// Between the two users of a direct room; each stands once.
const BETWEEN: [char; 2] = [':', ','];
/// Between two UUIDs, which hold hyphens themselves.
const BETWEEN_UUIDS: [u8; 4] = *b":,-_";
/// Length of a UUID as it is written.
const UUID_BYTES: usize = 36;

/// How a user stands to a room by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The name says nothing of the user: the room decides.
    Unnamed,
    /// The name is an invitation.
    Named,
    /// Nobody but whom the name says, whatever the room says.
    Barred,
}

/// What a user who comes to a room finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    pub standing: Standing,
    /// What the room is when the user makes it; `None`: the user may not.
    pub making: Option<Making>,
}

/// The door of a room for a user. `nchat`: rooms are named so.
pub fn door(nchat: bool, room: &RoomName, user: &UserId) -> Door {
    let open = Door {
        standing: Standing::Unnamed,
        making: Some(Making::CHANNEL),
    };
    if !nchat {
        return open;
    }
    match room.as_str().split_once(':') {
        Some(("user", id)) => private(RoomType::Channel, id == user.as_str(), user, Standing::Barred),
        Some(("dm", id)) => match pair(id) {
            Some((one, other)) => {
                let is_named = [one, other].contains(&user.as_str());
                private(RoomType::Dm, is_named, user, Standing::Unnamed)
            }
            None => Door {
                standing: Standing::Unnamed,
                making: (!user.is_anonymous()).then_some(Making {
                    kind: RoomType::Dm,
                    visibility: Visibility::Private,
                }),
            },
        },
        _ => open,
    }
}

/// A room of those whom its name says; to others it is what `otherwise` says. Who has no token has no name.
fn private(kind: RoomType, is_named: bool, user: &UserId, otherwise: Standing) -> Door {
    let is_named = is_named && !user.is_anonymous();
    Door {
        standing: if is_named { Standing::Named } else { otherwise },
        making: is_named.then_some(Making {
            kind,
            visibility: Visibility::Private,
        }),
    }
}

/// The two users that a direct room's id names. Where it could be read in two ways it names nobody: an id that holds a
/// hyphen by chance must not be taken for two names, nor one half of a name for a whole one.
fn pair(id: &str) -> Option<(&str, &str)> {
    if let Some(pair) = uuids(id) {
        return Some(pair);
    }
    let mut parts = id.split(BETWEEN);
    let pair = (parts.next()?, parts.next()?);
    let is_pair = parts.next().is_none() && !pair.0.is_empty() && !pair.1.is_empty();
    is_pair.then_some(pair)
}

fn uuids(id: &str) -> Option<(&str, &str)> {
    let is_pair = id.len() == 2 * UUID_BYTES + 1 && id.is_ascii() && BETWEEN_UUIDS.contains(&id.as_bytes()[UUID_BYTES]);
    let pair = is_pair.then(|| (&id[..UUID_BYTES], &id[UUID_BYTES + 1..]))?;
    (is_uuid(pair.0) && is_uuid(pair.1)).then_some(pair)
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door_of(room: &str, user: &str) -> (Standing, Option<(RoomType, Visibility)>) {
        let door = door(true, &RoomName::parse(room).unwrap(), &UserId::parse(user).unwrap());
        (
            door.standing,
            door.making.map(|making| (making.kind, making.visibility)),
        )
    }

    const DM: Option<(RoomType, Visibility)> = Some((RoomType::Dm, Visibility::Private));

    #[test]
    fn a_users_room_is_for_that_user_alone() {
        let own = Some((RoomType::Channel, Visibility::Private));
        for user in ["ada", "a:b", "a,b"] {
            assert_eq!(door_of(&format!("user:{user}"), user), (Standing::Named, own));
        }
        for (room, user) in [
            ("user:ada", "bob"),
            ("user:ada", "Ada"),
            ("user:", "ada"),
            ("user:a:b", "a"),
        ] {
            assert_eq!(door_of(room, user), (Standing::Barred, None), "{room} {user}");
        }
        assert_eq!(door_of("user:anon:x", "anon:x"), (Standing::Barred, None));
    }

    #[test]
    fn a_pair_of_names_is_an_invitation_of_both() {
        let (one, other) = (
            "0b8f3c1e-5a52-4c7d-9d0e-7f1d4a3b2c10",
            "9a7b6c5d-1e2f-4a3b-8c9d-0e1f2a3b4c5d",
        );
        let rooms = [
            format!("dm:{one}-{other}"),
            format!("dm:{one}_{other}"),
            format!("dm:{one}:{other}"),
        ];
        for room in &rooms {
            for user in [one, other] {
                assert_eq!(door_of(room, user), (Standing::Named, DM), "{room} {user}");
            }
        }
        for room in ["dm:ada:bob", "dm:ada,bob"] {
            for user in ["ada", "bob"] {
                assert_eq!(door_of(room, user), (Standing::Named, DM), "{room} {user}");
            }
            for user in ["eve", "ad", "ada:bob", "dm"] {
                assert_eq!(door_of(room, user), (Standing::Unnamed, None), "{room} {user}");
            }
        }
        assert_eq!(door_of("dm:ada,anon:x", "anon:x"), (Standing::Unnamed, None));
    }

    /// A half of a name, or one of three, is not let in by it.
    #[test]
    fn an_id_that_names_nobody_is_of_whoever_comes_first() {
        let one = "0b8f3c1e-5a52-4c7d-9d0e-7f1d4a3b2c10";
        for (room, user) in [
            ("dm:ada-bob", "ada"),
            ("dm:ada_bob", "bob"),
            ("dm:a:b:c", "a"),
            ("dm:ada:", "ada"),
            (&*format!("dm:{one}"), one),
        ] {
            assert_eq!(door_of(room, user), (Standing::Unnamed, DM), "{room} {user}");
        }
        assert_eq!(door_of("dm:7", "anon:x"), (Standing::Unnamed, None));
    }

    #[test]
    fn every_other_name_is_a_public_channel() {
        let channel = Some((RoomType::Channel, Visibility::Public));
        for room in ["channel:7", "thread:7", "users:ada", "lobby", "dm", "DM:ada:bob"] {
            assert_eq!(door_of(room, "eve"), (Standing::Unnamed, channel), "{room}");
        }
        let (room, eve) = (RoomName::parse("user:ada").unwrap(), UserId::parse("eve").unwrap());
        assert_eq!(
            door(false, &room, &eve).making,
            Some(Making::CHANNEL),
            "elsewhere it is a name"
        );
    }
}
