//! The outbox of each partition: what Postgres must hear of, written by the scripts that change something. Not here: reading
//! it (`archive`), nor what stands in it.

use std::sync::LazyLock;

use super::keys::Partition;
use super::reply::{Reply, UnexpectedReply};
use super::script::{self, Script, script};
use super::{Hot, HotError};

script!(OPEN = "archive/open");
script!(NOTE = "archive/note");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&OPEN, &NOTE];

/// Where something stands in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: Partition,
    /// The stream's id.
    pub id: String,
}

impl Reply {
    /// One value: an id in the outbox, or "".
    pub(in crate::hot) fn record(&mut self, partition: Partition) -> Result<Option<Record>, UnexpectedReply> {
        let id = self.text()?;
        Ok((!id.is_empty()).then_some(Record { partition, id }))
    }
}

/// Opens partitions; how many were closed.
pub async fn open(hot: &Hot, partitions: &[Partition]) -> Result<usize, HotError> {
    let call = |&partition: &Partition| {
        OPEN.call()
            .key(hot.keys().outbox(partition))
            .key(hot.keys().restored(partition))
            .arg(super::rooms::uuid())
            .number(hot.terms().outbox)
    };
    let replies = script::run_all(hot, partitions.iter().map(call).collect()).await?;
    let mut opened = 0;
    for reply in replies {
        let mut reply = reply?;
        opened += usize::from(OPEN.read(|| reply.flag())?);
    }
    Ok(opened)
}

/// The state of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub partition: Partition,
    pub is_open: bool,
    /// Which life of the partition's data this is; "" before the first.
    pub incarnation: String,
}

/// How the partitions are, in one round trip; in their order.
pub async fn lives(hot: &Hot) -> Result<Vec<Life>, HotError> {
    let fail = |error| HotError::of("look at the outboxes", error);
    let mut pipeline = redis::Pipeline::new();
    for partition in Partition::all() {
        pipeline.cmd("EXISTS").arg(hot.keys().outbox(partition));
        pipeline.cmd("GET").arg(hot.keys().restored(partition));
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let mut found = connection.send_pipeline(&pipeline).await.map_err(fail)?.into_iter();
    let mut next = || found.next().unwrap_or(redis::Value::Nil);
    let life = |partition| {
        let is_open = redis::from_redis_value(next())?;
        let incarnation: Option<String> = redis::from_redis_value(next())?;
        Ok(Life {
            partition,
            is_open,
            incarnation: incarnation.unwrap_or_default(),
        })
    };
    let lives: Result<Vec<Life>, redis::ParsingError> = Partition::all().map(life).collect();
    lives.map_err(|error| fail(error.into()))
}

/// The last entry of each of these partitions' outboxes, also where it is gone by now; "0-0" where there was none.
pub async fn last_ids(hot: &Hot, partitions: &[Partition]) -> Result<Vec<(Partition, String)>, HotError> {
    let fail = |error| HotError::of("look at the outboxes", error);
    let mut pipeline = redis::Pipeline::new();
    for &partition in partitions {
        pipeline.cmd("XINFO").arg("STREAM").arg(hot.keys().outbox(partition));
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let found = connection.send_pipeline(&pipeline).await.map_err(fail)?;
    let last = |about: redis::Value| -> Option<String> {
        let mut about = about.into_sequence().ok()?.into_iter();
        about.find(|word| *word == redis::Value::BulkString(b"last-generated-id".to_vec()))?;
        redis::from_redis_value(about.next()?).ok()
    };
    let last = |about| last(about).unwrap_or_else(|| "0-0".to_owned());
    Ok(partitions.iter().copied().zip(found.into_iter().map(last)).collect())
}

/// Partitions that were opened while the archive was away: it still has to be asked what is to be brought back.
pub async fn owed(hot: &Hot) -> Result<Vec<Partition>, HotError> {
    let fail = |error| HotError::of("look at what is owed", error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let value = connection
        .send(redis::cmd("SMEMBERS").arg(hot.keys().owed()))
        .await
        .map_err(fail)?;
    let indexes: Vec<usize> = redis::from_redis_value(value).map_err(|error| fail(error.into()))?;
    Ok(Partition::all()
        .filter(|partition| indexes.contains(&partition.index()))
        .collect())
}

/// Notes, before partitions are opened, that they are owed something; or that they no longer are.
pub async fn owe(hot: &Hot, partitions: &[Partition], is_owed: bool) -> Result<(), HotError> {
    let fail = |error| HotError::of("note what is owed", error);
    if partitions.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd(if is_owed { "SADD" } else { "SREM" });
    command.arg(hot.keys().owed());
    for partition in partitions {
        command.arg(partition.index());
    }
    let mut connection = hot.link().connection().await.map_err(fail)?;
    connection.send(&command).await.map(drop).map_err(fail)
}

/// Something that no script sees: a handshake that was refused, a limit, an error.
#[derive(Debug, Clone)]
pub struct Note {
    pub partition: Partition,
    pub kind: &'static str,
    /// A JSON object.
    pub what: String,
}

/// Writes notes down; of each, whether it stands there: where a partition is closed, it does not.
pub async fn note_all(hot: &Hot, notes: &[Note]) -> Result<Vec<bool>, HotError> {
    let call = |note: &Note| {
        NOTE.call()
            .key(hot.keys().outbox(note.partition))
            .arg(note.kind)
            .arg(&note.what[..])
            .number(hot.terms().outbox)
    };
    let replies = script::run_all(hot, notes.iter().map(call).collect()).await?;
    let is_written = |reply: Result<Reply, HotError>| match reply.and_then(|mut reply| NOTE.read(|| reply.text())) {
        Ok(id) => !id.is_empty(),
        Err(error) => {
            tracing::debug!(error = %error, "a note is not in its outbox");
            false
        }
    };
    Ok(replies.into_iter().map(is_written).collect())
}
