//! A gateway node: the product's own binary as a child process, with its log lines kept.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::port::free_port;
use super::process::Process;
use super::token::SECRET;

const START_LIMIT: Duration = Duration::from_secs(20);
const LOG_LINES_KEPT: usize = 10_000;

/// A running `nself-realtime serve`; ends with its handle.
pub struct Node {
    port: u16,
    process: Process,
    log: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

impl Node {
    /// Starts a node and waits until it is ready. `settings` go over what every test node gets.
    pub async fn start(redis_url: &str, settings: &[(&str, &str)]) -> Node {
        let node = Node::spawn(redis_url, settings);
        node.becomes("/readyz", 200).await;
        node
    }

    /// Starts a node and waits for nothing.
    pub fn spawn(redis_url: &str, settings: &[(&str, &str)]) -> Node {
        let port = free_port();
        let mut command = binary();
        command
            .arg("serve")
            .env("REALTIME_REDIS_URL", redis_url)
            .env("REALTIME_HOST", "127.0.0.1")
            .env("REALTIME_PORT", port.to_string())
            .env("REALTIME_JWT_SECRET", SECRET)
            .env("REALTIME_LIMITS", "off") // all clients come from one address
            .env("REALTIME_DRAIN_WAIT", "0") // no balancer looks; who tests the drain says how long
            .env("REALTIME_DRAIN_WINDOW", "0")
            .env("REALTIME_ROOM_AUTOCREATE", "auto:*")
            .env("LOG_FORMAT", "json")
            .envs(away_postgres())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = Process::spawn("nself-realtime", &mut command);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = {
            let mut child = process.child();
            (child.stdout.take(), child.stderr.take())
        };
        collect(stdout.expect("a pipe was asked for"), Arc::clone(&log));
        collect(stderr.expect("a pipe was asked for"), Arc::clone(&log));
        // A node that is stopped answers nothing: bounded by the test's own deadline, not by the client's.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0) // a kept connection would belong to the runtime of one test
            .build()
            .expect("a plain client");
        Node {
            port,
            process,
            log,
            http,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Memory that the process has now.
    pub fn resident_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// The most that it ever had.
    pub fn peak_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        kilobytes.expect("the kernel says it").parse().expect("a number")
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// GET of `path` with an `Accept` header: status and text.
    pub async fn get(&self, path: &str, accept: &str) -> reqwest::Result<(u16, String)> {
        let request = self.http.get(format!("{}{path}", self.url()));
        let response = request.header("accept", accept).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }

    /// Waits until GET of `path` answers `status`.
    pub async fn becomes(&self, path: &str, status: u16) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = self.get(path, "*/*").await;
            if answer.as_ref().is_ok_and(|(came, _)| *came == status) {
                return;
            }
            let exited = self.process.exited();
            assert!(exited.is_none(), "the node ended: {exited:?}\n{}", self.log_text());
            assert!(
                Instant::now() < deadline,
                "{path} did not become {status}: {answer:?}\n{}",
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await; // HTTP has no event for this
        }
    }

    /// The value of a Prometheus sample; `labels` as they are written, without braces, or "".
    pub async fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics", "text/plain").await.expect("/metrics answers");
        assert_eq!(status, 200, "/metrics: {text}");
        let sample = if labels.is_empty() {
            name.to_owned()
        } else {
            format!("{name}{{{labels}}}")
        };
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&sample)?.strip_prefix(' '));
        value.map(|value| value.trim().parse().expect("a sample is a number"))
    }

    /// Waits until a log line says all of `words`, and returns it.
    pub async fn logs(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let lines = self.lines();
            if let Some(line) = lines.iter().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no log line says {words:?}:\n{}",
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await; // lines come by a thread
        }
    }

    /// Every log line so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(|broken| broken.into_inner()).clone()
    }

    pub fn log_text(&self) -> String {
        self.lines().join("\n")
    }

    /// Sends a signal by its name without `SIG`.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub fn is_running(&self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&self, limit: Duration) -> ExitStatus {
        match self.process.wait(limit).await {
            Some(status) => status,
            None => panic!("the node still runs after {limit:?}:\n{}", self.log_text()),
        }
    }
}

/// A command of the product's binary, without any setting of this shell's environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nself-realtime"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(env!("CARGO_TARGET_TMPDIR")); // where no .env lies
    command
}

/// With `REALTIME_TEST_POSTGRES=away` every node is to have an archive, and has none that answers.
fn away_postgres() -> Vec<(&'static str, &'static str)> {
    match std::env::var("REALTIME_TEST_POSTGRES").as_deref() {
        Ok("away") => vec![
            ("REALTIME_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere"),
            ("REALTIME_RESTORE", "best-effort"),
        ],
        Ok(other) => panic!("REALTIME_TEST_POSTGRES is away, or not set; not {other}"),
        Err(_) => Vec::new(),
    }
}

fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    // A thread, not a task: a node that several tests share outlives the runtime of each.
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(|broken| broken.into_inner());
            if log.len() < LOG_LINES_KEPT {
                log.push(line);
            }
        }
    });
}
