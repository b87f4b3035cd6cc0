//! Commands: what they print, on which stream, and with which code they end.

use std::path::Path;
use std::process::{Command, Output};

use jsonwebtoken::Algorithm;

/// Runs the program in a directory, with this environment and no other.
fn program(directory: &Path, args: &[&str], envs: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nself-realtime"));
    command
        .current_dir(directory)
        .env_clear()
        .envs(envs.iter().copied())
        .args(args);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_token_is_signed_as_the_gateway_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let envs = [
        ("REALTIME_JWT_SECRET", "a secret of at least thirty-two bytes"),
        ("REALTIME_JWT_AUDIENCE", "chat,other"),
    ];
    let args = [
        "token",
        "ann",
        "--ttl",
        "60",
        "--claim",
        "role=\"admin\"",
        "--claim",
        "level=7",
        "--claim",
        "plain=text",
    ];
    let output = program(directory.path(), &args, &envs);
    assert!(output.status.success(), "{}", stderr(&output));
    let token = String::from_utf8(output.stdout).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
    validation.set_audience(&["chat"]);
    let key = jsonwebtoken::DecodingKey::from_secret(envs[0].1.as_bytes());
    let claims = jsonwebtoken::decode::<serde_json::Value>(token.trim(), &key, &validation)
        .unwrap()
        .claims;
    assert_eq!((&claims["sub"], &claims["userId"]), (&"ann".into(), &"ann".into()));
    assert_eq!(
        (&claims["role"], &claims["level"], &claims["plain"]),
        (&"admin".into(), &7.into(), &"text".into())
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

#[test]
fn commands_fail_with_a_line_and_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let no_secret = program(directory.path(), &["token", "ann"], &[]);
    assert_eq!(no_secret.status.code(), Some(2));
    assert!(
        stderr(&no_secret).starts_with("Error: there is no secret"),
        "{}",
        stderr(&no_secret)
    );
    assert!(no_secret.stdout.is_empty());
    let unknown = program(directory.path(), &["dance"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
    let bad_name = program(directory.path(), &["create-room", "a\u{7}b"], &[]);
    assert_eq!(bad_name.status.code(), Some(2));
    assert!(
        stderr(&bad_name).contains("control characters"),
        "{}",
        stderr(&bad_name)
    );
}
