//! What `/api/openapi.json` says is what the administration does: schemathesis asks it all that the description allows, and
//! much that it does not. How many requests, and which answers are right: tests/clients/python/schemathesis.toml.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::migrated;
use crate::support::api::{API_KEY, ask, ask_at};
use crate::support::node::Node;
use crate::support::redis::Redis;

/// It takes ten seconds or so; the rest is for a machine that does other things, too.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_administration_does_what_its_description_says() {
    let (redis, (database, _client)) = tokio::join!(Redis::start(), migrated());
    let settings = [
        ("REALTIME_API_KEYS", API_KEY),
        ("REALTIME_DATABASE_URL", &database.url()),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
    let program = home.join(".venv/bin/schemathesis");
    assert!(
        program.exists(),
        "schemathesis is missing: run `scripts/need clients` (make test does)"
    );
    let mut command = tokio::process::Command::new(program);
    command
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .arg("--config-file")
        .arg(home.join("schemathesis.toml"))
        .args(["run", "--checks", "all", "--no-color", "--header"])
        .arg(format!("X-API-Key: {API_KEY}"))
        .arg(format!("{}/api/openapi.json", node.url()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ran = tokio::time::timeout(LIMIT, command.output()).await;
    let ran = ran.expect("it ends in time").expect("it starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    // A run that asked nothing shows nothing.
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, "));
    let cases: u32 = cases
        .and_then(|(count, _)| count.parse().ok())
        .expect("it says how many");
    assert!(cases > 500, "{cases}");
    let log = node.log_text();
    assert!(!log.contains(r#""level":"error""#), "{log}");
}

#[tokio::test]
async fn every_route_is_described_and_stands_behind_the_key() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[("REALTIME_API_KEYS", API_KEY)]).await;
    let description = ask(&node, "GET", "/api/openapi.json", Value::Null).await.done();
    assert!(description["openapi"].as_str().expect("a version").starts_with("3.1"));
    assert_eq!(description["servers"], json!([{"url": "/api"}]));
    let scheme = &description["components"]["securitySchemes"]["key"];
    assert_eq!(
        (&scheme["in"], &scheme["name"]),
        (&json!("header"), &json!("X-API-Key"))
    );
    let mut ids = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("routes") {
        let path = format!("/api{}", path.replace(['{', '}'], ""));
        for (method, route) in methods.as_object().expect("methods") {
            let asked = ask_at(node.port(), &method.to_uppercase(), &path, None, None).await;
            asked.is_problem(401, "UNAUTHENTICATED", None);
            ids.push(route["operationId"].as_str().expect("a name").to_owned());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), count > 25), (count, true), "{ids:?}");
}
