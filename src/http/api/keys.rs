//! The keys of the administration, as digests.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Who may ask `/api`. The keys themselves are not in here, so that nothing can print them.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// Takes the keys as they are written.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(digest).collect())
    }

    /// Whether there are none: then there is no `/api`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of the keys. How long it takes says nothing of how near a wrong one comes: digests are
    /// compared, each to its end, and all of them.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        let shown = digest(key);
        let mut is_known = false;
        for known in &self.0 {
            let difference = known.iter().zip(&shown).fold(0, |all, (a, b)| all | (a ^ b));
            is_known |= difference == 0;
        }
        is_known
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

fn digest(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_whole() {
        let keys = ApiKeys::new(["first key", "second"]);
        assert!(keys.contains("first key") && keys.contains("second"));
        for wrong in ["", "first", "first key ", "First key", "first key,second"] {
            assert!(!keys.contains(wrong), "{wrong}");
        }
        assert!(!ApiKeys::default().contains(""));
        assert_eq!(format!("{keys:?}"), "2 keys");
    }
}
