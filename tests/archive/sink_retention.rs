//! What is too old goes, day by day, and the chain that is left still stands.

use std::time::Duration;

use nself_realtime::domain::sink::{Pump, Retention};
use serde_json::{Value, json};

use crate::sink_stage::{World, now_ms, retention};
use crate::{rows, run, value};

const DAY_MS: i64 = 86_400_000;

async fn tidy(pump: &mut Pump, is_caught_up: bool) -> (u64, u64) {
    let tidied = pump.tidy(&retention(), is_caught_up).await.expect("Postgres is there");
    (tidied.days, tidied.rows)
}

async fn at_day(world: &World, partition: usize, days_ago: i64) {
    let what = json!({"at": now_ms() - days_ago * DAY_MS, "room": "den", "user": "ann"});
    world.add(partition, "kick", what).await;
}

#[tokio::test]
async fn days_that_are_too_old_are_dropped_and_the_chain_stands_on_their_anchors() {
    let world = World::new().await;
    let mut pump = world.pump();
    // A clock that went back in between: the chain has days in no order.
    for (partition, days) in [
        (1, [40, 39, 40, 5, 0]),
        (2, [60, 50, 40, 35, 33]),
        (3, [0, 0, 40, 0, 0]),
    ] {
        for days_ago in days {
            at_day(&world, partition, days_ago).await;
            world.drain(&mut pump).await;
        }
    }
    let say = json!({"at": now_ms() - 40 * DAY_MS, "room": "den", "user": "ann", "epoch": "e", "seq": 1, "json": "{\"content\":\"a\""});
    world.add(1, "message", say).await;
    world.drain(&mut pump).await;
    world.verify().await;

    assert_eq!(tidy(&mut pump, true).await, (6 + 1, 0));
    assert_eq!(
        value(&world.client, "SELECT count(*) FROM realtime_events").await,
        2 + 4
    );
    assert_eq!(value(&world.client, "SELECT count(*) FROM realtime_messages").await, 0);
    let anchors = rows(
        &world.client,
        "SELECT partition, array_agg(batch ORDER BY batch) AS batches FROM realtime_archive_anchors GROUP BY 1 ORDER BY 1",
    )
    .await;
    assert_eq!(
        anchors[0]["batches"].as_array().and_then(|batches| batches.last()),
        Some(&3.into())
    );
    assert_eq!(
        anchors[1]["batches"].as_array().and_then(|batches| batches.last()),
        Some(&5.into())
    );
    assert_eq!(anchors[2], json!({"partition": 3, "batches": [3]}));
    world.verify().await;

    // All of partition 2 is gone, and its chain goes on.
    at_day(&world, 2, 0).await;
    world.drain(&mut pump).await;
    world.verify().await;
    assert_eq!(tidy(&mut pump, true).await, (0, 0), "there is nothing left to do");
    let days = "SELECT count(*) FROM pg_class WHERE relname ~ '^realtime_(events|messages)_[0-9]{8}$' AND relkind = 'r' \
                AND right(relname, 8) >= to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')";
    assert_eq!(
        value(&world.client, days).await,
        4,
        "today and tomorrow have their partitions"
    );
}

#[tokio::test]
async fn with_a_retention_of_0_nothing_is_dropped() {
    let world = World::new().await;
    let mut pump = world.pump();
    at_day(&world, 1, 4_000).await;
    world.drain(&mut pump).await;
    let for_ever = Retention {
        event_days: 0,
        connections: Duration::from_secs(60),
    };
    assert_eq!(pump.tidy(&for_ever, true).await.expect("Postgres is there").days, 0);
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn rows_outside_of_the_chain_go_with_their_time() {
    let world = World::new().await;
    run(
        &world.client,
        "INSERT INTO realtime_events (event_type, created_at) SELECT 'connect', now() - INTERVAL '40 days' \
             FROM generate_series(1, 2500); \
         INSERT INTO realtime_events (event_type, created_at) VALUES ('connect', now() - INTERVAL '3 days'); \
         INSERT INTO realtime_messages (room_name, epoch, seq, content, created_at) \
             VALUES ('den', 'e', 1, '{}', now() - INTERVAL '40 days')",
    )
    .await;
    let mut pump = world.pump();
    pump.connect().await.expect("Postgres is there");
    assert_eq!(tidy(&mut pump, true).await, (0, 2_501));
    assert_eq!(value(&world.client, "SELECT count(*) FROM realtime_events").await, 1);
}

#[tokio::test]
async fn somebody_who_reads_an_old_day_holds_up_nobody() {
    let world = World::new().await;
    let mut pump = world.pump();
    at_day(&world, 1, 40).await;
    world.drain(&mut pump).await;
    let reader = world.database.connect().await;
    run(&reader, "BEGIN; SELECT count(*) FROM realtime_events").await;
    assert_eq!(tidy(&mut pump, true).await, (0, 0));
    // The connection is as good as before.
    at_day(&world, 1, 0).await;
    assert_eq!(world.drain(&mut pump).await.events, 1);
    run(&reader, "COMMIT").await;
    assert_eq!(tidy(&mut pump, true).await, (1, 0));
    world.verify().await;
}

#[tokio::test]
async fn finished_connections_and_rooms_that_ran_out_go() {
    let world = World::new().await;
    let mut pump = world.pump();
    let old = now_ms() - 2 * DAY_MS;
    for (name, at, ends) in [("old", old, true), ("fresh", now_ms(), true), ("open", old, false)] {
        let connect = json!({"at": at, "user": name, "conn": format!("{name}.1"), "socket": name, "presence": {"status": "online"}});
        world.add(1, "connect", connect).await;
        if ends {
            world
                .add(
                    1,
                    "disconnect",
                    json!({"at": at, "user": name, "conn": format!("{name}.1"), "socket": name}),
                )
                .await;
        }
    }
    let auto = json!({"room": "auto", "type": "channel", "visibility": "public", "auto": true, "by": "ann", "owner": true,
        "policy": {"role": "admin"}});
    let join = |room: &str, user: &str| json!({"room": room, "user": user, "conn": format!("{user}.1"), "first": true});
    let leave = |room: &str, user: &str, ends: i64| {
        json!({"room": room, "user": user, "conn": format!("{user}.1"), "last": true,
        "reason": "disconnected", "ends": ends})
    };
    world.add(1, "room_created", auto.clone()).await;
    world.add(1, "join", join("auto", "bob")).await;
    world.add(1, "leave", leave("auto", "bob", old)).await;
    let mut governed = auto;
    governed["room"] = "governed".into();
    world.add(1, "room_created", governed).await;
    world.add(1, "join", join("governed", "bob")).await;
    world
        .add(
            1,
            "ban",
            json!({"room": "governed", "user": "mallory", "policy": {"ban": 0}}),
        )
        .await;
    world.add(1, "leave", leave("governed", "bob", old)).await;
    // A direct room that whoever made it is a member of, by that alone; and one whose only entry is somebody's invitation.
    for (room, owner) in [("direct", Some(true)), ("invited", None)] {
        let mut made = json!({"room": room, "type": "dm", "visibility": "private", "auto": true, "by": "ann"});
        if owner.is_some() {
            made["owner"] = true.into();
            made["policy"] = json!({"role": "member"});
        }
        world.add(1, "room_created", made).await;
        world.add(1, "join", join(room, "bob")).await;
        if owner.is_none() {
            let invited = json!({"room": room, "user": "cleo", "policy": {"role": "member"}});
            world.add(1, "role", invited).await;
        }
        world.add(1, "leave", leave(room, "bob", old)).await;
    }
    world.drain(&mut pump).await;

    tidy(&mut pump, false).await;
    let connections = rows(&world.client, "SELECT socket_id FROM realtime_connections ORDER BY 1").await;
    assert_eq!(
        connections,
        [json!({"socket_id": "fresh"}), json!({"socket_id": "open"})]
    );
    let active = "SELECT count(*) FROM realtime_rooms WHERE is_active";
    assert_eq!(
        value(&world.client, active).await,
        4,
        "somebody may have joined, and waits in an outbox"
    );
    tidy(&mut pump, true).await;
    assert_eq!(value(&world.client, active).await, 0);
    let members: Vec<Value> = rows(
        &world.client,
        "SELECT r.name, m.user_id, m.is_joined FROM realtime_room_members m JOIN realtime_rooms r ON r.id = m.room_id ORDER BY 1, 2",
    )
    .await;
    assert_eq!(
        members,
        [
            json!({"name": "governed", "user_id": "ann", "is_joined": false}),
            json!({"name": "governed", "user_id": "mallory", "is_joined": false}),
            json!({"name": "invited", "user_id": "cleo", "is_joined": false}),
        ],
        "who only owned a room by making it is forgotten with it"
    );
}
