//! The processes that host many stock clients (tests/clients/js/{faults,delivery}/host.mjs): commands go in, what each
//! client heard comes out, all in one log. Not here: what it means.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use super::process::Process;
use super::token::SECRET;

/// Longest wait for what must come, where nothing tighter is promised.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One line of a host.
#[derive(Debug, Clone)]
pub struct Line {
    /// When the client heard it, Unix ms.
    pub at_ms: i64,
    pub client: usize,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    /// It is connected to this node, and in all of its rooms.
    Here(usize),
    Lost,
    Heard(String, Value),
    /// The ack of a question.
    Answer(u64, Value),
    /// What a program says in words of its own.
    Said(Value),
}

struct Log {
    lines: Mutex<Vec<Line>>,
    grown: watch::Sender<()>,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

/// Several hosts; a client lives on the one that its number says.
pub struct Hosts {
    hosts: Vec<(Mutex<ChildStdin>, Process)>,
    log: Arc<Log>,
}

impl Hosts {
    /// Starts `program` (below tests/clients/js) so many times.
    pub fn start(program: &str, count: usize) -> Hosts {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/js");
        assert!(
            home.join("node_modules/socket.io-client").is_dir(),
            "the stock JavaScript client is missing: run `npm ci` in tests/clients/js (make test does)"
        );
        let log = Arc::new(Log {
            lines: Mutex::default(),
            grown: watch::Sender::new(()),
        });
        let hosts = (0..count)
            .map(|_| {
                let mut command = Command::new("node");
                command
                    .arg(program)
                    .current_dir(&home)
                    .env("JWT_SECRET", SECRET)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped());
                let process = Process::spawn(program, &mut command);
                let (stdin, stdout) = {
                    let mut child = process.child();
                    (child.stdin.take(), child.stdout.take())
                };
                let stdout = stdout.expect("a pipe was asked for");
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                        log.lines().push(parse(&line));
                        log.grown.send_replace(());
                    }
                });
                (Mutex::new(stdin.expect("a pipe was asked for")), process)
            })
            .collect();
        Hosts { hosts, log }
    }

    /// Gives a command to a client's host.
    pub fn command(&self, client: usize, command: &Value) {
        self.write(&self.hosts[client % self.hosts.len()], command);
    }

    pub fn command_all(&self, command: &Value) {
        for host in &self.hosts {
            self.write(host, command);
        }
    }

    fn write(&self, (stdin, process): &(Mutex<ChildStdin>, Process), command: &Value) {
        let mut stdin = stdin.lock().unwrap_or_else(|broken| broken.into_inner());
        let written = writeln!(stdin, "{command}");
        assert!(written.is_ok(), "a host ended: {:?}", process.exited());
    }

    /// Where the log ends now.
    pub fn mark(&self) -> usize {
        self.log.lines().len()
    }

    /// What the log says since `mark`.
    pub fn since<T>(&self, mark: usize, read: impl FnOnce(&[Line]) -> T) -> T {
        read(&self.log.lines()[mark..])
    }

    /// Waits until `found` finds something in what came since `mark`; `None` when it does not within `limit`.
    pub async fn wait<T>(
        &self,
        mark: usize,
        limit: Duration,
        mut found: impl FnMut(&[Line]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut grown = self.log.grown.subscribe();
        loop {
            grown.borrow_and_update();
            if let Some(it) = self.since(mark, &mut found) {
                return Some(it);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            // A clock's tick is enough: whether it came is looked at once more.
            let _ = tokio::time::timeout(left, grown.changed()).await;
            tokio::time::sleep(Duration::from_millis(5)).await; // lines come by the thousand: one look at many of them
        }
    }
}

fn parse(line: &str) -> Line {
    let mut value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("a host said {line}"));
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
    let what = if let Some(event) = value["heard"].as_str() {
        let event = event.to_owned();
        What::Heard(event, value["payload"].take())
    } else if let Some(node) = value.get("here") {
        What::Here(number(node))
    } else if let Some(ask) = value["answer"].as_u64() {
        What::Answer(ask, value["ack"].take())
    } else if value["said"].is_object() {
        What::Said(value["said"].take())
    } else if value["lost"].is_string() {
        What::Lost
    } else {
        panic!("a client failed: {line}");
    };
    Line {
        at_ms: value["at"].as_i64().expect("a host says when"),
        client: number(&value["client"]),
        what,
    }
}
