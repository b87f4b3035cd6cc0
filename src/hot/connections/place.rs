//! Where a walk through the connections stands, and how that is written for whoever comes back with it. Not here: the walk.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Longest text that is read as a place.
const TEXT_MAX_BYTES: usize = 2_048;

/// Where a page begins. Good for the same question only; for another it means nothing, and does no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Which of the sets, in their order.
    pub(super) set: usize,
    /// Redis's cursor of the look at the set.
    pub(super) scan: u64,
    /// Behind this lease of what the look finds.
    pub(super) after: Option<String>,
}

/// The text is no place that a page ended at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none of this question's")]
pub struct BadPlace;

impl Place {
    pub(super) fn at(set: usize) -> Self {
        Self { set, ..Self::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, scan, after } = self;
        let text = format!("{set}.{scan}.{}", after.as_deref().unwrap_or_default());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(BadPlace);
        }
        let text = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BadPlace)?;
        let text = String::from_utf8(text).map_err(|_| BadPlace)?;
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(BadPlace);
        let (set, scan, after) = (part()?, part()?, part()?);
        Ok(Self {
            set: set.parse().map_err(|_| BadPlace)?,
            scan: scan.parse().map_err(|_| BadPlace)?,
            after: Some(after.to_owned()).filter(|after| !after.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was_and_nothing_else_is_one() {
        for place in [
            Place::default(),
            Place {
                set: 127,
                scan: u64::MAX,
                after: Some("a.b\0n.1\0ünï".to_owned()),
            },
        ] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        for wrong in [
            "",
            "!",
            &encoded("1.2"),
            &encoded("x.0."),
            &encoded("-1.0."),
            &"A".repeat(2_049),
        ] {
            assert_eq!(wrong.parse::<Place>(), Err(BadPlace), "{wrong}");
        }
    }
}
