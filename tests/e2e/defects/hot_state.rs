//! What tests may read of a connection's record in Redis, where the contract promises that it is written.

use std::collections::HashMap;

use crate::support::redis_any::AnyRedis;

/// The records of a user's connections: `<prefix>:{p}:conn:<conn>` hashes. `prefix` is the default.
pub async fn connections_of(redis: &AnyRedis, user: &str) -> Vec<HashMap<String, String>> {
    let mut records = Vec::new();
    for mut master in redis.connections().await {
        // KEYS, not SCAN: the test's own Redis holds a few hundred keys, and one call is one moment.
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("rt:*:conn:*")
            .query_async(&mut master)
            .await
            .unwrap();
        for key in keys {
            let record: HashMap<String, String> =
                redis::cmd("HGETALL").arg(key).query_async(&mut master).await.unwrap();
            if record.get("user").is_some_and(|owner| owner == user) {
                records.push(record);
            }
        }
    }
    records
}
