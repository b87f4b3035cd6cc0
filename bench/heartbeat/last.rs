//! "Is it the user's last connection here?", by the size of the room, and by the connections of the user.

use std::time::Duration;

use nself_realtime::domain::rooms::{self, JoinOptions};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence::{self, Facts};
use nself_realtime::types::{ConnectionId, NodeId, RoomName};

use crate::stats::Stats;
use crate::support::redis::Redis;
use crate::{open, user};

const TURNS: usize = 2_000;

/// (users in the room, connections that the one who leaves has there besides)
const SIZES: [(usize, usize); 8] = [
    (10, 0),
    (100, 0),
    (1_000, 0),
    (10_000, 0),
    (100_000, 0),
    (10_000, 10),
    (10_000, 100),
    (10_000, 1_000),
];

pub async fn run(redis: &Redis) {
    let (hot, stats) = (open(&redis.url(), Duration::from_secs(600)), Stats::of(redis).await);
    let mut beside = redis.connection().await;
    for (users, others) in SIZES {
        let room = RoomName::parse(&format!("auto:{users}-{others}")).expect("a valid name");
        let leaver = Lease {
            connection: ConnectionId::parse("leaver.0").expect("a valid id"),
            node: NodeId::parse("n1").expect("a valid id"),
            user: user(users / 2),
        };
        let joining = async || {
            let options = JoinOptions {
                autocreate: true,
                known: None,
                members: 0,
                since: None,
                toll: None,
            };
            let joined = rooms::join(&hot, &leaver, &room, options).await.expect("redis answers");
            joined.expect("anybody may");
        };
        presence::connect(&hot, &leaver, &Facts::default(), None)
            .await
            .expect("redis answers");
        joining().await;
        // The rest of the room, as joins would leave it.
        let members: Vec<(usize, usize)> = (0..users)
            .filter(|number| *number != users / 2)
            .map(|number| (number, 0))
            .chain((0..others).map(|connection| (users / 2, connection)))
            .collect();
        for chunk in members.chunks(1_000) {
            let mut pipeline = redis::pipe();
            for (number, connection) in chunk {
                let member = format!("{}\0c{connection}@n1", user(*number));
                pipeline.zadd(hot.keys().room_live(&room), member, 0).ignore();
                pipeline
                    .hset(hot.keys().room_users(&room), user(*number).as_str(), "1 1 online")
                    .ignore();
            }
            pipeline.exec_async(&mut beside).await.expect("redis answers");
        }
        let (range_before, script_before) = (stats.command("zrangebylex").await, stats.command("evalsha").await);
        for _ in 0..TURNS {
            rooms::leave(&hot, &leaver, &room).await.expect("redis answers");
            joining().await;
        }
        let (range, script) = (stats.command("zrangebylex").await, stats.command("evalsha").await);
        let mean = |now: (u64, f64), before: (u64, f64)| (now.1 - before.1) / (now.0 - before.0) as f64;
        println!(
            "last: {users} users in the room, {others} other connections of the user: {:.2} µs a question, \
             {:.1} µs the mean script of a leave and a join",
            mean(range, range_before),
            mean(script, script_before),
        );
    }
}
