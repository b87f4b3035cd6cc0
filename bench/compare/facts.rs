//! On what a bench ran: the machine, the commit, the Redis. Not here: what was asked, and of whom.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What benches write: that it has changed since the commit says nothing of what was measured.
const REPORTS: [&str; 3] = [":!bench/RESULTS.md", ":!bench/SCALING.md", ":!bench/SCALING.svg"];

/// Name and value of each.
pub fn machine() -> io::Result<Vec<(&'static str, String)>> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let of_kernel = |path: &str| Ok::<_, io::Error>(fs::read_to_string(path)?.trim().to_owned());
    Ok(vec![
        ("machine", format!("{model}, {cores} cores")),
        ("kernel", of_kernel("/proc/sys/kernel/osrelease")?),
        (
            "congestion control",
            of_kernel("/proc/sys/net/ipv4/tcp_congestion_control")?,
        ),
        ("commit", commit()?),
        ("Redis", first_line(Command::new("redis-server").arg("--version"))?),
    ])
}

fn commit() -> io::Result<String> {
    let git = |arguments: &[&str]| first_line(Command::new("git").current_dir(root()).args(arguments));
    let status = ["status", "--porcelain", "--untracked-files=no", "--", "."];
    let is_clean = git(&[&status[..], &REPORTS].concat())?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Ok(if is_clean {
        commit
    } else {
        format!("{commit}, with changes")
    })
}

/// The first line that a command says.
pub fn first_line(command: &mut Command) -> io::Result<String> {
    let output = command
        .output()
        .map_err(|cause| io::Error::new(cause.kind(), format!("{command:?}: {cause}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Where the project lies.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
