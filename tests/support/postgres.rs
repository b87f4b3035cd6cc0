//! A real Postgres for one test or one test binary, on a free port, with data that outlives a stop and a crash.
//! Not a Postgres that somebody else uses: it can be stopped, killed, paused, restarted. No schema is installed here.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::port::free_port;
use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(20);
/// Where Debian keeps Postgres' programs, one directory per version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who runs it when we are root, which it refuses to be.
const USER: &str = "postgres";

/// A server; ends with its handle, and its data with it.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    /// Not in cargo's directory for tests: another user has to get through to it.
    dir: TempDir,
    settings: Vec<String>,
    databases: AtomicU32,
    server: Mutex<Option<Process>>,
}

/// A database of one test. It stays as long as its server.
pub struct Database {
    server: Arc<Postgres>,
    name: String,
}

impl Postgres {
    /// A server that answers and writes through to the disk, as in earnest.
    pub async fn start() -> Arc<Postgres> {
        Postgres::configured(&[]).await
    }

    /// The same with settings, each `name=value`.
    pub async fn configured(settings: &[&str]) -> Arc<Postgres> {
        let postgres = Postgres::stopped(settings);
        postgres.restart().await;
        Arc::new(postgres)
    }

    /// The one server of a test binary, for tests that leave it alone and need no more than a database of their own.
    /// It lives as long as anybody holds it.
    pub async fn shared() -> Arc<Postgres> {
        static SHARED: tokio::sync::Mutex<Weak<Postgres>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(postgres) = shared.upgrade() {
            return postgres;
        }
        // Nobody pulls its plug.
        let postgres = Postgres::configured(&["fsync=off", "max_connections=200"]).await;
        *shared = Arc::downgrade(&postgres);
        postgres
    }

    /// A port with nobody behind it yet, and an empty cluster; `restart` brings the server.
    pub fn stopped(settings: &[&str]) -> Postgres {
        let programs = programs();
        let user = is_root().then(|| user_of(USER));
        let dir = tempfile::Builder::new()
            .prefix("postgres-")
            .permissions(PermissionsExt::from_mode(0o711))
            .tempdir()
            .expect("the directory for temporary files is writable");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("the directory is ours");
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).expect("it is ours");
        if let Some((user, group)) = user {
            chown(&data, Some(user), Some(group)).expect("we are root");
        }
        let mut initdb = Command::new(programs.join("initdb"));
        initdb
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "-D",
            ])
            .arg(&data);
        let output = as_user(&mut initdb, user, &data).output().expect("initdb starts");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Postgres {
            port: free_port(),
            programs,
            user,
            dir,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            databases: AtomicU32::new(0),
            server: Mutex::new(None),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server().as_ref().expect("postgres runs").pid()
    }

    /// Of the server's own database, for the administration.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// `postgres://postgres@127.0.0.1:<port>/<database>`
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new, empty database.
    pub async fn database(self: &Arc<Self>) -> Database {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&self.url()).await.expect("the test's Postgres answers");
        let create = format!("CREATE DATABASE {name}");
        admin.batch_execute(&create).await.expect("a database can be made");
        Database {
            server: Arc::clone(self),
            name,
        }
    }

    pub fn is_running(&self) -> bool {
        self.server().is_some()
    }

    /// Fast shutdown: transactions are rolled back, connections closed, everything is on the disk.
    pub async fn stop(&self) {
        self.end("INT").await;
    }

    /// Ends at once, as in a crash: nothing is rolled back or written, the next start recovers from the log. Not
    /// SIGKILL, after which processes of the old server may hold up the next one.
    pub async fn kill(&self) {
        self.end("QUIT").await;
    }

    /// SIGSTOP for all of its processes: connections stand, new ones are made, nothing answers.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// SIGCONT after `pause`.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    /// Starts the server on the same port and data, stopping the one that runs, and waits until it answers.
    pub async fn restart(&self) {
        if self.is_running() {
            self.stop().await;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the directory is ours");
        let mut command = Command::new(self.programs.join("postgres"));
        command.args(["-p", &self.port.to_string()]).args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::spawn("postgres", as_user(&mut command, self.user, &self.data()));
        *self.server() = Some(process);
        let deadline = Instant::now() + START_LIMIT;
        while let Err(cause) = connect(&self.url()).await {
            let exited = self.server().as_ref().and_then(Process::exited);
            assert!(
                exited.is_none(),
                "postgres on port {} ended: {exited:?}\n{}",
                self.port,
                self.log_text()
            );
            assert!(
                Instant::now() < deadline,
                "postgres does not answer: {cause}\n{}",
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(20)).await; // no event says that it listens
        }
    }

    /// What the server wrote to its log.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    async fn end(&self, signal: &str) {
        let process = self.server().take().expect("postgres runs");
        process.signal(signal);
        let status = process.wait(END_LIMIT).await;
        assert!(
            status.is_some(),
            "postgres does not end by SIG{signal}:\n{}",
            self.log_text()
        );
    }

    /// To the postmaster, and to its children, which are leaders of process groups of their own.
    fn signal_all(&self, signal: &str) {
        let server = self.server();
        let postmaster = server.as_ref().expect("postgres runs");
        // First, so that it makes no more of them.
        postmaster.signal(signal);
        let pid = postmaster.pid();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the kernel lists children");
        // One that has just ended by itself needs no signal.
        Command::new("sh")
            .args(["-c", &format!("kill -{signal} {children} 2>/dev/null")])
            .status()
            .expect("sh starts");
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let runs = self.server().as_ref().is_some_and(|process| process.exited().is_none());
        if !runs {
            return;
        }
        // One that is paused would not hear of its end; and its children have to end before its directory goes.
        self.signal_all("CONT");
        let server = self.server();
        let process = server.as_ref().expect("it runs");
        process.signal("QUIT");
        let _status = process.child().wait();
    }
}

impl Database {
    pub fn url(&self) -> String {
        self.server.url_of(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn server(&self) -> &Arc<Postgres> {
        &self.server
    }

    /// A connection of its own. It belongs to the runtime of the test that asks.
    pub async fn connect(&self) -> Client {
        connect(&self.url()).await.expect("the test's Postgres answers")
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Its end is seen by whoever uses the client.
    tokio::spawn(connection);
    Ok(client)
}

/// In the path, or the newest of Debian's.
fn programs() -> PathBuf {
    let complete = |directory: &PathBuf| directory.join("postgres").is_file() && directory.join("initdb").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest_of_debian = || {
        let versions = std::fs::read_dir(DEBIAN).ok()?.filter_map(Result::ok);
        let numbered =
            versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
        numbered
            .map(|(version, path)| (version, path.join("bin")))
            .filter(|(_, path)| complete(path))
            .max()
            .map(|(_, path)| path)
    };
    std::env::split_paths(&path)
        .find(complete)
        .or_else(newest_of_debian)
        .expect("postgres and initdb are installed (make test does it)")
}

fn is_root() -> bool {
    id(&["-u"]) == 0
}

/// User and group of a name.
fn user_of(name: &str) -> (u32, u32) {
    (id(&["-u", name]), id(&["-g", name]))
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().expect("id starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.trim().parse();
    number.unwrap_or_else(|_| panic!("id {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Postgres reads its working directory, which has to be one that the user may read.
fn as_user<'a>(command: &'a mut Command, user: Option<(u32, u32)>, directory: &Path) -> &'a mut Command {
    command.current_dir(directory);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
