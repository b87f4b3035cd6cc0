//! Why a user is shown so: the rule that made the status, and all that it stands on. Not here: how it is printed.

use crate::hot::{self, Hot, HotError};
use crate::types::{Presence, Status, UserId};

pub use crate::hot::explain::{Connection, Explained, State, Transition};

/// The rule that made a status; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nobody is connected.
    NotConnected,
    /// The user chose it.
    Chosen,
    /// No device was active for long.
    Inactive,
    /// Somebody is connected, and nothing else applies.
    Connected,
}

impl Rule {
    /// The rule behind a presence; `connections` counts those that stand, in grace too.
    pub fn of(presence: &Presence, connections: usize) -> Self {
        match (presence.status, presence.chosen) {
            _ if connections == 0 => Self::NotConnected,
            (_, Some(_)) => Self::Chosen,
            (Status::Away, None) => Self::Inactive,
            _ => Self::Connected,
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "no device is connected",
            Self::Chosen => "the user chose it",
            Self::Inactive => "no device was active for long",
            Self::Connected => "a device is connected",
        }
    }
}

/// Looks at one user, as everything was at one moment.
pub async fn explain(hot: &Hot, user: &UserId) -> Result<(Rule, Explained), HotError> {
    let explained = hot::explain::explain(hot, user).await?;
    let rule = Rule::of(&explained.presence, explained.connections.len());
    Ok((rule, explained))
}
