//! What one transaction writes, reckoned before it begins: records become rows and changes, what is missing between them a
//! gap, and each partition's rows of a day a batch of its chain. It holds only on top of the heads that it was reckoned
//! from. Not here: any SQL.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;

use super::Chosen;
use super::events::{Day, Event, EventColumns, Gap, Lost, day_of};
use super::projections::Changes;
use super::record::{Entry, Record, StreamId};
use crate::archive::chain::{self, Hash, START};

/// How far a partition of the outbox has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The life of the partition's data that it is about; "" before the first.
    pub incarnation: String,
    /// The last entry that Postgres has.
    pub last: StreamId,
    /// Entries that have left the stream with our knowledge, or may leave it.
    pub(super) gone: i64,
    /// The last batch of its chain.
    pub(super) batch: i64,
    /// … and its hash.
    pub(super) hash: Hash,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            incarnation: String::new(),
            last: StreamId::default(),
            gone: 0,
            batch: 0,
            hash: START,
        }
    }
}

/// Heads of partitions.
pub(super) type Heads = BTreeMap<u16, Head>;

/// What an outbox had at one moment, or a part of that.
#[derive(Debug, Clone)]
pub struct Portion {
    /// Whose outbox it is.
    pub partition: u16,
    /// Which life of the partition's data.
    pub incarnation: String,
    /// Entries that had left the stream.
    pub gone: i64,
    /// Entries that it had before those of this portion.
    pub taken: i64,
    /// A failover has lost the last entry that Postgres has: behind which entry the stream goes on now.
    pub rewound_to: Option<StreamId>,
    /// Postgres refuses whatever is said of it: only how far it came is written.
    pub is_silent: bool,
    /// Redis's clock at that moment, Unix ms.
    pub now_ms: i64,
    /// In their order.
    pub entries: Vec<Entry>,
}

impl Portion {
    /// Whether there is anything to write down, given how far the partition has come.
    pub fn has_news(&self, head: &Head) -> bool {
        !self.entries.is_empty()
            || self.incarnation != head.incarnation
            || self.gone + self.taken != head.gone
            || self.rewound_to.is_some()
    }

    /// The first `count` entries, and the rest.
    pub fn split(mut self, count: usize) -> (Self, Self) {
        let rest = self.entries.split_off(count.min(self.entries.len()));
        let behind = Self {
            taken: self.taken + whole(self.entries.len()),
            entries: rest,
            incarnation: self.incarnation.clone(),
            ..self
        };
        (self, behind)
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A partition's step: it holds only where its head still is what it was.
#[derive(Debug)]
pub(super) struct Step {
    pub partition: u16,
    pub before: Head,
    pub after: Head,
}

/// The columns of `realtime_archive_batches`.
#[derive(Debug, Default)]
pub(super) struct BatchColumns {
    pub partitions: Vec<i16>,
    pub batches: Vec<i64>,
    pub days: Vec<Day>,
    pub incarnations: Vec<String>,
    pub first_ids: Vec<String>,
    pub last_ids: Vec<String>,
    pub rows: Vec<i32>,
    pub digests: Vec<Vec<u8>>,
    pub hashes: Vec<Vec<u8>>,
}

impl BatchColumns {
    pub fn values(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.partitions,
            &self.batches,
            &self.days,
            &self.incarnations,
            &self.first_ids,
            &self.last_ids,
            &self.rows,
            &self.digests,
            &self.hashes,
        ]
    }
}

/// The columns of the heads after a batch.
#[derive(Debug, Default)]
pub(super) struct HeadColumns {
    partitions: Vec<i16>,
    incarnations: Vec<String>,
    last_ids: Vec<String>,
    gone: Vec<i64>,
    batches: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl HeadColumns {
    pub fn of(batch: &Batch) -> Self {
        let mut columns = Self::default();
        for step in &batch.steps {
            columns.partitions.push(super::signed(step.partition));
            columns.incarnations.push(step.after.incarnation.clone());
            columns.last_ids.push(step.after.last.to_string());
            columns.gone.push(step.after.gone);
            columns.batches.push(step.after.batch);
            columns.hashes.push(step.after.hash.to_vec());
        }
        columns
    }

    pub fn values(&self) -> [&(dyn ToSql + Sync); 6] {
        [
            &self.partitions,
            &self.incarnations,
            &self.last_ids,
            &self.gone,
            &self.batches,
            &self.hashes,
        ]
    }
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub steps: Vec<Step>,
    pub events: EventColumns,
    pub batches: BatchColumns,
    pub changes: Changes,
    pub event_days: BTreeSet<Day>,
    /// Entries that it takes.
    pub entries: u64,
    /// Gaps that it writes down.
    pub gaps: u64,
    /// Entries in them, as far as they are known.
    pub lost: u64,
    /// Entries that were no records.
    pub unreadable: u64,
}

impl Batch {
    /// Reckons what these portions, each of another partition, come to.
    /// Of `written`, by id, Postgres has the rows already.
    pub fn reckon(portions: &[Portion], heads: &Heads, chosen: &Chosen, written: &BTreeSet<[u8; 16]>) -> Self {
        let mut batch = Self::default();
        for portion in portions {
            let before = heads.get(&portion.partition).cloned().unwrap_or_default();
            batch.take(portion, before, chosen, written);
        }
        // By partition: whoever locks several heads locks them in one order.
        batch.steps.sort_by_key(|step| step.partition);
        batch
    }

    fn take(&mut self, portion: &Portion, before: Head, chosen: &Chosen, written: &BTreeSet<[u8; 16]>) {
        let (partition, mut head) = (portion.partition, before.clone());
        let mut events = Vec::with_capacity(portion.entries.len());
        self.find_gaps(portion, &mut head, &mut events);
        for entry in &portion.entries {
            // Redis makes no other ids.
            let Some(id) = StreamId::parse(&entry.id) else { continue };
            if id <= head.last {
                continue;
            }
            (head.last, head.gone) = (id, head.gone + 1);
            let record = Record::read(id, entry);
            self.entries += 1;
            self.unreadable += u64::from(record.is_forced);
            self.changes.apply(&record);
            if record.is_forced || (record.kind.is_event() && chosen.has(&record.event_type)) {
                events.push(Event::of(record, partition, &head.incarnation));
            }
        }
        events.retain(|event| !portion.is_silent && !written.contains(&event.id));
        let mut days: BTreeMap<Day, Vec<Event>> = BTreeMap::new();
        for event in events {
            days.entry(day_of(event.at_ms)).or_default().push(event);
        }
        for (day, events) in days {
            self.close(partition, &mut head, day, events);
        }
        self.steps.push(Step {
            partition,
            before,
            after: head,
        });
    }

    /// Looks what is missing between the head and the portion.
    fn find_gaps(&mut self, portion: &Portion, head: &mut Head, events: &mut Vec<Event>) {
        let first = portion.entries.first().and_then(|entry| StreamId::parse(&entry.id));
        let to_ms = first.map_or(portion.now_ms, StreamId::at_ms);
        let mut gap = |lost: Lost, last: StreamId, head: &Head| {
            self.gaps += 1;
            self.lost += lost.count().and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            let gap = Gap { lost, last, to_ms };
            events.push(Event::gap(gap, portion.partition, &head.incarnation, head.batch));
        };
        let last = head.last;
        if portion.incarnation != head.incarnation {
            let is_first = head.incarnation.is_empty();
            head.incarnation.clone_from(&portion.incarnation);
            (head.last, head.gone) = (StreamId::default(), 0);
            if !is_first {
                gap(Lost::Emptied, last, head);
            }
        } else if let Some(behind) = portion.rewound_to
            && portion.taken == 0
            && (head.last, head.gone) != (behind, portion.gone)
        {
            // What is there is read from its beginning. Rows of entries that are read again are found to be there.
            (head.last, head.gone) = (behind, portion.gone);
            gap(Lost::Failover, last, head);
        }
        let is_known = |entry: &&Entry| StreamId::parse(&entry.id).is_some_and(|id| id <= head.last);
        let known = portion.entries.iter().take_while(is_known).count();
        let lost = portion.gone + portion.taken + whole(known) - head.gone;
        if lost > 0 {
            gap(Lost::Counted(lost), head.last, head);
        } else if lost < 0 {
            // Fewer have left than have come here.
            gap(Lost::Failover, head.last, head);
        }
        head.gone += lost;
    }

    /// Makes rows of one day a batch.
    fn close(&mut self, partition: u16, head: &mut Head, day: Day, events: Vec<Event>) {
        let hashed: Vec<chain::Row<'_>> = events.iter().map(|event| event.hashed(&head.incarnation)).collect();
        let digest = chain::digest(&hashed);
        let rows = u32::try_from(events.len()).expect("a transaction has few records");
        head.batch += 1;
        let number = u64::try_from(head.batch).expect("batches are counted from 1");
        head.hash = chain::next_hash(&head.hash, partition, number, rows, &digest);
        let stream_id = |event: Option<&Event>| event.map(|event| event.stream_id.clone()).unwrap_or_default();
        let (first, last) = (events.first(), events.last());
        let columns = &mut self.batches;
        columns.partitions.push(super::signed(partition));
        columns.batches.push(head.batch);
        columns.days.push(day);
        columns.incarnations.push(head.incarnation.clone());
        columns.first_ids.push(stream_id(first));
        columns.last_ids.push(stream_id(last));
        columns
            .rows
            .push(i32::try_from(rows).expect("a transaction has few records"));
        columns.digests.push(digest.to_vec());
        columns.hashes.push(head.hash.to_vec());
        self.event_days.insert(day);
        for event in events {
            self.events.push(event, partition, &head.incarnation, head.batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamePatterns;

    fn portion(incarnation: &str, gone: i64, ids: &[&str]) -> Portion {
        let entry = |id: &&str| Entry {
            id: (*id).to_owned(),
            kind: "kick".to_owned(),
            what: format!(r#"{{"at":{}}}"#, StreamId::parse(id).unwrap().ms),
            refused: None,
        };
        Portion {
            partition: 5,
            incarnation: incarnation.to_owned(),
            gone,
            taken: 0,
            rewound_to: None,
            is_silent: false,
            now_ms: 9_000,
            entries: ids.iter().map(entry).collect(),
        }
    }

    fn reckon(heads: &Heads, portion: Portion) -> (Batch, Heads) {
        let chosen = Chosen::new(true, NamePatterns::new(["*"]));
        let batch = Batch::reckon(&[portion], heads, &chosen, &BTreeSet::new());
        let after = batch
            .steps
            .iter()
            .map(|step| (step.partition, step.after.clone()))
            .collect();
        (batch, after)
    }

    fn payloads(batch: &Batch) -> Vec<serde_json::Value> {
        let gaps = batch.events.types.iter().zip(&batch.events.payloads);
        gaps.filter(|(kind, _)| *kind == "gap")
            .map(|(_, payload)| serde_json::from_str(&payload.0).unwrap())
            .collect()
    }

    #[test]
    fn what_is_all_there_has_no_gap_whatever_was_trimmed_meanwhile() {
        let (batch, heads) = reckon(&Heads::new(), portion("a", 0, &["1-0", "2-0", "3-0"]));
        assert_eq!((batch.entries, batch.gaps, heads[&5].gone), (3, 0, 3));
        // Two of them are still in the stream, one has been trimmed.
        let (batch, heads) = reckon(&heads, portion("a", 1, &["2-0", "3-0", "4-0"]));
        assert_eq!((batch.entries, batch.gaps, heads[&5].gone), (1, 0, 4));
        let (batch, heads) = reckon(&heads, portion("a", 4, &["5-0"]));
        assert_eq!((batch.entries, batch.gaps), (1, 0));
        assert_eq!(heads[&5].last.to_string(), "5-0");
    }

    #[test]
    fn what_left_the_stream_unread_is_a_gap_with_its_number() {
        let (_, heads) = reckon(&Heads::new(), portion("a", 0, &["1-0", "2-0"]));
        // Trimmed: the two that are known, and seven more.
        let (batch, heads) = reckon(&heads, portion("a", 9, &["5000-0"]));
        assert_eq!((batch.entries, batch.gaps, batch.lost), (1, 1, 7));
        let gaps = payloads(&batch);
        assert_eq!(gaps[0]["count"], 7);
        assert_eq!(gaps[0]["from"], "1970-01-01T00:00:00.002Z");
        assert_eq!(gaps[0]["to"], "1970-01-01T00:00:05.000Z");
        let (batch, _) = reckon(&heads, portion("a", 10, &["6000-0"]));
        assert_eq!(batch.gaps, 0);
    }

    #[test]
    fn a_part_of_a_look_is_not_taken_for_a_gap() {
        let (one, rest) = portion("a", 3, &["1-0", "2-0", "3-0"]).split(2);
        let (batch, heads) = reckon(&Heads::new(), one);
        assert_eq!(batch.lost, 3);
        let (batch, heads) = reckon(&heads, rest);
        assert_eq!((batch.entries, batch.gaps, heads[&5].gone), (1, 0, 6));
    }

    #[test]
    fn another_life_is_a_gap_of_unknown_size_and_begins_anew() {
        let (_, heads) = reckon(&Heads::new(), portion("a", 0, &["1000-0"]));
        let (batch, heads) = reckon(&heads, portion("b", 2, &["500-0"]));
        let gaps = payloads(&batch);
        assert_eq!(gaps.len(), 2);
        assert_eq!(
            (&gaps[0]["count"], &gaps[0]["reason"]),
            (&serde_json::Value::Null, &"redis_emptied".into())
        );
        assert_eq!((&gaps[1]["count"], gaps[1].get("from")), (&2.into(), None));
        assert_eq!((batch.entries, heads[&5].gone, &*heads[&5].incarnation), (1, 3, "b"));
        assert_eq!(batch.events.stream_ids, ["0-0", "0-1", "500-0"]);
    }

    #[test]
    fn what_a_failover_has_lost_is_a_gap_and_corrects_the_count() {
        let (_, heads) = reckon(&Heads::new(), portion("a", 0, &["1-0", "2-0", "3-0"]));
        // Of the three only one was replicated.
        let (batch, after) = reckon(&heads, portion("a", 1, &["8-0"]));
        assert_eq!((batch.entries, batch.gaps, batch.lost, after[&5].gone), (1, 1, 0, 2));
        let gaps = payloads(&batch);
        assert_eq!(
            (&gaps[0]["count"], &gaps[0]["reason"]),
            (&serde_json::Value::Null, &"failover".into())
        );
        assert_eq!(gaps[0]["from"], "1970-01-01T00:00:00.003Z");
        let (batch, _) = reckon(&after, portion("a", 4, &["9-0"]));
        assert_eq!(batch.lost, 2);
    }

    #[test]
    fn a_stream_that_was_rewound_is_read_from_its_beginning_in_whatever_parts() {
        let (_, heads) = reckon(&Heads::new(), portion("a", 0, &["1-0", "2-0", "8-0"]));
        // One was replicated, and the clock of whoever took over is behind.
        let rewound = Portion {
            rewound_to: Some(StreamId::default()),
            ..portion("a", 1, &["3-0", "4-0", "9-0"])
        };
        let (batch, after) = reckon(&heads, rewound.clone());
        assert_eq!((batch.entries, batch.gaps), (3, 1));
        assert_eq!((after[&5].last.to_string(), after[&5].gone), ("9-0".to_owned(), 4));
        let (mut left, mut heads, mut entries, mut gaps) = (rewound, heads, 0, 0);
        for count in [0, 1, 2] {
            let (part, rest) = left.split(count);
            let (batch, after) = reckon(&heads, part);
            (left, heads, entries, gaps) = (rest, after, entries + batch.entries, gaps + batch.gaps);
        }
        assert_eq!((entries, gaps, heads[&5].gone), (3, 1, 4));
        // Nothing is there.
        let empty = Portion {
            rewound_to: Some(StreamId { ms: 5, seq: 0 }),
            ..portion("a", 5, &[])
        };
        let (batch, heads) = reckon(&heads, empty);
        assert_eq!(
            (batch.gaps, heads[&5].last.to_string(), heads[&5].gone),
            (1, "5-0".to_owned(), 5)
        );
    }

    #[test]
    fn a_batch_is_of_one_day_and_stands_on_the_one_before() {
        let (batch, heads) = reckon(
            &Heads::new(),
            portion("a", 0, &["86399999-0", "86400000-0", "86400000-1"]),
        );
        let columns = &batch.batches;
        assert_eq!((&*columns.days, &*columns.rows), (&[0, 1][..], &[1, 2][..]));
        assert_eq!(
            (&*columns.first_ids[1], &*columns.last_ids[1]),
            ("86400000-0", "86400000-1")
        );
        let digest: Hash = columns.digests[1].clone().try_into().unwrap();
        let first: Hash = columns.hashes[0].clone().try_into().unwrap();
        assert_eq!(heads[&5].hash, chain::next_hash(&first, 5, 2, 2, &digest));
        assert_eq!(batch.events.batches, [1, 2, 2]);
    }

    #[test]
    fn what_was_not_chosen_is_no_row_but_counts() {
        let portion = portion("a", 0, &["1-0", "2-0"]);
        let chosen = Chosen::new(true, NamePatterns::new(["join"]));
        let batch = Batch::reckon(&[portion], &Heads::new(), &chosen, &BTreeSet::new());
        assert_eq!(
            (batch.events.len(), batch.entries, batch.steps[0].after.batch),
            (0, 2, 0)
        );
    }
}
