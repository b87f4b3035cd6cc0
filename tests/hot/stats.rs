//! The cluster in figures, and at a glance.

use std::time::Duration;

use nself_realtime::domain::stats::{self, Figures, Shown};
use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::presence::{self, Choice};
use nself_realtime::hot::{archive, nodes, outbox};
use nself_realtime::types::Status;

use crate::stage::{GRACE, Stage, lease, node, partition};
use crate::support::redis_fleet::{RedisCluster, RedisSentinel};

fn chose(status: Status) -> Choice {
    Choice {
        status,
        text: None,
        emoji: None,
        until_ms: None,
    }
}

/// People of every kind, and what there is of each.
async fn inhabited(stage: &Stage) -> Figures {
    let people = ["ada", "bob", "cleo", "dan", "eve", "fay", "anon:x", "anon:y"].map(|id| lease(id, 1));
    for lease in &people {
        stage.connect(lease).await;
    }
    let [ada, bob, cleo, dan, eve, fay, anonymous, _] = &people;
    stage.connect(&lease("ada", 2)).await;
    for (lease, status) in [(bob, Status::Busy), (cleo, Status::Away), (dan, Status::Offline)] {
        domain::choose(&stage.hot, lease, &chose(status)).await.unwrap();
    }
    let () = stage.ask("HSET", (stage.keys().user(&eve.user), "away", 1)).await;
    presence::lose(&stage.hot, ada, GRACE, "gone").await.unwrap();
    endings::finish(&stage.hot, fay, "asked").await.unwrap();
    let lobby = stage.room("lobby").await;
    stage.room("empty").await;
    stage.room("x}:room.users:y").await;
    stage.join(bob, &lobby).await;
    stage.join(anonymous, &lobby).await;
    Figures {
        live: 7,
        in_grace: 1,
        anonymous: 2,
        users: 5,
        presence: Shown {
            online: 1,
            away: 2,
            busy: 1,
            offline: 2,
        },
        rooms: 3,
        active_rooms: 1,
    }
}

#[tokio::test]
async fn everybody_is_counted_once_as_others_see_them() {
    let stage = Stage::new().await;
    assert_eq!(stats::figures(&stage.hot).await.unwrap(), Figures::default());
    let expected = inhabited(&stage).await;
    for _ in 0..2 {
        assert_eq!(stats::figures(&stage.hot).await.unwrap(), expected);
    }
    stage.end_everybody().await;
    let figures = stats::figures(&stage.hot).await.unwrap();
    let expected = Figures {
        presence: Shown {
            offline: 6,
            ..Shown::default()
        },
        rooms: 3,
        ..Figures::default()
    };
    assert_eq!(figures, expected);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn figures_are_of_all_masters_of_a_cluster_and_of_the_one_under_sentinels() {
    let (cluster, sentinel) = tokio::join!(RedisCluster::start(), RedisSentinel::start());
    for stage in [Stage::on_cluster(&cluster).await, Stage::on_sentinel(&sentinel).await] {
        let expected = inhabited(&stage).await;
        assert_eq!(stats::figures(&stage.hot).await.unwrap(), expected);
        let glance = stats::cluster(&stage.hot).await.unwrap();
        assert_eq!((glance.live, glance.in_grace), (expected.live, expected.in_grace));
    }
}

#[tokio::test]
async fn figures_of_many_keys_are_right() {
    let stage = Stage::new().await;
    let mut commands = redis::Pipeline::new();
    for number in 0..2_500 {
        let one = lease(&format!("user{number}"), 1);
        let connection = one.connection.as_str();
        commands
            .cmd("HSET")
            .arg(stage.keys().user(&one.user))
            .arg("version")
            .arg(1);
        commands
            .cmd("ZADD")
            .arg(stage.keys().leases(partition(&one)))
            .arg(i64::MAX >> 12)
            .arg(one.encode());
        let entry = format!("0 {}", one.encode());
        commands
            .cmd("HSET")
            .arg(stage.keys().user_connections(&one.user))
            .arg(connection)
            .arg(entry);
    }
    stage.ask_many::<redis::Value>(&commands).await;
    let figures = stats::figures(&stage.hot).await.unwrap();
    assert_eq!(
        (figures.live, figures.users, figures.presence.online),
        (2_500, 2_500, 2_500)
    );
}

#[tokio::test]
async fn a_glance_tells_of_nodes_and_of_what_waits_for_postgres() {
    let stage = Stage::with(|terms| terms.outbox = 1_000).await;
    let glance = stats::cluster(&stage.hot).await.unwrap();
    assert!(glance.nodes.is_empty() && glance.writer.is_none(), "{glance:?}");
    assert_eq!((glance.backlog.entries, glance.open_partitions), (0, 0));

    let lease_of = Duration::from_secs(6);
    let about = r#"{"connections":3,"version":"1.2.3","later":"more"}"#;
    nodes::beat(&stage.hot, &node("n1"), about, lease_of).await.unwrap();
    nodes::beat(&stage.hot, &node("n2/x"), "not JSON", lease_of)
        .await
        .unwrap();
    nodes::beat(&stage.hot, &node("n3"), "{}", lease_of).await.unwrap();
    let () = stage.ask("DEL", stage.keys().node(&node("n3"))).await;
    archive::claim(&stage.hot, "n2/x/0123", lease_of).await.unwrap();
    let glance = stats::cluster(&stage.hot).await.unwrap();
    let [one, odd, dead] = &glance.nodes[..] else {
        panic!("{glance:?}")
    };
    assert_eq!((one.connections, one.version.as_deref()), (Some(3), Some("1.2.3")));
    assert!(one.lease.is_some_and(|left| left <= lease_of), "{one:?}");
    assert_eq!((odd.node.as_str(), odd.connections), ("n2/x", None));
    assert_eq!((dead.node.as_str(), dead.lease), ("n3", None));
    assert_eq!(glance.writer.as_deref(), Some("n2/x"));

    let alice = lease("alice", 1);
    outbox::open(&stage.hot, &[partition(&alice)]).await.unwrap();
    stage.connect(&alice).await;
    let glance = stats::cluster(&stage.hot).await.unwrap();
    // That it is open, and that somebody came.
    assert_eq!((glance.backlog.entries, glance.open_partitions), (2, 1));
}
