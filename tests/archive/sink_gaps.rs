//! What the archive has not heard, it says so: how much was trimmed, to the entry, and that a Redis was emptied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nself_realtime::domain::sink::Durability;
use serde_json::{Value, json};

use crate::sink_stage::{World, now_ms};
use crate::{rows, run};

fn kick() -> Value {
    json!({"room": "den", "user": "ann"})
}

async fn gaps(world: &World) -> Vec<Value> {
    let found = "SELECT chain, incarnation, payload FROM realtime_events WHERE event_type = 'gap' ORDER BY chain, batch, stream_id";
    rows(&world.client, found).await
}

async fn trim(world: &World, partition: usize, most: usize) {
    let mut pipeline = redis::pipe();
    let trim = pipeline.cmd("XTRIM").arg(world.outbox(partition)).arg("MAXLEN");
    trim.arg("=").arg(most).ignore();
    world.ask::<()>(&pipeline).await;
}

#[tokio::test]
async fn what_was_trimmed_before_it_was_read_is_a_counted_gap() {
    let world = World::new().await;
    let mut pump = world.pump();
    let first = world.add(5, "kick", kick()).await;
    world.drain(&mut pump).await;
    world.add_all(5, (0..40).map(|_| ("kick", kick()))).await;
    trim(&world, 5, 7).await;
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.gaps, written.lost), (7, 1, 33));
    let found = gaps(&world).await;
    assert_eq!((found.len(), &found[0]["payload"]["count"]), (1, &33.into()));
    let from = found[0]["payload"]["from"].as_str().expect("a time");
    let known: i64 = first.split('-').next().and_then(|ms| ms.parse().ok()).expect("an id");
    let from: jiff::Timestamp = from.parse().expect("a time");
    assert_eq!(from.as_millisecond(), known);

    // All of it is gone, and the stream is empty: that, too, is seen.
    world.add_all(5, (0..3).map(|_| ("kick", kick()))).await;
    trim(&world, 5, 0).await;
    assert_eq!(world.drain(&mut pump).await.lost, 3);
    // And said once.
    assert_eq!(world.drain(&mut world.pump()).await.gaps, 0);
    world.verify().await;
}

#[tokio::test]
async fn what_was_there_before_the_archive_counts_from_the_beginning() {
    let world = World::new().await;
    world.add_all(5, (0..10).map(|_| ("kick", kick()))).await;
    trim(&world, 5, 4).await;
    let written = world.drain(&mut world.pump()).await;
    assert_eq!((written.entries, written.lost), (4, 6));
    assert_eq!(gaps(&world).await[0]["payload"].get("from"), None);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_is_exact_whoever_trims_meanwhile() {
    let world = Arc::new(World::new().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let sinks: Vec<_> = (0..2)
        .map(|_| {
            let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut pump = world.pump();
                loop {
                    let was_over = is_over.load(Ordering::SeqCst);
                    let turn = pump.turn().await.expect("they are there");
                    if was_over && !turn.has_more {
                        return;
                    }
                }
            })
        })
        .collect();
    const ROUNDS: usize = 400;
    for round in 0..ROUNDS {
        for partition in [3, 4] {
            world.add_all(partition, (0..25).map(|_| ("kick", kick()))).await;
        }
        if round % 3 == 0 {
            trim(&world, 3, 10).await;
        }
    }
    is_over.store(true, Ordering::SeqCst);
    for sink in sinks {
        sink.await.expect("no panic");
    }
    for (partition, is_trimmed) in [(3, true), (4, false)] {
        let question = format!(
            "SELECT count(*) FILTER (WHERE event_type = 'kick') AS written, \
                 coalesce(sum((payload ->> 'count')::int8), 0) AS lost FROM realtime_events WHERE chain = {partition}"
        );
        let sums = &rows(&world.client, &question).await[0];
        let (written, lost) = (
            sums["written"].as_i64().expect("a number"),
            sums["lost"].as_i64().expect("a number"),
        );
        assert_eq!(written + lost, 25 * ROUNDS as i64, "{sums}");
        assert_eq!(lost > 0, is_trimmed, "{sums}");
    }
    world.verify().await;
}

#[tokio::test]
async fn an_emptied_redis_is_a_gap_of_unknown_size() {
    let world = World::new().await;
    let mut pump = world.pump();
    world.add(5, "kick", kick()).await;
    world.drain(&mut pump).await;
    world.add(5, "kick", kick()).await;
    let mut empty = redis::pipe();
    empty.cmd("FLUSHALL").ignore();
    world.ask::<()>(&empty).await;
    // Closed until somebody opens it: nothing is read, and nothing is wrong.
    assert_eq!(world.drain(&mut pump).await.gaps, 0);
    world.begin_life("second").await;
    world.add(5, "restored", json!({"incarnation": "second"})).await;
    world.add(5, "kick", kick()).await;
    let written = world.drain(&mut pump).await;
    assert_eq!(
        (written.entries, written.events, written.gaps, written.lost),
        (2, 2, 1, 0)
    );
    let found = gaps(&world).await;
    let payload = &found[0]["payload"];
    assert_eq!(
        (&payload["count"], &payload["reason"]),
        (&Value::Null, &"redis_emptied".into())
    );
    assert_eq!(found[0]["incarnation"], "second");
    assert_eq!(world.drain(&mut world.pump()).await.gaps, 0);
    world.verify().await;

    // Ids of the new life may be lower: whoever made them has another clock.
    let mut low = redis::pipe();
    low.cmd("FLUSHALL").ignore();
    world.ask::<()>(&low).await;
    world.begin_life("third").await;
    let mut add = redis::pipe();
    add.cmd("XADD")
        .arg(world.outbox(5))
        .arg("1000-0")
        .arg("k")
        .arg("kick")
        .arg("d")
        .arg("{}")
        .ignore();
    world.ask::<()>(&add).await;
    assert_eq!(world.drain(&mut pump).await.events, 2);
    world.verify().await;
}

/// The outbox is as a master has it that took over: with these entries and no others.
async fn take_over(world: &World, partition: usize, ids: &[impl AsRef<str>]) {
    let mut back = redis::pipe();
    back.cmd("DEL").arg(world.outbox(partition)).ignore();
    for id in ids {
        back.cmd("XADD")
            .arg(world.outbox(partition))
            .arg(id.as_ref())
            .arg("k")
            .arg("kick")
            .arg("d")
            .arg(json!({"room": "den", "user": "ann", "what": id.as_ref()}).to_string())
            .ignore();
    }
    world.ask::<()>(&back).await;
}

/// An id so long before another one.
fn before(id: &str, ms: u64) -> String {
    let at: u64 = id.split('-').next().and_then(|at| at.parse().ok()).expect("an id");
    format!("{}-0", at - ms)
}

/// The gap says that a failover was the matter, once for each.
async fn failovers(world: &World, times: usize) {
    let found = gaps(world).await;
    let found: Vec<&Value> = found
        .iter()
        .filter(|gap| gap["payload"]["reason"] == "failover")
        .collect();
    assert_eq!(found.len(), times, "{found:?}");
    for gap in found {
        assert_eq!(gap["payload"]["count"], Value::Null);
        assert!(
            gap["payload"]["from"].is_string() && gap["payload"]["to"].is_string(),
            "{gap}"
        );
    }
}

#[tokio::test]
async fn a_failover_that_lost_the_end_of_an_outbox_is_said_and_nothing_after_it_is_skipped() {
    let world = World::new().await;
    let mut pump = world.pump();
    let now = format!("{}-0", now_ms());
    let ids: Vec<String> = (0..6).map(|number| before(&now, 60_000 - number)).collect();
    take_over(&world, 5, &ids).await;
    world.drain(&mut pump).await;
    // As its replica had it: the last two had not come, and nothing was trimmed.
    take_over(&world, 5, &ids[..4]).await;
    let newest = world.add(5, "kick", kick()).await;
    let written = world.drain(&mut pump).await;
    assert_eq!((written.events, written.gaps, written.lost), (2, 1, 0));
    failovers(&world, 1).await;
    assert_eq!(world.counts().await.len(), 7, "what came again is one row, as before");
    assert!(world.counts().await.contains_key(&(5, newest)));
    // The count goes on from what Redis has now.
    world.add_all(5, (0..9).map(|_| ("kick", kick()))).await;
    trim(&world, 5, 2).await;
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.lost), (2, 7));
    // It had trimmed, too: the numbers alone say that something is missing.
    let last = world.add(5, "kick", kick()).await;
    world.drain(&mut pump).await;
    take_over(&world, 5, &[before(&last, 5)]).await;
    trim(&world, 5, 0).await;
    world.add(5, "kick", kick()).await;
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.gaps, written.lost), (1, 1, 0));
    failovers(&world, 2).await;
    // Nothing has come since: that is seen as well, and said once.
    take_over(&world, 5, &[before(&last, 4)]).await;
    trim(&world, 5, 0).await;
    assert_eq!(world.drain(&mut pump).await.gaps, 1);
    assert_eq!(world.drain(&mut world.pump()).await.gaps, 0);
    failovers(&world, 3).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_whose_clock_is_behind_is_heard_from_its_first_word_on() {
    let world = World::new().await;
    let mut pump = world.pump();
    let ids = world.add_all(5, (0..4).map(|_| ("kick", kick()))).await;
    world.drain(&mut pump).await;
    // As many as there were, so that the numbers say nothing; some behind what Postgres has.
    let mut new: Vec<String> = (0..4).map(|number| before(&ids[3], 1_000 - number)).collect();
    take_over(&world, 5, &new).await;
    new.push(world.add(5, "kick", kick()).await);
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.events, written.gaps), (5, 6, 1));
    // More than one look or one transaction brings, some of them known.
    let many: Vec<String> = (0..1_500).map(|number| before(&ids[3], 100_000 - number)).collect();
    let some: Vec<String> = many[..700].to_vec();
    take_over(&world, 6, &many).await;
    world.drain(&mut pump).await;
    take_over(&world, 6, &some).await;
    let late: Vec<String> = (0..900)
        .map(|number| before(&ids[3], 99_200 - number).replace("-0", "-1"))
        .collect();
    let together: Vec<String> = some.iter().chain(&late).cloned().collect();
    take_over(&world, 6, &together).await;
    let written = world.drain(&mut pump).await;
    assert_eq!((written.gaps, written.unreadable, written.lost), (1, 0, 0));
    failovers(&world, 2).await;
    let counts = world.counts().await;
    let wanted = new.iter().chain(&ids).map(|id| (5, id.clone()));
    let wanted = wanted.chain(many.iter().chain(&late).map(|id| (6, id.clone())));
    for key in wanted {
        assert_eq!(counts.get(&key), Some(&1), "{key:?}");
    }
    world.verify().await;
    drop(pump);

    // Whoever waits for such an entry is told the truth.
    let runner = world.start_sink("one");
    runner.is_writing().await;
    let last = world.add(7, "kick", kick()).await;
    let patience = std::time::Duration::from_secs(20);
    assert_eq!(runner.flush(7, &last, patience).await, Durability::Durable);
    let early = before(&last, 500);
    take_over(&world, 7, &[&early]).await;
    assert_eq!(runner.flush(7, &early, patience).await, Durability::Durable);
    assert_eq!(world.counts().await.get(&(7, early)), Some(&1));
    runner.running.stop().await;
}

#[tokio::test]
async fn heads_that_somebody_removed_are_made_anew() {
    let world = World::new().await;
    let mut pump = world.pump();
    world.add(5, "lost", json!({"user": "ann", "conn": "p.1"})).await;
    world.drain(&mut pump).await;
    run(&world.client, "DELETE FROM realtime_archive_heads").await;
    world.add(5, "kick", kick()).await;
    assert!(pump.turn().await.is_err(), "it does not know where it is");
    let written = world.drain(&mut pump).await;
    assert_eq!((written.entries, written.lost), (1, 1));
    world.verify().await;
}
