//! How far a client has heard all of its rooms, as one opaque string beside each message: a stock client gives the last one
//! back when it returns. Usually it is a position of each master, the same for everybody who hears the message, since a
//! node hears each master in its order. While a room of the shard lags behind the others that does not hold: then it is a
//! place in each room of the one client.

use std::fmt;

use crate::hot::frame::Position;
use crate::hot::rooms::Since;
use crate::types::RoomName;

/// Longest offset that is read, in bytes: places of many rooms.
const OFFSET_MAX_BYTES: usize = 64 * 1024;
/// Masters whose positions are remembered; of more, the ones not heard of for longest are forgotten.
const MASTERS_MAX: usize = 16;

/// How far a client has heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offset {
    /// Everything up to these positions.
    Positions(Positions),
    /// Of each room everything up to a place; the rooms by their digests.
    Places(Vec<(u64, Since)>),
}

/// The latest position of each master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(Vec<Position>);

impl Positions {
    /// Notes a position. False: it does not stand behind the one before, so that it says nothing of what was heard.
    pub fn advance(&mut self, position: &Position) -> bool {
        match self.0.iter_mut().find(|known| known.master == position.master) {
            Some(known) if known.at_us >= position.at_us => false,
            Some(known) => {
                known.at_us = position.at_us;
                true
            }
            None => {
                if self.0.len() == MASTERS_MAX {
                    self.0.remove(0);
                }
                self.0.push(position.clone());
                true
            }
        }
    }

    /// The latest position of all, µs.
    pub fn latest_us(&self) -> u64 {
        self.0.iter().map(|position| position.at_us).max().unwrap_or(0)
    }

    /// Up to where a master was heard, µs.
    pub fn of(&self, master: &str) -> Option<u64> {
        let position = self.0.iter().find(|position| position.master == master)?;
        Some(position.at_us)
    }

    /// One text for each master.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Position::to_string).collect()
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(","))
    }
}

impl Offset {
    /// Reads what a client gave back. `None`: it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > OFFSET_MAX_BYTES {
            return None;
        }
        if let Some(places) = text.strip_prefix('@') {
            let places: Option<Vec<_>> = places.split(',').filter(|place| !place.is_empty()).map(place).collect();
            return places.map(Self::Places);
        }
        let positions: Result<Vec<Position>, _> = text.split(',').map(str::parse).collect();
        let positions = positions.ok().filter(|positions| positions.len() <= MASTERS_MAX)?;
        Some(Self::Positions(Positions(positions)))
    }

    /// The place in a room, where the offset tells places.
    pub fn place(&self, room: &RoomName) -> Option<&Since> {
        let Self::Places(places) = self else { return None };
        let digest = digest(room);
        places
            .iter()
            .find(|(known, _)| *known == digest)
            .map(|(_, since)| since)
    }
}

/// `<digest>:<seq>:<epoch>`
fn place(text: &str) -> Option<(u64, Since)> {
    let mut parts = text.splitn(3, ':');
    let digest = u64::from_str_radix(parts.next()?, 16).ok()?;
    let seq = parts.next()?.parse().ok()?;
    let epoch = parts.next().filter(|epoch| !epoch.is_empty())?.to_owned();
    Some((digest, Since { epoch, seq }))
}

/// The offset that says how far each room was heard.
pub fn of_places<'a>(places: impl Iterator<Item = (&'a RoomName, &'a str, u64)>) -> String {
    let places: Vec<String> = places
        .map(|(room, epoch, seq)| format!("{:x}:{seq}:{epoch}", digest(room)))
        .collect();
    format!("@{}", places.join(","))
}

/// FNV-1a: the same on every node. Two of one client's rooms share one by chance once in 2^64, and an attacker who makes
/// them gets a message twice.
fn digest(room: &RoomName) -> u64 {
    room.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(text: &str) -> Position {
        text.parse().expect("a position")
    }

    #[test]
    fn positions_survive_the_way_to_the_client_and_back() {
        let mut positions = Positions::default();
        for (text, rises) in [
            ("aa.5", true),
            ("bb.3", true),
            ("aa.6", true),
            ("aa.6", false),
            ("aa.4", false),
        ] {
            assert_eq!(positions.advance(&position(text)), rises, "{text}");
        }
        assert_eq!(positions.to_string(), "aa.6,bb.3");
        assert_eq!(positions.latest_us(), 6);
        assert_eq!(Offset::parse("aa.6,bb.3"), Some(Offset::Positions(positions)));
    }

    #[test]
    fn places_survive_it_too() {
        let (lobby, den) = (
            RoomName::parse("lobby").expect("valid"),
            RoomName::parse("den").expect("valid"),
        );
        let text = of_places([(&lobby, "e1", 7), (&den, "e2", 0)].into_iter());
        let offset = Offset::parse(&text).expect("an offset");
        let since = |epoch: &str, seq| Since {
            epoch: epoch.to_owned(),
            seq,
        };
        assert_eq!(offset.place(&lobby), Some(&since("e1", 7)));
        assert_eq!(offset.place(&den), Some(&since("e2", 0)));
        assert_eq!(offset.place(&RoomName::parse("attic").expect("valid")), None);
    }

    #[test]
    fn what_is_no_offset_is_none() {
        for text in [
            "",
            "x",
            "aa.x",
            "aa.5,",
            "@1:2",
            "@x:1:e",
            "@1:1:",
            "aa.5,@1:1:e",
            "tooolongmaster.5",
        ] {
            assert_eq!(Offset::parse(text), None, "{text}");
        }
        assert_eq!(Offset::parse(&"a.1,".repeat(OFFSET_MAX_BYTES)), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[@a-f0-9.,:é-]{0,40}") {
            let _ = Offset::parse(&text);
        }
    }
}
