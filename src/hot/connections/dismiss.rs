//! The word that some connections are to be sent away. Not here: whether they have gone (`domain::connections`).

use crate::hot::script::script;
use crate::hot::{Hot, HotError};
use crate::types::ConnectionId;

script!(DISMISS = "connections/dismiss");

/// Tells every node to send these away; whoever does not hear it does not.
pub async fn dismiss(hot: &Hot, connections: &[ConnectionId]) -> Result<(), HotError> {
    if connections.is_empty() {
        return Ok(());
    }
    DISMISS
        .call()
        .key(hot.keys().everybody_channel())
        .args(connections.iter().map(ToString::to_string))
        .run(hot)
        .await
        .map(drop)
}
