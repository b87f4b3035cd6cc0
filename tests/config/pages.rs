//! What is written of the settings elsewhere, `docs/settings.md`, `docs/limits.md` and `.env.example`; and of the codes,
//! `docs/errors.md`.
//! `UPDATE=1 cargo test --test config` writes anew what is written out from the table.

use std::collections::BTreeMap;
use std::path::Path;

use nself_realtime::config::{Config, GROUPS, example, settings};
use nself_realtime::engine::CloseReason;
use nself_realtime::gateway::protocol::ErrorCode;

use crate::REDIS;

#[test]
fn the_page_of_limits_has_every_limit_with_its_default() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md")).unwrap();
    let limits = GROUPS.iter().find(|group| group.title == "Limits").unwrap().settings;
    let listed: Vec<_> = page.lines().filter(|line| line.starts_with("| `REALTIME_")).collect();
    assert_eq!(listed.len(), limits.len());
    for row in limits {
        let start = format!("| `{}` | `{}` |", row.name, row.default);
        assert!(listed.iter().any(|line| line.starts_with(&start)), "{start}");
    }
}

/// `docs/settings.md` up to its first table is prose; the tables are the table, written out.
#[test]
fn the_page_of_settings_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (prose, _) = page.split_once("\n## ").expect("a heading before the first table");
    let mut written = prose.to_owned();
    for group in GROUPS {
        written += &format!("\n## {}\n\n| setting | default | |\n|---|---|---|\n", group.title);
        for row in group.settings {
            let default = match row.default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let others: Vec<_> = row.variables().skip(1).map(|name| format!("`{name}`")).collect();
            let others = match &*others {
                [] => String::new(),
                others => format!("; else {}", others.join(", ")),
            };
            // A bar would end the cell, what stands in angles would be a tag.
            let help = row.help.replace('|', "\\|").replace('<', "\\<");
            written += &format!("| `{}` | {default} | {help}{others} |\n", row.name);
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &written).unwrap();
    } else {
        assert_eq!(page, written, "UPDATE=1 cargo test --test config writes it anew");
    }
}

/// `.env.example` is the table, written out.
#[test]
fn the_example_names_every_setting_and_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, example()).unwrap();
    }
    let lines: BTreeMap<_, _> = dotenvy::from_path_iter(&path).unwrap().map(Result::unwrap).collect();
    let rows: BTreeMap<_, _> = settings()
        .map(|row| (row.name.to_owned(), row.default.to_owned()))
        .collect();
    assert_eq!(lines, rows);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), example());
    let pairs = lines.into_iter().filter(|(name, _)| name != "REALTIME_REDIS_URL");
    Config::from_pairs(pairs.chain([(REDIS.0.to_owned(), REDIS.1.to_owned())])).unwrap();
}

/// The first cells of a table, below a heading of the page.
fn first_cells(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(cell, _)| cell.to_owned()).collect()
}

#[test]
fn the_page_of_errors_has_every_code_and_every_reason() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).unwrap();
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(first_cells(&page, "Codes"), codes);
    let reasons: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(first_cells(&page, "Why a socket was closed"), reasons);
}
