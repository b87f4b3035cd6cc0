//! `dev`: brings a talking cluster up, and leaves nothing behind, however it ends.

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use support::eventually;
use support::process::Process;

const END_LIMIT: Duration = Duration::from_secs(30);

/// A running `dev`, and what it printed.
struct Dev {
    process: Process,
    text: String,
    /// Its working directory, and where it makes its temporary files.
    directory: TempDir,
}

impl Dev {
    /// Starts `dev` with no setting but the defaults, and waits until it has said everything.
    fn start() -> Dev {
        // Postgres runs as another user, who has to get through.
        let through = PermissionsExt::from_mode(0o711);
        let directory = tempfile::Builder::new().permissions(through).tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nself-realtime"));
        command
            .args(["dev", "--nodes", "2", "--user", "grace"])
            .current_dir(directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped());
        let process = Process::spawn("dev", &mut command);
        let output = process.child().stdout.take().unwrap();
        let mut text = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            text.push_str(&line);
            text.push('\n');
            if line.starts_with("Ctrl-C") {
                return Dev {
                    process,
                    text,
                    directory,
                };
            }
        }
        panic!("dev ended early, after: {text}");
    }

    /// What stands behind a word at the beginning of a line.
    fn said(&self, word: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.trim_start().strip_prefix(word));
        line.unwrap_or_else(|| panic!("{word} is not in: {}", self.text)).trim()
    }

    fn token(&self) -> &str {
        self.text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("eyJ"))
            .unwrap()
    }

    /// `host:port` of everything that listens.
    fn addresses(&self) -> Vec<String> {
        let of_url = |word| {
            let url: url::Url = self.said(word).parse().unwrap();
            format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
        };
        ["dev-1", "dev-2", "redis", "postgres"].map(of_url).to_vec()
    }
}

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn dev_talks_and_leaves_nothing_behind_when_it_is_told_to_end() {
    let dev = Dev::start();
    let http = reqwest::Client::new();
    for node in ["dev-1", "dev-2"] {
        let answer = http.get(format!("{}/readyz", dev.said(node))).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    the_printed_token_opens_a_room(&http, &dev).await;
    its_postgres_gets_the_schema(&http, &dev).await;
    let addresses = dev.addresses();
    assert!(addresses.iter().all(|address| listens(address)), "{addresses:?}");
    dev.process.signal("TERM");
    let status = dev.process.wait(END_LIMIT).await.expect("dev ends");
    assert!(status.success(), "{status}");
    let left: Vec<_> = addresses.iter().filter(|address| listens(address)).collect();
    assert!(left.is_empty(), "still listening: {left:?}");
    assert_eq!(
        std::fs::read_dir(dev.directory.path()).unwrap().count(),
        0,
        "no file is left"
    );

    // Killed, it can say nothing to its children: they notice.
    let dev = Dev::start();
    let addresses = dev.addresses();
    dev.process.kill();
    eventually("the children of a killed dev end", async || {
        !addresses.iter().any(|address| listens(address))
    })
    .await;
}

/// Over polling, as a stock client begins.
async fn the_printed_token_opens_a_room(http: &reqwest::Client, dev: &Dev) {
    let base = format!("{}/socket.io/?EIO=4&transport=polling", dev.said("dev-1"));
    let open = http.get(&base).send().await.unwrap().text().await.unwrap();
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    let session = format!("{base}&sid={}", open["sid"].as_str().unwrap());
    for packet in [
        format!("40{{\"token\":\"{}\"}}", dev.token()),
        r#"420["room:join",{"roomName":"general"}]"#.into(),
    ] {
        let answer = http.post(&session).body(packet).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "ok");
    }
    let mut heard = String::new();
    while !heard.contains("430[") {
        let polled = http.get(&session).timeout(END_LIMIT).send().await.unwrap();
        assert_eq!(polled.status(), 200, "{heard}");
        heard.push_str(&polled.text().await.unwrap());
    }
    assert!(
        heard.contains("\"userId\":\"grace\"") && heard.contains("\"success\":true"),
        "{heard}"
    );
}

async fn its_postgres_gets_the_schema(http: &reqwest::Client, dev: &Dev) {
    let health = async || {
        let answer = http.get(format!("{}/health", dev.said("dev-1"))).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    eventually("health sees the schema", async || health().await["status"] == "healthy").await;
    let whole = health().await;
    assert_eq!(whole["service"], "realtime");
    for part in ["postgres", "redis", "bus"] {
        assert_eq!(whole["dependencies"][part]["status"], "connected", "{whole}");
    }
}
