//! The connections of the cluster, page by page: each that lives is met, by user and by node too.

use std::collections::BTreeMap;

use nself_realtime::domain::connections::{self, Connection, Filter, Place, State};
use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence::{self, Facts};
use nself_realtime::types::{ConnectionId, Status};

use crate::stage::{GRACE, ODD_NAMES, Stage, lease, node, now_ms, partition, user};
use crate::support::redis_fleet::{RedisCluster, RedisSentinel};

fn all() -> Filter {
    Filter::default()
}

/// Every page of a listing, how often each connection was met, and the size of the largest page.
async fn walk(stage: &Stage, filter: &Filter, limit: usize) -> (BTreeMap<ConnectionId, usize>, usize) {
    let (mut met, mut largest, mut place) = (BTreeMap::new(), 0, None::<Place>);
    loop {
        let page = connections::page(&stage.hot, filter, place.as_ref(), limit)
            .await
            .unwrap();
        largest = largest.max(page.connections.len());
        for connection in page.connections {
            *met.entry(connection.lease.connection).or_default() += 1;
        }
        // As a client would bring it back.
        place = page.next.map(|place| place.to_string().parse().unwrap());
        if place.is_none() {
            return (met, largest);
        }
    }
}

async fn only(stage: &Stage, filter: &Filter) -> Vec<Connection> {
    let page = connections::page(&stage.hot, filter, None, 10).await.unwrap();
    assert_eq!(page.next, None);
    page.connections
}

fn of_user(id: &str) -> Filter {
    Filter {
        user: Some(user(id)),
        node: None,
    }
}

#[tokio::test]
async fn a_connection_is_shown_as_redis_knows_it() {
    let stage = Stage::new().await;
    assert_eq!(only(&stage, &all()).await, []);
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let facts = Facts {
        transport: "polling".into(),
        ip: "192.0.2.1".into(),
        agent: "a browser".into(),
        device: r#"{"type":"web"}"#.into(),
        session: "s1".into(),
        socket: "sid1".into(),
        ..Facts::default()
    };
    let before_ms = now_ms();
    presence::connect(&stage.hot, &alice, &facts, None).await.unwrap();
    stage.join(&alice, &lobby).await;
    let [connection] = &only(&stage, &all()).await[..] else {
        panic!("one")
    };
    assert!((before_ms - 1_000..=now_ms() + 1_000).contains(&connection.connected_ms));
    assert!(connection.end_ms > connection.connected_ms);
    let shown = Connection {
        lease: alice.clone(),
        state: State::Live,
        end_ms: connection.end_ms,
        rooms: 1,
        connected_ms: connection.connected_ms,
        socket: "sid1".into(),
        transport: "polling".into(),
        ip: "192.0.2.1".into(),
        agent: "a browser".into(),
        device: r#"{"type":"web"}"#.into(),
        session: "s1".into(),
        latency_ms: None,
        lost: String::new(),
    };
    assert_eq!(*connection, shown);
    assert_eq!(
        connections::find(&stage.hot, &alice.connection).await.unwrap(),
        Some(shown)
    );

    presence::refresh(&stage.hot, &alice, "websocket", Some(7))
        .await
        .unwrap();
    presence::lose(&stage.hot, &alice, GRACE, "ping timeout").await.unwrap();
    let connection = &only(&stage, &all()).await[0];
    assert_eq!((connection.state, connection.latency_ms), (State::Grace, Some(7)));
    assert_eq!(
        (&*connection.transport, &*connection.lost),
        ("websocket", "ping timeout")
    );

    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    assert_eq!(only(&stage, &all()).await, []);
    assert_eq!(connections::find(&stage.hot, &alice.connection).await.unwrap(), None);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_filter_asks_for_a_user_a_node_or_both() {
    let stage = Stage::new().await;
    let mut elsewhere = lease("alice", 2);
    elsewhere.node = node("n2");
    let people = [lease("alice", 1), elsewhere, lease("bob", 1), lease("anon:x", 1)];
    for lease in &people {
        stage.connect(lease).await;
    }
    presence::lose(&stage.hot, &people[0], GRACE, "gone").await.unwrap();
    let on = |id: &str| Filter {
        user: None,
        node: Some(node(id)),
    };
    let both = Filter {
        user: Some(user("alice")),
        node: Some(node("n2")),
    };
    for (filter, expected) in [
        (all(), vec![0, 1, 2, 3]),
        (of_user("alice"), vec![0, 1]),
        (of_user("anon:x"), vec![3]),
        (of_user("nobody"), vec![]),
        (on("n1"), vec![0, 2, 3]),
        (on("n2"), vec![1]),
        (on("n3"), vec![]),
        (both, vec![1]),
    ] {
        let wanted: BTreeMap<_, _> = expected
            .into_iter()
            .map(|index: usize| (people[index].connection.clone(), 1))
            .collect();
        for limit in [1, 2, 1_000] {
            let (met, largest) = walk(&stage, &filter, limit).await;
            assert_eq!(met, wanted, "{filter:?} by {limit}");
            assert!(largest <= limit, "{filter:?} by {limit}");
        }
    }
}

/// Puts connections there as plainly as Redis takes them: leases and records of one user, whose partition is a big one.
async fn crowd(stage: &Stage, count: usize) -> Vec<Lease> {
    let crowd: Vec<Lease> = (0..count as u32).map(|number| lease("crowd", number)).collect();
    for batch in crowd.chunks(500) {
        let mut commands = redis::Pipeline::new();
        for lease in batch {
            let (keys, user) = (stage.keys(), &lease.user);
            let (connection, name) = (lease.connection.as_str(), lease.encode());
            commands
                .cmd("ZADD")
                .arg(keys.leases(partition(lease)))
                .arg(i64::MAX >> 12)
                .arg(&name);
            let entry = format!("0 {name}");
            commands
                .cmd("HSET")
                .arg(keys.user_connections(user))
                .arg(connection)
                .arg(entry);
            commands
                .cmd("SADD")
                .arg(keys.node_leases(partition(lease), &lease.node))
                .arg(&name);
            let record = keys.connection(user, &lease.connection);
            commands
                .cmd("HSET")
                .arg(record)
                .arg(&["user", "crowd", "node", "n1", "connected", "1"]);
        }
        stage.ask_many::<redis::Value>(&commands).await;
    }
    crowd
}

#[tokio::test]
async fn a_big_set_is_met_once_in_pages_of_any_size() {
    let stage = Stage::new().await;
    let crowd = crowd(&stage, 3_000).await;
    for name in ODD_NAMES {
        stage.connect(&lease(name, 1)).await;
    }
    let on_node = Filter {
        user: None,
        node: Some(node("n1")),
    };
    for (filter, limits) in [
        (all(), &[7, 999, 1_000, 5_000][..]),
        (on_node, &[999]),
        (of_user("crowd"), &[999]),
    ] {
        for &limit in limits {
            let (met, largest) = walk(&stage, &filter, limit).await;
            let strangers = if filter.user.is_none() { ODD_NAMES.len() } else { 0 };
            assert_eq!(met.len(), crowd.len() + strangers, "{filter:?} by {limit}");
            assert!(met.values().all(|&times| times == 1), "{filter:?} by {limit}");
            assert!(largest <= limit.min(1_000), "{largest} by {limit}");
        }
    }
    let (latest, is_cut) = connections::latest(&stage.hot, &all(), 100).await.unwrap();
    assert_eq!((latest.len(), is_cut), (100, true));
    let (latest, is_cut) = connections::latest(&stage.hot, &all(), 10_000).await.unwrap();
    assert_eq!((latest.len(), is_cut), (crowd.len() + ODD_NAMES.len(), false));
    assert!(latest.is_sorted_by(|one, next| one.connected_ms >= next.connected_ms));
}

#[tokio::test]
async fn what_stays_is_met_whatever_comes_and_goes_between_pages() {
    let stage = Stage::new().await;
    let stays = crowd(&stage, 600).await;
    let (mut met, mut place, mut number) = (BTreeMap::<ConnectionId, usize>::new(), None::<Place>, 10_000);
    loop {
        let page = connections::page(&stage.hot, &all(), place.as_ref(), 50).await.unwrap();
        for connection in page.connections {
            *met.entry(connection.lease.connection).or_default() += 1;
        }
        place = page.next;
        if place.is_none() {
            break;
        }
        // Leases are extended, connections come, are lost, and go.
        let mut renewals = redis::Pipeline::new();
        for lease in &stays {
            let end_ms = now_ms() + i64::from(number);
            renewals
                .cmd("ZADD")
                .arg(stage.keys().leases(partition(lease)))
                .arg(end_ms)
                .arg(lease.encode());
        }
        stage.ask_many::<redis::Value>(&renewals).await;
        let (lost, gone) = (lease(&format!("p{number}"), 1), lease(&format!("p{number}"), 2));
        stage.connect(&lost).await;
        presence::lose(&stage.hot, &lost, GRACE, "gone").await.unwrap();
        stage.connect(&gone).await;
        endings::finish(&stage.hot, &gone, "asked").await.unwrap();
        number += 1;
    }
    for lease in &stays {
        assert_eq!(met.get(&lease.connection), Some(&1), "{lease:?}");
    }
}

#[tokio::test]
async fn a_place_of_another_question_does_no_harm() {
    let stage = Stage::new().await;
    for number in 0..20 {
        stage.connect(&lease("alice", number)).await;
    }
    let page = connections::page(&stage.hot, &all(), None, 5).await.unwrap();
    let place = page.next.unwrap();
    for filter in [of_user("alice"), of_user("bob")] {
        connections::page(&stage.hot, &filter, Some(&place), 5).await.unwrap();
    }
    // "999.7.": a set that there is not, and a cursor of none.
    let nowhere: Place = "OTk5LjcuYQ".parse().unwrap();
    let page = connections::page(&stage.hot, &all(), Some(&nowhere), 5).await.unwrap();
    assert!(page.connections.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn whoever_is_here_is_told_once_with_all_connections() {
    let stage = Stage::new().await;
    for (name, number) in [("alice", 1), ("alice", 2), ("bob", 1), ("anon:x", 1)] {
        stage.connect(&lease(name, number)).await;
    }
    for name in ODD_NAMES {
        stage.connect(&lease(name, 1)).await;
    }
    presence::lose(&stage.hot, &lease("bob", 1), GRACE, "gone")
        .await
        .unwrap();
    let (seen, is_cut) = domain::whoever_is_here(&stage.hot, 100).await.unwrap();
    assert_eq!((seen.len(), is_cut), (2 + ODD_NAMES.len(), false));
    assert!(seen.is_sorted_by(|one, next| one.user < next.user));
    let of = |id: &str| seen.iter().find(|seen| seen.user == user(id)).unwrap();
    assert_eq!((of("alice").connections, of("bob").connections), (2, 1));
    let (seen, is_cut) = domain::whoever_is_here(&stage.hot, 3).await.unwrap();
    assert_eq!((seen.len(), is_cut), (3, true));

    let seen = domain::see(&stage.hot, &[user("nobody"), user("alice")]).await.unwrap();
    let told: Vec<_> = seen
        .iter()
        .map(|seen| (seen.connections, seen.presence.status))
        .collect();
    assert_eq!(told, [(0, Status::Offline), (2, Status::Online)]);
    assert_eq!(domain::see(&stage.hot, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_only_a_piece_is_no_connection() {
    let stage = Stage::new().await;
    let (alice, bob) = (lease("alice", 1), lease("bob", 1));
    for lease in [&alice, &bob] {
        stage.connect(lease).await;
    }
    let () = stage
        .ask("DEL", stage.keys().connection(&alice.user, &alice.connection))
        .await;
    let leases = stage.keys().leases(partition(&bob));
    let () = stage.ask("ZREM", (leases, bob.encode())).await;
    assert_eq!(only(&stage, &all()).await, []);
    assert_eq!(only(&stage, &of_user("bob")).await, []);
    assert_eq!(connections::find(&stage.hot, &bob.connection).await.unwrap(), None);
}

#[tokio::test]
async fn pages_go_over_all_masters_of_a_cluster_and_under_sentinels() {
    let (cluster, sentinel) = tokio::join!(RedisCluster::start(), RedisSentinel::start());
    for stage in [Stage::on_cluster(&cluster).await, Stage::on_sentinel(&sentinel).await] {
        for number in 0..60 {
            stage.connect(&lease(&format!("user{number}"), 1)).await;
        }
        let (met, _) = walk(&stage, &all(), 7).await;
        assert_eq!((met.len(), met.values().sum::<usize>()), (60, 60));
        let id = met.into_keys().next().unwrap();
        assert!(connections::find(&stage.hot, &id).await.unwrap().is_some());
    }
}
