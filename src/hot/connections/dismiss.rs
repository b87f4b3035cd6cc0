//! The word that some sockets are to be sent away, and what comes back of it. Not here: whether they have gone
//! (`domain::connections`).

use std::time::Duration;

use crate::hot::keys::Lease;
use crate::hot::script::script;
use crate::hot::{Hot, HotError};

script!(DISMISS = "connections/dismiss");

/// How long an answer waits for whoever asked.
const ANSWER_KEPT: Duration = Duration::from_secs(5);

/// Tells every node to send away those who have these ids, of a socket or a connection; whoever does not hear it does not.
/// Ids have no control characters. To a single id, whoever has it answers.
pub async fn dismiss(hot: &Hot, ids: &[String]) -> Result<(), HotError> {
    if ids.is_empty() {
        return Ok(());
    }
    DISMISS
        .call()
        .key(hot.keys().everybody_channel())
        .args(ids.iter().cloned())
        .run(hot)
        .await
        .map(drop)
}

/// The socket of this lease was sent away, by this id.
pub async fn answer(hot: &Hot, id: &str, lease: &Lease) -> Result<(), HotError> {
    let fail = |error| HotError::of("say whose the socket was that was sent away", error);
    let mut set = redis::cmd("SET");
    set.arg(hot.keys().dismissed(id)).arg(lease.encode());
    set.arg("PX").arg(ANSWER_KEPT.as_millis() as u64);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    connection.send(&set).await.map(drop).map_err(fail)
}

/// What was answered to this id, once. `None`: nobody has answered yet.
pub async fn answered(hot: &Hot, id: &str) -> Result<Option<Lease>, HotError> {
    let fail = |error| HotError::of("look whether a socket was sent away", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let lease = connection
        .send(redis::cmd("GETDEL").arg(hot.keys().dismissed(id)))
        .await
        .map_err(fail)?;
    let lease: Option<String> = redis::from_redis_value(lease).map_err(|error| fail(error.into()))?;
    Ok(lease.and_then(|lease| Lease::decode(&lease)))
}
