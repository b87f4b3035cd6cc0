//! One run: a Redis of its own, one or more servers on their core, and a meter of what each of the three parties spends. All of it
//! ends with the handle.
#![allow(dead_code, reason = "each bench compiles this file and uses its own part of it")]

use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use super::contestant::Contestant;
use crate::load::crowd::{Crowd, Plan};
use crate::load::machine::Clock;
use crate::load::wire::Transport;
use crate::support::port::free_port;
use crate::support::process::Process;
use crate::support::redis::Redis;

/// Servers run on the one core, whoever loads them on the other.
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

const START_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts to get in.
const RETRY: Duration = Duration::from_millis(50);
/// Lines of a server's own that an error shows.
const LAST_LINES: usize = 20;

/// Where Redis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RedisCore {
    /// Beside the servers
    #[value(name = "0")]
    Server,
    /// Beside the load
    #[value(name = "1")]
    Load,
    /// Where the kernel puts it
    Any,
}

impl RedisCore {
    /// As the kernel writes lists of cores.
    pub fn list(self) -> String {
        match self {
            Self::Server => SERVER_CORE.to_string(),
            Self::Load => LOAD_CORE.to_string(),
            Self::Any => format!("{SERVER_CORE},{LOAD_CORE}"),
        }
    }
}

/// A server under test.
struct Server {
    port: u16,
    process: Process,
    log: NamedTempFile,
}

pub struct Stage {
    pub contestant: Contestant,
    servers: Vec<Server>,
    redis: Redis,
    runtime: Runtime,
}

impl Stage {
    /// So many servers of a kind, which have let somebody in.
    pub fn set(contestant: Contestant, servers: usize, redis_core: RedisCore) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let redis = runtime.block_on(Redis::start());
        pin(redis.pid(), &redis_core.list())?;
        let servers = (0..servers).map(|_| Server::start(contestant, &redis.url()));
        let stage = Self {
            contestant,
            servers: servers.collect::<io::Result<_>>()?,
            redis,
            runtime,
        };
        for server in &stage.servers {
            stage.becomes_ready(server).map_err(|cause| stage.explain(&cause))?;
        }
        Ok(stage)
    }

    /// Waits until somebody gets in.
    fn becomes_ready(&self, server: &Server) -> io::Result<()> {
        let started = Instant::now();
        let plan = Plan {
            ports: &[server.port],
            clients: 1,
            transport: Transport::WebSocket,
            room: 1,
            name: "probe",
        };
        loop {
            let tried = Crowd::new(&plan).and_then(|mut probe| probe.enter(1, START_LIMIT));
            let Err(cause) = tried else { return Ok(()) };
            let cause = match server.process.exited() {
                Some(status) => format!("it ended with {status}"),
                None if started.elapsed() > START_LIMIT => format!("after {START_LIMIT:?} nobody gets in: {cause}"),
                None => {
                    // Nothing tells that it listens.
                    self.runtime.block_on(async { tokio::time::sleep(RETRY).await });
                    continue;
                }
            };
            return Err(io::Error::other(format!("it does not start: {cause}")));
        }
    }

    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// Resident memory of all servers, KB.
    pub fn resident_kb(&self) -> u64 {
        let pids = self.servers.iter().map(|server| server.process.pid());
        pids.map(crate::load::machine::resident_kb).sum()
    }

    /// The same of Redis.
    pub fn redis_resident_kb(&self) -> u64 {
        crate::load::machine::resident_kb(self.redis.pid())
    }

    /// Bytes that Redis has read and written so far.
    pub fn redis_traffic(&self) -> io::Result<[u64; 2]> {
        let asked = self.runtime.block_on(async {
            let mut redis = self.redis.connection().await;
            redis::cmd("INFO").arg("stats").query_async::<String>(&mut redis).await
        });
        let stats = asked.map_err(io::Error::other)?;
        let count = |name: &str| {
            let value = stats
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok())
        };
        match (count("total_net_input_bytes"), count("total_net_output_bytes")) {
            (Some(read), Some(written)) => Ok([read, written]),
            _ => Err(io::Error::other("Redis does not say what it read and wrote")),
        }
    }

    /// What a run spends from here on.
    pub fn meter(&self) -> Meter {
        Meter {
            servers: self
                .servers
                .iter()
                .map(|server| Clock::start(server.process.pid()))
                .collect(),
            redis: Clock::start(self.redis.pid()),
            load: Clock::start(std::process::id()),
        }
    }

    /// The cause, with the last words of the servers.
    pub fn explain(&self, cause: &io::Error) -> io::Error {
        let words: Vec<_> = self.servers.iter().map(Server::last_words).collect();
        io::Error::other(format!("{}: {cause}\n{}", self.contestant.name(), words.join("\n")))
    }
}

impl Server {
    fn start(contestant: Contestant, redis_url: &str) -> io::Result<Self> {
        let port = free_port();
        let log = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut command = contestant.command(SERVER_CORE, port, redis_url);
        command
            .stdin(Stdio::null())
            .stdout(File::options().append(true).open(log.path())?)
            .stderr(File::options().append(true).open(log.path())?);
        let process = Process::spawn(contestant.name(), &mut command);
        Ok(Self { port, process, log })
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(self.log.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// Has a process of ours, with all its threads, run on these cores alone.
pub fn pin(pid: u32, cores: &str) -> io::Result<()> {
    let done = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", cores, &pid.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if done.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "taskset cannot bind to core {cores}; two cores are needed"
    )))
}

/// From a moment on.
pub struct Meter {
    servers: Vec<Clock>,
    redis: Clock,
    load: Clock,
}

/// Time on the processor since then, and time that went by.
#[derive(Debug, Clone, Copy)]
pub struct Bill {
    pub wall: Duration,
    pub servers: Duration,
    /// The kernel's part of that.
    pub kernel: Duration,
    /// For the core, while somebody else had it: on an idle machine next to nothing.
    pub waited: Duration,
    pub redis: Duration,
    /// Of this program: the load.
    pub load: Duration,
    /// For its core: Redis has it, too, where it runs beside.
    pub load_waited: Duration,
}

impl Meter {
    pub fn read(self) -> Bill {
        let (redis, load) = (self.redis.stop(), self.load.stop());
        let servers: Vec<_> = self.servers.into_iter().map(Clock::stop).collect();
        Bill {
            wall: redis.wall,
            load: load.cpu,
            load_waited: load.waited,
            servers: servers.iter().map(|spent| spent.cpu).sum(),
            kernel: servers.iter().map(|spent| spent.kernel).sum(),
            waited: servers.iter().map(|spent| spent.waited).max().unwrap_or_default(),
            redis: redis.cpu,
        }
    }
}

impl Bill {
    /// Of the servers' time, in hundredths.
    pub fn percent_in_kernel(&self) -> f64 {
        100.0 * self.kernel.as_secs_f64() / self.servers.as_secs_f64()
    }

    /// Of a core, in hundredths.
    pub fn percent(&self, cpu: Duration) -> f64 {
        100.0 * cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}
