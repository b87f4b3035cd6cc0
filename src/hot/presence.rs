//! (The lead's.)

use super::{Hot, HotError};

pub async fn count_connections(_hot: &Hot) -> Result<u64, HotError> {
    Err(HotError)
}
