//! A child process that cannot outlive its parent, however the parent ends.
//!
//! The child runs under a small shell whose standard input is a pipe from us. When the pipe closes, by our will or
//! because we died, the shell asks the child to end. All are in a process group of their own, so that a Ctrl-C in the
//! terminal reaches only us, and we end the children in order.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};

use super::Envs;
use crate::cli::note;

/// `$1` = signal that ends the child; the rest is the child.
const SHELL: &str = r#"
signal=$1; shift
exec 3<&0
"$@" </dev/null 3<&- & child=$!
(read -r _ <&3; kill -s "$signal" "$child") 2>/dev/null & watcher=$!
exec 3<&-
wait "$child"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// How long a child may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(12);

/// Which child, how, and as whom.
pub(super) struct Spec {
    pub name: String,
    pub program: OsString,
    pub args: Vec<OsString>,
    pub envs: Envs,
    /// Ends it in good order.
    pub signal: &'static str,
    /// User and group to run as; only root can ask for it.
    pub user: Option<(u32, u32)>,
    /// Where its output goes; ours when there is none.
    pub log: Option<std::fs::File>,
}

impl Spec {
    pub fn new(name: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        let (name, program) = (name.into(), program.as_ref().to_owned());
        Self {
            name,
            program,
            args: Vec::new(),
            envs: Vec::new(),
            signal: "TERM",
            user: None,
            log: None,
        }
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn log(mut self, path: &Path) -> io::Result<Self> {
        self.log = Some(std::fs::File::create(path)?);
        Ok(self)
    }
}

/// A running child.
pub(super) struct Leash {
    pub name: String,
    shell: Child,
    /// Closing it ends the child.
    pipe: Option<ChildStdin>,
}

impl Leash {
    pub fn start(spec: Spec) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(SHELL)
            .arg("sh")
            .arg(spec.signal)
            .arg(spec.program)
            .args(spec.args);
        command.envs(spec.envs).stdin(Stdio::piped()).process_group(0);
        if let Some(log) = spec.log {
            command.stdout(log.try_clone()?).stderr(log);
        } else {
            // What a child prints is no result of this command.
            command.stdout(Stdio::null());
        }
        if let Some((user, group)) = spec.user {
            command.uid(user).gid(group);
        }
        let mut shell = command.spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self {
            name: spec.name,
            shell,
            pipe,
        })
    }

    /// Waits until the child ends by itself.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes the pipe when it still holds it; we took it.
        self.shell.wait().await
    }

    /// Ends the child: asks, waits, and kills the whole group when asking did not help.
    pub async fn end(mut self) {
        let group = self.shell.id();
        drop(self.pipe.take());
        if tokio::time::timeout(PATIENCE, self.shell.wait()).await.is_ok() {
            return;
        }
        note!("{} does not end, killing it", self.name);
        if let Some(group) = group {
            let kill = Command::new("sh")
                .arg("-c")
                .arg(format!("kill -s KILL -- -{group}"))
                .status()
                .await;
            if let Err(error) = kill {
                note!("{} cannot be killed: {error}", self.name);
            }
        }
    }
}
