//! What is said of the configuration and of the command line itself, without any server.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{program, stderr};

#[test]
fn a_configuration_is_shown_without_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "REALTIME_PING_INTERVAL=20000\n").unwrap();
    let envs = [
        ("REALTIME_REDIS_URL", "redis://me:hush-hush@cache:6379/1"),
        ("REALTIME_JWT_SECRET", "hush-hush"),
        ("REALTIME_API_KEYS", "hush-hush,another-hush-hush"),
        ("REALTIME_PROT", "1"),
    ];
    let run = |args: &[&str]| program(directory.path(), &[&["check-config"], args].concat(), &envs);
    let output = run(&["--presence-grace", "7000"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hush-hush"), "{text}");
    let row = |name: &str, value: &str, origin: &str| format!("{name:<32} {value:<40} {origin}");
    for line in [
        row("REALTIME_REDIS_URL", "redis://me:***@cache:6379/1", "environment"),
        row("REALTIME_JWT_SECRET", "***", "environment"),
        row("REALTIME_PING_INTERVAL", "20000", ".env"),
        row("REALTIME_PRESENCE_GRACE", "7000", "--presence-grace (command line)"),
        row("REALTIME_PORT", "3101", "default"),
        row("REALTIME_DATABASE_URL", "-", "default"),
        "Warning: REALTIME_JWT_SECRET is shorter than 32 bytes and may be guessed".to_owned(),
        "✓ The configuration is valid".to_owned(),
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} in\n{text}");
    }
    assert!(text.contains("REALTIME_PROT (environment) is no setting"), "{text}");

    let output = run(&["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], true);
    assert!(!json.to_string().contains("hush-hush"), "{json}");
    let settings = json["settings"].as_array().unwrap();
    let port = settings
        .iter()
        .find(|setting| setting["name"] == "REALTIME_PORT")
        .unwrap();
    assert_eq!((&port["value"], &port["from"]), (&"3101".into(), &"default".into()));
    let warnings = json["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .all(|warning| warning["level"].is_string() && warning["text"].is_string())
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let envs = [("REALTIME_PORT", "many"), ("REALTIME_JWT_LEEWAY", "hours")];
    let output = program(directory.path(), &["check-config"], &envs);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
    let said = stderr(&output);
    assert!(said.starts_with("Error: the configuration is wrong:\n"), "{said}");
    for name in ["REALTIME_PORT", "REALTIME_JWT_LEEWAY", "REALTIME_REDIS_URL"] {
        assert!(said.contains(name), "{said}");
    }
    let output = program(directory.path(), &["check-config", "--json"], &envs);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(2), ""));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["valid"], json["errors"].as_array().unwrap().len()),
        (&false.into(), 3)
    );
}

#[test]
fn shells_get_their_completions() {
    let directory = tempfile::tempdir().unwrap();
    for (shell, words) in [
        ("bash", &["complete -F", "check-config"][..]),
        ("zsh", &["#compdef nself-realtime", "create-room"]),
        ("fish", &["complete -c nself-realtime", "connections"]),
    ] {
        let output = program(directory.path(), &["completions", shell], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in words {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
    let unknown = program(directory.path(), &["completions", "tea"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
}

/// What the program prints on a terminal.
fn on_a_terminal(envs: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let command = format!("'{}' check-config", env!("CARGO_BIN_EXE_nself-realtime"));
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .env("REALTIME_REDIS_URL", "redis://localhost")
        .envs(envs.iter().copied())
        .stdin(Stdio::null());
    let output = terminal.output().expect("script (of bsdutils) starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_whose_people_want_them() {
    assert!(on_a_terminal(&[]).contains("\u{1b}[32m✓\u{1b}[0m The configuration is valid"));
    let plain = on_a_terminal(&[("NO_COLOR", "1")]);
    assert!(
        plain.contains("✓ The configuration is valid") && !plain.contains("\u{1b}["),
        "{plain}"
    );
}
