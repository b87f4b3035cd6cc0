//! Commands: what they print, on which stream, and with which code they end.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod looks;

use std::path::Path;
use std::process::{Command, Output};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use support::port::free_port;
use support::redis::Redis;

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
        "--jti",
        "t1",
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
    let claims = jsonwebtoken::decode::<Value>(token.trim(), &key, &validation)
        .unwrap()
        .claims;
    assert_eq!((&claims["sub"], &claims["userId"]), (&"ann".into(), &"ann".into()));
    assert_eq!(
        (&claims["role"], &claims["level"], &claims["plain"]),
        (&"admin".into(), &7.into(), &"text".into())
    );
    assert_eq!(claims["jti"], "t1");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);

    let output = program(directory.path(), &[&args[..], &["--json"]].concat(), &envs);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["userId"], "ann");
    jsonwebtoken::decode::<Value>(shown["token"].as_str().unwrap(), &key, &validation).unwrap();
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

#[tokio::test]
async fn rooms_are_created_once_and_listed() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = program(directory.path(), args, &[("REALTIME_REDIS_URL", &redis.url())]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    for _ in 0..2 {
        assert_eq!(
            run(&["init"]),
            "Creating default rooms...\nCleaning up stale data...\n✓ Initialization complete\n",
            "also when it is repeated"
        );
    }
    let json: Value = serde_json::from_str(&run(&["init", "--json"])).unwrap();
    let room = |name: &str| json!({ "name": name, "created": false });
    assert_eq!(
        json,
        json!({ "schema": null, "rooms": [room("general"), room("announcements")] })
    );
    let created = run(&[
        "create-room",
        "team x",
        "-t",
        "group",
        "-v",
        "private",
        "--max-members",
        "5",
    ]);
    assert_eq!(created, "✓ Room created: team x (group, private)\n");
    let again = run(&["create-room", "team x"]);
    assert_eq!(
        again, "✓ Room created: team x (group, private)\n",
        "what is there stays as it is"
    );
    let again: Value = serde_json::from_str(&run(&["create-room", "team x", "--json"])).unwrap();
    assert_eq!((&again["type"], &again["created"]), (&"group".into(), &false.into()));

    let (double, single) = ("=".repeat(70), "-".repeat(70));
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let table = run(&["rooms"]).replace(&today, "2026-01-30");
    assert_eq!(
        table,
        format!(
            "\nActive Rooms\n{double}\n\
             NAME                TYPE        VISIBILITY   CREATED\n{single}\n\
             announcements        channel      public       2026-01-30\n\
             general              channel      public       2026-01-30\n\
             team x               group        private      2026-01-30\n{double}\n"
        )
    );

    let json = run(&["rooms", "--json"]);
    let rooms: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = rooms.iter().map(|room| room["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["announcements", "general", "team x"]);
    assert_eq!(
        (&rooms[2]["type"], &rooms[2]["memberCount"]),
        (&"group".into(), &0.into())
    );
}

#[tokio::test]
async fn a_room_is_governed_by_commands() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| program(directory.path(), args, &[("REALTIME_REDIS_URL", &redis.url())]);
    let done = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    done(&["create-room", "den", "-v", "secret", "--owner", "ada"]);
    assert_eq!(
        done(&["rooms", "role", "den", "bob", "guest"]),
        "✓ bob is guest in den\n"
    );
    assert_eq!(done(&["rooms", "mute", "den", "bob"]), "✓ bob is muted in den\n");
    assert_eq!(
        done(&["rooms", "unmute", "den", "bob"]),
        "✓ bob is no longer muted in den\n"
    );
    let until = "2999-01-01T00:00:00.000Z";
    let banned = done(&[
        "rooms", "ban", "den", "bob", "--until", until, "--reason", "spam", "--json",
    ]);
    assert_eq!(banned, "{\"nodes\":[]}\n");
    let info: Value = serde_json::from_str(&done(&["rooms", "info", "den", "--json"])).unwrap();
    let policy = serde_json::json!([
        {"userId": "ada", "role": "admin"},
        {"userId": "bob", "role": "guest", "bannedUntil": until},
    ]);
    assert_eq!((&info["name"], &info["policy"]), (&"den".into(), &policy));
    let text = done(&["rooms", "info", "den"]);
    assert!(text.contains("  bob: guest, banned until 2999"), "{text}");
    let id = info["id"].as_str().unwrap();
    for line in [
        &*format!("ID:             {id}\n"),
        "Type:           channel\n",
        "Visibility:     secret\n",
        "Max Members:    unlimited\n",
        &format!("Created:        {}\n", info["createdAt"].as_str().unwrap()),
        "Total Members:  0\n",
        "Active Now:     0\n",
        "\nRecent Members:\n\nRoles, bans and mutes (2)\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(
        done(&["rooms", "unban", "den", "bob"]),
        "✓ bob is no longer banned from den\n"
    );
    assert_eq!(done(&["rooms", "kick", "den", "bob"]), "✓ bob is kicked from den\n");
    assert_eq!(done(&["rooms", "members", "den"]), "");
    assert_eq!(done(&["rooms", "list", "--json"]), done(&["rooms", "--json"]));
    let list = done(&["rooms", "list"]);
    let (double, single) = ("=".repeat(90), "-".repeat(90));
    let columns = |[id, name, kind, members, active]: [&str; 5]| {
        let row = format!("{id:<36} {name:<20} {kind:<10} {members:<10} {active}");
        row.trim_end().to_owned()
    };
    let heading = columns(["ID", "NAME", "TYPE", "MEMBERS", "ACTIVE"]);
    let row = columns([id, "den", "channel", "0", "0"]);
    assert_eq!(
        list,
        format!("\nActive Rooms\n{double}\n{heading}\n{single}\n{row}\n{double}\n")
    );
    assert_eq!(id.len(), 36, "a UUID");
    // The words of the existing plugin's action.
    assert_eq!(
        done(&["rooms", "add-member", "den", "cleo"]),
        "✓ cleo is member in den\n"
    );
    assert_eq!(
        done(&["rooms", "add-member", "den", "cleo", "moderator"]),
        "✓ cleo is moderator in den\n"
    );
    assert_eq!(
        done(&["rooms", "remove-member", "den", "cleo"]),
        "✓ cleo is kicked from den\n"
    );
    assert_eq!(
        done(&["rooms", "create", "attic"]),
        "✓ Room created: attic (channel, public)\n"
    );
    let cellar: Value =
        serde_json::from_str(&done(&["rooms", "create", "cellar", "group", "secret", "--json"])).unwrap();
    assert_eq!(
        (&cellar["name"], &cellar["visibility"], &cellar["created"]),
        (&"cellar".into(), &"secret".into(), &true.into())
    );
    assert_eq!(done(&["rooms", "delete", "cellar"]), "✓ cellar is closed\n");
    assert_eq!(done(&["rooms", "close", "den"]), "✓ den is closed\n");

    for args in [
        &["info", "den"][..],
        &["members", "den"],
        &["kick", "den", "bob"],
        &["role", "den", "bob", "member"],
        &["close", "den"],
    ] {
        let output = run(&[&["rooms"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(stderr(&output), "Error: there is no room den\n", "{args:?}");
    }
    done(&["create-room", "den"]);
    for args in [
        &["ban", "den", "bob", "--until", "soon"][..],
        &["ban", "den", "bob", "--until", "2001-01-01T00:00:00Z"],
        &["role", "den", "bob", "owner"],
        &["create", "hall", "palace"],
        &["create", "hall", "channel", "hidden"],
        &["kick", "den"],
    ] {
        let output = run(&[&["rooms"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_redis_that_is_away_is_an_error_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let output = program(directory.path(), &["rooms"], &[("REALTIME_REDIS_URL", &nobody)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: Redis: "), "{}", stderr(&output));
}

#[tokio::test]
async fn a_user_is_explained() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = program(directory.path(), args, &[("REALTIME_REDIS_URL", &redis.url())]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["explain", "ann"]);
    assert!(
        text.starts_with("ann is offline: no device is connected\n  chosen      nothing\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&run(&["explain", "ann", "--json"])).unwrap();
    assert_eq!(
        (&json["status"], &json["connections"], &json["transitions"]),
        (&"offline".into(), &Value::Array(vec![]), &Value::Array(vec![]))
    );
}

#[tokio::test]
async fn the_doctor_says_by_its_code_whether_something_drifted() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = program(directory.path(), args, &[("REALTIME_REDIS_URL", &redis.url())]);
        assert_eq!(stderr(&output), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    run(&["create-room", "general"]);
    let healthy = "0 connections are leased, 0 in grace; 0 drifted\n".to_owned();
    assert_eq!(run(&["doctor"]), (Some(0), healthy.clone()));
    assert_eq!(
        run(&["doctor", "--json"]),
        (Some(0), "{\"drift\":[],\"inGrace\":0,\"leased\":0}\n".to_owned())
    );
    let mut connection = redis.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*:room:general")
        .query_async(&mut connection)
        .await
        .unwrap();
    let users = keys[0].replace(":room:general", ":room.users:general");
    redis::cmd("HSET")
        .arg(users)
        .arg(&["ghost", "1 0 online"])
        .exec_async(&mut connection)
        .await
        .unwrap();
    let (code, found) = run(&["doctor", "--json"]);
    let drift: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((code, &drift["drift"]), (Some(1), &"unheld: ghost in general".into()));
    let (code, repaired) = run(&["doctor", "--repair"]);
    assert!(
        repaired.starts_with("repaired unheld: ghost in general\n"),
        "{repaired}"
    );
    assert_eq!(code, Some(1));
    assert_eq!(run(&["doctor"]), (Some(0), healthy));
}
