//! How presence travels in replies and on the bus: JSON beside its version. Not here: what travels around it (`frame`).

use serde::{Deserialize, Serialize};

use super::super::reply::{Reply, UnexpectedReply};
use crate::types::{Presence, RoomName, Status};

/// Times in Unix ms.
#[derive(Debug, Serialize, Deserialize)]
struct Encoded {
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emoji: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<f64>,
}

impl Encoded {
    fn presence(self, version: u64) -> Option<Presence> {
        let instant = |ms: Option<f64>| ms.map(|ms| ms as i64).filter(|&ms| ms > 0);
        Some(Presence {
            version,
            status: Status::parse(&self.status)?,
            chosen: self.chosen.as_deref().and_then(Status::parse),
            text: self.text,
            emoji: self.emoji,
            until_ms: instant(self.until),
            seen_ms: instant(self.seen),
        })
    }
}

/// The JSON of a presence, without its version.
pub fn encode(presence: &Presence) -> String {
    let encoded = Encoded {
        status: presence.status.as_str().to_owned(),
        chosen: presence.chosen.map(|status| status.as_str().to_owned()),
        text: presence.text.clone(),
        emoji: presence.emoji.clone(),
        until: presence.until_ms.map(|ms| ms as f64),
        seen: presence.seen_ms.map(|ms| ms as f64),
    };
    serde_json::to_string(&encoded).expect("a struct of strings is always JSON")
}

/// The presence in a JSON that [`encode`] or a script made.
pub fn decode(version: u64, json: &str) -> Option<Presence> {
    serde_json::from_str::<Encoded>(json).ok()?.presence(version)
}

impl Reply {
    /// Two values: version, presence JSON.
    pub(in crate::hot) fn presence(&mut self) -> Result<Presence, UnexpectedReply> {
        let version = self.integer()?;
        let encoded: Encoded = self.json()?;
        Ok(encoded.presence(version).unwrap_or(Presence {
            version,
            ..Presence::UNKNOWN
        }))
    }

    /// One value: a JSON list of names. Names that no longer parse are not rooms.
    pub(in crate::hot) fn rooms(&mut self) -> Result<Vec<RoomName>, UnexpectedReply> {
        let names: Vec<String> = self.json()?;
        Ok(names.iter().filter_map(|name| RoomName::parse(name).ok()).collect())
    }
}
