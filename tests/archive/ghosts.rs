//! Rows whose end nobody told, since it was lost, are ended once snapshots had their chance; and are back, should somebody live.

use std::time::Duration;

use nself_realtime::archive::snapshot::{Seen, Snapshot};
use nself_realtime::domain::sink::{Pump, Retention};
use serde_json::{Value, json};

use crate::sink_stage::{World, everything, now_ms, retention};
use crate::support::eventually;
use crate::{rows, run};

const CONNECTIONS: &str = "SELECT socket_id, status, disconnected_at = last_pong AS when_seen, metadata ->> 'cause' AS cause \
     FROM realtime_connections ORDER BY socket_id";
const PRESENCE: &str = "SELECT user_id, status, connections_count AS count FROM realtime_presence ORDER BY user_id";

fn snapshot(sockets: &[&str]) -> Snapshot {
    let seen = |socket: &&str| Seen {
        socket: (*socket).to_owned(),
        user: Some((*socket).to_owned()),
        transport: "websocket",
        latency: None,
        idle: Duration::ZERO,
    };
    Snapshot {
        seen: sockets.iter().map(seen).collect(),
        typed: Vec::new(),
    }
}

fn connection(socket: &str, status: &str, when_seen: Option<bool>, cause: Option<&str>) -> Value {
    json!({ "socket_id": socket, "status": status, "when_seen": when_seen, "cause": cause })
}

#[tokio::test]
async fn who_was_in_no_snapshot_is_ended_and_comes_back_with_the_next_word_of_it() {
    let world = World::new().await;
    let archive = world.archive();
    let mut pump = Pump::new(world.hot(), archive.clone(), everything());
    let then = now_ms() - 3_600_000;
    for user in ["ann", "bob", "carol"] {
        let connect = json!({"at": then, "user": user, "conn": format!("{user}.1"), "socket": user, "conns": 1,
            "presence": {"status": "busy", "version": 5}});
        world.add(1, "connect", connect).await;
    }
    world
        .add(1, "lost", json!({"at": then, "user": "carol", "conn": "carol.1"}))
        .await;
    world.drain(&mut pump).await;
    run(
        &world.client,
        "INSERT INTO realtime_connections (socket_id, user_id, connected_at, last_ping, last_pong) \
             SELECT 'plugin', 'plugin', now() - INTERVAL '1 hour', now() - INTERVAL '1 hour', now() - INTERVAL '1 hour'; \
         INSERT INTO realtime_presence (user_id, status, connections_count, last_heartbeat) \
             VALUES ('plugin', 'online', 1, now() - INTERVAL '1 hour'); \
         UPDATE realtime_connections SET last_pong = now() + INTERVAL '1 hour' WHERE socket_id = 'bob'; \
         UPDATE realtime_presence SET last_heartbeat = now() + INTERVAL '1 hour' WHERE user_id = 'bob'",
    )
    .await;
    let as_they_were = [
        connection("ann", "connected", None, None),
        connection("bob", "connected", None, None),
        connection("carol", "reconnecting", None, None),
        connection("plugin", "connected", None, None),
    ];
    assert_eq!(rows(&world.client, CONNECTIONS).await, as_they_were);

    let soon = Retention {
        unseen: Duration::from_millis(100),
        ..retention()
    };
    let pump = tokio::sync::Mutex::new(pump);
    let ghosts = async |retention: &Retention, is_caught_up| {
        let tidied = pump.lock().await.tidy(retention, is_caught_up).await;
        tidied.expect("Postgres is there").ghosts
    };
    assert_eq!(ghosts(&soon, true).await, 0, "no snapshot could tell of them");
    archive.write_snapshot(&snapshot(&[])).await.expect("Postgres is there");
    assert_eq!(ghosts(&retention(), true).await, 0, "not for long enough");
    eventually("snapshots had their chance", async || {
        assert_eq!(ghosts(&soon, false).await, 0, "an end may wait in an outbox");
        ghosts(&soon, true).await == 4
    })
    .await;
    assert_eq!(
        rows(&world.client, CONNECTIONS).await,
        [
            connection("ann", "disconnected", Some(true), Some("unseen")),
            connection("bob", "connected", None, None),
            connection("carol", "disconnected", Some(true), Some("unseen")),
            connection("plugin", "connected", None, None),
        ]
    );
    let presence = |user: &str, status: &str, count: u64| json!({ "user_id": user, "status": status, "count": count });
    assert_eq!(
        rows(&world.client, PRESENCE).await,
        [
            presence("ann", "offline", 0),
            presence("bob", "busy", 1),
            presence("carol", "offline", 0),
            presence("plugin", "online", 1),
        ]
    );

    // A node that could not reach Postgres tells of one, and an outbox of the other.
    archive
        .write_snapshot(&snapshot(&["ann"]))
        .await
        .expect("Postgres is there");
    let end = json!({"at": then + 1_000, "user": "carol", "conn": "carol.1", "cause": "transport_close", "conns": 0,
        "presence": {"status": "offline", "version": 6}});
    world.add(1, "disconnect", end).await;
    world.drain(&mut *pump.lock().await).await;
    assert_eq!(
        rows(&world.client, CONNECTIONS).await,
        [
            connection("ann", "connected", None, None),
            connection("bob", "connected", None, None),
            connection("carol", "disconnected", Some(false), Some("transport_close")),
            connection("plugin", "connected", None, None),
        ]
    );
    assert_eq!(
        rows(&world.client, PRESENCE).await,
        [
            presence("ann", "busy", 1),
            presence("bob", "busy", 1),
            presence("carol", "offline", 0),
            presence("plugin", "online", 1),
        ]
    );
    let left = "SELECT user_id FROM realtime_presence WHERE metadata ? 'unseen'";
    assert!(rows(&world.client, left).await.is_empty());
}
