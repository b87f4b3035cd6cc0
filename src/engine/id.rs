//! The ids that the engine draws: 120 random bits each, so that nobody guesses one. An Engine.IO id also says which shard holds
//! the session, since any shard may accept a request for it, and which server made it, so that a balancer in front finds that server
//! again; neither is a secret. (The core crate's `Sid` has 96 bits, no shard and no server.)

use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

const RANDOM_CHARS: usize = 20;
const SHARD_CHARS: usize = 2;
const TAG_CHARS: usize = 6;
const SID_CHARS: usize = RANDOM_CHARS + SHARD_CHARS + TAG_CHARS;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many shards an id can tell apart.
pub(super) const MAX_SHARDS: usize = ALPHABET.len() * ALPHABET.len();

/// 120 random bits as 20 characters: a Socket.IO id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; RANDOM_CHARS]);

/// What the Engine.IO ids of one server end with: six hexadecimal digits. The same name has the same tag, everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; TAG_CHARS]);

/// An Engine.IO id: 20 random characters, the shard of the session and the tag of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sid([u8; SID_CHARS]);

/// What came is no Engine.IO id of ours.
#[derive(Debug)]
pub(super) struct UnknownSid;

impl Id {
    pub(super) fn draw() -> Self {
        let mut random = [0; RANDOM_CHARS / 4 * 3];
        rand::rng().fill_bytes(&mut random);
        let mut id = [0; RANDOM_CHARS];
        BASE64_URL_SAFE_NO_PAD
            .encode_slice(random, &mut id)
            .expect("15 bytes are 20 characters of base64");
        Self(id)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl Tag {
    /// The tag of a server of this name: what `printf %s NAME | sha256sum | cut -c 1-6` prints, so that whoever configures a
    /// balancer needs no tool of ours.
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut tag = [0; TAG_CHARS];
        for (character, nibble) in tag.iter_mut().zip(nibbles) {
            *character = b"0123456789abcdef"[usize::from(nibble)];
        }
        Self(tag)
    }

    /// The six digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl Sid {
    pub(super) fn draw(tag: Tag, shard: usize) -> Self {
        let mut sid = [0; SID_CHARS];
        sid[..RANDOM_CHARS].copy_from_slice(&Id::draw().0);
        sid[RANDOM_CHARS] = ALPHABET[shard / ALPHABET.len() % ALPHABET.len()];
        sid[RANDOM_CHARS + 1] = ALPHABET[shard % ALPHABET.len()];
        sid[RANDOM_CHARS + SHARD_CHARS..].copy_from_slice(&tag.0);
        Self(sid)
    }

    /// Whether a server of this tag made it, or somebody who says so.
    pub(super) fn is_of(&self, tag: Tag) -> bool {
        self.0[RANDOM_CHARS + SHARD_CHARS..] == tag.0
    }

    /// The shard that the id names; it need not exist, since clients send ids.
    pub(super) fn shard(&self) -> usize {
        let shard = &self.0[RANDOM_CHARS..RANDOM_CHARS + SHARD_CHARS];
        shard.iter().fold(0, |shard, byte| {
            let digit = ALPHABET.iter().position(|letter| letter == byte);
            shard * ALPHABET.len() + digit.expect("parsed, so of the alphabet")
        })
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl FromStr for Sid {
    type Err = UnknownSid;

    fn from_str(text: &str) -> Result<Self, UnknownSid> {
        let bytes: [u8; SID_CHARS] = text.as_bytes().try_into().map_err(|_| UnknownSid)?;
        if bytes.iter().all(|byte| ALPHABET.contains(byte)) {
            Ok(Self(bytes))
        } else {
            Err(UnknownSid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_keeps_its_server_and_its_shard() {
        let (tag, other) = (Tag::of("node-0"), Tag::of("node-1"));
        for shard in [0, 1, 63, 64, MAX_SHARDS - 1] {
            let sid = Sid::draw(tag, shard);
            assert_eq!(sid.shard(), shard);
            assert!(sid.as_str().ends_with(tag.as_str()));
            assert!(sid.is_of(tag) && !sid.is_of(other));
            let parsed: Sid = sid.as_str().parse().unwrap();
            assert_eq!(parsed, sid);
        }
    }

    #[test]
    fn a_tag_is_what_sha256sum_prints() {
        // printf %s abc | sha256sum | cut -c 1-6
        assert_eq!(Tag::of("abc").as_str(), "ba7816");
    }

    #[test]
    fn ids_of_others_are_refused() {
        for text in ["", "__proto__", "abc", "éééééééééééééé", "AAAAAAAAAAAAAAAAAAAAAAAAAA.A"] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_differ() {
        assert!(Id::draw() != Id::draw());
        assert_eq!(Id::draw().as_str().len(), 20);
    }
}
