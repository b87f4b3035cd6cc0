//! What waits for its call, by partition, and what goes in the next one. A partition is in one call at a time; partitions
//! whose messages may share a call are a lane, which has a few calls under way. Not here: making a call.

use std::cell::RefCell;
use std::collections::VecDeque;

/// Bytes of one call, unless one message alone is larger: well below the longest frame of the bus, which may hold all.
const CALL_MAX_BYTES: usize = 1024 * 1024;
/// Calls of a lane that are under way: Redis has one at hand while the shard delivers what came of the other.
const LANE_CALLS: u8 = 2;
/// Messages that an empty queue may keep room for.
const KEPT_ROOM: usize = 16;

/// Messages that wait, each as whatever it is to its sender.
pub struct Lanes<T> {
    partitions: RefCell<Vec<Waiting<T>>>,
    /// A partition lies in the one that is the rest of its number by theirs.
    lanes: RefCell<Vec<Lane>>,
}

/// What waits of one partition.
struct Waiting<T> {
    /// With their bytes.
    messages: VecDeque<(usize, T)>,
    /// Some of it is under way.
    is_out: bool,
}

#[derive(Default)]
struct Lane {
    /// Partitions of which something waits and nothing is under way, each once.
    next: VecDeque<usize>,
    calls: u8,
    /// One of the calls has not taken its messages yet.
    is_beginning: bool,
}

/// What goes in one call.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    pub lane: usize,
    pub partitions: Vec<usize>,
    pub messages: Vec<T>,
    /// The lane of a further call that is to begin beside this one.
    pub beside: Option<usize>,
}

impl<T> Lanes<T> {
    pub fn new(partitions: usize, lanes: usize) -> Self {
        let nothing = || Waiting {
            messages: VecDeque::new(),
            is_out: false,
        };
        Self {
            partitions: RefCell::new((0..partitions).map(|_| nothing()).collect()),
            lanes: RefCell::new((0..lanes).map(|_| Lane::default()).collect()),
        }
    }

    /// Puts a message behind those of its partition; the lane of which a call is to begin, if so.
    pub fn push(&self, partition: usize, bytes: usize, message: T) -> Option<usize> {
        let waiting = &mut self.partitions.borrow_mut()[partition];
        let is_next = waiting.messages.is_empty() && !waiting.is_out;
        waiting.messages.push_back((bytes, message));
        let lanes = &mut self.lanes.borrow_mut()[..];
        let lane = partition % lanes.len();
        if is_next {
            lanes[lane].next.push_back(partition);
        }
        lanes[lane].begin().then_some(lane)
    }

    /// What goes in the call that begins, so many messages and partitions at most; nothing, and the call is over.
    pub fn take(&self, lane: usize, most: usize, most_partitions: usize) -> Option<Batch<T>> {
        let mut batch = Batch {
            lane,
            partitions: Vec::new(),
            messages: Vec::new(),
            beside: None,
        };
        let lane = &mut self.lanes.borrow_mut()[lane];
        lane.is_beginning = false;
        let (partitions, mut bytes) = (&mut self.partitions.borrow_mut()[..], 0);
        while let Some(partition) = lane.next.front().copied()
            && batch.partitions.len() < most_partitions
        {
            let Waiting { messages, is_out } = &mut partitions[partition];
            let before = batch.messages.len();
            while let Some((len, _)) = messages.front().filter(|_| batch.messages.len() < most)
                && (batch.messages.is_empty() || bytes + len <= CALL_MAX_BYTES)
                && let Some((len, message)) = messages.pop_front()
            {
                bytes += len;
                batch.messages.push(message);
            }
            if batch.messages.len() == before {
                break;
            }
            *is_out = true;
            batch.partitions.push(partition);
            lane.next.pop_front();
        }
        if batch.messages.is_empty() {
            lane.calls -= 1;
            return None;
        }
        batch.beside = lane.begin().then_some(batch.lane);
        Some(batch)
    }

    /// A call is over, and takes again: what came behind its messages is next.
    pub fn put_back(&self, lane: usize, of_call: &[usize]) {
        let lane = &mut self.lanes.borrow_mut()[lane];
        let partitions = &mut self.partitions.borrow_mut()[..];
        for partition in of_call {
            let waiting = &mut partitions[*partition];
            waiting.is_out = false;
            if waiting.messages.is_empty() {
                waiting.messages.shrink_to(KEPT_ROOM);
            } else {
                lane.next.push_back(*partition);
            }
        }
        lane.is_beginning = true;
    }

    /// What waits in the lane, and is late.
    pub fn overdue(&self, lane: usize, is_late: impl Fn(&T) -> bool) -> Vec<T> {
        let lanes = &mut self.lanes.borrow_mut()[..];
        let count = lanes.len();
        let mut overdue = Vec::new();
        for (partition, waiting) in self.partitions.borrow_mut().iter_mut().enumerate() {
            if partition % count != lane {
                continue;
            }
            let late = waiting.messages.iter().take_while(|(_, message)| is_late(message));
            let late = late.count();
            overdue.extend(waiting.messages.drain(..late).map(|(_, message)| message));
            if waiting.messages.is_empty() {
                lanes[lane].next.retain(|next| *next != partition);
            }
        }
        overdue
    }
}

impl Lane {
    /// Whether a further call is to begin, which then is one of them.
    fn begin(&mut self) -> bool {
        let begins = !self.next.is_empty() && !self.is_beginning && self.calls < LANE_CALLS;
        if begins {
            (self.is_beginning, self.calls) = (true, self.calls + 1);
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: usize = 8;

    #[test]
    fn two_calls_are_under_way_and_the_next_takes_what_came_meanwhile() {
        let lanes = Lanes::new(PARTITIONS, 1);
        assert_eq!(lanes.push(1, 10, 'a'), Some(0));
        assert_eq!(lanes.push(2, 10, 'b'), None, "one call is about to take both");
        let first = lanes.take(0, 100, PARTITIONS).unwrap();
        assert_eq!(
            (&first.partitions[..], &first.messages[..]),
            (&[1, 2][..], &['a', 'b'][..])
        );
        assert_eq!(lanes.push(1, 10, 'c'), None, "its partition is out");
        assert_eq!(lanes.push(3, 10, 'd'), Some(0));
        let second = lanes.take(0, 100, PARTITIONS).unwrap();
        assert_eq!(second.messages, ['d']);
        assert_eq!(lanes.push(4, 10, 'e'), None, "two calls are under way");
        lanes.put_back(0, &first.partitions);
        let third = lanes.take(0, 100, PARTITIONS).unwrap();
        assert_eq!(third.messages, ['e', 'c']);
        for batch in [second, third] {
            lanes.put_back(0, &batch.partitions);
            assert_eq!(lanes.take(0, 100, PARTITIONS), None);
        }
        assert_eq!(lanes.push(1, 10, 'f'), Some(0));
    }

    #[test]
    fn a_call_is_bounded_and_the_rest_begins_another() {
        let lanes = Lanes::new(PARTITIONS, 1);
        for number in 0..5 {
            lanes.push(number, 10, number);
        }
        let first = lanes.take(0, 3, PARTITIONS).unwrap();
        assert_eq!((first.messages.len(), first.beside), (3, Some(0)));
        let second = lanes.take(0, 100, 1).unwrap();
        assert_eq!((second.messages, second.beside), (vec![3], None));
        let lanes = Lanes::new(PARTITIONS, 1);
        for bytes in [2 * CALL_MAX_BYTES, CALL_MAX_BYTES, 1] {
            lanes.push(0, bytes, bytes);
        }
        for bytes in [2 * CALL_MAX_BYTES, CALL_MAX_BYTES, 1] {
            assert_eq!(lanes.take(0, 100, PARTITIONS).unwrap().messages, [bytes]);
            lanes.put_back(0, &[0]);
        }
    }

    proptest! {
        /// Whatever happens in whatever order, each message goes once, those of a partition in their order and never in two
        /// calls at once, and in the end nothing waits.
        #[test]
        fn each_goes_once_and_in_order(
            lanes in prop_oneof![Just(1), Just(PARTITIONS)],
            steps in prop::collection::vec((0..4_u8, 0..PARTITIONS, 1..4_usize), 1..300),
        ) {
            let waiting = Lanes::new(PARTITIONS, lanes);
            let (mut beginning, mut out): (Vec<usize>, Vec<Batch<(usize, usize)>>) = Default::default();
            let (mut given, mut sent) = ([0; PARTITIONS], [0; PARTITIONS]);
            let mut settle = |messages: Vec<(usize, usize)>| {
                for (partition, number) in messages {
                    assert_eq!(number, sent[partition], "in order");
                    sent[partition] += 1;
                }
            };
            let all = steps.iter().copied().chain([(9, 0, 3); 2_000]);
            for (step, partition, number) in all {
                match step {
                    0 => {
                        beginning.extend(waiting.push(partition, 1, (partition, given[partition])));
                        given[partition] += 1;
                    }
                    1 | 9 if !beginning.is_empty() => {
                        let lane = beginning.remove(partition % beginning.len());
                        if let Some(batch) = waiting.take(lane, number, if lanes == 1 { number } else { 1 }) {
                            beginning.extend(batch.beside);
                            let mut parts = out.iter().flat_map(|batch| &batch.partitions);
                            prop_assert!(parts.all(|part| !batch.partitions.contains(part)));
                            prop_assert!(batch.messages.len() <= number);
                            out.push(batch);
                        }
                    }
                    2 | 9 if !out.is_empty() => {
                        let batch = out.remove(partition % out.len());
                        settle(batch.messages);
                        waiting.put_back(batch.lane, &batch.partitions);
                        beginning.push(batch.lane);
                    }
                    3 if out.is_empty() => settle(waiting.overdue(partition % lanes, |_| number > 1)),
                    _ => {}
                }
                prop_assert!(waiting.lanes.borrow().iter().all(|lane| lane.calls <= LANE_CALLS));
            }
            prop_assert!(beginning.is_empty() && out.is_empty());
            prop_assert_eq!(given, sent);
        }
    }
}
