//! What the kernel says of a process: its memory and its time on the processor.

use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;

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
    kernel: Duration,
    own: Duration,
    waited: Duration,
}

/// What went by.
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
    /// The kernel's part of it, to the hundredth of a second.
    pub kernel: Duration,
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
            cpu: cpu(pid),
            kernel: kernel(pid),
            own: cpu(std::process::id()),
            waited: waited(pid),
        }
    }

    pub fn stop(self) -> Spent {
        Spent {
            wall: self.started.elapsed(),
            cpu: cpu(self.pid) - self.cpu,
            kernel: kernel(self.pid).saturating_sub(self.kernel),
            own: cpu(std::process::id()) - self.own,
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

/// Time in user and kernel mode so far, of threads that have ended as well; to the nanosecond, for a hundred connects take no more
/// than a few of the hundredths that /proc counts in.
fn cpu(pid: u32) -> Duration {
    let pid = i32::try_from(pid).expect("the kernel's own are no larger");
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).expect("it runs");
    clock.now().expect("it runs").into()
}

/// Time in kernel mode so far, as /proc counts it.
fn kernel(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // Behind the name, which may hold anything: from the third field on.
    let (_, fields) = stat.rsplit_once(')').expect("the kernel writes it so");
    let ticks = fields.split_whitespace().nth(12).expect("the fifteenth field");
    TICK * ticks.parse().expect("a number")
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
