//! What each heard, held against what was acked, and against what the others heard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// (epoch, seq, message id), in the order of hearing.
type Sequence = Vec<(String, u64, String)>;

/// What one client heard.
pub struct Heard {
    rooms: BTreeMap<String, Sequence>,
    /// Rooms of which it was told by `room:reset`, or by the answer to a join, that something may be missing.
    announced: BTreeSet<String>,
    /// How often the stock client recovered by itself, and how often it arrived without.
    arrivals: [u64; 2],
}

impl Heard {
    pub fn read(report: &Value) -> Heard {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let entry = |entry: &Value| (text(&entry[0]), entry[1].as_u64().expect("a number"), text(&entry[2]));
        let sequence = |list: &Value| list.as_array().expect("a list").iter().map(entry).collect();
        let rooms = report["heard"].as_object().expect("rooms").iter();
        let announced = report["announced"].as_array().expect("a list").iter();
        Heard {
            rooms: rooms.map(|(room, list)| (room.clone(), sequence(list))).collect(),
            announced: announced.map(|pair| text(&pair[0])).collect(),
            arrivals: [0, 1].map(|kind| report["recoveries"][kind].as_u64().expect("a number")),
        }
    }
}

/// How much of what was acked has been heard, and what is wrong.
pub struct Verdict {
    expected: usize,
    delivered: usize,
    announced: usize,
    arrivals: [u64; 2],
    complaints: Vec<String>,
    /// Of those, what no announcement excuses.
    silent: Vec<String>,
}

impl Verdict {
    pub fn new(acked: &BTreeMap<String, Vec<String>>, heard: Vec<Heard>) -> Verdict {
        let mut verdict = Verdict {
            expected: 0,
            delivered: 0,
            announced: 0,
            arrivals: [0, 0],
            complaints: Vec::new(),
            silent: Vec::new(),
        };
        let mut models: BTreeMap<&String, &Sequence> = BTreeMap::new();
        for (room, sequence) in heard.iter().flat_map(|client| &client.rooms) {
            let model = models.entry(room).or_insert(sequence);
            if sequence.len() > model.len() {
                *model = sequence;
            }
        }
        for (number, client) in heard.iter().enumerate() {
            for (sum, count) in verdict.arrivals.iter_mut().zip(client.arrivals) {
                *sum += count;
            }
            for (room, sequence) in &client.rooms {
                // By a reset, or, to whoever was away and never heard what was lost, by the epoch of what came next.
                let epochs: BTreeSet<&String> = sequence.iter().map(|(epoch, _, _)| epoch).collect();
                let announced = client.announced.contains(room) || epochs.len() > 1;
                verdict.announced += usize::from(client.announced.contains(room));
                let wanted: BTreeSet<&String> = acked.get(room).into_iter().flatten().collect();
                let came: BTreeSet<&String> = sequence.iter().map(|(_, _, id)| id).collect();
                let missing = wanted.difference(&came).count();
                verdict.expected += wanted.len();
                verdict.delivered += wanted.len() - missing;
                let mut wrong = Vec::new();
                if missing > 0 {
                    wrong.push(format!("misses {missing} of {}", wanted.len()));
                }
                let mut met = BTreeSet::new();
                if let Some(twice) = sequence.iter().find(|(_, _, id)| !met.insert(id)) {
                    verdict
                        .silent
                        .push(format!("client {number} in {room} heard {twice:?} twice"));
                }
                if let Some(hole) = sequence.windows(2).find(|pair| pair[1].1 != pair[0].1 + 1) {
                    wrong.push(format!("has a hole or a turn at {hole:?}"));
                }
                if &sequence != models.get(room).expect("every room has a model") {
                    wrong.push("heard another sequence than others".to_owned());
                }
                let wrong = wrong
                    .into_iter()
                    .map(|what| format!("client {number} in {room} {what}"));
                if announced {
                    verdict.complaints.extend(wrong);
                } else {
                    verdict.silent.extend(wrong);
                }
            }
        }
        verdict
    }

    /// How often somebody recovered, and how often somebody came without.
    pub fn arrivals(&self) -> [u64; 2] {
        self.arrivals
    }

    /// Nothing is wrong that waiting could mend.
    pub fn is_settled(&self) -> bool {
        self.silent.is_empty()
    }

    /// Everybody heard the same: all of it, in one order, once, and nobody was told of a loss.
    pub fn assert_whole(&self) {
        assert_eq!(
            self.announced, 0,
            "nothing was lost, and resets were told: {:#?}",
            self.complaints
        );
        self.assert_nothing_silent();
        assert_eq!(self.delivered, self.expected);
    }

    /// The stock client's own recovery took place, so that what it holds was shown.
    pub fn assert_recovered(&self) {
        assert!(self.arrivals[0] > 0, "nobody recovered, {} rejoined", self.arrivals[1]);
    }

    /// Something was lost, and everybody who had heard of it was told.
    pub fn assert_announced(&self) {
        assert!(self.announced > 0, "nothing was lost, so this shows nothing");
        self.assert_nothing_silent();
    }

    /// What is missing was said to be.
    pub fn assert_nothing_silent(&self) {
        let shown = &self.silent[..self.silent.len().min(20)];
        assert!(
            shown.is_empty(),
            "{} silent losses:\n{}",
            self.silent.len(),
            shown.join("\n")
        );
        assert!(self.expected > 0, "nobody said anything");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.delivered as f64 / self.expected as f64;
        write!(
            to,
            "delivered / expected = {percent:.3} % ({} / {}), {} losses announced, {} arrivals recovered and {} rejoined",
            self.delivered, self.expected, self.announced, self.arrivals[0], self.arrivals[1]
        )
    }
}
