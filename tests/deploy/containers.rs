//! Dockerfile and compose.yaml, as far as that goes without a container engine; and `nself-realtime health`, which both call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use nself_realtime::config::{Config, settings};
use nself_realtime::engine::Tag;
use nself_realtime::types::Rate;
use serde_json::{Value, json};

use crate::documents::{list, read, root, text};
use crate::support::node::{Node, binary};
use crate::support::port::free_port;
use crate::support::redis::Redis;

fn shipped(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The instructions of the Dockerfile, each on one line, without comments.
fn instructions() -> Vec<(String, String)> {
    let text = shipped("Dockerfile");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').expect("an instruction has arguments");
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.map(split).collect()
}

fn all(word: &str) -> Vec<String> {
    let instructions = instructions().into_iter();
    instructions
        .filter(|(name, _)| name == word)
        .map(|(_, rest)| rest)
        .collect()
}

/// What the build's stage takes from the checkout.
fn copied() -> Vec<String> {
    let mut copied = Vec::new();
    for arguments in all("COPY") {
        let words: Vec<&str> = arguments.split(' ').collect();
        if !words[0].starts_with("--from") {
            copied.extend(words[..words.len() - 1].iter().map(|&word| word.to_owned()));
        }
    }
    copied
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("it is ours");
        for entry in std::fs::read_dir(from).expect("it can be read") {
            let entry = entry.expect("it can be read");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).expect("it can be read");
    }
}

#[test]
fn the_image_is_built_of_all_that_cargo_reads() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory of our own");
    let ignored = shipped(".dockerignore");
    let let_in: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "what is not named stays out");
    for file in copied() {
        assert!(let_in.contains(file.as_str()), ".dockerignore keeps {file} out");
        copy(&root().join(&file), &dir.path().join(&file));
    }
    // cargo looks for every target that the manifest names.
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(dir.path())
        .output()
        .expect("cargo starts");
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    // Where the program takes in other files, these lie there, too.
    let own = std::fs::read_to_string(dir.path().join("src/hot/script.rs")).expect("it was copied");
    assert!(own.contains("/lua/") && dir.path().join("lua/rooms/join.lua").is_file());
    assert!(dir.path().join("sql/V1__tables.sql").is_file());
}

#[test]
fn the_image_has_the_right_compiler_port_user_and_end() {
    let manifest = shipped("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let wanted = wanted.expect("the manifest says it").trim_matches('"');
    assert!(all("ARG").contains(&format!("RUST_VERSION={wanted}")));
    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "{stages:?}");
    assert!(stages[0].starts_with("rust:${RUST_VERSION}-") && stages[0].ends_with(" AS build"));
    assert_eq!(stages[1], "${RUNTIME}");
    let build = all("RUN").join(" ");
    assert!(build.contains("cargo build --locked --release"), "{build}");

    let port = settings()
        .find(|setting| setting.name == "REALTIME_PORT")
        .expect("a setting")
        .default;
    assert_eq!(all("EXPOSE"), [port]);
    assert_eq!(all("STOPSIGNAL"), ["SIGTERM"]);
    let user = all("USER").join(" ");
    assert!(
        user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "{user} is no number, or root"
    );
    // Signals reach the program itself, and no shell in front of it.
    assert_eq!(all("ENTRYPOINT"), [r#"["/usr/local/bin/nself-realtime"]"#]);
    let check = all("HEALTHCHECK").join(" ");
    assert!(
        check.ends_with(r#"CMD ["/usr/local/bin/nself-realtime", "health"]"#),
        "{check}"
    );
    assert!(
        all("COPY")
            .iter()
            .any(|copy| copy == "--from=build /usr/local/bin/nself-realtime /usr/local/bin/nself-realtime")
    );
    assert!(
        !shipped("Dockerfile").contains("ENV REALTIME_"),
        "no setting is hidden in the image"
    );
}

fn compose() -> Value {
    let read = read("compose", &[root().join("compose.yaml")]);
    assert_eq!(read.errors, [""; 0]);
    read.documents.into_iter().next().expect("one document").content
}

/// `${NAME:?why}` and `${NAME:-default}` as a test would set them.
fn filled_in(value: &str) -> String {
    match value.strip_prefix("${") {
        Some(rest) if rest.contains(":?") => "a-value-of-32-bytes-for-the-tests".to_owned(),
        Some(rest) => rest
            .trim_end_matches('}')
            .split_once(":-")
            .expect("a default")
            .1
            .to_owned(),
        None => value.to_owned(),
    }
}

/// The services of the gateway's image that serve.
fn gateways(compose: &Value) -> BTreeMap<String, Value> {
    let services = compose["services"].as_object().expect("services");
    let gateways = services.iter().filter(|(name, _)| name.starts_with("realtime-"));
    gateways
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}

#[test]
fn the_gateways_of_compose_have_settings_that_the_program_takes() {
    let compose = compose();
    let gateways = gateways(&compose);
    assert_eq!(gateways.len(), 2);
    let known: BTreeSet<&str> = settings().flat_map(|setting| setting.variables()).collect();
    for (name, gateway) in &gateways {
        let variables = gateway["environment"].as_object().expect("a map");
        let variables: Vec<(&str, String)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), filled_in(text(value, ""))))
            .collect();
        for (variable, _) in &variables {
            assert!(known.contains(variable), "{variable} is no setting");
        }
        let config = Config::from_pairs(variables.iter().map(|(name, value)| (*name, value.as_str())));
        let config = config.expect("the program takes these settings");
        assert_eq!(config.node_id.as_str(), name);
        assert!(config.database_url.is_some());
        let grace = text(gateway, "/stop_grace_period").trim_end_matches('s');
        assert!(grace.parse::<u64>().expect("seconds") > config.drain_timeout.as_secs());
        assert_eq!(gateway["read_only"], true);
        assert_eq!(gateway["cap_drop"], json!(["ALL"]));
        assert_eq!(
            gateway["healthcheck"]["test"],
            json!(["CMD", "/usr/local/bin/nself-realtime", "health", "--ready"])
        );
        assert!(gateway.get("ports").is_none(), "clients come by way of nginx");
    }
    // Nothing secret is written down.
    for service in compose["services"].as_object().expect("services").values() {
        for (name, value) in service["environment"].as_object().into_iter().flatten() {
            let is_secret = ["SECRET", "PASSWORD", "AUTH", "KEYS"]
                .iter()
                .any(|word| name.contains(word));
            assert!(
                !is_secret || text(value, "").starts_with("${"),
                "{name} is written down"
            );
        }
    }
}

#[test]
fn whoever_depends_on_a_service_waits_for_its_health() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    for (name, service) in services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let needed = services
                .get(other)
                .unwrap_or_else(|| panic!("{name} waits for {other}, which is not there"));
            match text(how, "/condition") {
                "service_healthy" => assert!(needed["healthcheck"]["test"].is_array(), "{other} has no health"),
                "service_completed_successfully" => assert_eq!(needed["restart"], "no", "{other} does not end"),
                condition => panic!("{name}: {condition}"),
            }
        }
    }
    // The gateways come up without Postgres; only the schema needs it.
    for gateway in gateways(&compose).values() {
        assert!(gateway["depends_on"].get("postgres").is_none());
    }
}

/// What a file of nginx says, without what is only told to its reader.
fn directives(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn nginx_in_compose_has_its_files_and_knows_the_gateways() {
    let compose = compose();
    let nginx = &compose["services"]["nginx"];
    let mounts: Vec<(&str, &str)> = list(nginx, "/volumes")
        .iter()
        .map(|mount| {
            text(mount, "")
                .trim_end_matches(":ro")
                .split_once(':')
                .expect("from and to")
        })
        .collect();
    assert!(mounts.iter().all(|(from, _)| root().join(from).is_dir()), "{mounts:?}");
    let config = list(nginx, "/command")
        .iter()
        .filter_map(Value::as_str)
        .find(|word| word.ends_with(".conf"));
    let config = config
        .expect("it is told which")
        .strip_prefix(mounts[0].1)
        .expect("it is mounted");
    assert!(root().join(mounts[0].0).join(config.trim_start_matches('/')).is_file());

    let site = mounts[1].0;
    let published = text(&nginx["ports"][0], "");
    let listen = shipped(&format!("{site}/server.inc"));
    assert!(listen.contains(&format!("listen {};", published.rsplit(':').next().expect("a port"))));
    let (nodes, sids) = (
        shipped(&format!("{site}/nodes.inc")),
        shipped(&format!("{site}/sids.inc")),
    );
    for (number, name) in gateways(&compose).keys().enumerate() {
        let server = format!("server {name}:3101");
        assert!(nodes.contains(&server) && sids.contains(&server), "{name}");
        let tag = format!("~{}$ realtime_{};", Tag::of(name).as_str(), number + 1);
        assert!(sids.contains(&tag), "{tag}");
    }
    // All clients have one address there: neither nginx nor the nodes may count by it.
    assert_eq!(directives(&shipped(&format!("{site}/limits.inc"))), "");
    let parts = shipped("deploy/nginx/parts/server.inc");
    assert!(parts.contains("include site/limits.inc;") && !directives(&parts).contains("limit_"));
    for gateway in gateways(&compose).values() {
        let said = text(gateway, "/environment/REALTIME_RATE_LIMIT");
        let by_default = said.split_once(":-").expect("a default").1.trim_end_matches('}');
        let rate = Rate::parse(by_default).expect("a rate");
        assert!(rate.burst() >= 10_000, "{by_default}");
    }
    // Nobody else is there.
    assert_eq!(nodes.matches("server ").count(), 2);
}

fn health(port: u16, redis: &str, arguments: &[&str]) -> Output {
    let mut command = binary();
    command.arg("health").args(arguments).env("REALTIME_REDIS_URL", redis);
    command.env("PORT", port.to_string()); // as the nself loader says it
    command.output().expect("the binary starts")
}

#[tokio::test]
async fn the_health_check_says_whether_a_gateway_lives_and_whether_it_is_ready() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let ask = |arguments: &[&str]| health(node.port(), &redis.url(), arguments);
    let lives = ask(&[]);
    assert!(lives.status.success(), "{lives:?}");
    assert_eq!(lives.stdout, b"{\"status\":\"alive\"}\n");
    assert!(ask(&["--ready"]).status.success());
    let shown = ask(&["--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("one JSON object");
    let address = format!("127.0.0.1:{}", node.port());
    assert_eq!(
        shown,
        json!({"address": address, "path": "/livez", "ok": true, "status": 200, "answer": {"status": "alive"}})
    );

    redis.kill();
    node.becomes("/readyz", 503).await;
    let unready = ask(&["--ready"]);
    assert_eq!(unready.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unready.stderr);
    assert!(said.contains("503") && said.contains("redis"), "{said}");
    let unready = ask(&["--ready", "--json"]);
    let shown: Value = serde_json::from_slice(&unready.stdout).expect("one JSON object");
    assert_eq!(
        (unready.status.code(), &shown["ok"], &shown["status"]),
        (Some(1), &json!(false), &json!(503))
    );
    assert!(ask(&[]).status.success(), "it lives, whatever Redis does");

    let nobody = health(free_port(), &redis.url(), &[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("does not answer"));
}
