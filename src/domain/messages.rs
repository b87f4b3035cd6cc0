//! Messages: who may speak, and in which order it stands. Not here: how a message looks.

use crate::hot::{self, Hot, HotError};

pub use crate::hot::messages::{Send, SendRequest, Sent};

/// Says something in a room.
pub async fn send(hot: &Hot, request: &SendRequest<'_>) -> Result<Send, HotError> {
    hot::messages::send(hot, request).await
}
