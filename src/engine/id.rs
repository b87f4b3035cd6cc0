//! The ids that the engine draws: 120 random bits each, so that nobody guesses one. An Engine.IO id also says which shard holds
//! the session, since any shard may accept a request for it; that is no secret. (The core crate's `Sid` has 96 bits and no shard.)

use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::RngCore as _;

const RANDOM_CHARS: usize = 20;
const SHARD_CHARS: usize = 2;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many shards an id can tell apart.
pub(super) const MAX_SHARDS: usize = ALPHABET.len() * ALPHABET.len();

/// 120 random bits as 20 characters: a Socket.IO id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; RANDOM_CHARS]);

/// An Engine.IO id: 20 random characters and the shard of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sid([u8; RANDOM_CHARS + SHARD_CHARS]);

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

impl Sid {
    pub(super) fn draw(shard: usize) -> Self {
        let mut sid = [0; RANDOM_CHARS + SHARD_CHARS];
        sid[..RANDOM_CHARS].copy_from_slice(&Id::draw().0);
        sid[RANDOM_CHARS] = ALPHABET[shard / ALPHABET.len() % ALPHABET.len()];
        sid[RANDOM_CHARS + 1] = ALPHABET[shard % ALPHABET.len()];
        Self(sid)
    }

    /// The shard that the id names; it need not exist, since clients send ids.
    pub(super) fn shard(&self) -> usize {
        self.0[RANDOM_CHARS..].iter().fold(0, |shard, byte| {
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
        let bytes: [u8; RANDOM_CHARS + SHARD_CHARS] = text.as_bytes().try_into().map_err(|_| UnknownSid)?;
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
    fn a_sid_keeps_its_shard() {
        for shard in [0, 1, 63, 64, MAX_SHARDS - 1] {
            let sid = Sid::draw(shard);
            assert_eq!(sid.shard(), shard);
            let parsed: Sid = sid.as_str().parse().unwrap();
            assert_eq!(parsed, sid);
        }
    }

    #[test]
    fn ids_of_others_are_refused() {
        for text in ["", "__proto__", "abc", "ééééééééééé", "AAAAAAAAAAAAAAAAAAAA.A"] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_differ() {
        assert!(Id::draw() != Id::draw());
        assert_eq!(Id::draw().as_str().len(), 20);
    }
}
