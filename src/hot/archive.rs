//! The outboxes as the archive reads them: many partitions in one round trip, and which node reads. Not here: writing to an
//! outbox (`outbox`), what becomes of the entries (`crate::archive`).

use std::sync::LazyLock;
use std::time::Duration;

use super::keys::Partition;
use super::reply::{Reply, UnexpectedReply};
use super::script::{self, Script, script};
use super::{Hot, HotError, millis};

script!(POLL = "archive/poll");
script!(CLAIM = "archive/claim");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&POLL, &CLAIM];

/// What one look at a partition asks for.
#[derive(Debug, Clone)]
pub struct Question {
    pub partition: Partition,
    /// Most entries; 0 asks only how it is.
    pub entries: u32,
    /// Bytes of entries behind which the answer ends.
    pub bytes: u32,
    /// The life of the partition's data that `done` is of.
    pub incarnation: String,
    /// The entry up to which Postgres has that life's; what is not behind it goes.
    pub done: String,
}

/// An entry as it stands in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: String,
    pub kind: String,
    /// JSON.
    pub what: String,
}

/// A partition's outbox at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    pub partition: Partition,
    /// Which life of the partition's data it is.
    pub incarnation: String,
    /// Entries that it ever had.
    pub added: u64,
    /// Entries that it has.
    pub length: u64,
    /// Redis's clock.
    pub now_ms: i64,
    /// Of the oldest entry that it has; Unix ms.
    pub oldest_ms: Option<i64>,
    /// The first entries, in their order.
    pub entries: Vec<Waiting>,
}

/// Looks at outboxes, in one round trip. Those of closed partitions are left out, and so are those that fail by themselves:
/// the next look comes soon.
pub async fn look(hot: &Hot, questions: &[Question]) -> Result<Vec<Outbox>, HotError> {
    let call = |question: &Question| {
        POLL.call()
            .key(hot.keys().outbox(question.partition))
            .key(hot.keys().restored(question.partition))
            .arg(&question.incarnation[..])
            .arg(&question.done[..])
            .number(question.entries)
            .number(question.bytes)
    };
    let replies = script::run_all(hot, questions.iter().map(call).collect()).await?;
    let mut found = Vec::with_capacity(questions.len());
    for (question, reply) in questions.iter().zip(replies) {
        match reply.and_then(|mut reply| POLL.read(|| read(&mut reply, question.partition))) {
            Ok(outbox) => found.extend(outbox),
            Err(error) => tracing::debug!(error = %error, partition = question.partition.index(), "outbox not read"),
        }
    }
    Ok(found)
}

fn read(reply: &mut Reply, partition: Partition) -> Result<Option<Outbox>, UnexpectedReply> {
    if !reply.flag()? {
        return Ok(None);
    }
    let mut outbox = Outbox {
        partition,
        incarnation: reply.text()?,
        added: reply.integer()?,
        length: reply.integer()?,
        now_ms: reply.integer()?,
        oldest_ms: time_of(&reply.text()?),
        entries: Vec::new(),
    };
    while !reply.is_empty() {
        outbox.entries.push(Waiting {
            id: reply.text()?,
            kind: reply.lossy_text()?,
            what: reply.lossy_text()?,
        });
    }
    Ok(Some(outbox))
}

/// The first half of a stream's id.
fn time_of(id: &str) -> Option<i64> {
    id.split_once('-')?.0.parse().ok()
}

/// Takes or keeps the office of the node that writes the outboxes to Postgres; whether `who` has it.
pub async fn claim(hot: &Hot, who: &str, lease: Duration) -> Result<bool, HotError> {
    let mut reply = CLAIM
        .call()
        .key(hot.keys().sink())
        .arg(who)
        .number(millis(lease))
        .run(hot)
        .await?;
    CLAIM.read(|| reply.flag())
}

/// Gives the office up, if `who` has it.
pub async fn resign(hot: &Hot, who: &str) -> Result<(), HotError> {
    claim(hot, who, Duration::ZERO).await.map(drop)
}

/// Who has the office; `None`: nobody.
pub async fn writer(hot: &Hot) -> Result<Option<String>, HotError> {
    let fail = |error| HotError::of("read who writes to Postgres", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let who = connection
        .send(redis::cmd("GET").arg(hot.keys().sink()))
        .await
        .map_err(fail)?;
    redis::from_redis_value(who).map_err(|error| fail(error.into()))
}
