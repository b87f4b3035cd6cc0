//! Prometheus' text format, read back: which families a node shows, and Prometheus' own program that judges them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// One metric: what `# HELP` and `# TYPE` say, and its labels but `le`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub labels: BTreeSet<String>,
}

impl Family {
    /// The names that its samples have.
    pub fn samples(&self, name: &str) -> Vec<String> {
        match &*self.kind {
            "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
            _ => vec![name.to_owned()],
        }
    }
}

/// The families of a text, by name.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((of, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            of.clone_into(&mut name);
            families.entry(name.clone()).or_default().help = help.to_owned();
        } else if let Some((of, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            of.clone_into(&mut name);
            families.entry(name.clone()).or_default().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels
                .split("\",")
                .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            let family = families.get_mut(&name).expect("TYPE comes first");
            family.labels.extend(labels.filter(|label| label != "le"));
        }
    }
    families
}

/// The sum of a sample over all its labels that are written as `labels` says; 0 where there is none.
pub fn sum(text: &str, name: &str, labels: &str) -> f64 {
    let sample = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(rest) => {
                let (written, value) = rest.rsplit_once("} ")?;
                written.contains(labels).then_some(value)?
            }
            None => rest.strip_prefix(' ')?,
        };
        Some(value.trim().parse().expect("a sample is a number"))
    };
    text.lines().filter_map(sample).sum()
}

/// Runs promtool, which `scripts/need promtool` has put where it is found here.
pub fn promtool(args: &[&str], input: &str) -> Output {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/promtool/promtool"));
    let program = if own.exists() { own } else { PathBuf::from("promtool") };
    let mut child = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scripts/need promtool has run");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    stdin.write_all(input.as_bytes()).expect("it reads all of it");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// The same; a failure where promtool has anything to say against it.
pub fn promtool_agrees(args: &[&str], input: &str) {
    let output = promtool(args, input);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
}
