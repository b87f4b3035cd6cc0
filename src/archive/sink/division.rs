//! What becomes of portions that Postgres refuses: smaller ones, until the record is found that is the matter; which is then
//! written as an error that says so.

use super::Portion;

/// Portions that are written in one transaction, or in ever smaller ones where Postgres refuses something in them.
pub(super) struct Job {
    pub portions: Vec<Portion>,
    /// One record that was refused already.
    pub is_again: bool,
}

/// Makes two smaller jobs of one that was refused, to be taken from the end; of one record, one that is tried again, then one
/// that says why. `None`: there is nothing left that could be left out.
pub(super) fn divide(job: Job, why: &str) -> Option<Vec<Job>> {
    let count: usize = job.portions.iter().map(|portion| portion.entries.len()).sum();
    if count > 1 {
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
        return Some(vec![
            Job {
                portions: second,
                is_again: false,
            },
            Job {
                portions: first,
                is_again: false,
            },
        ]);
    }
    if !job.is_again {
        return Some(vec![Job { is_again: true, ..job }]);
    }
    let mut portions = job.portions;
    let entry = portions.iter_mut().find_map(|portion| portion.entries.first_mut())?;
    if entry.refused.is_some() {
        return None;
    }
    tracing::error!(why, kind = %entry.kind, id = %entry.id, "Postgres refuses a record; it is noted as an error");
    entry.refused = Some(why.to_owned());
    Some(vec![Job {
        portions,
        is_again: false,
    }])
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
    fn one_record_is_tried_again_then_marked_then_given_up() {
        let mut again = divide(job(&[1]), "why").unwrap();
        assert!(again[0].is_again && again[0].portions[0].entries[0].refused.is_none());
        let mut marked = divide(again.remove(0), "why").unwrap();
        assert_eq!(marked[0].portions[0].entries[0].refused.as_deref(), Some("why"));
        let again = divide(marked.remove(0), "why").unwrap().remove(0);
        assert!(divide(again, "why").is_none());
        let again = divide(job(&[0]), "why").unwrap().remove(0);
        assert!(divide(again, "why").is_none());
    }
}
