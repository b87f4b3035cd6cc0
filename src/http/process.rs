//! What this process takes of its machine, as the kernel tells it. Not here: Prometheus' own view of it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{Current as _, WithCurrentSystemInfo as _};

/// A usage of less time than this would say little, so the one before is passed on.
const SHORTEST: Duration = Duration::from_secs(1);

/// Where the kernel shows control groups: version 2, and the memory's own of version 1.
const GROUPS: [(&str, &str, &str); 2] = [
    ("", "/sys/fs/cgroup", "memory.max"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Memory {
    /// Resident.
    pub used: u64,
    /// What the process may have: its control group's limit, or else the machine's.
    pub total: u64,
}

/// `None`: the kernel does not say.
pub(super) fn memory() -> Option<Memory> {
    let used = Process::myself().and_then(|own| own.stat()).ok()?.rss_bytes().get();
    let machine = procfs::Meminfo::current().ok()?.mem_total;
    let total = group_limit().map_or(machine, |limit| limit.min(machine));
    Some(Memory { used, total })
}

/// The smallest limit of the groups that the process is in.
fn group_limit() -> Option<u64> {
    let groups = Process::myself().and_then(|own| own.cgroups()).ok()?;
    let limits = groups.0.iter().flat_map(|group| {
        let of_memory = |(controller, ..): &&(&str, &str, &str)| group.controllers.iter().any(|own| own == controller);
        let kind = GROUPS.iter().find(|kind| match kind.0 {
            "" => group.hierarchy == 0,
            _ => of_memory(kind),
        });
        kind.map(|(_, root, file)| limits(Path::new(root), &group.pathname, file))
            .unwrap_or_default()
    });
    limits.min()
}

/// The limits from a group up to the root. Inside a container the group may have another name, and then the root is its own.
fn limits(root: &Path, group: &str, file: &str) -> Vec<u64> {
    let mut directory: PathBuf = root.join(group.trim_start_matches('/'));
    let mut found = Vec::new();
    while directory.starts_with(root) {
        // "max" is no number, and no limit.
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        found.extend(text.trim().parse::<u64>().ok());
        if !directory.pop() {
            break;
        }
    }
    found
}

/// The processors' time that the process takes.
#[derive(Debug)]
pub(super) struct Cpu(Mutex<Usage>);

#[derive(Debug)]
struct Usage {
    at: Instant,
    spent_s: f64,
    percent: Option<f64>,
}

impl Cpu {
    /// From now on.
    pub fn new() -> Self {
        Self(Mutex::new(Usage {
            at: Instant::now(),
            spent_s: spent_s().unwrap_or(0.0),
            percent: None,
        }))
    }

    /// Of one processor since the last look, or since the start: 100 is one processor, and more are more. `None`: the kernel
    /// does not say.
    pub fn percent(&self) -> Option<f64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.at.elapsed();
        if last.percent.is_some() && elapsed < SHORTEST {
            return last.percent;
        }
        let spent_s = spent_s()?;
        let percent = 100.0 * (spent_s - last.spent_s).max(0.0) / elapsed.as_secs_f64().max(f64::EPSILON);
        let percent = (percent * 100.0).round() / 100.0;
        *last = Usage {
            at: Instant::now(),
            spent_s,
            percent: Some(percent),
        };
        last.percent
    }
}

fn spent_s() -> Option<f64> {
    let stat = Process::myself().and_then(|own| own.stat()).ok()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_takes_some_of_what_it_may_have() {
        let memory = memory().unwrap();
        assert!(0 < memory.used && memory.used < memory.total, "{memory:?}");
    }

    #[test]
    fn work_is_seen_and_a_second_look_at_once_says_the_same() {
        let cpu = Cpu::new();
        let (started, before) = (Instant::now(), spent_s().unwrap());
        while spent_s().unwrap() - before < 0.1 {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "this loop takes no time of a processor"
            );
        }
        let percent = cpu.percent().unwrap();
        assert!(percent > 0.0);
        assert_eq!(cpu.percent(), Some(percent));
    }

    #[test]
    fn limits_are_looked_for_up_to_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let group = root.join("outer/inner");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(root.join("outer/memory.max"), "4096\n").unwrap();
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limits(root, "/outer/inner", "memory.max"), [4096]);
        assert_eq!(limits(root, "/elsewhere", "memory.max"), [0_u64; 0]);
    }
}
