//! Where we differ from the oracle on purpose, script by script, each with its reason. The differential test fails when
//! an entry is missing, is wrong, or has become superfluous.

/// One accepted difference.
pub struct Difference {
    pub script: &'static str,
    pub ours: &'static str,
    pub oracle: &'static str,
    #[expect(dead_code, reason = "for the reader: an entry without a reason is none")]
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[];
