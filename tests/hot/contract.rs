//! Holds the headers of lua/ and the tables of lua/README.md to the sources. Needs no Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nself_realtime::hot::script::{self, Script};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Names below lua/ without their endings: of scripts, and of fragments.
fn files() -> (Vec<String>, Vec<String>) {
    let mut names = Vec::new();
    for noun in fs::read_dir(root().join("lua"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if noun.is_dir() {
            let files = fs::read_dir(&noun).unwrap().map(|entry| entry.unwrap().path());
            names.extend(files.map(|file: PathBuf| {
                let name = file.strip_prefix(root().join("lua")).unwrap().to_str().unwrap();
                name.strip_suffix(".lua")
                    .expect("only scripts lie in lua/<noun>")
                    .to_owned()
            }));
        }
    }
    names.sort();
    names.into_iter().partition(|name| !name.contains("/_"))
}

/// What a file says of itself.
#[derive(Debug, Default)]
struct Header {
    summary: String,
    /// Index → (name, type).
    keys: BTreeMap<usize, (String, String)>,
    /// Those of the keys that there are of each of several things.
    repeated_keys: BTreeSet<usize>,
    /// Indexes.
    args: Vec<usize>,
    /// Those that there are of each of several things, or the last one where it has an open end.
    repeated_args: BTreeSet<usize>,
    returns: bool,
    reason: bool,
}

fn header(text: &str) -> Result<Header, String> {
    let mut lines = text.lines();
    if !matches!(lines.next(), Some("#!lua" | "#!lua flags=allow-oom")) {
        return Err("does not begin with #!lua".to_owned());
    }
    let mut header = Header::default();
    let summary = lines.next().and_then(|line| line.strip_prefix("-- "));
    header.summary = summary.ok_or("does not say what it does")?.to_owned();
    let comments: Vec<&str> = lines
        .map_while(|line| line.strip_prefix("--"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let mut paragraph_of_returns = true;
    for line in comments {
        if let Some((index, words)) = slot(line, "KEYS[") {
            let [name, kind, _meaning, ..] = words[..] else {
                return Err(format!("KEYS[{index}] needs name, type and meaning"));
            };
            let is_repeated = index.ends_with("..");
            let index = index.trim_end_matches("..");
            let index = index.parse().map_err(|_| format!("KEYS[{index}]"))?;
            if is_repeated {
                header.repeated_keys.insert(index);
            }
            if header.keys.insert(index, (name.to_owned(), kind.to_owned())).is_some() {
                return Err(format!("KEYS[{index}] is declared twice"));
            }
        } else if let Some((index, words)) = slot(line, "ARGV[") {
            if words.is_empty() {
                return Err(format!("ARGV[{index}] needs a meaning"));
            }
            let is_repeated = index.ends_with("..");
            let index = index.trim_end_matches("..");
            let index = index.parse().map_err(|_| format!("ARGV[{index}]"))?;
            if is_repeated {
                header.repeated_args.insert(index);
            }
            header.args.push(index);
        } else if line.starts_with("RETURNS ") {
            header.returns = true;
        } else if line.is_empty() {
            paragraph_of_returns = false;
        } else if header.returns && !paragraph_of_returns && !line.starts_with("@include ") {
            header.reason = true;
        }
        paragraph_of_returns |= line.starts_with("RETURNS ");
    }
    Ok(header)
}

/// `KEYS[2] due  zset  …` → `2` and the words behind.
fn slot<'a>(line: &'a str, start: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let (index, rest) = line.strip_prefix(start)?.split_once(']')?;
    Some((index, rest.split_whitespace().collect()))
}

/// The code without comments.
fn code(source: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("--") && !line.starts_with("#!");
    let lines: Vec<&str> = source.lines().filter(is_code).collect();
    lines.join("\n")
}

/// The indexes n of `<table>[n]` in code, and those of `<table>[<variable> + n]`: of one of several things.
fn used(code: &str, table: &str) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let start = format!("{table}[");
    let inner = code
        .match_indices(&start)
        .filter_map(|(at, _)| code[at + start.len()..].split(']').next());
    let (mut once, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for index in inner {
        match index.split_once(" + ") {
            None => once.extend(index.parse::<usize>()),
            Some((_, index)) => repeated.extend(index.parse::<usize>()),
        }
    }
    (once, repeated)
}

/// What breaks the contract in one script, given its file and what Redis gets.
fn complaints(text: &str, spliced: &str) -> Vec<String> {
    let header = match header(text) {
        Ok(header) => header,
        Err(complaint) => return vec![complaint],
    };
    let code = code(spliced);
    let mut found = Vec::new();
    let mut hold = |holds: bool, complaint: String| {
        if !holds {
            found.push(complaint);
        }
    };
    hold(
        header.summary.ends_with('.'),
        "the first line is no sentence".to_owned(),
    );
    hold(header.returns, "RETURNS is missing".to_owned());
    hold(header.reason, "the reason is missing".to_owned());
    hold(
        !spliced.contains("@include"),
        "an unknown fragment is included".to_owned(),
    );

    let declared: Vec<usize> = header.keys.keys().copied().collect();
    hold(
        declared == up_to(declared.len()),
        format!("KEYS are not counted from 1: {declared:?}"),
    );
    let (mut keys, repeated) = used(&code, "KEYS");
    hold(
        repeated == header.repeated_keys,
        format!(
            "KEYS of several things: declared {:?}, used {repeated:?}",
            header.repeated_keys
        ),
    );
    keys.extend(repeated);
    hold(
        keys.iter().eq(&declared),
        format!("KEYS declared {declared:?}, used {keys:?}"),
    );

    let (args, (mut used_args, mut repeated)) = (&header.args, used(&code, "ARGV"));
    hold(
        *args == up_to(args.len()),
        format!("ARGV are not counted from 1: {args:?}"),
    );
    if let (true, Some(last)) = (code.replace("#ARGV[", "").contains("#ARGV"), args.last()) {
        repeated = BTreeSet::from([*last]);
    }
    hold(
        repeated == header.repeated_args,
        "an open end of ARGV is declared where it is used".to_owned(),
    );
    used_args.extend(repeated);
    hold(
        used_args.iter().eq(args),
        format!("ARGV declared {args:?}, used {used_args:?}"),
    );

    for word in [
        "redis.pcall",
        "tostring(",
        "os.time",
        "os.clock",
        "math.random",
        "loadstring",
        "redis.setresp",
    ] {
        hold(!code.contains(word), format!("{word} is not allowed"));
    }
    for command in code.split("redis.call(").skip(1) {
        let name = command.strip_prefix('"').and_then(|rest| rest.split('"').next());
        let fine = name.is_some_and(|name| !FORBIDDEN.contains(&name) && name.bytes().all(|b| b.is_ascii_uppercase()));
        hold(fine, format!("redis.call of {name:?} is not allowed"));
    }
    found
}

/// Commands that walk over keys, reach outside of a slot, or wait.
const FORBIDDEN: &[&str] = &[
    "KEYS",
    "SCAN",
    "SSCAN",
    "HSCAN",
    "ZSCAN",
    "RANDOMKEY",
    "SORT",
    "PUBLISH",
    "SELECT",
    "FLUSHDB",
    "FLUSHALL",
    "EVAL",
    "EVALSHA",
    "BLPOP",
    "XREAD",
    "WAIT",
];

fn up_to(count: usize) -> Vec<usize> {
    (1..=count).collect()
}

#[test]
fn every_script_keeps_the_header_contract() {
    let mut found = Vec::new();
    for script in script::all() {
        let text = read(&format!("lua/{}.lua", script.name()));
        let named = |complaint| format!("lua/{}.lua: {complaint}", script.name());
        found.extend(complaints(&text, script.source()).into_iter().map(named));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_file_is_bound_once_and_every_fragment_is_included() {
    let (scripts, fragments) = files();
    let mut bound: Vec<&str> = script::all().into_iter().map(Script::name).collect();
    bound.sort_unstable();
    assert_eq!(bound, scripts);
    for fragment in fragments {
        let line = format!("-- @include {fragment}\n");
        let included = scripts
            .iter()
            .any(|name| read(&format!("lua/{name}.lua")).contains(&line));
        assert!(included, "nobody includes {fragment}");
        assert!(
            read(&format!("lua/{fragment}.lua")).starts_with("-- "),
            "{fragment} does not say what it is"
        );
    }
}

const SOUND: &str = "#!lua\n-- Does.\n--\n-- KEYS[1] room  hash  the room\n-- ARGV[1] who\n-- RETURNS {0|1}\n--\n-- Because.\n\n\
    return { redis.call(\"HDEL\", KEYS[1], ARGV[1]) }\n";

#[test]
fn a_breach_of_the_contract_is_caught() {
    assert_eq!(complaints(SOUND, SOUND), Vec::<String>::new());
    for (from, to) in [
        ("#!lua\n", ""),
        ("-- Does.\n", "--\n"),
        ("-- RETURNS {0|1}\n", ""),
        ("-- Because.\n", ""),
        ("-- Because.\n", "-- @include rooms/_state\n"),
        ("  the room", ""),
        ("-- ARGV[1] who\n", ""),
        ("-- ARGV[1] who\n", "-- ARGV[1] who\n-- ARGV[2] unused\n"),
        ("-- ARGV[1] who\n", "-- ARGV[1..] who\n"),
        ("-- KEYS[1]", "-- KEYS[2]"),
        ("KEYS[1], ARGV[1])", "KEYS[1], ARGV[1], KEYS[2])"),
        ("\"HDEL\"", "\"SCAN\""),
        ("\"HDEL\"", "verb"),
        ("redis.call(", "redis.pcall("),
        ("ARGV[1])", "tostring(ARGV[1]))"),
    ] {
        let broken = SOUND.replacen(from, to, 1);
        assert_ne!(broken, SOUND);
        assert!(!complaints(&broken, &broken).is_empty(), "not caught:\n{broken}");
    }
}

/// A row of the key table: (key, type, ended by).
fn key_table() -> Vec<(String, String, String)> {
    let readme = read("lua/README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let kind = cells[2].split(',').next().unwrap();
        (
            cells[1].trim_matches('`').to_owned(),
            kind.to_owned(),
            cells[4].to_owned(),
        )
    })
    .collect()
}

/// Keys that may stay without an expiry when nobody is connected.
pub fn lasting_keys() -> BTreeSet<String> {
    let rows = key_table().into_iter();
    let lasting = rows.filter(|(_, _, ended_by)| ended_by.ends_with("kept"));
    lasting.map(|(key, _, _)| key).collect()
}

#[test]
fn the_key_table_has_every_key_and_no_other() {
    let listed: BTreeSet<String> = key_table().into_iter().map(|(key, ..)| key).collect();
    let source = read("src/hot/keys.rs");
    let names = source
        .split("impl Keys {")
        .nth(1)
        .unwrap()
        .split("\nfn ")
        .next()
        .unwrap();
    let noun = |literal: &str| {
        let noun = literal
            .rsplit("}}:")
            .next()
            .unwrap()
            .split(':')
            .next()
            .unwrap()
            .to_owned();
        let is_noun = !noun.is_empty() && noun.bytes().all(|b| b.is_ascii_lowercase() || b == b'.');
        is_noun.then_some(noun)
    };
    let built: BTreeSet<String> = names.split('"').skip(1).step_by(2).filter_map(noun).collect();
    assert_eq!(built, listed);
    assert_eq!(
        lasting_keys(),
        [
            "node.ends",
            "nodes",
            "outbox",
            "owed",
            "restored",
            "room",
            "room.policy",
            "swept",
            "todo",
            "user"
        ]
        .map(str::to_owned)
        .into()
    );
}

#[test]
fn headers_call_keys_by_the_table_s_names_and_types() {
    let table: BTreeSet<(String, String)> = key_table().into_iter().map(|(key, kind, _)| (key, kind)).collect();
    let channel = ("channel".to_owned(), "pubsub".to_owned());
    for script in script::all() {
        let header = header(&read(&format!("lua/{}.lua", script.name()))).unwrap();
        for (index, key) in header.keys {
            assert!(
                table.contains(&key) || key == channel,
                "{}: KEYS[{index}] is {key:?}",
                script.name()
            );
        }
    }
}
