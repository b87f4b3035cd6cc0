//! plugin.json says what is true, in the forms that loaders read, most of which have no JSON parser.

use std::collections::BTreeSet;
use std::path::Path;

use nself_realtime::archive::Archive;
use nself_realtime::config::{SecretUrl, settings};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::loader::first;
use crate::support::postgres::Postgres;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn manifest() -> Value {
    serde_json::from_str(&read("plugin.json")).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    let values = value.as_array().unwrap();
    values.iter().map(|value| value.as_str().unwrap()).collect()
}

/// The lines behind the first one that has a text, as `grep -A` gives them.
fn behind(text: &str, start: &str, lines: usize) -> Vec<String> {
    let rest = text.lines().skip_while(|line| !line.contains(start));
    rest.take(lines + 1).map(str::to_owned).collect()
}

#[test]
fn a_loader_without_a_parser_reads_what_stands_there() {
    let (text, manifest) = (read("plugin.json"), manifest());
    for field in [
        "name",
        "version",
        "description",
        "author",
        "license",
        "category",
        "minNselfVersion",
    ] {
        assert_eq!(first(&text, field).as_deref(), manifest[field].as_str(), "{field}");
    }
    assert_eq!(manifest["name"], "realtime");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    let ports = text.lines().find(|line| line.contains("\"port\"")).unwrap();
    let digits: String = ports.chars().filter(char::is_ascii_digit).collect();
    assert_eq!((&*digits, &manifest["port"]), ("3101", &json!(3101)));

    // For docker compose: the five lines behind "service", and twenty behind "environment".
    let service = behind(&text, "\"service\"", 5).join("\n");
    for field in ["memory", "cpu"] {
        assert_eq!(first(&service, field).as_deref(), manifest["service"][field].as_str());
    }
    for field in ["port", "replicas"] {
        let line = service
            .lines()
            .find(|line| line.contains(&format!("\"{field}\"")))
            .unwrap();
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(digits, manifest["service"][field].to_string());
    }
    let passed: BTreeSet<_> = behind(&text, "\"environment\"", 20)
        .iter()
        .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .collect();
    let environment = manifest["environment"].as_object().unwrap();
    assert_eq!(passed, environment.keys().cloned().collect());
    assert!(environment.keys().all(|name| settings().any(|row| row.name == name)));

    // `nself plugin start` looks these up in what it has written itself.
    assert_eq!(strings(&manifest["required_env"]), ["DATABASE_URL"]);
    let demanded = behind(&text, "\"required_env\"", 10).join("\n");
    let upper = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let words: Vec<_> = demanded.split('"').skip(1).step_by(2).filter(upper).collect();
    assert_eq!(
        words,
        ["DATABASE_URL"],
        "nothing that a search without a parser would take for one"
    );
}

#[test]
fn what_it_names_is_there() {
    let manifest = manifest();
    let scripts = std::fs::read_dir(root().join("actions")).unwrap();
    let scripts = scripts.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let scripts: BTreeSet<_> = scripts
        .filter_map(|name| name.strip_suffix(".sh").map(str::to_owned))
        .collect();
    let actions = manifest["actions"].as_object().unwrap();
    assert_eq!(scripts, actions.keys().cloned().collect());
    assert!(actions.values().all(|action| action["description"].is_string()));
    for command in manifest["cliCommands"].as_array().unwrap() {
        assert!(actions.contains_key(command["name"].as_str().unwrap()), "{command}");
    }
    assert!(
        root()
            .join(manifest["hooks"]["postInstall"].as_str().unwrap())
            .is_file()
    );
    assert!(
        root()
            .join(manifest["hooks"]["preUninstall"].as_str().unwrap())
            .is_file()
    );
    assert_eq!(strings(&manifest["bins"]), [manifest["binary_name"].as_str().unwrap()]);
    // Words that make the loader warn.
    let permissions = manifest["permissions"].to_string();
    assert!(
        !["drop", "\"/\"", "docker"]
            .iter()
            .any(|word| permissions.contains(word)),
        "{permissions}"
    );

    let package: Value = serde_json::from_str(&read("ts/package.json")).unwrap();
    assert_eq!(package["version"], manifest["version"]);
    assert!(package.get("dependencies").is_none() && package.get("devDependencies").is_none());
    assert!(
        root()
            .join("ts")
            .join(package["bin"]["nself-realtime"].as_str().unwrap())
            .is_file()
    );
}

#[test]
fn its_variables_are_the_settings_with_their_defaults() {
    let manifest = manifest();
    for variable in manifest["envVars"].as_array().unwrap() {
        let row = settings().find(|row| variable["name"] == row.name);
        let row = row.unwrap_or_else(|| panic!("{variable} is no setting"));
        assert_eq!(
            variable["default"].as_str().unwrap_or_default(),
            row.default,
            "{variable}"
        );
        assert_eq!(variable["required"], row.name == "REALTIME_REDIS_URL", "{variable}");
        assert!(variable["description"].is_string(), "{variable}");
    }
}

#[tokio::test]
async fn its_tables_and_views_are_the_schema_s() {
    let database = Postgres::shared().await.database().await;
    let url = SecretUrl::new(database.url().parse().unwrap());
    Archive::new(Some(&url)).unwrap().migrate(LIMIT).await.unwrap();
    let client = database.connect().await;
    let made = async |kinds: &str| -> BTreeSet<String> {
        // Partitions go with their table, and the history is the migrator's.
        let query = format!(
            "SELECT relname::TEXT FROM pg_class WHERE relnamespace = 'public'::REGNAMESPACE
             AND relkind IN ({kinds}) AND NOT relispartition AND relname <> 'realtime_schema_history'"
        );
        let rows = client.query(&query, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let manifest = manifest();
    let named =
        |field: &str| -> BTreeSet<String> { strings(&manifest[field]).into_iter().map(str::to_owned).collect() };
    assert_eq!(made("'r', 'p'").await, named("tables"));
    assert_eq!(made("'v', 'm'").await, named("views"));
}
