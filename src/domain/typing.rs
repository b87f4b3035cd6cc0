//! Typing marks. Not here: who hears of them.

use std::time::Duration;

use crate::hot::{self, Hot, HotError};

pub use crate::hot::typing::{Mark, Typing};

/// The user types in a room, until the mark runs out.
pub async fn start(hot: &Hot, mark: &Mark<'_>, lasts: Duration) -> Result<Typing, HotError> {
    hot::typing::start(hot, mark, lasts).await
}

/// The user no longer types; a repeat is silent.
pub async fn stop(hot: &Hot, mark: &Mark<'_>) -> Result<Typing, HotError> {
    hot::typing::stop(hot, mark).await
}
