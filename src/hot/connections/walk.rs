//! A walk through the sets that hold leases, from a place on. Not here: what the leases are of.

use std::collections::HashSet;

use redis::{Cmd, Pipeline, Value};

use super::super::keys::{Lease, Partition};
use super::super::{Hot, HotError};
use super::{Place, fail, send};
use crate::types::NodeId;

/// Buckets of a set that one command looks at. A place is one of a look with this number.
const LOOK: usize = 1_000;

/// A key that holds leases: of one kind in one partition.
pub(super) struct Set {
    key: String,
    is_sorted: bool,
}

impl Set {
    fn count(&self) -> Cmd {
        let mut command = redis::cmd(if self.is_sorted { "ZCARD" } else { "SCARD" });
        command.arg(&self.key);
        command
    }

    fn look(&self, scan: u64) -> Cmd {
        let mut command = redis::cmd(if self.is_sorted { "ZSCAN" } else { "SSCAN" });
        command.arg(&self.key).arg(scan).arg("COUNT").arg(LOOK);
        command
    }

    /// The cursor of the next look, and the leases that this one found, by name.
    fn found(&self, reply: Value) -> Result<(u64, Vec<String>), HotError> {
        let (scan, members): (u64, Vec<String>) = redis::from_redis_value(reply).map_err(|error| fail(error.into()))?;
        let mut leases: Vec<String> = members
            .into_iter()
            .step_by(if self.is_sorted { 2 } else { 1 })
            .collect();
        leases.sort_unstable();
        leases.dedup();
        Ok((scan, leases))
    }
}

/// What is walked through: the node's own sets, or all leases. Grace before leases: what comes back meanwhile is met again,
/// and what lives is met in any case.
pub(super) fn sets(hot: &Hot, node: Option<&NodeId>) -> Vec<Set> {
    let keys = hot.keys();
    let of = |partition| match node {
        Some(node) => vec![Set {
            key: keys.node_leases(partition, node),
            is_sorted: false,
        }],
        None => vec![keys.grace(partition), keys.leases(partition)]
            .into_iter()
            .map(|key| Set { key, is_sorted: true })
            .collect(),
    };
    Partition::all().flat_map(of).collect()
}

/// Leases from a place on, and the place behind them.
pub(super) async fn walk(
    hot: &Hot,
    sets: &[Set],
    place: Option<&Place>,
    limit: usize,
) -> Result<(Vec<Lease>, Option<Place>), HotError> {
    let mut place = place.cloned().unwrap_or_default();
    let mut counts = Pipeline::new();
    let rest = sets.get(place.set..).unwrap_or_default();
    if rest.is_empty() {
        return Ok((Vec::new(), None));
    }
    for set in rest {
        counts.add_command(set.count());
    }
    let counts = send(hot, &counts).await?;
    let counts = counts.iter().enumerate().map(|(index, count)| match count {
        Value::Int(count) => (place.set + index, usize::try_from(*count).unwrap_or(usize::MAX)),
        _ => (place.set + index, 0),
    });
    let filled: Vec<(usize, usize)> = counts.filter(|(_, count)| *count > 0).collect();
    let (mut leases, mut met) = (Vec::new(), HashSet::new());
    let mut ahead = &filled[..];
    while let Some(&(first, _)) = ahead.first() {
        if first != place.set {
            place = Place::at(first);
        }
        if leases.len() == limit {
            return Ok((leases, Some(place)));
        }
        let wanted = limit - leases.len();
        let mut expected = 0;
        let batch = ahead.iter().take_while(|(_, count)| {
            let is_taken = expected < wanted;
            expected = expected.saturating_add(*count);
            is_taken
        });
        let batch: Vec<usize> = batch.map(|(index, _)| *index).collect();
        let mut looks = Pipeline::with_capacity(batch.len());
        for (position, index) in batch.iter().enumerate() {
            looks.add_command(sets[*index].look(if position == 0 { place.scan } else { 0 }));
        }
        for (index, reply) in batch.into_iter().zip(send(hot, &looks).await?) {
            if index != place.set {
                place = Place::at(index);
            }
            let (scan, found) = sets[index].found(reply)?;
            for name in found {
                if place.after.as_ref().is_some_and(|after| name <= *after) {
                    continue;
                }
                if leases.len() == limit {
                    return Ok((leases, Some(place)));
                }
                place.after = Some(name.clone());
                leases.extend(Lease::decode(&name).filter(|_| met.insert(name)));
            }
            if scan != 0 {
                // The sets behind it have to wait for the rest of this one.
                place = Place {
                    scan,
                    ..Place::at(index)
                };
                break;
            }
            ahead = &ahead[1..];
        }
    }
    Ok((leases, None))
}
