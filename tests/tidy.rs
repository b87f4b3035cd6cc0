//! Holds what STYLE says of the source as a text: who may import whom, and which words live where.
//! Each rule has a test that it catches what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;

/// Imports go down only: a module may use what stands behind it here, and itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["app", "cli"]),
    (
        "app",
        &[
            "cli",
            "gateway",
            "http",
            "lifecycle",
            "engine",
            "domain",
            "hot",
            "archive",
            "log",
            "config",
            "metrics",
            "types",
        ],
    ),
    ("cli", &["domain", "hot", "archive", "log", "config", "types"]),
    (
        "gateway",
        &["engine", "domain", "hot", "archive", "config", "metrics", "types"],
    ),
    // Of the engine the counters alone, for /metrics.
    ("http", &["engine", "domain", "hot", "archive", "config", "types"]),
    ("lifecycle", &["domain", "hot", "archive", "config", "metrics", "types"]),
    ("domain", &["hot", "archive", "config", "types"]),
    ("hot", &["config", "metrics", "types"]),
    ("archive", &["config", "metrics", "types"]),
    ("engine", &[]),
    ("log", &["config", "types"]),
    ("config", &["types"]),
    ("metrics", &[]),
    ("types", &[]),
];

/// Crates that one module alone may know.
const OWNED_CRATES: &[(&str, &str)] = &[
    ("redis", "hot"),
    ("bb8_redis", "hot"),
    ("tokio_postgres", "archive"),
    ("bb8_postgres", "archive"),
    ("refinery", "archive"),
    ("engineioxide_core", "engine"),
    ("socketioxide_core", "engine"),
    ("socketioxide_parser_common", "engine"),
];

const NAMELESS_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

/// One line of code: no comment, no test.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

/// A source file below `src/`, or one that is made up.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// `src/hot/keys.rs` -> `["hot", "keys"]`.
    fn module(&self) -> Vec<&str> {
        let path = self
            .path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        path.split('/').collect()
    }

    fn layer(&self) -> &str {
        self.module()[0]
    }

    /// Lines of code up to the tests, which stand last in a file or in one of their own.
    fn code(&self) -> Vec<Line<'_>> {
        if self.module().last().is_some_and(|name| name.ends_with("tests")) {
            return Vec::new();
        }
        let mut lines = self.all_code();
        let is_test = |pair: &[Line<'_>]| {
            pair[0].text.trim() == "#[cfg(test)]" && pair[1].text.starts_with("mod ") && !pair[1].text.ends_with(';')
        };
        if let Some(tests) = lines.windows(2).position(is_test) {
            lines.truncate(tests);
        }
        lines
    }

    fn all_code(&self) -> Vec<Line<'_>> {
        let numbered = self.text.lines().enumerate().map(|(index, text)| Line {
            number: index + 1,
            text,
        });
        numbered
            .filter(|line| !line.text.trim_start().starts_with("//"))
            .collect()
    }

    /// Complaints about lines of code outside tests.
    fn lines_with(&self, wrong: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let lines = self.code();
        lines
            .iter()
            .filter_map(|line| Some(format!("{}:{}: {}", self.path, line.number, wrong(line.text)?)))
            .collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["node_modules", "target"].contains(&name.as_str()) && !name.starts_with('.') {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn sources(directories: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    directories
        .iter()
        .for_each(|directory| walk(&root().join(directory), &mut paths));
    paths.sort();
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    let sources: Vec<_> = paths.iter().map(read).collect();
    assert!(!sources.is_empty());
    sources
}

#[track_caller]
fn nothing(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn made_up(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// The names behind `crate::`, also in `crate::{a, b::c}`.
fn names_behind<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let word = |text: &'a str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
    };
    let mut names = Vec::new();
    for (at, _) in text.match_indices(start) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut item) = (0, 0);
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.push(word(group[item..index].trim_start()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.push(word(group[item..index].trim_start()));
                    item = index + 1;
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Complaints about what a file imports.
fn wrong_imports(source: &Source) -> Vec<String> {
    let layer = source.layer();
    if layer == "lib" {
        return Vec::new();
    }
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{}: {layer} is in no layer", source.path)];
    };
    // As one text, since a `use` may span lines.
    let text: String = source
        .all_code()
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect();
    let mut names = names_behind(&text, "crate::");
    names.extend(names_behind(&text, "nself_realtime::"));
    let is_layer = |name: &&str| LAYERS.iter().any(|(layer, _)| layer == name);
    // As many `super` as the file is deep lead to the root; one more in its tests.
    for depth in source.module().len()..=source.module().len() + 1 {
        names.extend(
            names_behind(&text, &"super::".repeat(depth))
                .into_iter()
                .filter(is_layer),
        );
    }
    let allowed = |name: &&str| *name == layer || below.contains(name);
    let wrong: BTreeSet<_> = names.into_iter().filter(|name| !allowed(name)).collect();
    wrong
        .into_iter()
        .map(|name| format!("{}: {layer} may not import {name}", source.path))
        .collect()
}

#[test]
fn imports_go_down_only() {
    nothing(sources(&["src"]).iter().flat_map(wrong_imports).collect());
}

#[test]
fn an_import_upwards_is_caught() {
    for (path, text) in [
        ("src/domain/rooms.rs", "use crate::gateway::protocol;"),
        (
            "src/hot/mod.rs",
            "use crate::{\n    types::RoomName,\n    domain::{rooms, typing},\n};",
        ),
        ("src/engine/session.rs", "fn f() { crate::types::now(); }"),
        ("src/hot/keys.rs", "use super::super::gateway;"),
        ("src/http/mod.rs", "use crate::gateway;"),
        ("src/newcomer.rs", ""),
    ] {
        assert_eq!(wrong_imports(&made_up(path, text)).len(), 1, "{path}: {text}");
    }
    let fine =
        "//! See crate::gateway.\nuse crate::{hot::{self, Hot}, types};\nuse super::rooms;\nuse othercrate::gateway;";
    nothing(wrong_imports(&made_up("src/domain/typing.rs", fine)));
}

#[test]
fn redis_postgres_and_engineio_have_one_module_each() {
    let complaints = |source: &Source| {
        source.lines_with(|line| {
            let known = |(name, owner): &&(&str, &str)| {
                source.layer() != *owner && !names_behind(line, &format!("{name}::")).is_empty()
            };
            OWNED_CRATES
                .iter()
                .find(known)
                .map(|(name, owner)| format!("only {owner} knows {name}"))
        })
    };
    nothing(sources(&["src"]).iter().flat_map(complaints).collect());
    assert_eq!(
        complaints(&made_up("src/domain/rooms.rs", "use redis::Value;")).len(),
        1
    );
}

/// The text literals of a line. Escapes do not matter to the rules.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

fn is_event_name(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    // The one word of this form that is another standard's: a problem document without a type of its own.
    let is_ours = text != "about:blank";
    is_ours
        && text
            .split_once(':')
            .is_some_and(|(noun, verb)| word(noun) && word(verb))
}

#[test]
fn event_names_live_in_the_protocol() {
    let complaints = |source: &Source| {
        source.lines_with(|line| {
            literals(line)
                .find(|text| is_event_name(text))
                .map(|name| format!("{name} belongs in gateway/protocol.rs"))
        })
    };
    let others = sources(&["src"])
        .into_iter()
        .filter(|source| source.path != "src/gateway/protocol.rs");
    nothing(others.flat_map(|source| complaints(&source)).collect());
    assert_eq!(
        complaints(&made_up("src/gateway/events/rooms.rs", "emit(\"room:join\");")).len(),
        1
    );
}

#[test]
fn key_names_live_in_keys() {
    let keys = fs::read_to_string(root().join("src/hot/keys.rs")).unwrap();
    let is_noun = |text: &&str| text.contains('.') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'.');
    let nouns: BTreeSet<_> = keys.lines().flat_map(literals).filter(is_noun).collect();
    assert!(
        nouns.contains("room.live") && nouns.contains("user.conns"),
        "the nouns are found: {nouns:?}"
    );
    let complaints = |source: &Source| {
        source.lines_with(|line| {
            let key = |text: &&str| text.contains("}}:") || nouns.contains(*text) || text.starts_with("rt:");
            literals(line)
                .find(key)
                .map(|text| format!("{text:?} belongs in hot/keys.rs"))
        })
    };
    let others = sources(&["src"])
        .into_iter()
        .filter(|source| source.path != "src/hot/keys.rs");
    nothing(others.flat_map(|source| complaints(&source)).collect());
    for text in [
        "format!(\"{p}:{{{tag}}}:leases\")",
        "named(\"room.live\")",
        "get(\"rt:nodes\")",
    ] {
        assert_eq!(complaints(&made_up("src/domain/rooms.rs", text)).len(), 1, "{text}");
    }
}

#[test]
fn the_environment_is_read_in_config_alone() {
    let complaints = |source: &Source| {
        source.lines_with(|line| {
            line.contains("env::var")
                .then(|| "only config reads the environment".to_owned())
        })
    };
    let others = sources(&["src"])
        .into_iter()
        .filter(|source| source.layer() != "config");
    nothing(others.flat_map(|source| complaints(&source)).collect());
    assert_eq!(complaints(&made_up("src/app.rs", "std::env::var(\"PORT\")")).len(), 1);
}

#[test]
fn no_unwrap_and_no_silent_loss_outside_tests() {
    let complaints = |source: &Source| {
        source.lines_with(|line| {
            let wrong = [
                ".unwrap()",
                ".unwrap_err()",
                ".ok();",
                "let _ =",
                "todo!",
                "unimplemented!",
            ];
            wrong
                .iter()
                .find(|text| line.contains(**text))
                .map(|text| format!("{text} outside of tests"))
        })
    };
    nothing(sources(&["src"]).iter().flat_map(complaints).collect());
    for text in ["x.unwrap();", "x.send(1).ok();", "let _ = x.send(1);"] {
        assert_eq!(complaints(&made_up("src/app.rs", text)).len(), 1, "{text}");
    }
    nothing(complaints(&made_up(
        "src/app.rs",
        "// x.unwrap()\n#[cfg(test)]\nmod tests { x.unwrap() }",
    )));
}

#[test]
fn public_types_and_functions_say_what_they_are() {
    let complaints = |source: &Source| {
        let lines: Vec<_> = source.text.lines().collect();
        let code = source.code();
        let undocumented = code.iter().filter(|line| {
            // Not methods, constants and fields: there a name that says all is better than a sentence that repeats it.
            let item = line.text.strip_prefix("pub ").unwrap_or_default();
            let kinds = [
                "fn ",
                "async fn ",
                "const ",
                "static ",
                "struct ",
                "enum ",
                "trait ",
                "type ",
            ];
            let above = lines[..line.number - 1].iter().rev().map(|line| line.trim_start());
            // Attributes may stand between; `#[$doc]` is a doc comment that a macro passes on.
            let mut above = above.skip_while(|line| line.starts_with("#[") || line.starts_with(")]"));
            let documented = above
                .next()
                .is_some_and(|line| line.starts_with("///") || line.contains("doc]"));
            kinds.iter().any(|kind| item.starts_with(kind)) && !documented
        });
        undocumented
            .map(|line| format!("{}:{}: has no doc comment", source.path, line.number))
            .collect::<Vec<_>>()
    };
    nothing(sources(&["src"]).iter().flat_map(complaints).collect());
    assert_eq!(
        complaints(&made_up(
            "src/app.rs",
            "#[derive(Debug)]\npub struct A;\n/// B.\npub struct B;"
        ))
        .len(),
        1
    );
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut complaints = Vec::new();
    for source in sources(&["src", "tests", "examples", "bench", "fuzz"]) {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            complaints.push(format!("{}: {lines} lines, at most {MAX_LINES}", source.path));
        }
        if !source.text.starts_with("//! ") {
            complaints.push(format!("{}: does not begin with //!", source.path));
        }
        if source.path.split(['/', '.']).any(|part| NAMELESS_NAMES.contains(&part)) {
            complaints.push(format!("{}: says nothing by its name", source.path));
        }
    }
    nothing(complaints);
}

/// The tests that ARCHITECTURE.md names: `<binary> <module>::…::<function>`, in backquotes.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_test = |(binary, _): &(&str, &str)| root().join("tests").join(binary).join("main.rs").exists();
    quoted.filter_map(|name| name.split_once(' ')).filter(is_test).collect()
}

#[test]
fn the_tests_that_hold_the_invariants_exist() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is a map");
    let named = named_tests(&architecture);
    assert!(named.len() > 20, "the table of invariants names its tests");
    let missing = |(binary, path): &(&str, &str)| {
        let function = path.rsplit("::").next().unwrap_or(path);
        let stands = |source: &Source| source.text.contains(&format!("fn {function}("));
        let directory = format!("tests/{binary}/");
        !sources(&["tests"])
            .iter()
            .any(|source| source.path.starts_with(&directory) && stands(source))
    };
    nothing(
        named
            .into_iter()
            .filter(missing)
            .map(|(binary, path)| format!("{binary} {path} does not exist"))
            .collect(),
    );
}
