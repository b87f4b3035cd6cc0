//! Postgres stops, is killed in the middle of a batch, hangs, and comes back: everything is written once, and whoever waits for
//! it is told in time that it is not there yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nself_realtime::domain::sink::{Durability, Postgres as State};
use serde_json::{Value, json};

use crate::run;
use crate::sink_stage::World;
use crate::support::eventually;
use crate::support::postgres::Postgres;

const PATIENCE: Duration = Duration::from_secs(20);

fn kick(number: usize) -> Value {
    json!({"room": "den", "user": format!("user-{number}")})
}

fn is_up(state: State) -> bool {
    matches!(state, State::Up(_))
}

fn is_away(state: State) -> bool {
    matches!(state, State::Away(_))
}

/// Adds to four partitions; what was added.
async fn add(world: &World, added: &mut BTreeMap<(usize, String), i64>, count: usize) {
    for partition in 0..4 {
        for id in world
            .add_all(partition, (0..count).map(|number| ("kick", kick(number))))
            .await
        {
            added.insert((partition, id), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_was_stopped_hears_everything_once() {
    let postgres = Postgres::start().await;
    let mut world = World::on(&postgres).await;
    let (one, other) = (world.start_sink("one"), world.start_sink("other"));
    let mut added = BTreeMap::new();
    one.becomes("it is connected", is_up).await;
    for round in 0..3 {
        add(&world, &mut added, 100).await;
        if round == 1 {
            postgres.kill().await;
        } else {
            postgres.stop().await;
        }
        add(&world, &mut added, 100).await;
        one.becomes("it notices", is_away).await;
        eventually("it says what waits", async || {
            let backlog = one.sink.status().backlog;
            backlog.is_some_and(|backlog| backlog.entries >= 400 && backlog.oldest > Duration::ZERO)
        })
        .await;
        assert!(!one.sink.status().is_writing);
        postgres.restart().await;
        one.becomes("it is back", is_up).await;
        world.client = world.database.connect().await;
        world
            .holds(&format!(
                "(SELECT count(*) FROM realtime_events WHERE event_type = 'kick') = {}",
                added.len()
            ))
            .await;
    }
    assert_eq!(world.counts().await, added);
    assert_eq!(
        one.metric("realtime_archive_gaps_total") + other.metric("realtime_archive_gaps_total"),
        0.0
    );
    assert!(one.metric("realtime_archive_errors_total") > 0.0);
    world.verify().await;
    one.running.stop().await;
    other.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_in_the_middle_of_a_batch_has_all_of_it_or_nothing() {
    let postgres = Postgres::start().await;
    let mut world = World::on(&postgres).await;
    run(
        &world.client,
        "CREATE FUNCTION dawdle() RETURNS TRIGGER LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$; \
         CREATE TRIGGER dawdle BEFORE INSERT ON realtime_events FOR EACH ROW EXECUTE FUNCTION dawdle()",
    )
    .await;
    let mut added = BTreeMap::new();
    add(&world, &mut added, 200).await;
    let runner = world.start_sink("one");
    for _ in 0..3 {
        // In the middle of the rows of a batch.
        world
            .holds(
                "EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%INSERT INTO realtime_events%' \
                     AND wait_event = 'PgSleep' AND pid <> pg_backend_pid())",
            )
            .await;
        postgres.kill().await;
        postgres.restart().await;
        world.client = world.database.connect().await;
    }
    world
        .holds(&format!("(SELECT count(*) FROM realtime_events) = {}", added.len()))
        .await;
    assert_eq!(world.counts().await, added);
    world.verify().await;
    runner.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_durable_on_any_node_and_at_once_not_yet_while_postgres_is_away() {
    let postgres = Postgres::start().await;
    let mut world = World::on(&postgres).await;
    let writer = world.start_sink("one");
    writer.is_writing().await;
    let bystander = world.start_sink("other");
    bystander.becomes("it is connected", is_up).await;
    let mut added = BTreeMap::new();
    for round in 0..30 {
        let id = world.add(9, "kick", kick(round)).await;
        let runner = if round % 2 == 0 { &writer } else { &bystander };
        assert_eq!(runner.flush(9, &id, PATIENCE).await, Durability::Durable);
        let question = "SELECT count(*) FROM realtime_events WHERE chain = 9 AND stream_id = $1";
        let row = world
            .client
            .query_one(question, &[&id])
            .await
            .expect("Postgres answers");
        assert_eq!(row.get::<_, i64>(0), 1, "it is there when it is said to be");
        added.insert((9, id), 1);
    }
    assert!(!bystander.sink.status().is_writing);
    // An entry that there is not yet.
    assert_eq!(
        bystander.flush(9, "99999999999999-0", Duration::from_millis(300)).await,
        Durability::NotYet
    );
    assert_eq!(bystander.flush(9, "nothing", PATIENCE).await, Durability::NotYet);

    postgres.stop().await;
    bystander.becomes("it notices", is_away).await;
    let (id, asked) = (world.add(9, "kick", kick(99)).await, Instant::now());
    assert_eq!(bystander.flush(9, &id, PATIENCE).await, Durability::NotYet);
    assert!(asked.elapsed() < PATIENCE / 2, "at once, not at the deadline");
    added.insert((9, id.clone()), 1);
    postgres.restart().await;
    bystander.becomes("it is back", is_up).await;
    assert_eq!(bystander.flush(9, &id, PATIENCE).await, Durability::Durable);
    world.client = world.database.connect().await;
    assert_eq!(world.counts().await, added);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_what_somebody_else_waits_for() {
    let world = World::new().await;
    let runner = std::sync::Arc::new(world.start_sink("one"));
    runner.is_writing().await;
    let in_vain = tokio::spawn({
        let runner = std::sync::Arc::clone(&runner);
        // An entry that never comes.
        async move { runner.flush(9, "99999999999999-0", PATIENCE).await }
    });
    for partition in [9, 10, 11] {
        let id = world.add(partition, "kick", kick(partition)).await;
        assert_eq!(runner.flush(partition, &id, PATIENCE).await, Durability::Durable);
    }
    assert!(!in_vain.is_finished(), "the others were served meanwhile");
    in_vain.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_no_outage() {
    let world = World::new().await;
    run(
        &world.client,
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION collide() RETURNS TRIGGER LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.user_id = 'user-1' AND nextval('tries') <= 3 OR NEW.user_id = 'user-2' THEN \
                 RAISE EXCEPTION 'met another one' USING ERRCODE = 'deadlock_detected'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER collide BEFORE INSERT ON realtime_events FOR EACH ROW EXECUTE FUNCTION collide()",
    )
    .await;
    world.add(9, "kick", kick(1)).await;
    let turn = world.pump().turn().await.expect("it is tried again");
    assert_eq!((turn.written.entries, turn.written.unreadable), (1, 0));
    // One that never ends is no sign that Postgres is away, either.
    world.add(9, "kick", kick(2)).await;
    let runner = world.start_sink("one");
    runner.is_writing().await;
    eventually("it has failed", async || {
        // It is there from the first failure on.
        let families = runner.registry.gather();
        families
            .iter()
            .any(|family| family.name() == "realtime_archive_errors_total")
    })
    .await;
    assert!(is_up(runner.sink.status().postgres) && runner.sink.status().is_writing);
    run(&world.client, "DROP TRIGGER collide ON realtime_events").await;
    world.holds("(SELECT count(*) FROM realtime_events) = 2").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_hangs_is_noticed_by_whoever_waits_for_it() {
    let postgres = Postgres::start().await;
    let world = World::on(&postgres).await;
    let runner = world.start_sink("one");
    runner.is_writing().await;
    postgres.pause();
    let id = world.add(9, "kick", kick(1)).await;
    let short = Duration::from_millis(500);
    let asked = Instant::now();
    assert_eq!(runner.flush(9, &id, short).await, Durability::NotYet);
    assert!(asked.elapsed() >= short, "it was hoped for until the deadline");
    runner.becomes("it notices", is_away).await;
    postgres.resume();
    runner.becomes("it is back", is_up).await;
    eventually("it is there", async || {
        runner.flush(9, &id, PATIENCE).await == Durability::Durable
    })
    .await;
    assert_eq!(world.counts().await.len(), 1);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_lease_writes_and_the_next_takes_it_over() {
    let world = World::new().await;
    let one = world.start_sink("one");
    one.is_writing().await;
    let other = world.start_sink("other");
    other.becomes("it is connected", is_up).await;
    world.add(9, "kick", kick(1)).await;
    world.holds("(SELECT count(*) FROM realtime_events) = 1").await;
    assert_eq!(
        (
            one.metric("realtime_archive_events_total"),
            other.metric("realtime_archive_events_total")
        ),
        (1.0, 0.0)
    );
    assert!(!other.sink.status().is_writing);
    // What waits at the stop is written before it ends, and the office is given up.
    world.add(9, "kick", kick(2)).await;
    one.running.stop().await;
    assert_eq!(world.counts().await.len(), 2);
    let holder = world.office().await;
    assert!(
        holder.as_deref().is_none_or(|holder| holder.starts_with("other/")),
        "it did not have to run out: {holder:?}"
    );
    other.is_writing().await;
    world.add(9, "kick", kick(3)).await;
    world.holds("(SELECT count(*) FROM realtime_events) = 3").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_schema_the_sink_waits_for_it() {
    let postgres = Postgres::shared().await;
    let world = World::on(&postgres).await;
    run(
        &world.client,
        "ALTER TABLE realtime_archive_heads RENAME TO heads_elsewhere",
    )
    .await;
    let runner = world.start_sink("one");
    world.add(9, "kick", kick(1)).await;
    runner.becomes("it says so", is_away).await;
    run(
        &world.client,
        "ALTER TABLE heads_elsewhere RENAME TO realtime_archive_heads",
    )
    .await;
    world.holds("(SELECT count(*) FROM realtime_events) = 1").await;
    runner.becomes("it is up", is_up).await;
}
