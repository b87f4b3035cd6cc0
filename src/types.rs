//! The words that every layer shares: ids, parsed once at the edge, and the closed sets of the domain.
//! Not here: wire formats (`gateway::protocol`), key names (`hot::keys`).

use std::fmt;
use std::sync::Arc;

/// Longest room name in bytes.
pub const ROOM_NAME_MAX_BYTES: usize = 255;
/// Longest user id in bytes, as the archive's columns hold it.
pub const USER_ID_MAX_BYTES: usize = 255;
/// Longest token id in bytes; a longer one is none, and its token is revoked with its user alone.
pub const TOKEN_ID_MAX_BYTES: usize = 255;

/// Why a text is no valid id. The message names the rule, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {0} bytes")]
    TooLong(usize),
    #[error("must not contain control characters")]
    ControlCharacter,
}

fn checked(text: &str, max_bytes: usize) -> Result<Arc<str>, InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > max_bytes {
        return Err(InvalidId::TooLong(max_bytes));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::ControlCharacter);
    }
    Ok(Arc::from(text))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses what came from outside: 1 to the limit of bytes, no control characters.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                checked(text, $max).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

text_id!(
    /// A room's name, as clients write it: 1–255 bytes, no control characters.
    RoomName,
    ROOM_NAME_MAX_BYTES
);
text_id!(
    /// A user's id, from the token, or `anon:<sid>`.
    UserId,
    USER_ID_MAX_BYTES
);
text_id!(
    /// `<pid>.<incarnation>`: one life of one socket, never used again. The pid is the first socket's id.
    ConnectionId,
    128
);
text_id!(
    /// What a stock client shows when it comes back: the first part of the ids of all connections that it had, 120 random
    /// bits.
    Pid,
    64
);
text_id!(
    /// A gateway process: `REALTIME_NODE_ID`, random by default. 1–64 bytes.
    NodeId,
    64
);

/// So many a minute, and so many at once after a pause: GCRA's interval and burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_minute: u32,
    burst: u32,
}

impl Rate {
    /// Neither number is larger.
    pub const MAX: u32 = 10_000_000;

    /// `None` unless both are from 1 to [`Rate::MAX`].
    pub fn new(per_minute: u32, burst: u32) -> Option<Self> {
        let is_sound = |number| (1..=Self::MAX).contains(&number);
        (is_sound(per_minute) && is_sound(burst)).then_some(Self { per_minute, burst })
    }

    /// `<a minute>/<at once>`, or one number for both.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| text.parse().ok()).flatten()
        };
        let (per_minute, burst) = text.split_once('/').unwrap_or((text, text));
        Self::new(number(per_minute)?, number(burst)?)
    }

    pub fn per_minute(self) -> u32 {
        self.per_minute
    }

    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Between two tokens, µs; rounded down, so that nobody gets less than the setting says.
    pub fn interval_us(self) -> u64 {
        60_000_000 / u64::from(self.per_minute)
    }
}
text_id!(
    /// A token's own id (`jti`): 1–255 bytes, no control characters.
    TokenId,
    TOKEN_ID_MAX_BYTES
);

/// Marks the user ids of sockets without a token.
pub const ANONYMOUS_PREFIX: &str = "anon:";

impl ConnectionId {
    /// A further life of what `pid` names; the incarnation is random, since another node may have had the one before.
    pub fn draw(pid: &Pid) -> Self {
        Self(Arc::from(format!("{pid}.{:x}", rand::random::<u64>())))
    }

    /// What a stock client shows when it comes back.
    pub fn pid(&self) -> Pid {
        let pid = self.0.split_once('.').map_or(&*self.0, |(pid, _)| pid);
        Pid(Arc::from(pid))
    }
}

impl UserId {
    /// The user id of a socket that showed no token.
    pub fn anonymous(sid: &str) -> Self {
        Self(Arc::from(format!("{ANONYMOUS_PREFIX}{sid}")))
    }

    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with(ANONYMOUS_PREFIX)
    }
}

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every value, as it is written.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed_set!(
    /// What others see of a user.
    Status { Online => "online", Away => "away", Busy => "busy", Offline => "offline" }
);
closed_set!(
    /// What a room is for; `broadcast` rooms are spoken in by moderators and admins only.
    RoomType { Channel => "channel", Dm => "dm", Group => "group", Broadcast => "broadcast" }
);
closed_set!(
    /// Who may find and join a room.
    Visibility { Public => "public", Private => "private", Secret => "secret" }
);
closed_set!(
    /// What a user may do in a room.
    Role { Admin => "admin", Moderator => "moderator", Member => "member", Guest => "guest" }
);

/// What others see of a user, and which version of it this is (µs, only rising per user).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub version: u64,
    /// What others see.
    pub status: Status,
    /// What the user chose, also while nobody sees it.
    pub chosen: Option<Status>,
    pub text: Option<String>,
    pub emoji: Option<String>,
    /// The end of text and emoji, Unix ms.
    pub until_ms: Option<i64>,
    /// When the user was last here, Unix ms; only of those who are offline.
    pub seen_ms: Option<i64>,
}

impl Presence {
    /// Nobody has heard of this user, or nobody may.
    pub const UNKNOWN: Self = Self {
        version: 0,
        status: Status::Offline,
        chosen: None,
        text: None,
        emoji: None,
        until_ms: None,
        seen_ms: None,
    };

    /// Away because nobody was active, not because the user chose it.
    pub fn is_idle(&self) -> bool {
        self.status == Status::Away && self.chosen.is_none()
    }
}

closed_set!(
    /// Why a user is no longer in a room.
    LeaveReason { Left => "left", Disconnected => "disconnected", Kicked => "kicked", Banned => "banned" }
);
