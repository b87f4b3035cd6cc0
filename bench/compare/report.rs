//! What stands around the tables: the machine, the versions of everything that ran, how it was asked. Not here: the tables.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Options;
use super::contestant::Contestant;
use super::table::Results;

/// Packages of npm whose versions matter.
const PACKAGES: [&str; 5] = [
    "socket.io",
    "@socket.io/redis-adapter",
    "ioredis",
    "bun",
    "@socket.io/bun-engine",
];

/// The whole report, in Markdown.
pub fn report(options: &Options, results: &[Results]) -> io::Result<String> {
    let mut text = String::from(
        "# The gateway beside its peers\n\n\
         Written by `make bench`. The same load on each, in one run, interleaved; of each the best run counts. The server under test\n\
         has one core for itself, the load the other. All features of the gateway are on, its limits are enforced and so high that\n\
         nobody meets them; peers check the token and know no rules. Figures move with the machine, ratios less so: *a : b* says how\n\
         many times better *a* is than *b*, whether more is better or less.\n\n",
    );
    for (name, value) in facts(options)? {
        writeln!(text, "- {name}: {value}").expect("a text takes all");
    }
    text.push('\n');
    for &contestant in &options.contestants {
        writeln!(text, "- **{}**: {}", contestant.name(), contestant.title()).expect("a text takes all");
    }
    for results in results {
        write!(text, "\n{}", results.table()).expect("a text takes all");
    }
    Ok(text)
}

/// Where `make bench` keeps it.
pub fn path() -> PathBuf {
    root().join("bench/RESULTS.md")
}

fn facts(options: &Options) -> io::Result<Vec<(&'static str, String)>> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let congestion_control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let mut facts = vec![
        ("machine", format!("{model}, {cores} cores")),
        (
            "kernel",
            fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        ),
        ("congestion control", congestion_control.trim().to_owned()),
        ("commit", commit()?),
        ("Redis", first_line(Command::new("redis-server").arg("--version"))?),
    ];
    if options.contestants.contains(&Contestant::Node) {
        facts.push(("Node", first_line(Command::new("node").arg("--version"))?));
    }
    if options
        .contestants
        .iter()
        .any(|peer| matches!(peer, Contestant::Node | Contestant::Bun))
    {
        facts.push(("packages", packages()?));
    }
    let window = options
        .window
        .map_or("1, or 16 where it says so".to_owned(), |window| window.to_string());
    facts.push((
        "asked",
        format!(
            "{} rounds, {} s of each load, {} s of doing nothing, {} connections, window {window}; Redis on core {}",
            options.rounds,
            options.seconds,
            options.idle_seconds,
            options.connections,
            options.redis_core.list()
        ),
    ));
    Ok(facts)
}

fn commit() -> io::Result<String> {
    let git = |arguments: &[&str]| first_line(Command::new("git").current_dir(root()).args(arguments));
    let is_clean = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!bench/RESULTS.md",
    ])?
    .is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Ok(if is_clean {
        commit
    } else {
        format!("{commit}, with changes")
    })
}

fn packages() -> io::Result<String> {
    let version = |name: &str| -> io::Result<String> {
        let file = root().join("bench/peers/node_modules").join(name).join("package.json");
        let text = fs::read_to_string(&file)
            .map_err(|cause| io::Error::new(cause.kind(), format!("{}: {cause}", file.display())))?;
        let package: serde_json::Value = serde_json::from_str(&text)?;
        Ok(format!("{name} {}", package["version"].as_str().unwrap_or("?")))
    };
    let versions: Vec<_> = PACKAGES.into_iter().map(version).collect::<io::Result<_>>()?;
    Ok(versions.join(", "))
}

fn first_line(command: &mut Command) -> io::Result<String> {
    let output = command
        .output()
        .map_err(|cause| io::Error::new(cause.kind(), format!("{command:?}: {cause}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
