//! The check of the audit trail: computes the chain of each partition again, from its beginning or from what the last
//! dropped day has left, and finds every row that was changed, taken away or put in. It reads one state of the database,
//! so a sink may write meanwhile, and holds one batch at a time.
//!
//! Where a day was dropped the numbers have a hole, and an anchor has the hash that stands before what is behind it: one is
//! needed of each batch that went while the next one stayed, or that was the last.
//!
//! What it cannot know by itself: whoever may write every table can compute a whole chain anew, cut off its end
//! together with the head, or write an anchor. Against that there are witnesses: what an earlier check said of the heads, kept elsewhere.

mod finding;
mod rows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::{Portal, Row, Transaction};

pub use self::finding::Finding;
use self::rows::{Group, NAMED, Rows};
use super::Archive;
use super::chain::{self, Hash, START};
use super::query::QueryError;

/// Chains that there are.
const PARTITIONS: u16 = 64;
/// Batches that are fetched at a time.
const FETCH: i32 = 500;

/// Where a chain ends: what it is now can be compared with later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// 0 to 63.
    pub partition: u16,
    /// The last batch; 0 = none.
    pub batch: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Batches whose rows were compared.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rows from before the schema, which no chain covers.
    pub rows_before: u64,
    /// What is not as it was written.
    pub findings: u64,
    /// Where the chains end, of those that have begun.
    pub heads: Vec<Head>,
}

impl Archive {
    /// Looks at everything, and tells what it finds. `witnesses` are heads of earlier checks. Takes as long as it takes;
    /// fails when Postgres goes away meanwhile.
    pub async fn verify(
        &self,
        witnesses: &[Head],
        mut tell: impl FnMut(Finding) + Send,
    ) -> Result<Verified, QueryError> {
        let mut reader = self.reader().await?;
        let snapshot = reader.snapshot(None).await?;
        let mut check = Check {
            snapshot: &snapshot,
            tell: &mut tell,
            verified: Verified::default(),
        };
        for partition in 0..PARTITIONS {
            let of_it = witnesses
                .iter()
                .filter(|head| head.partition == partition && head.batch > 0);
            check.partition(partition, of_it.collect()).await?;
        }
        check.outside().await?;
        Ok(check.verified)
    }
}

struct Check<'a> {
    snapshot: &'a Transaction<'a>,
    tell: &'a mut (dyn FnMut(Finding) + Send),
    verified: Verified,
}

/// A row of `realtime_archive_batches`.
struct Batch {
    number: i64,
    day: String,
    rows: i32,
    digest: Vec<u8>,
    hash: Vec<u8>,
}

/// A chain up to where it has been followed.
struct Chain<'w> {
    partition: u16,
    /// The last batch that was there, or was dropped with its day.
    last: i64,
    /// Its hash.
    hash: Vec<u8>,
    /// Hashes of the batches that went last with their days.
    anchors: BTreeMap<i64, Vec<u8>>,
    /// Those of earlier heads that are still to come.
    witnesses: Vec<&'w Head>,
}

impl Check<'_> {
    fn found(&mut self, finding: Finding) {
        self.verified.findings += 1;
        (self.tell)(finding);
    }

    async fn partition(&mut self, partition: u16, witnesses: Vec<&Head>) -> Result<(), QueryError> {
        let snapshot = self.snapshot;
        let mut chain = Chain {
            partition,
            last: 0,
            hash: START.to_vec(),
            anchors: anchors(snapshot, partition).await?,
            witnesses,
        };
        let mut rows = Rows::of(snapshot, partition).await?;
        let batches = snapshot
            .bind(
                "SELECT batch, day::text, rows, digest, hash FROM realtime_archive_batches \
                 WHERE partition = $1 ORDER BY batch",
                &[&signed(partition)],
            )
            .await?;
        loop {
            let page = next_page(snapshot, &batches).await?;
            if page.is_empty() {
                break;
            }
            for batch in page {
                self.strays(partition, &mut rows, Some(batch.number)).await?;
                self.link(&mut chain, &batch);
                self.contents(partition, &mut rows, &batch).await?;
            }
        }
        self.strays(partition, &mut rows, None).await?;
        self.end(chain).await
    }

    /// Whether the batch stands on the one before it.
    fn link(&mut self, chain: &mut Chain<'_>, batch: &Batch) {
        let partition = chain.partition;
        let mut stands_on = Some(chain.hash.clone());
        if batch.number != chain.last + 1 {
            stands_on = chain.anchors.get(&(batch.number - 1)).cloned();
            if stands_on.is_none() {
                self.found(Finding::BatchesMissing {
                    partition,
                    first: chain.last + 1,
                    last: batch.number - 1,
                });
            }
        }
        // On what a batch stood that is missing, nobody can say.
        if stands_on.is_some_and(|previous| next_hash(&previous, partition, batch).as_deref() != Some(&batch.hash[..]))
        {
            self.found(Finding::Unlinked {
                partition,
                batch: batch.number,
            });
        }
        chain.last = batch.number;
        chain.hash.clone_from(&batch.hash);
        for head in chain.met(batch.number, &batch.hash) {
            self.found(head);
        }
    }

    /// Whether the batch's rows are those that were written.
    async fn contents(&mut self, partition: u16, rows: &mut Rows<'_>, batch: &Batch) -> Result<(), QueryError> {
        let group = match rows.next_batch() {
            Some(Some(number)) if number == batch.number => rows.group().await?,
            _ => Group::nothing(batch.number),
        };
        self.verified.batches += 1;
        self.verified.rows += group.found;
        let (number, written, found) = (batch.number, i64::from(batch.rows), group.found);
        let found_signed = i64::try_from(found).unwrap_or(i64::MAX);
        if found_signed < written {
            self.found(Finding::RowsMissing {
                partition,
                batch: number,
                written,
                found,
            });
        } else if found_signed > written {
            self.found(Finding::RowsAdded {
                partition,
                batch: number,
                written,
                found,
                rows: group.named,
            });
        } else if group.digest.as_ref().map(|digest| &digest[..]) != Some(&batch.digest[..]) {
            self.found(Finding::Changed {
                partition,
                batch: number,
                rows: group.named,
            });
        } else if group.day.as_ref() != Some(&batch.day) {
            self.found(Finding::RecordChanged {
                partition,
                batch: number,
            });
        }
        Ok(())
    }

    /// Rows of batches that do not exist, up to those of `until`, or all that are left.
    async fn strays(&mut self, partition: u16, rows: &mut Rows<'_>, until: Option<i64>) -> Result<(), QueryError> {
        while let Some(next) = rows.next_batch() {
            if until.is_some_and(|until| next.is_none_or(|next| next >= until)) {
                break;
            }
            let group = rows.group().await?;
            self.found(Finding::RowsOfNoBatch {
                partition: signed(partition),
                batch: group.batch,
                found: group.found,
                rows: group.named,
            });
        }
        Ok(())
    }

    /// Whether the chain ends where its head says, and where earlier checks have seen it.
    async fn end(&mut self, mut chain: Chain<'_>) -> Result<(), QueryError> {
        // Everything up to an anchor may have gone with its day, the end of the chain as well.
        if let Some((&batch, hash)) = chain.anchors.last_key_value()
            && batch > chain.last
        {
            chain.hash.clone_from(hash);
            chain.last = batch;
        }
        let (last, hash) = (chain.last, chain.hash.clone());
        for head in chain.met(last, &hash) {
            self.found(head);
        }
        let partition = chain.partition;
        for &&Head { batch, .. } in &chain.witnesses {
            self.found(Finding::NotAsWitnessed { partition, batch });
        }
        let head = self
            .snapshot
            .query_opt(
                "SELECT batch, hash FROM realtime_archive_heads WHERE partition = $1",
                &[&signed(partition)],
            )
            .await?;
        let head: Option<(i64, Vec<u8>)> = match head {
            Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
            None => None,
        };
        let is_so = match &head {
            Some((batch, of_head)) => (*batch, of_head) == (last, &hash),
            None => last == 0,
        };
        if !is_so {
            self.found(Finding::Head {
                partition,
                batch: last,
                head: head.map(|(batch, _)| batch),
            });
        }
        if last > 0 {
            self.verified.heads.push(Head {
                partition,
                batch: last,
                hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            });
        }
        Ok(())
    }

    /// Rows that are in no chain: no more than there were when the schema came, and none that is younger.
    async fn outside(&mut self) -> Result<(), QueryError> {
        let strays = self
            .snapshot
            .query(
                "SELECT chain, batch, count(*), (array_agg(id::text))[1:10] FROM realtime_events \
                 WHERE chain < 0 OR chain >= 64 GROUP BY chain, batch ORDER BY chain, batch LIMIT 100",
                &[],
            )
            .await?;
        for row in &strays {
            self.found(Finding::RowsOfNoBatch {
                partition: row.try_get(0)?,
                batch: row.try_get(1)?,
                found: unsigned(row.try_get(2)?),
                rows: row.try_get(3)?,
            });
        }
        let counted = self
            .snapshot
            .query_one(
                "SELECT count(*) AS outside, count(*) FILTER (WHERE created_at > installed_at) AS younger, \
                 (SELECT rows_before FROM realtime_archive_origin) AS written \
                 FROM realtime_events LEFT JOIN realtime_archive_origin ON TRUE WHERE chain IS NULL",
                &[],
            )
            .await?;
        let (outside, younger): (i64, i64) = (counted.try_get(0)?, counted.try_get(1)?);
        self.verified.rows_before = unsigned(outside - younger);
        let Some(written) = counted.try_get::<_, Option<i64>>(2)? else {
            self.found(Finding::OriginMissing);
            return Ok(());
        };
        if younger > 0 {
            let statement = format!(
                "SELECT id::text FROM realtime_events, realtime_archive_origin \
                 WHERE chain IS NULL AND created_at > installed_at ORDER BY created_at, id LIMIT {NAMED}"
            );
            let rows = self.snapshot.query(&statement, &[]).await?;
            let rows = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            self.found(Finding::RowsUnchained {
                found: unsigned(younger),
                rows,
            });
        }
        if outside - younger > written {
            self.found(Finding::RowsBefore {
                written,
                found: outside - younger,
            });
        }
        Ok(())
    }
}

impl Chain<'_> {
    /// Compares a batch with the heads of earlier checks that it has come up to. What lies before an anchor is passed
    /// over: of a day that was dropped only the last hash is known.
    fn met(&mut self, batch: i64, hash: &[u8]) -> Vec<Finding> {
        if self.witnesses.is_empty() {
            return Vec::new();
        }
        let partition = self.partition;
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let newest_anchor = self.anchors.last_key_value().map_or(0, |(&batch, _)| batch);
        let mut wrong = Vec::new();
        self.witnesses.retain(|head| {
            let is_wrong = if head.batch == batch {
                head.hash != hash
            } else {
                head.batch < batch && head.batch > newest_anchor
            };
            if is_wrong {
                wrong.push(Finding::NotAsWitnessed {
                    partition,
                    batch: head.batch,
                });
            }
            head.batch > batch
        });
        wrong
    }
}

impl Group {
    fn nothing(batch: i64) -> Self {
        Self {
            batch: Some(batch),
            found: 0,
            digest: None,
            named: Vec::new(),
            day: None,
        }
    }
}

async fn anchors(snapshot: &Transaction<'_>, partition: u16) -> Result<BTreeMap<i64, Vec<u8>>, QueryError> {
    let statement = "SELECT batch, hash FROM realtime_archive_anchors WHERE partition = $1";
    let rows = snapshot.query(statement, &[&signed(partition)]).await?;
    let anchor = |row: &Row| Ok::<_, QueryError>((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(anchor).collect()
}

async fn next_page(snapshot: &Transaction<'_>, batches: &Portal) -> Result<Vec<Batch>, QueryError> {
    let rows = snapshot.query_portal(batches, FETCH).await?;
    let batch = |row: &Row| {
        Ok::<_, QueryError>(Batch {
            number: row.try_get(0)?,
            day: row.try_get(1)?,
            rows: row.try_get(2)?,
            digest: row.try_get(3)?,
            hash: row.try_get(4)?,
        })
    };
    rows.iter().map(batch).collect()
}

/// `None` where what is written down of the batch cannot be what a sink wrote.
fn next_hash(previous: &[u8], partition: u16, batch: &Batch) -> Option<Vec<u8>> {
    let previous: Hash = previous.try_into().ok()?;
    let digest: Hash = batch.digest[..].try_into().ok()?;
    let (number, rows) = (u64::try_from(batch.number).ok()?, u32::try_from(batch.rows).ok()?);
    Some(chain::next_hash(&previous, partition, number, rows, &digest).to_vec())
}

fn signed(partition: u16) -> i16 {
    i16::try_from(partition).expect("there are 64 partitions")
}

/// A count of Postgres', which is never below zero.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
