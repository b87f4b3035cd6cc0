//! What the check of the audit trail can find, in words and as JSON.

use std::fmt;

use serde::Serialize;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// A batch has as many rows as it had, but not the same.
    Changed {
        partition: u16,
        batch: i64,
        /// Those that give themselves away; where none does, the batch's first rows: one of all its rows was changed.
        rows: Vec<String>,
    },
    /// A batch has fewer rows than it had.
    RowsMissing {
        partition: u16,
        batch: i64,
        written: i64,
        found: u64,
    },
    /// A batch has more rows than it had.
    RowsAdded {
        partition: u16,
        batch: i64,
        written: i64,
        found: u64,
        /// Those that give themselves away; where none does, the batch's first rows.
        rows: Vec<String>,
    },
    /// The rows are those of the batch, but what is written down of the batch beside them was changed.
    RecordChanged { partition: u16, batch: i64 },
    /// Batches are gone that no retention has dropped.
    BatchesMissing { partition: u16, first: i64, last: i64 },
    /// The batch's hash does not stand on the one before.
    Unlinked { partition: u16, batch: i64 },
    /// The chain does not end where the partition's head says.
    Head {
        partition: u16,
        /// The last batch that there is; 0 = none.
        batch: i64,
        /// The batch that the head names; `None` = there is no head.
        head: Option<i64>,
    },
    /// Rows say that they belong to a batch that does not exist.
    RowsOfNoBatch {
        partition: i16,
        batch: Option<i64>,
        found: u64,
        /// The first of them.
        rows: Vec<String>,
    },
    /// Rows without a batch that are younger than the schema.
    RowsUnchained {
        found: u64,
        /// The first of them.
        rows: Vec<String>,
    },
    /// More rows from before the schema than there were.
    RowsBefore { written: i64, found: i64 },
    /// It is no longer written down how many rows there were before the schema.
    OriginMissing,
    /// What an earlier check wrote down of a chain's end is no part of the chain.
    NotAsWitnessed { partition: u16, batch: i64 },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { partition, batch, rows } => {
                write!(f, "partition {partition}, batch {batch}: a row was changed; look at ")?;
                list(f, rows)
            }
            Self::RowsMissing {
                partition,
                batch,
                written,
                found,
            } => write!(
                f,
                "partition {partition}, batch {batch}: of {written} rows {found} are left"
            ),
            Self::RowsAdded {
                partition,
                batch,
                written,
                found,
                rows,
            } => {
                write!(
                    f,
                    "partition {partition}, batch {batch}: of {written} rows there are {found}; look at "
                )?;
                list(f, rows)
            }
            Self::RecordChanged { partition, batch } => {
                write!(
                    f,
                    "partition {partition}, batch {batch}: what is written down of the batch was changed"
                )
            }
            Self::BatchesMissing { partition, first, last } if first == last => {
                write!(f, "partition {partition}: batch {first} is missing")
            }
            Self::BatchesMissing { partition, first, last } => {
                write!(f, "partition {partition}: batches {first} to {last} are missing")
            }
            Self::Unlinked { partition, batch } => {
                write!(
                    f,
                    "partition {partition}, batch {batch}: its hash does not stand on the batch before"
                )
            }
            Self::Head {
                partition,
                batch,
                head: None,
            } => write!(
                f,
                "partition {partition}: the head is missing, the chain ends with batch {batch}"
            ),
            Self::Head {
                partition,
                batch,
                head: Some(head),
            } => write!(
                f,
                "partition {partition}: the head names batch {head}, the chain ends otherwise with {batch}"
            ),
            Self::RowsOfNoBatch {
                partition,
                batch,
                found,
                rows,
            } => {
                let batch = batch.map_or("none".to_owned(), |batch| batch.to_string());
                write!(
                    f,
                    "partition {partition}, batch {batch}: there is no such batch, but {found} rows of it: "
                )?;
                list(f, rows)
            }
            Self::RowsUnchained { found, rows } => {
                write!(f, "{found} rows are in no batch, and younger than the schema: ")?;
                list(f, rows)
            }
            Self::RowsBefore { written, found } => {
                write!(f, "{found} rows from before the schema, of {written}")
            }
            Self::OriginMissing => f.write_str("how many rows there were before the schema is written down no longer"),
            Self::NotAsWitnessed { partition, batch } => {
                write!(f, "partition {partition}, batch {batch}: not what an earlier check saw")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, rows: &[String]) -> fmt::Result {
    f.write_str(&rows.join(", "))
}
