//! The private Redis and Postgres of `dev`: free ports, a temporary directory, nothing that lasts.

use std::fs::{DirBuilder, read_dir};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::leash::{Leash, Spec};
use crate::cli::{Error, note};

/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(50);
/// Who runs Postgres when we are root.
const POSTGRES_USER: &str = "postgres";
/// Where Debian keeps Postgres' programs, one directory per version.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// A directory that is removed when dropped.
pub(super) struct Scratch {
    path: PathBuf,
    is_root: bool,
}

impl Scratch {
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("nself-realtime-dev-{:08x}", rand::random::<u32>()));
        // Others may pass through to a directory of their own, but not list.
        DirBuilder::new().mode(0o711).create(&path)?;
        let is_root = std::fs::metadata(&path)?.uid() == 0;
        Ok(Self { path, is_root })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            note!("{} is left behind: {error}", self.path.display());
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts Redis and returns its URL. The child is in `running` before anything is waited for.
pub(super) async fn redis(scratch: &Scratch, running: &mut Vec<Leash>) -> Result<String, Error> {
    let io = |error| Error::Io("cannot start redis-server (is it installed?)", error);
    let port = free_port().map_err(io)?;
    let log = scratch.path().join("redis.log");
    let spec = Spec::new("redis", "redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .args([scratch.path()])
        .log(&log)
        .map_err(io)?;
    let leash = kept(running, Leash::start(spec).map_err(io)?);
    answers(leash, port, b"PING\r\n", b"+PONG", &log).await?;
    Ok(format!("redis://127.0.0.1:{port}"))
}

/// Starts Postgres and returns its URL; `None` when it is not installed, or nobody is there to run it: the gateways work without.
pub(super) async fn postgres(scratch: &Scratch, running: &mut Vec<Leash>) -> Result<Option<String>, Error> {
    let io = |error| Error::Io("cannot start postgres", error);
    let Some(programs) = postgres_programs() else {
        return Ok(None);
    };
    // Postgres refuses to be run by root.
    let user = if scratch.is_root {
        user_of(POSTGRES_USER).await
    } else {
        None
    };
    if scratch.is_root && user.is_none() {
        note!("postgres is left out: it does not run as root, and there is no user {POSTGRES_USER}");
        return Ok(None);
    }
    let directory = scratch.path().join("postgres");
    DirBuilder::new().mode(0o700).create(&directory).map_err(io)?;
    if let Some((user, group)) = user {
        chown(&directory, Some(user), Some(group)).map_err(io)?;
    }
    let log = scratch.path().join("postgres.log");
    init_postgres(&programs, &directory, user).await?;
    let port = free_port().map_err(io)?;
    let mut spec = Spec::new("postgres", programs.join("postgres"))
        .args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-k",
        ])
        .args([directory.as_os_str(), "-D".as_ref(), directory.as_os_str()])
        .log(&log)
        .map_err(io)?;
    spec.user = user;
    // Fast shutdown: does not wait for clients.
    spec.signal = "INT";
    let leash = kept(running, Leash::start(spec).map_err(io)?);
    // An SSLRequest; a server that is ready says that it has none.
    answers(leash, port, &[0, 0, 0, 8, 4, 210, 22, 47], b"N", &log).await?;
    Ok(Some(format!("postgres://postgres@127.0.0.1:{port}/postgres")))
}

/// Whatever is started is kept first and waited for then, so that nothing is lost when the wait is given up.
fn kept(running: &mut Vec<Leash>, leash: Leash) -> &mut Leash {
    running.push(leash);
    running.last_mut().expect("one was just pushed")
}

async fn init_postgres(programs: &Path, directory: &Path, user: Option<(u32, u32)>) -> Result<(), Error> {
    let mut command = Command::new(programs.join("initdb"));
    command
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "-D",
        ])
        .arg(directory);
    command.current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    let output = command
        .output()
        .await
        .map_err(|error| Error::Io("cannot run initdb", error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "initdb failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// The directory with `postgres` and `initdb`: in the path, or the newest of Debian's.
fn postgres_programs() -> Option<PathBuf> {
    let complete = |directory: &PathBuf| {
        ["postgres", "initdb"]
            .iter()
            .all(|name| is_program(&directory.join(name)))
    };
    let in_path = crate::config::program_directories().into_iter().find(complete);
    let newest_of_debian = || {
        let versions = read_dir(DEBIAN_POSTGRES).ok()?.filter_map(Result::ok);
        let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry)));
        numbered
            .map(|(version, entry)| (version, entry.path().join("bin")))
            .filter(|(_, path)| complete(path))
            .max()
    };
    in_path.or_else(|| newest_of_debian().map(|(_, path)| path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// User and group of a name, by `id`, since reading the user database needs more than the standard library.
async fn user_of(name: &str) -> Option<(u32, u32)> {
    let mut ids = Vec::with_capacity(2);
    for kind in ["-u", "-g"] {
        let output = Command::new("id").args([kind, name]).output().await.ok()?;
        ids.push(String::from_utf8(output.stdout).ok()?.trim().parse().ok()?);
    }
    Some((ids[0], ids[1]))
}

/// Waits until a server answers a question; fails when it ends, or takes too long.
async fn answers(leash: &mut Leash, port: u16, question: &[u8], answer: &[u8], log: &Path) -> Result<(), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        tokio::select! {
            _ = leash.ended() => return Err(Error::Failed(format!("{} ended at start: {}", leash.name, tail(log)))),
            reply = timeout(Duration::from_secs(1), ask(address, question, answer.len())) => {
                if matches!(reply, Ok(Ok(bytes)) if bytes == answer) {
                    return Ok(());
                }
            }
        }
        if Instant::now() > deadline {
            return Err(Error::Failed(format!("{} does not answer: {}", leash.name, tail(log))));
        }
        sleep(RETRY).await;
    }
}

async fn ask(address: SocketAddr, question: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The last lines of a log, for an error. A log that cannot be read says nothing.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
}
