//! The nself loader's part, as its releases do it: where it puts a plugin, what it calls, with which environment. Written
//! anew from what is known of it. Not here: what the plugin has to answer.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Its releases name the plugin's directory to an action each by another variable.
#[derive(Debug, Clone, Copy)]
pub enum Loader {
    /// Since 0.9.10.
    Head,
    /// 0.4.8 to 0.9.9.
    Older,
}

/// Somebody's account on a host: a home, a project, and what of the plugin is installed.
pub struct Account {
    home: TempDir,
}

/// The repository as a release has it: what git has, or would have.
fn unpack_release(into: &Path) {
    let copy = r#"git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | tar -c --null -T - | tar -x -C "$1""#;
    let done = Command::new("bash")
        .args(["-euo", "pipefail", "-c", copy, "copy"])
        .arg(into)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(done.unwrap().success());
}

impl Account {
    /// With this `.env` in the project.
    pub fn new(dotenv: &str) -> Account {
        let account = Account {
            home: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        std::fs::create_dir(account.project()).unwrap();
        std::fs::create_dir(account.release()).unwrap();
        unpack_release(&account.release());
        account.configure(dotenv);
        account
    }

    pub fn configure(&self, dotenv: &str) {
        std::fs::write(self.project().join(".env"), dotenv).unwrap();
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn project(&self) -> PathBuf {
        self.home().join("my project")
    }

    /// What `nself plugin install` is given.
    fn release(&self) -> PathBuf {
        self.home().join("release")
    }

    /// Where the loader puts it.
    pub fn plugin(&self) -> PathBuf {
        self.home().join(".nself/plugins/realtime")
    }

    pub fn data(&self) -> PathBuf {
        self.home().join(".nself/data/plugins/realtime")
    }

    pub fn server_log(&self) -> PathBuf {
        self.home().join(".nself/logs/plugins/realtime/server.log")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.data().join("server.pid")
    }

    /// A command in the project's directory, with what a login has in its environment, and nobody at the terminal.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.project())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .stdin(Stdio::null());
        command
    }

    /// `nself plugin install <directory>`: copies it to where its name says, and runs its installer.
    pub fn install(&self, envs: &[(&str, &str)]) -> Output {
        let manifest = std::fs::read_to_string(self.release().join("plugin.json")).unwrap();
        let name = first(&manifest, "name").unwrap();
        let plugin = self.home().join(".nself/plugins").join(&name);
        assert_eq!(plugin, self.plugin());
        let copied = self
            .command("bash")
            .args([
                "-c",
                r#"mkdir -p "$(dirname "$2")" && rm -rf "$2" && cp -r "$1" "$2""#,
                "cp",
            ])
            .arg(self.release())
            .arg(&plugin)
            .status();
        assert!(copied.unwrap().success());
        self.command("bash")
            .arg(plugin.join("install.sh"))
            .env("PLUGIN_DIR", &plugin)
            .env("NSELF_PROJECT_DIR", self.project())
            .envs(envs.iter().copied())
            .output()
            .unwrap()
    }

    /// The same with the program that is under test, which has to work; and the link that an install from the registry makes.
    pub fn installed(dotenv: &str) -> Account {
        let account = Account::new(dotenv);
        let output = account.install(&[("NSELF_REALTIME_BINARY", env!("CARGO_BIN_EXE_nself-realtime"))]);
        assert!(output.status.success(), "{}", text(&output));
        let bin = account.home().join(".nself/bin");
        std::fs::create_dir_all(&bin).unwrap();
        symlink(account.plugin().join("bin/nself-realtime"), bin.join("nself-realtime")).unwrap();
        account
    }

    /// `nself plugin realtime <action> [args…]`
    pub fn action(&self, loader: Loader, action: &str, args: &[&str]) -> Output {
        let variable = match loader {
            Loader::Head => "NSELF_PLUGIN_PATH",
            Loader::Older => "PLUGIN_DIR",
        };
        self.command("bash")
            .arg(self.plugin().join(format!("actions/{action}.sh")))
            .args(args)
            .env(variable, self.plugin())
            .env("NSELF_PROJECT_DIR", self.project())
            .output()
            .unwrap()
    }

    /// What it prints; it has to work.
    pub fn done(&self, action: &str, args: &[&str]) -> String {
        let output = self.action(Loader::Head, action, args);
        assert!(output.status.success(), "{action} {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints, and that it fails with 1.
    pub fn refused(&self, action: &str, args: &[&str]) -> String {
        let output = self.action(Loader::Head, action, args);
        assert_eq!(output.status.code(), Some(1), "{action} {args:?}: {}", text(&output));
        text(&output)
    }

    /// The first step of `nself plugin remove realtime`; the second takes the directory away.
    pub fn uninstall(&self, args: &[&str]) -> Output {
        self.command("bash")
            .arg(self.plugin().join("uninstall.sh"))
            .args(args)
            .output()
            .unwrap()
    }

    /// The process that `server start` has left, as its file says.
    pub fn server_pid(&self) -> Option<String> {
        let pid = std::fs::read_to_string(self.pid_file()).ok()?;
        Some(pid.trim().to_owned())
    }
}

impl Drop for Account {
    /// A server outlives the action that started it, and must not outlive a test that failed.
    fn drop(&mut self) {
        let Some(pid) = self.server_pid() else { return };
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if program.starts_with(self.home()) {
            signal(&pid, "KILL");
        }
    }
}

/// As the loader reads a text of a manifest: the first line that has it, without a JSON parser.
pub fn first(manifest: &str, field: &str) -> Option<String> {
    let quoted = format!("\"{field}\"");
    let line = manifest.lines().find(|line| line.contains(&quoted))?;
    let (_, rest) = line.split_once(&quoted)?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Everything that was printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a script with arguments, as a shell reads them, prints at a terminal where somebody types.
pub fn typed(account: &Account, script: &Path, args: &str, answers: &str) -> Output {
    let mut child = account
        .command("script")
        .args(["-qec", &format!("bash '{}' {args}", script.display()), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub fn signal(pid: &str, name: &str) {
    let sent = Command::new("bash")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(sent.unwrap().success(), "kill -{name} {pid}");
}

/// Whether the process is there, and no corpse.
pub fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}
