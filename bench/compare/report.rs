//! What stands around the tables: the machine, the versions of everything that ran, how it was asked. Not here: the tables.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::Options;
use super::contestant::Contestant;
use super::facts::{self, first_line, root};
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
    for (name, value) in all_facts(options)? {
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

fn all_facts(options: &Options) -> io::Result<Vec<(&'static str, String)>> {
    let mut facts = facts::machine()?;
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
