//! Deletes every key under the prefix. Not here: whether that may be (`cli`).

use redis::{Cmd, Pipeline, RedisError};

use super::{Hot, HotError};

/// Keys of one step of a scan, about.
const BATCH: usize = 1_000;

fn fail(error: RedisError) -> HotError {
    HotError::of("purge", error)
}

/// Deletes the keys on every master, in batches; how many there were. What is written meanwhile may stay.
pub async fn purge(hot: &Hot) -> Result<u64, HotError> {
    let mut deleted = 0;
    for pool in hot.pools().await? {
        let mut connection = pool.get().await.map_err(|error| HotError::Pool(error.to_string()))?;
        let mut cursor = 0;
        loop {
            let (next, found): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(hot.keys().pattern())
                .arg("COUNT")
                .arg(BATCH)
                .query_async(&mut *connection)
                .await
                .map_err(fail)?;
            let ours: Vec<_> = found.iter().filter(|key| hot.keys().is_ours(key)).collect();
            if !ours.is_empty() {
                // One by one, since they lie in many slots.
                let mut unlinks = Pipeline::with_capacity(ours.len());
                for key in ours {
                    unlinks.add_command(Cmd::unlink(key));
                }
                let counts: Vec<u64> = unlinks.query_async(&mut *connection).await.map_err(fail)?;
                deleted += counts.iter().sum::<u64>();
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(deleted)
}
