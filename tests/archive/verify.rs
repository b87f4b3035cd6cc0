//! `audit verify`: every kind of tampering is found, and nothing else.

use nself_realtime::archive::verify::{Finding, Head, Verified};
use serde_json::json;

use crate::trail::{Entry, Trail, at, entry};
use crate::{archive, run, value};

/// Looks at everything: what was found, and what was looked at.
pub async fn verify(trail: &Trail, witnesses: &[Head]) -> (Vec<Finding>, Verified) {
    let mut found = Vec::new();
    let verified = archive(&trail.database)
        .verify(witnesses, |finding| found.push(finding))
        .await
        .expect("Postgres answers");
    assert_eq!(verified.findings, found.len() as u64);
    (found, verified)
}

/// Three days, two partitions, and rows of every shape.
pub async fn filled() -> Trail {
    let mut trail = Trail::new().await;
    for day in 0..3 {
        for partition in [7, 40] {
            for batch in 0..3 {
                let entries: Vec<Entry> = (0..5)
                    .map(|row| {
                        odd(
                            entry("join", at(day * 86_400 + batch * 60 + row), "den", "ann", "c.1"),
                            row,
                        )
                    })
                    .collect();
                trail.batch(partition, &entries).await;
            }
        }
    }
    trail
}

/// What must come back from Postgres as it went there.
fn odd(entry: Entry, which: i64) -> Entry {
    match which {
        0 => entry,
        1 => Entry {
            payload: None,
            metadata: None,
            user: None,
            room: None,
            socket: None,
            ..entry
        },
        2 => Entry {
            payload: Some(json!({"z": [1e16, 1e19, -0.0, 0.1, 1e300, 5e-324, u64::MAX], "a": {"ü": "\u{1f600}\n\\"}})),
            ..entry
        },
        3 => Entry {
            ip: Some("2001:db8::1".parse().unwrap()),
            payload: Some(json!(null)),
            ..entry
        },
        _ => Entry {
            ip: Some("192.0.2.1".parse().unwrap()),
            metadata: Some(json!([1, "two", {"b": 1, "a": 2}])),
            ..entry
        },
    }
}

#[tokio::test]
async fn an_untouched_trail_is_as_it_was_written() {
    let trail = filled().await;
    let (found, verified) = verify(&trail, &[]).await;
    assert_eq!(found, []);
    assert_eq!((verified.batches, verified.rows, verified.rows_before), (18, 90, 0));
    let ends: Vec<_> = verified.heads.iter().map(|head| (head.partition, head.batch)).collect();
    assert_eq!(ends, [(7, 9), (40, 9)]);
    let hash = value(
        &trail.client,
        "SELECT encode(hash, 'hex') FROM realtime_archive_heads WHERE partition = 7",
    )
    .await;
    assert_eq!(hash, verified.heads[0].hash);
    let (found, verified) = verify(&Trail::new().await, &[]).await;
    assert_eq!((found, verified), (vec![], Verified::default()));
}

/// The rows of batch 5 of partition 7 lie here.
const BATCH: &str = "chain = 7 AND batch = 5";

#[tokio::test]
async fn a_change_of_any_field_is_found_with_its_batch() {
    let changes = [
        "payload = payload || '{\"x\": 1}'",
        "payload = NULL",
        "metadata = '{\"connection\": \"c.2\", \"node\": \"node-a\"}'",
        "created_at = created_at + interval '1 second'",
        "created_at = created_at + interval '1 microsecond'",
        "created_at = created_at - interval '1 hour'",
        "event_type = 'leave'",
        "socket_id = NULL",
        "user_id = 'bob'",
        "room_name = 'attic'",
        "ip_address = '192.0.2.1'",
        "id = gen_random_uuid()",
        "stream_id = '1-1'",
        "stream_id = NULL",
        "incarnation = 'second'",
        "incarnation = NULL",
    ];
    for change in changes {
        let trail = filled().await;
        let one = format!("stream_id = (SELECT min(stream_id) FROM realtime_events WHERE {BATCH})");
        run(
            &trail.client,
            &format!("UPDATE realtime_events SET {change} WHERE {BATCH} AND {one}"),
        )
        .await;
        let (found, _) = verify(&trail, &[]).await;
        let [
            Finding::Changed {
                partition: 7,
                batch: 5,
                rows,
            },
        ] = &found[..]
        else {
            panic!("{change}: {found:?}");
        };
        assert!((1..=5).contains(&rows.len()), "{change}: {rows:?}");
    }
}

#[tokio::test]
async fn a_row_that_gives_itself_away_is_named() {
    for change in [
        "created_at = created_at + interval '1 microsecond'",
        "ip_address = '192.0.2.0/24'",
        "stream_id = NULL",
    ] {
        let trail = filled().await;
        let id = value(
            &trail.client,
            &format!("SELECT max(id::text) FROM realtime_events WHERE {BATCH}"),
        )
        .await;
        let id = id.as_str().unwrap();
        run(
            &trail.client,
            &format!("UPDATE realtime_events SET {change} WHERE id = '{id}'"),
        )
        .await;
        let (found, _) = verify(&trail, &[]).await;
        let changed = Finding::Changed {
            partition: 7,
            batch: 5,
            rows: vec![id.to_owned()],
        };
        assert_eq!(found, [changed], "{change}");
    }
}

#[tokio::test]
async fn a_row_on_another_day_is_found() {
    let trail = filled().await;
    run(
        &trail.client,
        &format!(
            "UPDATE realtime_events SET created_at = created_at + interval '1 day' WHERE {BATCH} AND payload IS NULL"
        ),
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert!(
        matches!(
            found[..],
            [Finding::Changed {
                partition: 7,
                batch: 5,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn rows_that_changed_places_are_found() {
    let trail = filled().await;
    // What was said of one is said of the other.
    run(
        &trail.client,
        &format!(
            "WITH two AS (SELECT id, payload, row_number() OVER (ORDER BY id) AS place FROM realtime_events \
             WHERE {BATCH} AND (payload = 'null' OR payload ? 'z')) \
             UPDATE realtime_events AS e SET payload = other.payload FROM two AS mine, two AS other \
             WHERE e.id = mine.id AND other.place = 3 - mine.place"
        ),
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert!(
        matches!(
            found[..],
            [Finding::Changed {
                partition: 7,
                batch: 5,
                ..
            }]
        ),
        "{found:?}"
    );
    // A row of one batch belongs to another.
    let trail = filled().await;
    run(
        &trail.client,
        "UPDATE realtime_events SET batch = CASE batch WHEN 5 THEN 6 ELSE 5 END \
         WHERE chain = 7 AND batch IN (5, 6) AND payload IS NULL",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    let batches: Vec<i64> = found.iter().map(changed_batch).collect();
    assert_eq!(batches, [5, 6]);
}

fn changed_batch(finding: &Finding) -> i64 {
    match finding {
        Finding::Changed { batch, .. } => *batch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn missing_rows_and_batches_are_found() {
    let trail = filled().await;
    run(
        &trail.client,
        &format!("DELETE FROM realtime_events WHERE {BATCH} AND payload IS NULL"),
    )
    .await;
    run(
        &trail.client,
        "DELETE FROM realtime_events WHERE chain = 40 AND batch = 9",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    let missing = |partition, batch, found| Finding::RowsMissing {
        partition,
        batch,
        written: 5,
        found,
    };
    assert_eq!(found, [missing(7, 5, 4), missing(40, 9, 0)]);

    let trail = filled().await;
    run(
        &trail.client,
        "DELETE FROM realtime_events WHERE chain = 7 AND batch IN (5, 6); \
         DELETE FROM realtime_archive_batches WHERE partition = 7 AND batch IN (5, 6)",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    let missing = Finding::BatchesMissing {
        partition: 7,
        first: 5,
        last: 6,
    };
    assert_eq!(found, [missing]);

    // The batch alone: its rows are still there.
    let trail = filled().await;
    run(
        &trail.client,
        "DELETE FROM realtime_archive_batches WHERE partition = 7 AND batch = 1",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        matches!(
            found[0],
            Finding::RowsOfNoBatch {
                partition: 7,
                batch: Some(1),
                found: 5,
                ..
            }
        ),
        "{found:?}"
    );
    assert_eq!(
        found[1],
        Finding::BatchesMissing {
            partition: 7,
            first: 1,
            last: 1
        }
    );
}

#[tokio::test]
async fn added_rows_are_found() {
    let copy = |changes: &str| {
        format!(
            "INSERT INTO realtime_events SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid()) || '{changes}')).* \
             FROM realtime_events e WHERE {BATCH} AND payload IS NULL"
        )
    };
    let trail = filled().await;
    run(&trail.client, &copy("{}")).await;
    let (found, _) = verify(&trail, &[]).await;
    assert!(
        matches!(
            found[..],
            [Finding::RowsAdded {
                partition: 7,
                batch: 5,
                written: 5,
                found: 6,
                ..
            }]
        ),
        "{found:?}"
    );

    // A batch that nobody wrote, at the end, in between, and in a partition that has none.
    for (partition, batch) in [(7, 10), (40, 99), (3, 1)] {
        let trail = filled().await;
        run(
            &trail.client,
            &copy(&format!("{{\"chain\": {partition}, \"batch\": {batch}}}")),
        )
        .await;
        let (found, _) = verify(&trail, &[]).await;
        let [
            Finding::RowsOfNoBatch {
                partition: of,
                batch: in_batch,
                found: 1,
                rows,
            },
        ] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!((*of, *in_batch, rows.len()), (partition, Some(batch), 1));
    }

    // In no batch.
    let trail = filled().await;
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, created_at) VALUES ('join', now() + interval '1 ms')",
    )
    .await;
    let id = value(&trail.client, "SELECT id FROM realtime_events WHERE chain IS NULL").await;
    let (found, _) = verify(&trail, &[]).await;
    let rows = vec![id.as_str().unwrap().to_owned()];
    assert_eq!(found, [Finding::RowsUnchained { found: 1, rows }]);

    // In no batch, and made to look as if it had always been there.
    let trail = filled().await;
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, created_at) VALUES ('join', '2026-01-30T00:00:00Z')",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert_eq!(found, [Finding::RowsBefore { written: 0, found: 1 }]);

    // A row that was taken out of its chain.
    let trail = filled().await;
    run(
        &trail.client,
        &format!("UPDATE realtime_events SET chain = NULL, batch = NULL WHERE {BATCH} AND payload IS NULL"),
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(found[0], Finding::RowsMissing { batch: 5, .. }), "{found:?}");
    assert!(matches!(found[1], Finding::RowsBefore { .. }), "{found:?}");
}

#[tokio::test]
async fn rows_from_before_are_outside() {
    let trail = filled().await;
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, created_at) VALUES ('connect', '2026-01-29T00:00:00Z'), ('connect', '2026-01-30T00:00:00Z'); \
         UPDATE realtime_archive_origin SET rows_before = 2",
    )
    .await;
    let (found, verified) = verify(&trail, &[]).await;
    assert_eq!((found, verified.rows_before), (vec![], 2));
    // The retention takes them as it takes all others.
    run(
        &trail.client,
        "DELETE FROM realtime_events WHERE created_at = '2026-01-29T00:00:00Z'",
    )
    .await;
    assert_eq!(verify(&trail, &[]).await.0, []);
    run(&trail.client, "DELETE FROM realtime_archive_origin").await;
    assert_eq!(verify(&trail, &[]).await.0, [Finding::OriginMissing]);
}
