//! What becomes of portions that Postgres refuses: smaller ones, until the record is found that is the matter; which is then
//! written as an error that says so; or in no row, where that is refused, too.

use super::Portion;

/// Portions that are written in one transaction, or in ever smaller ones where Postgres refuses something in them.
pub(super) struct Job {
    pub portions: Vec<Portion>,
    /// One record, or what is to be said of a partition, that was refused already.
    pub is_again: bool,
}

impl Job {
    fn of(portions: Vec<Portion>) -> Self {
        Self {
            portions,
            is_again: false,
        }
    }
}

/// Makes smaller jobs of one that was refused, to be taken from the end. In the end there is one record, and a gap before it by
/// itself: each is tried again; the record then becomes an error that says why; and what is refused even so is in no row,
/// since it must not hold up what is behind it. `None`: there is nothing left that could be left out.
pub(super) fn divide(job: Job, why: &str) -> Option<Vec<Job>> {
    let count: usize = job.portions.iter().map(|portion| portion.entries.len()).sum();
    if count > 1 {
        return Some(halve(job, count));
    }
    let Job { mut portions, is_again } = job;
    if portions.len() > 1 {
        let second = portions.split_off(portions.len() / 2);
        return Some(vec![Job::of(second), Job::of(portions)]);
    }
    let mut portion = portions.pop()?;
    if portion.is_silent {
        return None;
    }
    let again = |portion| Job {
        portions: vec![portion],
        is_again: true,
    };
    match portion.entries.first_mut() {
        Some(entry) if entry.refused.is_none() => {
            if !is_again {
                let (gap, entry) = portion.split(0);
                return Some(vec![again(entry), again(gap)]);
            }
            tracing::error!(why, kind = %entry.kind, id = %entry.id, "Postgres refuses a record; it is noted as an error");
            entry.refused = Some(why.to_owned());
        }
        None if !is_again => return Some(vec![again(portion)]),
        entry => {
            let (partition, id) = (portion.partition, entry.map(|entry| entry.id.clone()));
            tracing::error!(
                why,
                partition,
                id,
                "Postgres refuses even the note of what it refuses; it is in no row"
            );
            portion.is_silent = true;
        }
    }
    Some(vec![Job::of(vec![portion])])
}

fn halve(job: Job, count: usize) -> Vec<Job> {
    let (mut left, mut first, mut second) = (count / 2, Vec::new(), Vec::new());
    for portion in job.portions {
        let taken = left.min(portion.entries.len());
        let is_whole = taken == portion.entries.len();
        let (before, behind) = portion.split(taken);
        left -= taken;
        if taken > 0 || is_whole {
            first.push(before);
        }
        if !is_whole {
            second.push(behind);
        }
    }
    vec![Job::of(second), Job::of(first)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::sink::Entry;

    fn job(sizes: &[usize]) -> Job {
        let entry = |id: usize| Entry {
            id: format!("{id}-0"),
            kind: "join".to_owned(),
            what: "{}".to_owned(),
            refused: None,
        };
        let portion = |(partition, size): (usize, &usize)| Portion {
            partition: u16::try_from(partition).unwrap(),
            incarnation: "a".to_owned(),
            gone: 0,
            taken: 0,
            rewound_to: None,
            is_silent: false,
            now_ms: 0,
            entries: (1..=*size).map(entry).collect(),
        };
        Job {
            portions: sizes.iter().enumerate().map(portion).collect(),
            is_again: false,
        }
    }

    fn shape(job: &Job) -> Vec<(u16, i64, usize)> {
        let portions = job.portions.iter();
        portions
            .map(|portion| (portion.partition, portion.taken, portion.entries.len()))
            .collect()
    }

    #[test]
    fn what_is_refused_is_halved_in_order() {
        let jobs = divide(job(&[3, 0, 4]), "why").unwrap();
        assert_eq!(shape(&jobs[1]), [(0, 0, 3), (1, 0, 0)]);
        assert_eq!(shape(&jobs[0]), [(2, 0, 4)]);
        let jobs = divide(job(&[5]), "why").unwrap();
        assert_eq!(shape(&jobs[1]), [(0, 0, 2)]);
        assert_eq!(shape(&jobs[0]), [(0, 2, 3)]);
    }

    #[test]
    fn one_record_is_tried_again_then_marked_then_left_out() {
        let mut jobs = divide(job(&[1]), "why").unwrap();
        let (gap, entry) = (jobs.pop().unwrap(), jobs.pop().unwrap());
        assert!(jobs.is_empty() && gap.is_again && entry.is_again);
        assert_eq!((shape(&gap), shape(&entry)), (vec![(0, 0, 0)], vec![(0, 0, 1)]));
        let marked = divide(entry, "why").unwrap().remove(0);
        let first = |job: &Job| job.portions[0].entries[0].refused.clone();
        assert_eq!(
            (first(&marked).as_deref(), marked.portions[0].is_silent),
            (Some("why"), false)
        );
        let silent = divide(marked, "another").unwrap().remove(0);
        assert_eq!(
            (first(&silent).as_deref(), silent.portions[0].is_silent),
            (Some("why"), true)
        );
        assert!(divide(silent, "why").is_none());
    }

    #[test]
    fn gaps_are_taken_apart_tried_again_and_left_out() {
        let mut jobs = divide(job(&[0, 0, 0]), "why").unwrap();
        assert_eq!(shape(&jobs[1]), [(0, 0, 0)]);
        assert_eq!(shape(&jobs[0]), [(1, 0, 0), (2, 0, 0)]);
        let again = divide(jobs.remove(1), "why").unwrap().remove(0);
        assert!(again.is_again);
        let silent = divide(again, "why").unwrap().remove(0);
        assert!(silent.portions[0].is_silent);
        assert!(divide(silent, "why").is_none());
        // One with an entry beside others.
        let jobs = divide(job(&[0, 1]), "why").unwrap();
        assert_eq!((shape(&jobs[1]), shape(&jobs[0])), (vec![(0, 0, 0)], vec![(1, 0, 1)]));
    }
}
