//! The outboxes as the archive reads them: what a look brings, what it trims, and who has the office of the writer.

use std::time::Duration;

use nself_realtime::hot::archive::{self, Outbox, Question};
use nself_realtime::hot::keys::Partition;

use crate::stage::Stage;
use crate::support::redis_any::AnyRedis;

const LEASE: Duration = Duration::from_secs(60);

fn question(partition: Partition) -> Question {
    Question {
        partition,
        entries: 10,
        bytes: 1_000_000,
        incarnation: "first".to_owned(),
        done: "0-0".to_owned(),
    }
}

async fn look(stage: &Stage, question: Question) -> Option<Outbox> {
    let mut found = archive::look(&stage.hot, &[question]).await.unwrap();
    assert!(found.len() < 2);
    found.pop()
}

fn nth(partition: usize) -> Partition {
    Partition::all().nth(partition).unwrap()
}

/// A partition with entries `1-0`, `2-0` and so on.
async fn filled(stage: &Stage, which: usize, entries: usize) -> Partition {
    let partition = nth(which);
    let _: () = stage.ask("SET", (stage.keys().restored(partition), "first")).await;
    for number in 1..=entries {
        add(stage, partition, &format!("{number}-0"), "kick", "{}").await;
    }
    partition
}

async fn add(stage: &Stage, partition: Partition, id: &str, kind: &str, what: &str) {
    let key = stage.keys().outbox(partition);
    let _: String = stage.ask("XADD", &[&key[..], id, "k", kind, "d", what]).await;
}

fn ids(outbox: &Outbox) -> Vec<&str> {
    outbox.entries.iter().map(|entry| &*entry.id).collect()
}

#[tokio::test]
async fn a_look_brings_the_first_entries_and_how_many_there_ever_were() {
    let stage = Stage::new().await;
    assert_eq!(look(&stage, question(nth(3))).await, None, "it is closed");
    let partition = filled(&stage, 3, 25).await;
    let outbox = look(&stage, question(partition)).await.unwrap();
    assert_eq!((outbox.added, outbox.length, outbox.oldest_ms), (25, 25, Some(1)));
    assert_eq!((&*outbox.incarnation, outbox.entries.len()), ("first", 10));
    assert_eq!((&*outbox.entries[0].kind, &*outbox.entries[0].what), ("kick", "{}"));
    assert!(outbox.now_ms > 1_700_000_000_000);
    // It changes nothing.
    assert_eq!(look(&stage, question(partition)).await.unwrap().entries, outbox.entries);
    let none = Question {
        entries: 0,
        ..question(partition)
    };
    let measured = look(&stage, none).await.unwrap();
    assert_eq!((measured.length, measured.entries.len()), (25, 0));
    let all = Question {
        entries: 1_000,
        ..question(partition)
    };
    assert_eq!(look(&stage, all).await.unwrap().entries.len(), 25);
}

#[tokio::test]
async fn what_postgres_has_is_trimmed_and_the_outbox_stays_open() {
    let stage = Stage::new().await;
    let partition = filled(&stage, 4, 5).await;
    let done = |id: &str| Question {
        done: id.to_owned(),
        ..question(partition)
    };
    let outbox = look(&stage, done("3-0")).await.unwrap();
    assert_eq!((outbox.added, outbox.length), (5, 2));
    assert_eq!(ids(&outbox), ["4-0", "5-0"]);
    // An older word trims nothing, and the same word nothing more.
    assert_eq!(look(&stage, done("1-0")).await.unwrap().length, 2);
    let outbox = look(&stage, done("5-0")).await.unwrap();
    assert_eq!((outbox.added, outbox.length, outbox.oldest_ms), (5, 0, None));
    assert!(stage.ask::<bool>("EXISTS", stage.keys().outbox(partition)).await);
    assert_eq!(look(&stage, done("5-0")).await.unwrap().added, 5);
}

#[tokio::test]
async fn what_another_life_had_trims_nothing_of_this_one() {
    let stage = Stage::new().await;
    let partition = filled(&stage, 5, 3).await;
    let other = Question {
        incarnation: "earlier".to_owned(),
        done: "99-0".to_owned(),
        ..question(partition)
    };
    let outbox = look(&stage, other).await.unwrap();
    assert_eq!((&*outbox.incarnation, outbox.length), ("first", 3));
}

#[tokio::test]
async fn nothing_is_trimmed_of_a_stream_that_a_failover_has_rewound() {
    let stage = Stage::new().await;
    let done = |partition, id: &str| Question {
        done: id.to_owned(),
        ..question(partition)
    };
    // Postgres has up to 9-0, and the master that took over had heard up to 3-0.
    let partition = filled(&stage, 9, 3).await;
    let outbox = look(&stage, done(partition, "9-0")).await.unwrap();
    assert_eq!((outbox.is_rewound, outbox.length, &*outbox.last), (true, 3, "3-0"));
    // Its clock is behind: what it writes is new all the same.
    add(&stage, partition, "4-0", "kick", "{}").await;
    add(&stage, partition, "11-0", "kick", "{}").await;
    let outbox = look(&stage, done(partition, "9-0")).await.unwrap();
    assert_eq!((outbox.is_rewound, outbox.length, &*outbox.last), (true, 5, "11-0"));
    assert_eq!(ids(&outbox), ["1-0", "2-0", "3-0", "4-0", "11-0"]);
    let outbox = look(&stage, done(partition, "4-0")).await.unwrap();
    assert_eq!((outbox.is_rewound, ids(&outbox)), (false, vec!["11-0"]));
    // What was trimmed is not what a failover has lost.
    let outbox = look(&stage, done(partition, "3-0")).await.unwrap();
    assert!(!outbox.is_rewound);
    let outbox = look(&stage, done(partition, "11-0")).await.unwrap();
    assert_eq!((outbox.is_rewound, outbox.length, &*outbox.last), (false, 0, "11-0"));
    assert!(look(&stage, done(partition, "11-1")).await.unwrap().is_rewound);
}

#[tokio::test]
async fn a_look_has_a_bound_of_bytes_and_takes_what_is_odd() {
    let stage = Stage::new().await;
    let partition = filled(&stage, 6, 0).await;
    let large = "x".repeat(1_000);
    for number in 1..=300 {
        add(&stage, partition, &format!("{number}-0"), "error", &large).await;
    }
    let bounded = |entries, bytes| Question {
        entries,
        bytes,
        ..question(partition)
    };
    assert_eq!(look(&stage, bounded(1_000, 2_500)).await.unwrap().entries.len(), 3);
    let outbox = look(&stage, bounded(1_000, 250_000)).await.unwrap();
    assert_eq!((outbox.entries.len(), ids(&outbox)[249]), (250, "250-0"));
    assert_eq!(look(&stage, bounded(201, 1_000_000)).await.unwrap().entries.len(), 201);

    let partition = filled(&stage, 7, 0).await;
    let key = stage.keys().outbox(partition);
    let odd: [&[u8]; 4] = [key.as_bytes(), b"1-0", b"d", b"\xff"];
    let _: String = stage.ask("XADD", &odd).await;
    let outbox = look(&stage, question(partition)).await.unwrap();
    assert_eq!((&*outbox.entries[0].kind, &*outbox.entries[0].what), ("", "\u{fffd}"));
}

#[tokio::test]
async fn one_at_a_time_has_the_office() {
    let stage = Stage::new().await;
    let claim = async |who: &str| archive::claim(&stage.hot, who, LEASE).await.unwrap();
    assert!(claim("one").await);
    assert!(claim("one").await, "it is kept");
    assert!(!claim("other").await);
    let left: i64 = stage.ask("PTTL", stage.keys().sink()).await;
    assert!(left > 0 && left <= 60_000);
    archive::resign(&stage.hot, "other").await.unwrap();
    assert!(claim("one").await, "nobody else gives it up");
    archive::resign(&stage.hot, "one").await.unwrap();
    archive::resign(&stage.hot, "one").await.unwrap();
    assert!(claim("other").await);
    assert!(!claim("one").await);
    let ends_soon = Duration::from_millis(1);
    assert!(archive::claim(&stage.hot, "other", ends_soon).await.unwrap());
    crate::support::eventually("it runs out", async || claim("one").await).await;
}

#[tokio::test]
async fn a_full_redis_still_gives_what_waits_and_takes_place_back() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let partition = filled(&stage, 8, 5).await;
    let _: Vec<String> = stage.ask_all("CONFIG", &["SET", "maxmemory", "1"]).await;
    assert!(stage.hot.check().await.is_err(), "it is full");
    assert!(archive::claim(&stage.hot, "one", LEASE).await.unwrap());
    let half = Question {
        done: "3-0".to_owned(),
        ..question(partition)
    };
    let outbox = look(&stage, half).await.unwrap();
    assert_eq!((outbox.length, ids(&outbox)), (2, vec!["4-0", "5-0"]));
}
