//! What the kernel says of a process: its memory and its time on the processor.

use std::time::{Duration, Instant};

/// Resident memory, KB.
pub fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.expect("the kernel says it").parse().expect("a number")
}

/// From a moment on.
pub struct Clock {
    pid: u32,
    started: Instant,
    cpu: Duration,
    own: Duration,
    waited: Duration,
}

/// What went by.
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
    /// Of this program.
    pub own: Duration,
    /// How long one of its threads, the one that waited most, was ready while somebody else had the core.
    pub waited: Duration,
}

impl Clock {
    pub fn start(pid: u32) -> Self {
        Self {
            pid,
            started: Instant::now(),
            cpu: cpu(&pid.to_string()),
            own: cpu("self"),
            waited: waited(pid),
        }
    }

    pub fn stop(self) -> Spent {
        Spent {
            wall: self.started.elapsed(),
            cpu: cpu(&self.pid.to_string()) - self.cpu,
            own: cpu("self") - self.own,
            waited: waited(self.pid).saturating_sub(self.waited),
        }
    }
}

impl Spent {
    /// Of one core, by the process.
    pub fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Of one core, by this program.
    pub fn own_share(&self) -> f64 {
        self.own.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Time in user and kernel mode so far. The kernel counts in hundredths of a second (USER_HZ is 100 everywhere).
fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // The name may hold spaces; behind its bracket, user time is the twelfth field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// How long the thread that waited most has waited for a core so far.
fn waited(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let waited = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().nth(1)?.parse().ok()
    });
    Duration::from_nanos(waited.max().unwrap_or_default())
}
