//! Rates: one typed function for lua/limits. Not here: who is limited, and what to (`domain::limits`).

use std::sync::LazyLock;
use std::time::Duration;

use super::keys::Bucket;
use super::script::{Script, script};
use super::{Hot, HotError};
use crate::types::Rate;

script!(DRAW = "limits/draw");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&DRAW];

/// What is asked of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Tokens that were used already; charged whether they are there or not.
    pub owed: u32,
    /// Tokens to be used.
    pub wanted: u32,
}

/// What a bucket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    pub granted: u32,
    /// Until one more is there; zero where it is there now.
    pub wait: Duration,
}

/// Takes tokens. A repeat takes again: whoever is limited has fewer for a while, and nothing is let through by it.
pub async fn draw(hot: &Hot, bucket: &Bucket<'_>, rate: Rate, draw: Draw) -> Result<Drawn, HotError> {
    let mut reply = DRAW
        .call()
        .key(hot.keys().limit(bucket))
        .number(rate.interval_us())
        .number(rate.burst())
        .number(draw.owed)
        .number(draw.wanted)
        .run(hot)
        .await?;
    DRAW.read(|| {
        Ok(Drawn {
            granted: reply.integer()?,
            wait: Duration::from_micros(reply.integer()?),
        })
    })
}
