//! Rates: one typed function for lua/limits; the arguments and the reply of whatever draws beside its work. Not here: who is limited, and what to (`domain::limits`).

use std::sync::LazyLock;
use std::time::Duration;

use super::keys::Bucket;
use super::reply::{Reply, UnexpectedReply};
use super::script::{Call, Script, script};
use super::{Hot, HotError};
use crate::types::Rate;

script!(DRAW = "limits/draw");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&DRAW];

/// What joins are called in the names of buckets.
pub const JOINS: &str = "joins";

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
    let call = DRAW.call().key(hot.keys().limit(bucket));
    let mut reply = call.draw(rate, draw).run(hot).await?;
    DRAW.read(|| reply.drawn())
}

impl Call {
    /// Four arguments: the rate, and what is asked of its bucket.
    pub(super) fn draw(self, rate: Rate, draw: Draw) -> Self {
        self.number(rate.interval_us())
            .number(rate.burst())
            .number(draw.owed)
            .number(draw.wanted)
    }

    /// The same, where nothing is asked.
    pub(super) fn draw_nothing(self) -> Self {
        self.number(0).number(0).number(0).number(0)
    }
}

impl Reply {
    /// Two values: tokens granted, and µs until one more is there.
    pub(super) fn drawn(&mut self) -> Result<Drawn, UnexpectedReply> {
        Ok(Drawn {
            granted: self.integer()?,
            wait: Duration::from_micros(self.integer()?),
        })
    }
}
