//! Runs the stock clients' programs (tests/clients) against a cluster. Their cases are theirs; here a program that
//! fails is a test that fails, with all that it printed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::copy;

use super::api::API_KEY;
use super::cluster::{BROADCAST_ROOM, Cluster, PRIVATE_ROOM, SECRET_ROOM};
use super::token::SECRET;

const PROGRAM_LIMIT: Duration = Duration::from_secs(180);

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs tests/clients/js/scenarios/`scenario`.mjs over `transport` (websocket, polling or upgrade).
pub async fn javascript(cluster: &Cluster, scenario: &str, transport: &str) {
    let home = clients().join("js");
    assert!(
        home.join("node_modules/socket.io-client").is_dir(),
        "the stock JavaScript client is missing: run `npm ci` in tests/clients/js (make test does)"
    );
    let mut command = tokio::process::Command::new("node");
    command
        .arg("--test-reporter=tap")
        .arg(format!("scenarios/{scenario}.mjs"));
    run(cluster, command, &home, scenario, transport).await;
}

/// Runs tests/clients/python/scenarios.py over `transport` (websocket or polling).
pub async fn python(cluster: &Cluster, transport: &str) {
    let home = clients().join("python");
    let interpreter = home.join(".venv/bin/python");
    assert!(
        interpreter.exists(),
        "python-socketio is missing: run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` \
         in tests/clients/python (make test does)"
    );
    let mut command = tokio::process::Command::new(interpreter);
    command.arg("scenarios.py");
    run(cluster, command, &home, "python", transport).await;
}

/// Runs a program of the client module's (clients/js/test/gateway/`program`.test.mjs), which `npm run build` has built.
pub async fn module(cluster: &Cluster, program: &str) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    assert!(
        home.join("dist/index.js").is_file(),
        "the client module is not built: run `scripts/need module browser` (make test does)"
    );
    let mut command = tokio::process::Command::new("node");
    command
        .arg("--test-reporter=tap")
        .arg(format!("test/gateway/{program}.test.mjs"));
    run(cluster, command, &home, program, "its own choice of transports").await;
}

async fn run(cluster: &Cluster, mut command: tokio::process::Command, home: &Path, scenario: &str, transport: &str) {
    let ports = cluster.redis.masters().await;
    let ports: Vec<String> = ports.iter().map(|master| master.port().to_string()).collect();
    command
        .current_dir(home)
        .env("NODES", cluster.urls())
        .env("PIDS", cluster.pids())
        .env("REDIS_URL", cluster.redis.url())
        .env("REDIS_PORTS", ports.join(","))
        .env("TRANSPORT", transport)
        .env("JWT_SECRET", SECRET)
        .env("API_KEY", API_KEY)
        .env("GATEWAY", env!("CARGO_BIN_EXE_nself-realtime"))
        .env("PRIVATE_ROOM", PRIVATE_ROOM)
        .env("SECRET_ROOM", SECRET_ROOM)
        .env("BROADCAST_ROOM", BROADCAST_ROOM)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("node and python3 are installed");
    let (mut text, mut errors) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (
        child.stdout.take().expect("it is piped"),
        child.stderr.take().expect("it is piped"),
    );
    let ended = tokio::time::timeout(PROGRAM_LIMIT, async {
        let read = tokio::join!(copy(&mut out, &mut text), copy(&mut err, &mut errors));
        read.0.and(read.1).expect("a pipe can be read");
        child.wait().await.expect("it ends")
    })
    .await;
    let (text, errors) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&errors));
    let Ok(status) = ended else {
        panic!("{scenario} over {transport} still runs after {PROGRAM_LIMIT:?}:\n{text}\n{errors}");
    };
    assert!(status.success(), "{scenario} over {transport}:\n{text}\n{errors}");
    // A program that ran nothing shows nothing.
    assert!(
        text.contains("\n# pass ") && !text.contains("\n# pass 0"),
        "{scenario} ran no case:\n{text}"
    );
}
