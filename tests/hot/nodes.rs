//! A node's own lease, and whether Redis takes writes.

use std::time::Duration;

use nself_realtime::domain::drain::{has_begun, is_over, living};
use nself_realtime::hot::bus::Trouble;
use nself_realtime::hot::keys::Perch;
use nself_realtime::hot::nodes::{
    ask_to_drain, beat, bury, dead, ends, forget_drain, is_asked_to_drain, roster, sing, stop,
};

use crate::ear::Ear;
use crate::stage::{GRACE, Stage, lease, node, now_ms, partition};
use crate::support::redis_any::AnyRedis;

const LEASE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_beat_extends_the_node_s_lease() {
    let stage = Stage::new().await;
    let (n1, key) = (node("n1"), stage.keys().node(&node("n1")));
    assert!(beat(&stage.hot, &n1, r#"{"v":1}"#, LEASE).await.unwrap(), "a start");
    let () = stage.ask("PEXPIRE", (&key, 3_000)).await;
    assert!(!beat(&stage.hot, &n1, r#"{"v":2}"#, LEASE).await.unwrap(), "it lives");
    let ttl: i64 = stage.ask("PTTL", &key).await;
    assert!((3_001..=6_000).contains(&ttl), "{ttl}");
    assert_eq!(stage.ask::<String>("GET", &key).await, r#"{"v":2}"#);
    let () = stage.ask("DEL", &key).await;
    assert!(
        beat(&stage.hot, &n1, "{}", LEASE).await.unwrap(),
        "it was taken for dead"
    );
    assert_eq!(stage.ask::<Vec<String>>("SMEMBERS", stage.keys().nodes()).await, ["n1"]);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn nodes_live_and_die_each_for_itself() {
    let stage = Stage::new().await;
    for name in ["n1", "n2:{x}"] {
        assert!(beat(&stage.hot, &node(name), "{}", LEASE).await.unwrap());
    }
    let () = stage.ask("DEL", stage.keys().node(&node("n1"))).await;
    assert!(!beat(&stage.hot, &node("n2:{x}"), "{}", LEASE).await.unwrap());
    assert_eq!(stage.ask::<u64>("SCARD", stage.keys().nodes()).await, 2);
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing_for_ever() {
    let stage = Stage::new().await;
    for _ in 0..2 {
        assert!(stage.hot.check().await.unwrap() < Duration::from_secs(2));
        let ttl: i64 = stage.ask("PTTL", stage.keys().check(Perch::Nodes)).await;
        assert!((1..=60_000).contains(&ttl), "{ttl}");
    }
    assert!(stage.hot.is_up());
}

#[tokio::test]
async fn a_check_fails_where_redis_takes_no_writes() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    stage.hot.check().await.unwrap();
    // A master without the replicas that it was told to wait for answers reads alone.
    let _: Vec<String> = stage.ask_all("CONFIG", ("SET", "min-replicas-to-write", "9")).await;
    let error = stage.hot.check().await.unwrap_err().to_string();
    assert!(error.starts_with("nodes/check: "), "{error}");
    let _: Vec<String> = stage.ask_all("CONFIG", ("SET", "min-replicas-to-write", "0")).await;
    stage.hot.check().await.unwrap();
}

#[tokio::test]
async fn the_dead_are_those_whose_own_lease_is_gone() {
    let stage = Stage::new().await;
    assert!(dead(&stage.hot).await.unwrap().is_empty(), "nobody ever lived");
    for name in ["n1", "n2"] {
        beat(&stage.hot, &node(name), "{}", LEASE).await.unwrap();
    }
    assert!(dead(&stage.hot).await.unwrap().is_empty());
    let () = stage.ask("DEL", stage.keys().node(&node("n1"))).await;
    assert_eq!(dead(&stage.hot).await.unwrap(), [node("n1")]);
    bury(&stage.hot, &node("n1"), GRACE).await.unwrap();
    assert!(dead(&stage.hot).await.unwrap().is_empty(), "it is struck off");
}

#[tokio::test]
async fn a_node_that_has_stopped_is_neither_alive_nor_dead() {
    let stage = Stage::new().await;
    for name in ["n1", "n2"] {
        beat(&stage.hot, &node(name), "{}", LEASE).await.unwrap();
    }
    assert!(ask_to_drain(&stage.hot, &node("n1")).await.unwrap());
    for _ in 0..2 {
        stop(&stage.hot, &node("n1")).await.unwrap();
        assert!(dead(&stage.hot).await.unwrap().is_empty());
        let names: Vec<_> = living(&stage.hot)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.node)
            .collect();
        assert_eq!(names, [node("n2")]);
    }
    assert!(!is_asked_to_drain(&stage.hot, &node("n1")).await.unwrap());
    assert_eq!(ends(&stage.hot, &[node("n1")]).await.unwrap(), [None]);
    assert!(
        beat(&stage.hot, &node("n1"), "{}", LEASE).await.unwrap(),
        "the next of the name starts"
    );
}

#[tokio::test]
async fn a_burial_moves_the_node_s_leases_into_grace_and_no_others() {
    let stage = Stage::new().await;
    let (alice, mut bob) = (lease("alice", 1), lease("bob", 1));
    bob.node = node("other");
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    assert_eq!(bury(&stage.hot, &alice.node, GRACE).await.unwrap(), 1);
    let keys = stage.keys();
    assert_eq!(stage.score(keys.leases(partition(&alice)), &alice.encode()).await, None);
    let end = stage.score(keys.grace(partition(&alice)), &alice.encode()).await;
    assert!(end.is_some());
    assert!(stage.score(keys.leases(partition(&bob)), &bob.encode()).await.is_some());

    assert_eq!(bury(&stage.hot, &alice.node, GRACE * 2).await.unwrap(), 0, "a repeat");
    assert_eq!(
        stage.score(keys.grace(partition(&alice)), &alice.encode()).await,
        end,
        "which prolongs nothing"
    );
}

#[tokio::test]
async fn a_burial_goes_on_until_every_lease_is_moved() {
    let stage = Stage::new().await;
    let somebody = lease("alice", 1);
    let (keys, home) = (stage.keys(), partition(&somebody));
    const HELD: u64 = 2_500;
    for n in 0..HELD {
        let member = format!("c{n}\0{}\0alice", somebody.node);
        let () = stage.ask("ZADD", (keys.leases(home), i64::MAX >> 12, &member)).await;
        let () = stage
            .ask("SADD", (keys.node_leases(home, &somebody.node), &member))
            .await;
    }
    assert_eq!(bury(&stage.hot, &somebody.node, GRACE).await.unwrap(), HELD);
    assert_eq!(stage.ask::<u64>("ZCARD", keys.leases(home)).await, 0);
    assert_eq!(stage.ask::<u64>("ZCARD", keys.grace(home)).await, HELD);
}

#[tokio::test]
async fn ghosts_are_measured_from_the_death_of_their_node() {
    let stage = Stage::new().await;
    let (alice, mut bob, mut cleo) = (lease("alice", 1), lease("bob", 1), lease("cleo", 1));
    (bob.node, cleo.node) = (node("alive"), node("stopped"));
    for lease in [&alice, &bob, &cleo] {
        stage.connect(lease).await;
        beat(&stage.hot, &lease.node, "{}", LEASE).await.unwrap();
    }
    let ends = stage.keys().node_ends();
    let () = stage.ask("HSET", (&ends, "n1", now_ms() - 7_000)).await;
    let () = stage.ask("HSET", (&ends, "stopped", now_ms() - 7_000)).await;
    stop(&stage.hot, &cleo.node).await.unwrap();
    for lease in [&alice, &bob, &cleo] {
        stage
            .let_run_out(stage.keys().leases(partition(lease)), &lease.encode())
            .await;
    }
    let swept = stage.sweep().await;
    assert_eq!((swept.leases, swept.ghosts_ms.len()), (3, 1), "the dead node's alone");
    assert!((7_000..60_000).contains(&swept.ghosts_ms[0]), "{:?}", swept.ghosts_ms);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_death_is_known_for_an_hour() {
    let stage = Stage::new().await;
    for name in ["old", "new", "alive"] {
        beat(&stage.hot, &node(name), "{}", LEASE).await.unwrap();
    }
    let key = stage.keys().node_ends();
    let () = stage.ask("HSET", (&key, "old", now_ms() - 3_600_000)).await;
    let () = stage.ask("HSET", (&key, "new", now_ms() - 3_500_000)).await;
    bury(&stage.hot, &node("new"), GRACE).await.unwrap();
    let known = ends(&stage.hot, &[node("old"), node("new"), node("alive")])
        .await
        .unwrap();
    let known: Vec<bool> = known.iter().map(Option::is_some).collect();
    assert_eq!(known, [false, true, true]);
}

#[tokio::test]
async fn a_node_that_lives_is_asked_to_drain_once_however_often() {
    let stage = Stage::new().await;
    let (n1, n2, request) = (node("n1"), node("n2"), stage.keys().node_drain(&node("n1")));
    assert!(
        !ask_to_drain(&stage.hot, &n1).await.unwrap(),
        "nobody of that name lives"
    );
    assert_eq!(
        stage.ask::<u64>("EXISTS", &request).await,
        0,
        "nor will hear of it later"
    );
    for name in [&n1, &n2] {
        beat(&stage.hot, name, "{}", LEASE).await.unwrap();
    }
    for _ in 0..2 {
        assert!(ask_to_drain(&stage.hot, &n1).await.unwrap());
        assert!(is_asked_to_drain(&stage.hot, &n1).await.unwrap());
        assert!(!is_asked_to_drain(&stage.hot, &n2).await.unwrap());
        let ttl: i64 = stage.ask("PTTL", &request).await;
        assert!((3_590_000..=3_600_000).contains(&ttl), "{ttl}");
    }
    // The next process of the name begins with that.
    for _ in 0..2 {
        forget_drain(&stage.hot, &n1).await.unwrap();
        assert!(!is_asked_to_drain(&stage.hot, &n1).await.unwrap());
    }
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn the_living_are_listed_with_what_they_tell_of_themselves() {
    let stage = Stage::new().await;
    assert_eq!(living(&stage.hot).await.unwrap(), []);
    let told = r#"{"connections":2,"phase":"drained","process":"p","more":[]}"#;
    for (name, about) in [("n2", told), ("n1", "not JSON"), ("n3", "{}")] {
        beat(&stage.hot, &node(name), about, LEASE).await.unwrap();
    }
    let () = stage.ask("DEL", stage.keys().node(&node("n3"))).await;
    let found = living(&stage.hot).await.unwrap();
    let names: Vec<&str> = found.iter().map(|entry| entry.node.as_str()).collect();
    assert_eq!(names, ["n1", "n2"]);
    // Of another version it may tell anything.
    let (n1, n2) = (&found[0], &found[1]);
    assert_eq!((n1.connections, n1.phase.as_deref(), &n1.process), (None, None, &None));
    assert!(!has_begun(n1) && !is_over(n1));
    assert_eq!((n2.connections, n2.process.as_deref()), (Some(2), Some("p")));
    assert!(has_begun(n2) && is_over(n2));
    let all = roster(&stage.hot).await.unwrap();
    assert_eq!((all.len(), all[2].lease), (3, None), "the dead are in the roster alone");
}

/// A canary at every master, and no two at one: each is told of what is published through it, and of nothing else.
#[tokio::test]
async fn what_is_sung_at_each_master_comes_back() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let ear = Ear::open(&stage, &[]).await;
    crate::support::eventually("the bus is up", async || ear.bus.is_up()).await;
    assert!(
        matches!(ear.bus.trouble(), Some(Trouble::Unproven(_))),
        "nothing has come back yet"
    );
    let perches = ear.bus.perches();
    assert_eq!(perches.len(), stage.masters.len(), "{perches:?}");
    for _ in 0..2 {
        for (perch, sung) in perches
            .iter()
            .zip(sing(&stage.hot, &node("ear"), &perches).await.unwrap())
        {
            sung.unwrap();
            let ttl: i64 = stage.ask("PTTL", stage.keys().check(*perch)).await;
            assert!((1..=60_000).contains(&ttl), "{ttl}");
        }
    }
    crate::support::eventually("every master is proven", async || ear.bus.trouble().is_none()).await;
    // What another node sings is not for this one.
    let mut other = sing(&stage.hot, &node("other"), &[Perch::Nodes]).await.unwrap();
    assert!(other.pop().unwrap().is_ok());
}
