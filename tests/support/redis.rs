//! A real redis-server for one test or one test binary: on a free port, without persistence, under the test's
//! control. Not shared with anybody, so it can be killed, paused, emptied.

use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::port::free_port;
use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A redis-server; ends with its handle.
pub struct Redis {
    port: u16,
    dir: TempDir,
    /// Beside what every server gets: `--name value…`.
    arguments: Vec<String>,
    server: Mutex<Option<Process>>,
}

impl Redis {
    /// An empty server that answers.
    pub async fn start() -> Redis {
        let redis = Redis::stopped();
        redis.restart().await;
        redis
    }

    /// A port with nobody behind it yet; `restart` brings the server.
    pub fn stopped() -> Redis {
        Redis::configured(&[])
    }

    /// The same, with arguments of its own.
    pub fn configured(arguments: &[&str]) -> Redis {
        let dir = tempfile::Builder::new()
            .prefix("redis-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("cargo made its directory for tests");
        Redis {
            port: free_port(),
            dir,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            server: Mutex::new(None),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.server().as_ref().expect("redis-server runs").pid()
    }

    /// `redis://127.0.0.1:<port>/0`, with the password that the server was started with.
    pub fn url(&self) -> String {
        let mut arguments = self.arguments.iter();
        let password = arguments
            .find(|argument| *argument == "--requirepass")
            .and(arguments.next());
        let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}/0", self.port)
    }

    /// A connection of its own, that waits longer than the product would.
    pub async fn connection(&self) -> MultiplexedConnection {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            match self.connect().await {
                Ok(connection) => return connection,
                // A Sentinel that makes a replica of a server ends its connections, also those that are just made.
                Err(cause) => assert!(Instant::now() < deadline, "the test's redis-server answers: {cause}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // no event says that it listens
        }
    }

    pub fn is_running(&self) -> bool {
        self.server().is_some()
    }

    /// SIGKILL: the data is gone, connections are reset.
    pub fn kill(&self) {
        self.server().take().expect("redis-server runs");
    }

    /// SIGSTOP: connections stand, nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT after `pause`.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts an empty server on the same port, ending the one that runs.
    pub async fn restart(&self) {
        self.server().take();
        let process = Process::spawn(
            "redis-server",
            Command::new("redis-server")
                .args(["--port", &self.port.to_string()])
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--loglevel", "warning"])
                .args(["--enable-debug-command", "yes"]) // for DEBUG SLEEP: a Redis that is slow, not away
                .arg("--dir")
                .arg(self.dir.path())
                .args(&self.arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit()),
        );
        *self.server() = Some(process);
        let deadline = Instant::now() + START_LIMIT;
        while let Err(cause) = self.ping().await {
            let exited = self.server().as_ref().and_then(Process::exited);
            assert!(exited.is_none(), "redis-server on port {} ended: {exited:?}", self.port);
            assert!(Instant::now() < deadline, "redis-server does not answer: {cause}");
            tokio::time::sleep(Duration::from_millis(5)).await; // no event says that it listens
        }
    }

    async fn ping(&self) -> redis::RedisResult<()> {
        let mut connection = self.connect().await?;
        redis::cmd("PING").query_async(&mut connection).await
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let settings = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        redis::Client::open(self.url())?
            .get_multiplexed_async_connection_with_config(&settings)
            .await
    }

    fn signal(&self, signal: &str) {
        self.server().as_ref().expect("redis-server runs").signal(signal);
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}
