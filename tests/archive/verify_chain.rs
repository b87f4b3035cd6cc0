//! `audit verify`: a chain that does not hold, one that was cut off, one whose beginning was dropped, one that grows.

use nself_realtime::archive::verify::Finding;

use crate::trail::{Trail, at, entry};
use crate::verify::{filled, verify};
use crate::{archive, run};

#[tokio::test]
async fn a_chain_that_does_not_hold_is_found() {
    let unlinked = |batch| Finding::Unlinked { partition: 7, batch };
    let head = |batch, head| Finding::Head {
        partition: 7,
        batch,
        head,
    };
    for (change, expected) in [
        // The rows are what the digest says, but no longer what the hash says.
        (
            "UPDATE realtime_archive_batches SET rows = 6 WHERE partition = 7 AND batch = 5",
            None,
        ),
        (
            "UPDATE realtime_archive_batches SET hash = sha256(hash) WHERE partition = 7 AND batch = 5",
            Some(vec![unlinked(5), unlinked(6)]),
        ),
        (
            "UPDATE realtime_archive_batches SET day = '2026-01-01' WHERE partition = 7 AND batch = 5",
            Some(vec![Finding::RecordChanged { partition: 7, batch: 5 }]),
        ),
        (
            "UPDATE realtime_archive_heads SET hash = sha256(hash) WHERE partition = 7",
            Some(vec![head(9, Some(9))]),
        ),
        (
            "UPDATE realtime_archive_heads SET batch = 8 WHERE partition = 7",
            Some(vec![head(9, Some(8))]),
        ),
        (
            "DELETE FROM realtime_archive_heads WHERE partition = 7",
            Some(vec![head(9, None)]),
        ),
        // The end is cut off, and the head still knows of it.
        (
            "DELETE FROM realtime_events WHERE chain = 7 AND batch > 7; \
             DELETE FROM realtime_archive_batches WHERE partition = 7 AND batch > 7",
            Some(vec![head(7, Some(9))]),
        ),
        // Everything is gone but the head.
        (
            "DELETE FROM realtime_events WHERE chain = 7; DELETE FROM realtime_archive_batches WHERE partition = 7",
            Some(vec![head(0, Some(9))]),
        ),
    ] {
        let trail = filled().await;
        run(&trail.client, change).await;
        let (found, _) = verify(&trail, &[]).await;
        match expected {
            Some(expected) => assert_eq!(found, expected, "{change}"),
            None => assert_eq!(found.len(), 2, "{change}: {found:?}"),
        }
    }
}

/// Cuts off the end of a chain, and makes its head fit.
const CUT: &str = "DELETE FROM realtime_events WHERE chain = 7 AND batch > 7; \
     DELETE FROM realtime_archive_batches WHERE partition = 7 AND batch > 7; \
     UPDATE realtime_archive_heads h SET batch = b.batch, hash = b.hash, last_id = b.last_id \
     FROM realtime_archive_batches b WHERE b.partition = 7 AND b.batch = 7 AND h.partition = 7";

#[tokio::test]
async fn an_end_that_was_cut_off_with_its_head_is_found_against_a_witness() {
    let mut trail = filled().await;
    let (_, before) = verify(&trail, &[]).await;
    // What is written afterwards changes nothing of what was witnessed.
    trail
        .batch(7, &[entry("leave", at(3 * 86_400), "den", "ann", "c.1")])
        .await;
    assert_eq!(verify(&trail, &before.heads).await.0, []);

    run(&trail.client, CUT).await;
    assert_eq!(verify(&trail, &[]).await.0, [], "by itself the trail cannot know");
    let witnessed = Finding::NotAsWitnessed { partition: 7, batch: 9 };
    assert_eq!(verify(&trail, &before.heads).await.0, std::slice::from_ref(&witnessed));

    // Written anew behind the cut, with the same numbers.
    let mut trail = filled().await;
    let (_, before) = verify(&trail, &[]).await;
    run(&trail.client, CUT).await;
    trail.rewind(7).await;
    for second in 0..4 {
        trail
            .batch(7, &[entry("join", at(3 * 86_400 + second), "den", "eve", "c.2")])
            .await;
    }
    assert_eq!(verify(&trail, &[]).await.0, []);
    assert_eq!(verify(&trail, &before.heads).await.0, [witnessed]);
}

#[tokio::test]
async fn days_that_were_dropped_leave_an_anchor() {
    let trail = filled().await;
    let (_, before) = verify(&trail, &[]).await;
    trail.drop_day("2026-01-30").await;
    let (found, verified) = verify(&trail, &before.heads).await;
    assert_eq!((found, verified.batches), (vec![], 12));
    // Of a hash that is not the dropped batch's nothing follows.
    run(
        &trail.client,
        "UPDATE realtime_archive_anchors SET hash = sha256(hash) WHERE partition = 7",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    assert_eq!(found, [Finding::Unlinked { partition: 7, batch: 4 }]);
    // Without it, the beginning is missing.
    run(
        &trail.client,
        "DELETE FROM realtime_archive_anchors WHERE partition = 7",
    )
    .await;
    let (found, _) = verify(&trail, &[]).await;
    let missing = Finding::BatchesMissing {
        partition: 7,
        first: 1,
        last: 3,
    };
    assert_eq!(found, [missing]);

    // Of a partition that was silent since, everything goes; and it goes on from there.
    let mut trail_of_one = Trail::new().await;
    trail_of_one
        .batch(7, &[entry("join", at(0), "den", "ann", "c.1")])
        .await;
    trail_of_one.drop_day("2026-01-30").await;
    assert_eq!(verify(&trail_of_one, &[]).await.0, []);
    trail_of_one
        .batch(7, &[entry("leave", at(86_400), "den", "ann", "c.1")])
        .await;
    let (found, verified) = verify(&trail_of_one, &[]).await;
    assert_eq!((found, verified.batches), (vec![], 1));
}

#[tokio::test]
async fn a_batch_as_large_as_none_is_no_reason_to_read_it_all() {
    let trail = filled().await;
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, created_at, chain, batch, incarnation, stream_id) \
         SELECT 'join', '2026-01-30T12:00:00Z', 7, 2, 'first', n || '-0' FROM generate_series(1, 12000) AS n",
    )
    .await;
    let (found, verified) = verify(&trail, &[]).await;
    let [
        Finding::RowsAdded {
            batch: 2,
            found: 12_005,
            rows,
            ..
        },
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!((rows.len(), verified.rows), (10, 90 + 12_000));
}

#[tokio::test]
async fn a_sink_may_write_meanwhile() {
    let mut trail = filled().await;
    // A batch that is under way is not seen in part.
    trail
        .written(7, &[entry("join", at(3 * 86_400), "den", "eve", "c.2")])
        .await;
    let (found, verified) = verify(&trail, &[]).await;
    assert_eq!((found, verified.batches), (vec![], 18));
    trail.commit().await;
    // Batches that come while it looks are not seen either.
    let archive = archive(&trail.database);
    let looking = tokio::spawn(async move {
        let mut found = Vec::new();
        for _ in 0..20 {
            let verified = archive
                .verify(&[], |finding| found.push(finding))
                .await
                .expect("Postgres answers");
            assert!(verified.batches >= 19);
        }
        found
    });
    let mut second = 0;
    while !looking.is_finished() {
        second += 1;
        for partition in [7, 40, 63] {
            trail
                .batch(
                    partition,
                    &[entry("join", at(3 * 86_400 + second), "den", "eve", "c.2")],
                )
                .await;
        }
    }
    assert_eq!(looking.await.unwrap(), []);
    assert!(second > 1, "something was written meanwhile");
}
