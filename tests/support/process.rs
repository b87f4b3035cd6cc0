//! A child process that cannot outlive the tests: it ends when its handle is dropped, and when this process
//! ends without dropping anything (a static, an abort, an interrupt), a reaper ends it.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// Reads `+ pid` and `- pid`; when its input ends, which is when this process is gone, it kills what is left.
const REAPER: &str = r#"
pids=" "
while read -r verb pid; do
  case $verb in
    +) pids="$pids$pid " ;;
    -) case $pids in *" $pid "*) pids="${pids%% "$pid" *} ${pids#* "$pid" }" ;; esac ;;
  esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
"#;

fn tell_reaper(verb: char, pid: u32) {
    use std::os::unix::process::CommandExt;
    static REAPER_PROCESS: OnceLock<Mutex<Child>> = OnceLock::new();
    let reaper = REAPER_PROCESS.get_or_init(|| {
        let reaper = Command::new("sh")
            .args(["-c", REAPER])
            .process_group(0) // an interrupt typed at the terminal must not end the reaper first
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Mutex::new(reaper)
    });
    let mut reaper = reaper.lock().unwrap_or_else(|broken| broken.into_inner());
    let input = reaper.stdin.as_mut().expect("stdin was asked for as a pipe");
    writeln!(input, "{verb} {pid}").expect("the reaper lives as long as this process");
}

/// A running child process.
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command`; `name` is what failures call it.
    pub fn spawn(name: &str, command: &mut Command) -> Process {
        let child = command
            .spawn()
            .unwrap_or_else(|cause| panic!("{name} does not start ({command:?}): {cause}"));
        let pid = child.id();
        tell_reaper('+', pid);
        Process {
            name: name.to_owned(),
            pid,
            child: Mutex::new(child),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The child, to take its pipes.
    pub fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Sends a signal by its name without `SIG`. Panics when the process is gone: a test that signals a corpse
    /// shows nothing.
    pub fn signal(&self, signal: &str) {
        let exited = self.child().try_wait().expect("the child is ours to wait for");
        assert!(exited.is_none(), "{} ended before SIG{signal}: {exited:?}", self.name);
        let done = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.pid)])
            .status()
            .expect("sh starts");
        assert!(done.success(), "kill -{signal} of {} failed", self.name);
    }

    /// The exit status, when the process has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("the child is ours to wait for")
    }

    /// Waits until the process ends by itself; `None` when it has not within `limit`.
    pub async fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // std has no event for a child's end
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child();
        // Fails only when the process is gone already, which is what is wanted.
        let _ = child.kill();
        child.wait().expect("the child is ours to wait for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        tell_reaper('-', self.pid);
    }
}
