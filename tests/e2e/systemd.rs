//! What a supervisor of systemd's kind hears on its socket: ready, how it is, that it turns, that it stops. The test plays
//! the supervisor; the unit itself is another test's matter.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::process::Process;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

/// Stops one thread of a process, without its others, until the input ends.
const HOLD: &str = "
import ctypes, os, sys
libc, thread = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit('ptrace: ' + os.strerror(ctypes.get_errno()) + ' (this test needs it to be allowed)')
os.waitpid(thread, WALL)
print('held', flush=True)
sys.stdin.read()
";

/// The socket of a supervisor, and what came, a line each.
struct Supervisor {
    dir: TempDir,
    lines: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

impl Supervisor {
    fn start() -> Supervisor {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        let listening = tokio::spawn(async move {
            let mut bytes = [0; 4_096];
            while let Ok(count) = socket.recv(&mut bytes).await {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                log.lock()
                    .expect("nobody panics with it")
                    .extend(text.lines().map(str::to_owned));
            }
        });
        Supervisor { dir, lines, listening }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").to_string_lossy().into_owned()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|came| *came == line).count()
    }

    async fn hears(&self, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.lines().iter().any(|line| wanted(line)) {
            assert!(Instant::now() < deadline, "it did not come: {:?}", self.lines());
            tokio::time::sleep(Duration::from_millis(10)).await; // another task receives
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A thread that does not run, while the process does.
struct Held(Process);

impl Held {
    async fn hold(node: &Node, thread: &str) -> Held {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).expect("it runs");
        let id = tasks.filter_map(Result::ok).find_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            (name.trim() == thread).then(|| task.file_name().to_string_lossy().into_owned())
        });
        let mut command = Command::new("python3");
        command.args(["-c", HOLD, &id.expect("the node has such a thread")]);
        let process = Process::spawn("python3", command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdout = process.child().stdout.take().expect("a pipe was asked for");
        let held = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a pipe can be read");
            line
        });
        assert_eq!(held.await.expect("it reads").trim(), "held", "see above for the reason");
        Held(process)
    }

    async fn release(self) {
        drop(self.0.child().stdin.take());
        self.0.wait(Duration::from_secs(10)).await.expect("it lets go");
    }
}

#[tokio::test]
async fn it_hears_that_the_node_is_ready_turns_and_stops() {
    let (redis, supervisor) = (Redis::start().await, Supervisor::start());
    let settings = [
        ("NOTIFY_SOCKET", &*supervisor.path()),
        ("WATCHDOG_USEC", "2000000"),
        ("REALTIME_DRAIN_WAIT", "1500"),
        ("REALTIME_DRAIN_TIMEOUT", "20000"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let node = Node::spawn(&redis.url(), &settings);
    supervisor.hears(|line| line == "READY=1").await;
    assert_eq!(
        node.get("/readyz", "*/*").await.expect("it answers").0,
        200,
        "it was told the truth"
    );
    let member = Raw::enter(&node, "ann").await;
    supervisor.hears(|line| line == "STATUS=serving 1 connections").await;
    eventually("the watchdog hears it again and again", async || {
        supervisor.count("WATCHDOG=1") >= 4
    })
    .await;
    assert_eq!(supervisor.count("STOPPING=1"), 0);

    node.signal("TERM");
    supervisor.hears(|line| line == "STOPPING=1").await;
    supervisor.hears(|line| line == "EXTEND_TIMEOUT_USEC=25000000").await;
    supervisor
        .hears(|line| line == "STATUS=draining: not ready, and serving 1 connections on")
        .await;
    let heard = supervisor.count("WATCHDOG=1");
    member.closed().await;
    assert_eq!(node.ended(Duration::from_secs(30)).await.code(), Some(0));
    assert!(
        supervisor.count("WATCHDOG=1") > heard,
        "it turned while it drained, and said so"
    );
    assert_eq!(supervisor.count("READY=1"), 1);
}

#[tokio::test]
async fn a_node_whose_redis_is_away_is_started_all_the_same_and_says_how_it_is() {
    let (redis, supervisor) = (Redis::stopped(), Supervisor::start());
    let path = supervisor.path();
    let started = Instant::now();
    let node = Node::spawn(&redis.url(), &[("NOTIFY_SOCKET", &path)]);
    supervisor.hears(|line| line == "STATUS=starting").await;
    supervisor.hears(|line| line == "READY=1").await;
    assert!(started.elapsed() >= Duration::from_secs(10), "it had a chance");
    supervisor
        .hears(|line| line == "STATUS=not ready (redis); 0 connections")
        .await;
    assert_eq!(supervisor.count("WATCHDOG=1"), 0, "nobody asked for it");
    redis.restart().await;
    supervisor.hears(|line| line == "STATUS=serving 0 connections").await;
    assert!(node.is_running());
}

#[tokio::test]
async fn a_shard_that_hangs_is_a_watchdog_that_hears_nothing() {
    let (redis, supervisor) = (Redis::start().await, Supervisor::start());
    let path = supervisor.path();
    let settings = [
        ("NOTIFY_SOCKET", path.as_str()),
        ("WATCHDOG_USEC", "1000000"),
        ("REALTIME_SHARDS", "2"),
    ];
    let node = Node::spawn(&redis.url(), &settings);
    supervisor.hears(|line| line == "WATCHDOG=1").await;

    let held = Held::hold(&node, "shard-1").await;
    node.logs(&["a shard does not answer"]).await;
    let heard = supervisor.count("WATCHDOG=1");
    // What does not come is shown by the time in which it would have come, six times.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(supervisor.count("WATCHDOG=1"), heard, "{:?}", supervisor.lines());
    held.release().await;
    node.logs(&["every shard answers again"]).await;
    eventually("the watchdog hears it again", async || {
        supervisor.count("WATCHDOG=1") > heard
    })
    .await;
}
