//! `nself plugin realtime server`: start, stop, restart, status, logs; and the files that it keeps.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::loader::{Account, Loader, is_alive, signal, text};
use crate::support::eventually;
use crate::support::port::free_port;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::{LIMIT, dotenv, get};

#[tokio::test]
async fn it_starts_answers_and_stops_under_both_loaders() {
    let redis = Redis::start().await;
    let (dotenv, port) = dotenv(&redis, None);
    let account = Account::installed(&dotenv);
    assert_eq!(account.refused("server", &["status"]), "Status: NOT RUNNING\n");
    for (loader, start) in [(Loader::Older, &["start"][..]), (Loader::Head, &[][..])] {
        let started = account.action(loader, "server", start);
        assert!(started.status.success(), "{}", text(&started));
        let pid = account.server_pid().unwrap();
        let said = text(&started);
        assert!(said.contains(&format!("✓ Server started (PID: {pid})")), "{said}");
        assert_eq!(
            get(port, "/readyz").await.unwrap().0,
            200,
            "it is ready when start returns"
        );

        let status = account.done("server", &["status"]);
        assert!(
            status.starts_with(&format!("Status: RUNNING (PID: {pid})\n")),
            "{status}"
        );
        assert!(
            status.contains("Health (200):\n{") && status.contains("\nMetrics:\n"),
            "{status}"
        );
        let again = account.done("server", &["start"]);
        assert_eq!(again, format!("Server is already running (PID: {pid})\n"));

        let restarted = account.done("server", &["restart"]);
        let next = account.server_pid().unwrap();
        assert!(restarted.contains("✓ Server stopped") && next != pid, "{restarted}");
        assert!(!is_alive(&pid) && is_alive(&next));

        let stopped = account.action(loader, "server", &["stop"]);
        assert!(stopped.status.success(), "{}", text(&stopped));
        assert!(!text(&stopped).contains("killed") && !is_alive(&next) && account.server_pid().is_none());
        assert_eq!(get(port, "/readyz").await, None);
        assert_eq!(account.done("server", &["stop"]), "Server is not running\n");
    }
}

#[tokio::test]
async fn its_log_is_kept_for_its_owner_and_shown_by_lines() {
    use std::os::unix::fs::PermissionsExt;
    let redis = Redis::start().await;
    let account = Account::installed(&dotenv(&redis, None).0);
    assert!(account.refused("server", &["logs"]).contains("there is no log yet"));
    account.done("server", &["start"]);
    account.done("server", &["stop"]);
    let log = std::fs::read_to_string(account.server_log()).unwrap();
    let lines = log.lines().count();
    assert!(lines > 2 && log.lines().all(|line| line.starts_with('{')), "{log}");
    assert_eq!(account.done("server", &["logs"]), log);
    assert_eq!(account.done("server", &["logs", "2"]).lines().count(), 2);
    assert!(
        account
            .refused("server", &["logs", "all"])
            .contains("takes a number of lines")
    );
    assert!(
        account
            .refused("server", &["dance"])
            .contains("Usage: server {start|stop|restart|status|logs [lines]}")
    );
    let mode = std::fs::metadata(account.server_log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has users and addresses");

    // What has grown too long is put aside, and no second one.
    std::fs::write(account.server_log(), "old\n".repeat(3_000_000)).unwrap();
    account.done("server", &["start"]);
    account.done("server", &["stop"]);
    assert!(
        std::fs::read_to_string(account.server_log().with_extension("log.1"))
            .unwrap()
            .starts_with("old")
    );
    assert!(std::fs::metadata(account.server_log()).unwrap().len() < 1_000_000);
}

#[tokio::test]
async fn a_number_that_another_process_has_got_is_no_server() {
    let redis = Redis::start().await;
    let account = Account::installed(&dotenv(&redis, None).0);
    let mut command = Command::new("sleep");
    let other = Process::spawn("sleep", command.arg("1000").stdin(Stdio::null()));
    let ended = {
        let child = Process::spawn("true", &mut Command::new("true"));
        child.wait(LIMIT).await.unwrap();
        child.pid()
    };
    for pid in [other.pid(), ended] {
        std::fs::write(account.pid_file(), format!("{pid}\n")).unwrap();
        assert_eq!(
            account.refused("server", &["status"]),
            format!("Status: STOPPED (stale PID: {pid})\n")
        );
        assert_eq!(account.done("server", &["stop"]), "Server is not running\n");
        assert!(account.server_pid().is_none());
    }
    std::fs::write(account.pid_file(), "-1 $(id)\n").unwrap();
    assert_eq!(account.refused("server", &["status"]), "Status: NOT RUNNING\n");
    std::fs::write(account.pid_file(), format!("{}\n", other.pid())).unwrap();
    account.done("server", &["start"]);
    assert_ne!(account.server_pid().unwrap(), other.pid().to_string());
    account.done("server", &["stop"]);
    assert!(other.exited().is_none(), "it is left alone");
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let redis = Redis::start().await;
    let (dotenv, _) = dotenv(&redis, None);
    let account = Account::installed(&dotenv);
    account.configure(&format!("{dotenv}REALTIME_PING_TIMEOUT=60s\n"));
    let wrong = account.refused("server", &["start"]);
    assert!(
        wrong.contains("REALTIME_PING_TIMEOUT") && wrong.contains("the server has ended"),
        "{wrong}"
    );
    assert!(account.server_pid().is_none());

    let taken = free_port();
    let _listener = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    account.configure(&format!("{dotenv}REALTIME_PORT={taken}\n"));
    let busy = account.refused("server", &["start"]);
    assert!(
        busy.contains("in use") && !busy.contains("REALTIME_PING_TIMEOUT"),
        "this start's lines alone: {busy}"
    );
    assert!(account.server_pid().is_none());
}

#[tokio::test]
async fn a_start_that_waits_for_redis_says_so_and_leaves_it_running() {
    let redis = Redis::stopped();
    let account = Account::installed(&dotenv(&redis, None).0);
    let started = account.action(Loader::Head, "server", &["start"]);
    assert!(started.status.success(), "{}", text(&started));
    let said = text(&started);
    assert!(said.contains("is not ready yet (/readyz says 503"), "{said}");
    let pid = account.server_pid().unwrap();
    let status = account.done("server", &["status"]);
    assert!(
        status.contains("RUNNING") && status.contains("Health (503)"),
        "{status}"
    );
    redis.restart().await;
    eventually("it is ready", async || {
        account.done("server", &["status"]).contains("Health (200)")
    })
    .await;
    assert_eq!(account.server_pid().unwrap(), pid);
    account.done("server", &["stop"]);
}

/// Signals that wait for a process, as the kernel says.
fn is_terminating(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.unwrap_or(0) & (1 << 14) != 0
}

#[tokio::test]
async fn a_stop_waits_for_the_drain_and_kills_behind_its_deadline() {
    let redis = Redis::start().await;
    let (dotenv, _) = dotenv(&redis, None);
    let account = Account::installed(&format!("{dotenv}REALTIME_DRAIN_TIMEOUT=1000\n"));
    let stop = || {
        let mut command = account.command("bash");
        command.arg(account.plugin().join("actions/server.sh")).arg("stop");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Process::spawn("server stop", &mut command)
    };
    // It stands for one that still has clients to send away: it gets the signal, and does not end.
    account.done("server", &["start"]);
    let pid = account.server_pid().unwrap();
    signal(&pid, "STOP");
    let stopping = stop();
    eventually("it is told to stop", async || is_terminating(&pid)).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // by then the existing plugin's script has killed it
    assert!(is_alive(&pid) && stopping.exited().is_none());
    signal(&pid, "CONT");
    assert!(stopping.wait(LIMIT).await.unwrap().success());
    let log = account.done("server", &["logs", "1000"]);
    assert!(log.contains("stopped"), "it came to its own end: {log}");

    account.done("server", &["start"]);
    let pid = account.server_pid().unwrap();
    // What it was started with counts, not what the file says meanwhile.
    account.configure(&dotenv);
    signal(&pid, "STOP");
    let (started, stopping) = (Instant::now(), stop());
    assert!(stopping.wait(LIMIT).await.unwrap().success());
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(25),
        "{took:?}"
    );
    assert!(!is_alive(&pid) && account.server_pid().is_none());
}
