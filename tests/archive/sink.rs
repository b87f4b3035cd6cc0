//! What is in an outbox comes to Postgres once, whoever writes it, and nothing that stands there holds up what is behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nself_realtime::config::NamePatterns;
use nself_realtime::domain::sink::{Chosen, Pump};
use serde_json::{Value, json};

use crate::sink_stage::{World, everything, now_ms};
use crate::{rows, run, value};

#[tokio::test]
async fn an_entry_becomes_a_row_with_all_that_it_says() {
    let world = World::new().await;
    let at = now_ms() - 5_000;
    let connect = json!({
        "at": at, "user": "ann", "conn": "p.1", "socket": "s1", "node": "n1", "transport": "websocket", "ip": "2001:db8::1",
        "agent": "A", "device": "{\"type\":\"web\"}", "session": "p", "presence": {"status": "online", "version": "7"}, "conns": 1,
    });
    let id = world.add(3, "connect", connect).await;
    let end = json!({"at": at + 1, "user": "ann", "conn": "p.1", "socket": "s1", "cause": "grace ran out", "conns": 0});
    world.add(3, "disconnect", end).await;
    world.add(3, "status", json!({"user": "ann", "cause": "chosen"})).await;
    world.add(9, "restored", json!({"incarnation": "first"})).await;
    world.add(9, "lost", json!({"user": "ann", "conn": "p.1"})).await;
    let written = world.drain(&mut world.pump()).await;
    assert_eq!((written.entries, written.events), (5, 3));

    let events = world.events().await;
    assert_eq!(
        events[0],
        json!({
            "chain": 3, "incarnation": "first", "stream_id": id, "event_type": "connect", "user_id": "ann", "room_name": null,
            "payload": {
                "transport": "websocket", "agent": "A", "device": {"type": "web"}, "session": "p",
                "presence": {"status": "online", "version": "7"}, "conns": 1,
            },
            "metadata": {"connection": "p.1", "node": "n1"}, "ip": "2001:db8::1", "socket_id": "s1", "batch": 1,
        })
    );
    assert_eq!(events[1]["payload"]["reason"], "grace ran out");
    assert_eq!(events[2]["event_type"], "status_change");
    let stored = value(
        &world.client,
        "SELECT (extract(epoch FROM min(created_at)) * 1000)::int8 FROM realtime_events",
    )
    .await;
    assert_eq!(stored, at);
    assert_eq!(
        value(&world.client, "SELECT sum(rows) FROM realtime_archive_batches").await,
        3
    );
    // What Postgres has is out of the stream with the next look.
    let mut pump = world.pump();
    pump.turn().await.expect("they are there");
    let mut left = redis::pipe();
    left.cmd("XLEN").arg(world.outbox(3)).cmd("EXISTS").arg(world.outbox(9));
    assert_eq!(world.ask::<(u64, u64)>(&left).await, (0, 1), "empty, and still open");
    world.verify().await;
}

#[tokio::test]
async fn only_chosen_events_become_rows_and_projections_hear_all() {
    let world = World::new().await;
    let join = json!({"room": "den", "user": "ann", "conn": "p.1", "node": "n1", "first": true});
    world.add(1, "join", join).await;
    world.add(1, "error", json!({"node": "n1", "code": "INTERNAL"})).await;
    let chosen = Chosen::new(true, NamePatterns::new(["connect", "error"]));
    let mut pump = Pump::new(world.hot(), world.archive(), chosen);
    world.drain(&mut pump).await;
    let types: Vec<Value> = world
        .events()
        .await
        .iter()
        .map(|row| row["event_type"].clone())
        .collect();
    assert_eq!(types, ["error"]);
    assert_eq!(
        value(&world.client, "SELECT count(*) FROM realtime_room_members").await,
        1
    );

    let mut pump = Pump::new(
        world.hot(),
        world.archive(),
        Chosen::new(false, NamePatterns::new(["*"])),
    );
    world.add(1, "error", json!({"node": "n1", "code": "INTERNAL"})).await;
    world.drain(&mut pump).await;
    assert_eq!(world.events().await.len(), 1);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sinks_at_once_write_each_entry_once() {
    const ENTRIES: usize = 4_000;
    let world = Arc::new(World::new().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let sinks: Vec<_> = (0..2)
        .map(|_| {
            let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut pump, mut entries, mut conflicts) = (world.pump(), 0, 0);
                loop {
                    let was_over = is_over.load(Ordering::SeqCst);
                    let turn = pump.turn().await.expect("they are there");
                    entries += turn.written.entries;
                    conflicts += turn.written.stale.len();
                    assert_eq!(turn.written.gaps, 0, "another sink is no gap");
                    if was_over && !turn.has_more {
                        return (entries, conflicts);
                    }
                }
            })
        })
        .collect();
    let mut added = BTreeMap::new();
    for batch in 0..ENTRIES / 20 {
        let partition = batch % 5;
        let kicks = (0..20).map(|_| ("kick", json!({"room": "den", "user": "ann"})));
        for id in world.add_all(partition, kicks).await {
            added.insert((partition, id), 1);
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let mut sums = (0, 0);
    for sink in sinks {
        let (entries, conflicts) = sink.await.expect("no panic");
        sums = (sums.0 + entries, sums.1 + conflicts);
    }
    assert_eq!(sums.0, ENTRIES as u64);
    assert_eq!(world.counts().await, added);
    world.verify().await;
}

#[tokio::test]
async fn a_sink_that_knows_an_old_head_looks_again_and_finds_no_gap() {
    let world = World::new().await;
    let (mut one, mut other) = (world.pump(), world.pump());
    world.add(4, "kick", json!({"room": "den", "user": "ann"})).await;
    world.drain(&mut one).await;
    world.drain(&mut other).await;
    for round in 0..3 {
        world
            .add(4, "kick", json!({"room": "den", "user": "ann", "round": round}))
            .await;
        world.drain(&mut one).await;
        world
            .add(4, "kick", json!({"room": "den", "user": "bob", "round": round}))
            .await;
        // It has seen neither what the first one wrote, nor that it was trimmed.
        let turn = other.turn().await.expect("they are there");
        assert_eq!(
            (turn.written.entries, &*turn.written.stale, turn.has_more),
            (0, &[4][..], true)
        );
        assert_eq!(world.drain(&mut other).await.entries, 1);
        assert_eq!(one.turn().await.expect("they are there").written.gaps, 0);
    }
    assert_eq!(world.counts().await.len(), 7);
    world.verify().await;
}

#[tokio::test]
async fn what_is_no_record_is_noted_and_holds_up_nothing() {
    let world = World::new().await;
    for text in ["no JSON", "[1,2]", "{\"user\":\"\\ud800\"}", "{\"at\":1e400}"] {
        world.add_text(2, "join", text).await;
    }
    world.add_text(2, "", "{}").await;
    let mut odd = redis::pipe();
    odd.cmd("XADD")
        .arg(world.outbox(2))
        .arg("*")
        .arg("other")
        .arg(&b"\xff\xfe"[..])
        .ignore();
    world.ask::<()>(&odd).await;
    let long = "x".repeat(100_000);
    world
        .add(
            2,
            &long,
            json!({"user": long, "room": long, "conn": long, "socket": long, "ip": long, "node": long}),
        )
        .await;
    world
        .add_text(
            2,
            "error",
            "{\"code\":\"a\\u0000b\",\"\\u0000\":1,\"user\":\"\\u0000\"}",
        )
        .await;
    world.add(2, "kick", json!({"room": "den", "user": "ann"})).await;

    let written = world.drain(&mut world.pump()).await;
    assert_eq!((written.entries, written.events, written.unreadable), (9, 9, 6));
    let events = world.events().await;
    for event in &events[..6] {
        assert_eq!(
            (&event["event_type"], &event["payload"]["code"]),
            (&"error".into(), &"UNREADABLE".into())
        );
        assert_eq!(event["payload"]["count"], 1);
    }
    assert_eq!(events[6]["user_id"].as_str().map(str::len), Some(255));
    assert_eq!(events[7]["payload"], json!({"code": "a\u{fffd}b", "\u{fffd}": 1}));
    assert_eq!(events[8]["event_type"], "kick");
    world.verify().await;
}

#[tokio::test]
async fn what_postgres_refuses_is_isolated_and_noted() {
    let world = World::new().await;
    // Refusals that nobody could have foreseen: somebody's trigger, and somebody's constraint.
    run(
        &world.client,
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.user_id = 'mallory' THEN RAISE EXCEPTION 'not %', NEW.user_id; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON realtime_events FOR EACH ROW EXECUTE FUNCTION refuse(); \
         ALTER TABLE realtime_room_members ADD CHECK (user_id <> 'trudy')",
    )
    .await;
    let join = |user: &str| json!({"room": "den", "user": user, "conn": format!("{user}.1"), "first": true});
    let names: Vec<String> = (0..300)
        .map(|number| match number {
            17 | 18 | 299 => "mallory".to_owned(),
            100 => "trudy".to_owned(),
            number => format!("user-{number}"),
        })
        .collect();
    for (number, name) in names.iter().enumerate() {
        world.add(number % 3, "join", join(name)).await;
    }
    let written = world.drain(&mut world.pump()).await;
    assert_eq!((written.entries, written.events, written.unreadable), (300, 300, 4));
    let refused = rows(
        &world.client,
        "SELECT payload FROM realtime_events WHERE event_type = 'error' ORDER BY payload ->> 'why'",
    )
    .await;
    assert_eq!(refused.len(), 4);
    for row in &refused {
        let payload = &row["payload"];
        assert_eq!(
            (&payload["code"], &payload["kind"]),
            (&"REFUSED".into(), &"join".into())
        );
        let why = payload["why"].as_str().expect("it says why");
        assert!(
            why.starts_with("P0001: not mallory") || why.starts_with("23514: "),
            "{why}"
        );
    }
    assert_eq!(
        value(&world.client, "SELECT count(*) FROM realtime_room_members").await,
        296
    );
    world.verify().await;
    // Nothing is left of it.
    world.add(0, "join", join("zoe")).await;
    assert_eq!(world.drain(&mut world.pump()).await.entries, 1);
}

#[tokio::test]
async fn what_may_not_even_be_noted_holds_up_nothing() {
    let world = World::new().await;
    run(
        &world.client,
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.event_type IN ('gap', 'error') OR NEW.user_id = 'mallory' THEN RAISE EXCEPTION 'no'; END IF; \
                 RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON realtime_events FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    let kick = |user: &str| ("kick", json!({"room": "den", "user": user}));
    let mut trim = redis::pipe();
    for partition in [2, 3] {
        world.add_all(partition, (0..9).map(|_| kick("ann"))).await;
        let oldest = trim.cmd("XTRIM").arg(world.outbox(partition)).arg("MAXLEN").arg("=");
        // Of one something is left behind the gap, of the other nothing.
        oldest.arg(if partition == 2 { 4 } else { 0 }).ignore();
    }
    world.ask::<()>(&trim).await;
    world
        .add_all(4, ["ann", "mallory", "bob", "mallory", "carol"].map(kick))
        .await;
    let mut pump = world.pump();
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.unreadable, written.lost), (9, 2, 14));
    assert_eq!(world.counts().await.len(), 4 + 3);
    world.verify().await;
    // And what is behind it comes as if nothing had been.
    world.add_all(4, [kick("zoe")]).await;
    assert_eq!(world.drain(&mut world.pump()).await.entries, 1);
    assert_eq!(world.counts().await.len(), 4 + 3 + 1);
}

#[tokio::test]
async fn messages_are_kept_once_by_room_epoch_and_seq() {
    let world = World::new().await;
    let say = |seq: i64, json: &str| json!({"room": "den", "user": "ann", "epoch": "e1", "seq": seq, "token": "t", "json": json});
    world
        .add(1, "message", say(1, r#"{"content":"one","big":12345678901234567890}"#))
        .await;
    world.add(1, "message", say(2, r#"{"content":"\ud800"}"#)).await;
    world.add(1, "message", say(3, r#"{"content":"a\u0000"}"#)).await;
    assert_eq!(world.drain(&mut world.pump()).await.events, 0);
    let kept = rows(
        &world.client,
        "SELECT seq, user_id, message_id, content FROM realtime_messages WHERE room_name = 'den' AND epoch = 'e1' ORDER BY seq",
    )
    .await;
    assert_eq!(
        kept[0]["content"],
        json!({"content": "one", "big": 12_345_678_901_234_567_890_u64})
    );
    assert_eq!(
        (&kept[0]["message_id"], &kept[0]["user_id"]),
        (&"e1-1".into(), &"ann".into())
    );
    assert_eq!(kept[1]["content"], r#"{"content":"\ud800"}"#);
    assert_eq!(kept[2]["content"]["content"], "a\u{fffd}");
    let days = value(
        &world.client,
        "SELECT count(DISTINCT tableoid) FROM realtime_messages WHERE tableoid <> 'realtime_messages_default'::regclass",
    )
    .await;
    assert_eq!(days, 1, "in the partition of its day");
}

#[tokio::test]
async fn large_entries_come_through_in_bounded_steps() {
    let world = World::new().await;
    let large = "x".repeat(60_000);
    for number in 0..200 {
        world.add(7, "error", json!({"code": large, "number": number})).await;
    }
    world.add(8, "error", json!({"code": "small"})).await;
    let mut pump = Pump::new(world.hot(), world.archive(), everything());
    let turn = pump.turn().await.expect("they are there");
    assert!((2..100).contains(&turn.written.entries), "a look has a bound: {turn:?}");
    let written = world.drain(&mut pump).await;
    assert_eq!(written.entries + turn.written.entries, 201);
    world.verify().await;
}

#[tokio::test]
async fn a_postgres_that_is_slow_gets_less_at_a_time() {
    let world = World::new().await;
    run(
        &world.client,
        "CREATE FUNCTION dawdle() RETURNS TRIGGER LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$; \
         CREATE TRIGGER dawdle BEFORE INSERT ON realtime_events FOR EACH ROW EXECUTE FUNCTION dawdle()",
    )
    .await;
    // More than a statement may take.
    world
        .add_all(6, (0..140).map(|_| ("kick", json!({"room": "den", "user": "ann"}))))
        .await;
    let mut pump = world.pump();
    let mut failures = Vec::new();
    let emptying = async {
        loop {
            match pump.turn().await {
                Ok(turn) if !turn.has_more => return,
                Ok(_) => {}
                Err(error) => failures.push(error.to_string()),
            }
        }
    };
    let emptied = tokio::time::timeout(Duration::from_secs(300), emptying).await;
    emptied.expect("it gets through");
    assert!(failures.iter().all(|error| error.contains("57014")), "{failures:?}");
    // Half as many each time: a machine that is slow itself may need a third or a fourth of it, and never the same again.
    assert!((1..=4).contains(&failures.len()), "{failures:?}");
    assert_eq!(world.counts().await.len(), 140);
    run(&world.client, "DROP TRIGGER dawdle ON realtime_events").await;
    world.verify().await;
}
