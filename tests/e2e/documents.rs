//! What the documents say of the metrics: `docs/metrics.md` is what a node shows, every other name in a document is one of it,
//! and every alert is explained. `UPDATE=1 cargo test --test e2e documents` writes the tables anew. Settings and codes are
//! held by `tests/config/pages.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::metrics::scrape;
use crate::support::metrics::{Family, families};
use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

const PAGE: &str = "docs/metrics.md";
/// What a document may name beside metrics: the archive's tables, views and functions begin so as well.
const SCHEMA: &str = "sql";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Texts of a directory, by their paths.
fn texts(directory: &str, end: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(path(directory)).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it is read").path());
    let wanted = paths.filter(|path| path.to_string_lossy().ends_with(end));
    wanted
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a text")))
        .collect()
}

/// Words of a text that begin with `realtime_` or `socket_io_`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("realtime_") || word.starts_with("socket_io_"))
}

/// The tables, one for each beginning of names.
fn tables(shown: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    for (title, prefix) in [
        ("The gateway", "realtime_"),
        ("The process", "process_"),
        ("By the names of socket.io's exporters", "socket_io_"),
    ] {
        text += &format!("\n## {title}\n\n| metric | type | labels | |\n|---|---|---|---|\n");
        for (name, family) in shown.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let help = family.help.replace('|', "\\|");
            text += &format!("| `{name}` | {} | {} | {help} |\n", family.kind, labels.join(", "));
        }
    }
    text
}

/// Of refusals, as a node counts them.
fn causes(text: &str) -> BTreeSet<String> {
    let rest = text
        .lines()
        .filter_map(|line| line.strip_prefix("realtime_refusals_total{cause=\""));
    rest.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

/// Of refusals, as `docs/errors.md` explains them.
fn documented_causes() -> BTreeSet<String> {
    let page = read("docs/errors.md");
    let (_, section) = page.split_once("\n### By cause\n").expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    cells
        .flat_map(|(cell, _)| {
            cell.split(", ")
                .map(|cause| cause.trim_matches('`').to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_metrics_is_what_a_node_shows_and_other_pages_name_no_others() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let settings = [
        ("REALTIME_DATABASE_URL", &*database.url()),
        ("REALTIME_MIGRATE", "true"),
        ("REALTIME_METRICS_SOCKET_IO", "true"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    node.logs(&["the schema is up to date"]).await;
    // Histograms by event and script are shown once there is one.
    let ann = Raw::member(&node, "ann", "auto:documents").await;
    ann.done(
        "message:send",
        json!({"roomName": "auto:documents", "content": "hello"}),
    )
    .await;
    let text = scrape(&node).await;
    assert_eq!(documented_causes(), causes(&text));
    let shown = families(&text);
    let page = read(PAGE);
    let (prose, _) = page.split_once("\n## ").expect("a heading before the first table");
    let written = format!("{prose}{}", tables(&shown));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(PAGE), &written).expect("it is written");
    } else {
        assert_eq!(page, written, "UPDATE=1 cargo test --test e2e documents writes it anew");
    }

    let schema: String = texts(SCHEMA, ".sql").into_iter().map(|(_, text)| text).collect();
    let samples: Vec<String> = shown.iter().flat_map(|(name, family)| family.samples(name)).collect();
    let mut pages = texts("docs", ".md");
    pages.extend(["README.md", "QUICKSTART.md"].map(|name| (name.to_owned(), read(name))));
    for (page, text) in pages {
        for name in names(&text) {
            let is_known = shown.contains_key(name)
                || samples.iter().any(|sample| sample == name)
                || schema.contains(name)
                || name == "socket_io_"
                || name == "realtime_";
            assert!(
                is_known,
                "{page} names {name}, which is neither a metric nor of the schema"
            );
        }
    }
}

#[tokio::test]
async fn the_page_of_the_administration_has_every_route() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[("REALTIME_API_KEYS", "a key for the documents")]).await;
    let asked = reqwest::Client::new()
        .get(format!("{}/api/openapi.json", node.url()))
        .header("x-api-key", "a key for the documents")
        .send();
    let description: Value = asked.await.expect("it answers").json().await.expect("JSON");
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys();
        described.extend(methods.map(|method| format!("{} /api{path}", method.to_uppercase())));
    }
    let page = read("docs/api.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut listed: Vec<String> = rows.map(|(route, _)| route.to_owned()).collect();
    described.sort();
    listed.sort();
    assert_eq!(listed, described);
}

#[test]
fn every_alert_is_explained_where_its_runbook_says() {
    let page = read("docs/failures.md");
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("### ")?.to_lowercase()))
        .collect();
    let alerts = read("deploy/grafana/alerts.yaml");
    let named = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let named: Vec<String> = named.map(str::to_lowercase).collect();
    assert!(!named.is_empty());
    assert_eq!(headings, named, "in the order of the rules");
    for alert in named {
        assert!(
            alerts.contains(&format!("runbook: docs/failures.md#{alert}\n")),
            "{alert}"
        );
    }
}
