//! The archive's questions as commands: what they print, and with which code they end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::run;
use crate::support::node::binary;
use crate::support::port::free_port;
use crate::support::process::Process;
use crate::trail::{Trail, at, entry};

const END_LIMIT: Duration = Duration::from_secs(20);

fn command(url: &str, args: &[&str]) -> Command {
    let mut command = binary();
    // No Redis: these commands need none.
    command.env("REALTIME_DATABASE_URL", url).args(args);
    command
}

fn output(url: &str, args: &[&str]) -> Output {
    command(url, args).output().expect("the binary starts")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// What a command that succeeds prints.
fn printed(url: &str, args: &[&str]) -> String {
    let output = output(url, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A trail with a little in it.
async fn filled() -> Trail {
    let mut trail = Trail::new().await;
    trail.batch(7, &[entry("connect", at(0), "", "ann", "c.1")]).await;
    trail
        .tell(&[
            entry("join", at(1), "den", "ann", "c.1"),
            entry("join", at(2), "den", "bob", "c.2"),
            entry("leave", at(3), "den", "bob", "c.2"),
        ])
        .await;
    trail
}

#[tokio::test]
async fn events_are_a_table_like_the_existing_plugin_s() {
    let trail = filled().await;
    let url = trail.database.url();
    run(
        &trail.client,
        "INSERT INTO realtime_rooms (id, name) VALUES ('0190aaaa-bbbb-8ccc-9ddd-eeeeffff0000', 'attic'); \
         UPDATE realtime_events SET room_id = '0190aaaa-bbbb-8ccc-9ddd-eeeeffff0000' WHERE event_type = 'leave'",
    )
    .await;
    let (double, single) = ("=".repeat(100), "-".repeat(100));
    let table = printed(&url, &["events"]);
    assert_eq!(
        table,
        format!(
            "\nRecent Events\n{double}\n\
             TIME                 EVENT TYPE           USER ID              ROOM ID\n{single}\n\
             12:00:03             leave                bob                  0190aaaa-bbbb-8ccc-9ddd-eeeeffff0000\n\
             12:00:02             join                 bob                  den\n\
             12:00:01             join                 ann                  den\n\
             12:00:00             connect              ann                  -\n{double}\n"
        )
    );
    let seconds = |args: &[&str]| -> Vec<String> {
        let events = json_lines(&printed(&url, &[&["events", "--json"], args].concat()));
        events
            .iter()
            .map(|event| event["createdAt"].as_str().unwrap()[17..19].to_owned())
            .collect()
    };
    assert_eq!(seconds(&[]), ["03", "02", "01", "00"]);
    assert_eq!(seconds(&["-n", "2"]), ["03", "02"]);
    assert_eq!(seconds(&["--number", "0"]), [""; 0]);
    assert_eq!(seconds(&["--type", "leave", "--type", "connect"]), ["03", "00"]);
    assert_eq!(seconds(&["--user", "bob", "--room", "den"]), ["03", "02"]);
    assert_eq!(
        seconds(&["--since", "2026-01-30T12:00:02Z", "--until", "1m"]),
        ["03", "02"]
    );
    assert_eq!(seconds(&["--since", "1d ago"]), [""; 0]);
}

#[tokio::test]
async fn more_than_a_page_of_events_is_listed_once() {
    let mut trail = Trail::new().await;
    let entries: Vec<_> = (0..2_500)
        .map(|index| entry("join", at(index / 9), "den", "ann", "c.1"))
        .collect();
    trail.batch(7, &entries).await;
    let url = trail.database.url();
    let ids = |number: &str| -> Vec<String> {
        let events = json_lines(&printed(&url, &["events", "--json", "-n", number]));
        events
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut all = ids("100000");
    assert_eq!(all.len(), 2_500);
    assert_eq!(ids("2001"), all[..2_001]);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 2_500);
}

/// A command that goes on until it is ended, and its lines.
struct Following {
    process: Process,
    lines: Option<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Following {
    fn start(url: &str, args: &[&str]) -> Following {
        let mut command = command(url, &[&["events", "--follow"], args].concat());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let process = Process::spawn("nself-realtime", &mut command);
        let take = |mut child: std::sync::MutexGuard<'_, Child>| child.stdout.take().expect("a pipe was asked for");
        let lines = BufReader::new(take(process.child())).lines();
        Following {
            process,
            lines: Some(lines),
        }
    }

    /// The next line; waits for it.
    async fn line(&mut self) -> String {
        let mut lines = self.lines.take().expect("somebody reads");
        let read = tokio::task::spawn_blocking(move || (lines.next(), lines));
        let (line, lines) = tokio::time::timeout(END_LIMIT, read)
            .await
            .expect("a line in time")
            .unwrap();
        self.lines = Some(lines);
        line.expect("it goes on").expect("UTF-8")
    }

    async fn event(&mut self) -> (String, String) {
        let event: Value = serde_json::from_str(&self.line().await).expect("JSON");
        let text = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
        (text("type"), text("userId"))
    }

    async fn ends(&self) -> bool {
        let status = self.process.wait(END_LIMIT).await;
        status.expect("it ends").success()
    }
}

#[tokio::test]
async fn follow_prints_what_comes_and_ends_when_nobody_reads() {
    let mut trail = filled().await;
    let url = trail.database.url();
    let mut following = Following::start(&url, &["--json", "-n", "2", "--room", "den"]);
    // What is there, then what comes, oldest first.
    assert_eq!(following.event().await, ("join".into(), "bob".into()));
    assert_eq!(following.event().await, ("leave".into(), "bob".into()));
    trail
        .tell(&[
            entry("join", at(9), "attic", "eve", "c.3"),
            entry("join", at(10), "den", "cid", "c.4"),
            entry("leave", at(11), "den", "cid", "c.4"),
        ])
        .await;
    assert_eq!(following.event().await, ("join".into(), "cid".into()));
    assert_eq!(following.event().await, ("leave".into(), "cid".into()));
    // Nothing is printed any more, and still it sees that nobody reads.
    drop(following.lines.take());
    assert!(following.ends().await);
}

#[tokio::test]
async fn follow_is_a_table_too_and_ends_when_it_is_interrupted() {
    let mut trail = filled().await;
    let mut following = Following::start(&trail.database.url(), &["-n", "1"]);
    for expected in ["", "Recent Events"] {
        assert_eq!(following.line().await, expected);
    }
    for _ in 0..3 {
        following.line().await;
    }
    assert_eq!(
        following.line().await,
        "12:00:03             leave                bob                  den"
    );
    trail.tell(&[entry("join", at(10), "den", "cid", "c.4")]).await;
    assert_eq!(
        following.line().await,
        "12:00:10             join                 cid                  den"
    );
    following.process.signal("INT");
    assert!(following.ends().await);
}

#[tokio::test]
async fn follow_waits_for_a_postgres_that_went_away() {
    let postgres = crate::Postgres::start().await;
    let mut trail = Trail::on(postgres.database().await).await;
    trail.tell(&[entry("join", at(1), "den", "ann", "c.1")]).await;
    let mut following = Following::start(&trail.database.url(), &["--json"]);
    assert_eq!(following.event().await, ("join".into(), "ann".into()));
    postgres.stop().await;
    postgres.restart().await;
    let mut trail = trail.reconnected().await;
    trail.tell(&[entry("leave", at(2), "den", "ann", "c.1")]).await;
    assert_eq!(following.event().await, ("leave".into(), "ann".into()));
}

#[tokio::test]
async fn who_and_sessions_are_told() {
    let mut trail = filled().await;
    let url = trail.database.url();
    let then = ["who", "--room", "den", "--at", "2026-01-30T12:00:02Z"];
    assert_eq!(
        printed(&url, &then),
        "In den at 2026-01-30T12:00:02.000Z: 2\n  \
         ann                                      since 2026-01-30T12:00:01.000Z  c.1\n  \
         bob                                      since 2026-01-30T12:00:02.000Z  c.2\n"
    );
    let answer: Value = serde_json::from_str(&printed(&url, &[&then[..], &["--json"]].concat())).unwrap();
    assert_eq!((&answer["complete"], &answer["caveats"]), (&true.into(), &json!([])));
    assert_eq!(
        answer["users"][1],
        json!({"userId": "bob", "since": "2026-01-30T12:00:02.000Z", "connections": ["c.2"]})
    );

    let doubtful = output(&url, &["who", "--room", "nowhere", "--at", "1m"]);
    assert!(doubtful.status.success());
    assert_eq!(
        stderr(&doubtful),
        "May be incomplete: no join and no leave of this room is kept\n"
    );

    trail.batch(7, &[entry("disconnect", at(60), "", "ann", "c.1")]).await;
    let table = printed(&url, &["sessions", "ann"]);
    let row = table.lines().nth(5).unwrap();
    assert_eq!(
        row,
        "2026-01-30 12:00:00  2026-01-30 12:01:00  -          node-a          -               -"
    );
    assert!(table.starts_with("\nSessions of ann\n"), "{table}");
    let sessions = json_lines(&printed(&url, &["sessions", "ann", "--json"]));
    assert_eq!(sessions.len(), 1);
    assert_eq!(
        (&sessions[0]["connection"], &sessions[0]["open"]),
        (&"c.1".into(), &false.into())
    );
    assert_eq!(printed(&url, &["sessions", "nobody", "--json"]), "");
}

#[tokio::test]
async fn audit_verify_says_by_its_code_whether_something_is_wrong() {
    let trail = filled().await;
    let url = trail.database.url();
    assert_eq!(
        printed(&url, &["audit", "verify"]),
        "4 rows in 4 batches of 2 partitions, and 0 rows from before the schema; 0 findings\n"
    );
    let witness = printed(&url, &["audit", "verify", "--json"]);
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("witness.json");
    std::fs::write(&kept, &witness).unwrap();
    let kept = kept.to_str().unwrap();
    assert_eq!(
        printed(&url, &["audit", "verify", "--json", "--against", kept]),
        witness
    );

    run(
        &trail.client,
        "UPDATE realtime_events SET user_id = 'eve' WHERE event_type = 'connect'",
    )
    .await;
    let wrong = output(&url, &["audit", "verify"]);
    assert_eq!((wrong.status.code(), stderr(&wrong)), (Some(1), ""));
    let text = String::from_utf8(wrong.stdout).unwrap();
    assert!(
        text.starts_with("partition 7, batch 1: a row was changed; look at "),
        "{text}"
    );
    assert!(text.ends_with("; 1 findings\n"), "{text}");
    let wrong = output(&url, &["audit", "verify", "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let lines = json_lines(std::str::from_utf8(&wrong.stdout).unwrap());
    assert_eq!(
        (&lines[0]["finding"], &lines[0]["partition"], &lines[0]["batch"]),
        (&"changed".into(), &7.into(), &1.into())
    );
    assert_eq!((&lines[1]["findings"], &lines[1]["rows"]), (&1.into(), &4.into()));

    run(
        &trail.client,
        "DELETE FROM realtime_events WHERE chain = 7; DELETE FROM realtime_archive_batches WHERE partition = 7; \
         DELETE FROM realtime_archive_heads WHERE partition = 7",
    )
    .await;
    assert!(
        output(&url, &["audit", "verify"]).status.success(),
        "by itself the trail cannot know"
    );
    let wrong = output(&url, &["audit", "verify", "--against", kept]);
    assert_eq!(wrong.status.code(), Some(1));
    let text = String::from_utf8(wrong.stdout).unwrap();
    assert!(
        text.starts_with("partition 7, batch 1: not what an earlier check saw\n"),
        "{text}"
    );

    for (content, said) in [
        ("", "is no output of"),
        ("{\"heads\": [1]}", "invalid type"),
        ("no JSON", "is no output of"),
    ] {
        std::fs::write(kept, content).unwrap();
        let output = output(&url, &["audit", "verify", "--against", kept]);
        assert_eq!(output.status.code(), Some(2), "{content}");
        let said_so = stderr(&output).starts_with(&format!("Error: --against {kept}: {said}"));
        assert!(said_so, "{}", stderr(&output));
    }
}

#[test]
fn what_is_asked_wrongly_is_named() {
    let url = "postgres://127.0.0.1:1/x";
    for (args, flag) in [
        (&["events", "--since", "soon"][..], "--since"),
        (&["events", "--until", "2026-01-30"], "--until"),
        (&["events", "-n", "many"], "--number"),
        (&["events", "-n", "100001"], "--number"),
        (&["events", "--user", ""], "--user"),
        (&["events", "--room", "a\u{7}"], "--room"),
        (&["events", "--since", "1h", "--until", "2h"], "--until"),
        (&["events", "--follow", "-n", "1001"], "--number"),
        (&["events", "--follow", "--until", "1h"], "--until"),
        (&["who", "--room", "den"], "--at"),
        (&["who", "--at", "1m"], "--room"),
        (&["who", "--room", "den", "--at", "99999999999999999d"], "--at"),
        (&["audit", "verify", "--against", "/nowhere"], "--against"),
    ] {
        let output = output(url, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(flag), "{args:?}: {}", stderr(&output));
    }
}

const COMMANDS: [&[&str]; 5] = [
    &["events"],
    &["events", "--follow"],
    &["who", "--room", "den", "--at", "1m"],
    &["sessions", "ann"],
    &["audit", "verify"],
];

#[tokio::test]
async fn without_a_database_a_postgres_or_a_schema_commands_say_so() {
    let nobody = format!(
        "postgres://me:hush-hush@127.0.0.1:{}/x?application_name=hush-hush",
        free_port()
    );
    let empty = crate::Postgres::shared().await.database().await;
    for args in COMMANDS {
        let off = output("", args);
        assert_eq!(off.status.code(), Some(1), "{args:?}");
        assert_eq!(
            stderr(&off),
            "Error: no database is configured: set REALTIME_DATABASE_URL\n",
            "{args:?}"
        );
        let away = output(&nobody, args);
        assert_eq!((away.status.code(), &away.stdout[..]), (Some(1), &b""[..]), "{args:?}");
        let said = stderr(&away);
        assert!(
            said.starts_with("Error: Postgres: it does not answer: error connecting to server: "),
            "{args:?}: {said}"
        );
        assert!(!said.contains("hush-hush"), "{args:?}: {said}");
        let lacking = output(&empty.url(), args);
        assert_eq!(lacking.status.code(), Some(1), "{args:?}");
        let said = "Error: Postgres: the schema is not installed; `nself-realtime init` installs it\n";
        assert_eq!(stderr(&lacking), said, "{args:?}");
    }
}
