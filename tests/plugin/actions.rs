//! The other actions, on what a project really has. Not here: what the program's commands print in all cases (`tests/cli.rs`).

use crate::dotenv;
use crate::loader::{Account, Loader, text, typed};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

#[tokio::test]
async fn init_may_be_repeated_under_both_loaders_and_says_what_it_cannot_reach() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let (dotenv, _) = dotenv(&redis, Some(&database));
    let account = Account::installed(&dotenv);
    for loader in [Loader::Head, Loader::Older] {
        let output = account.action(loader, "init", &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            String::from_utf8_lossy(&output.stdout).ends_with("✓ Initialization complete\n"),
            "{}",
            text(&output)
        );
    }
    account.configure(&dotenv.replace(&database.url(), "postgres://nobody@127.0.0.1:1/nowhere"));
    assert!(
        account.refused("init", &[]).contains("127.0.0.1:1"),
        "no silence about it"
    );
    let settings = account.done("integrate", &[]);
    assert!(settings.contains("REALTIME_REDIS_URL="), "{settings}");
}

#[tokio::test]
async fn rooms_are_made_looked_at_and_taken_away() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let account = Account::installed(&dotenv(&redis, Some(&database)).0);
    account.done("init", &[]);
    let rooms = |args: &[&str]| account.done("rooms", args);
    let sly = "x'); DROP TABLE realtime_rooms; --";
    let made = rooms(&["create", "team x", "group", "private"]);
    assert!(made.contains("✓ Room created: team x (group, private)"), "{made}");
    let made = rooms(&["create", sly]);
    assert!(
        made.contains(&format!("✓ Room created: {sly} (channel, public)")),
        "a name is a name: {made}"
    );
    for listed in [rooms(&[]), rooms(&["list"])] {
        assert!(
            listed.contains("general") && listed.contains("team x") && listed.contains(sly),
            "{listed}"
        );
    }
    rooms(&["add-member", "team x", "ann", "moderator"]);
    rooms(&["add-member", "team x", "bob"]);
    let listed = rooms(&["list"]);
    for column in ["ID", "NAME", "TYPE", "MEMBERS", "ACTIVE"] {
        assert!(listed.contains(column), "{column}: {listed}");
    }
    let info = rooms(&["info", "team x"]);
    assert!(
        info.contains("Max Members:    unlimited") && info.contains("Recent Members:"),
        "{info}"
    );
    assert!(
        info.contains("ann") && info.contains("moderator") && info.contains("private"),
        "{info}"
    );
    rooms(&["remove-member", "team x", "ann"]);

    // Somebody at a terminal is asked; without one it has to be said.
    assert!(account.refused("rooms", &["delete", "team x"]).contains("--yes"));
    assert!(rooms(&["list"]).contains("team x"));
    let kept = typed(
        &account,
        &account.plugin().join("actions/rooms.sh"),
        "delete 'team x'",
        "n\n",
    );
    assert!(text(&kept).contains("Not deleted"), "{}", text(&kept));
    assert!(rooms(&[]).contains("team x"));
    let gone = typed(
        &account,
        &account.plugin().join("actions/rooms.sh"),
        "delete 'team x'",
        "y\n",
    );
    assert!(gone.status.success(), "{}", text(&gone));
    rooms(&["delete", "--yes", sly]);
    let listed = rooms(&["list"]);
    assert!(
        !listed.contains("team x") && !listed.contains(sly) && listed.contains("general"),
        "{listed}"
    );
    assert!(account.refused("rooms", &["info", "nowhere"]).contains("nowhere"));
    assert!(account.refused("rooms", &["dance"]).contains("Usage: rooms list"));
}

#[tokio::test]
async fn what_goes_on_is_shown_with_the_server_and_its_endpoints() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let (dotenv, port) = dotenv(&redis, Some(&database));
    let account = Account::installed(&dotenv);
    account.done("init", &[]);
    let node = Node::start(&redis.url(), &[("REALTIME_DATABASE_URL", &*database.url())]).await;
    let _ann = Raw::member(&node, "ann", "auto:den").await;
    let _bob = Raw::member(&node, "bob", "auto:den").await;
    let _cat = Raw::member(&node, "cat", "auto:\"memberCount\":9").await;

    let _again = Raw::member(&node, "ann", "auto:den").await;
    let listed = account.done("rooms", &["list"]);
    let row = format!("{:<20} {:<10} {:<10} 3", "auto:den", "channel", 2);
    assert!(listed.contains(&row), "two users, three connections: {listed}");
    let info = account.done("rooms", &["info", "auto:den"]);
    assert!(info.contains("Total Members:  2\nActive Now:     3\n"), "{info}");
    let (_, recent) = info.split_once("Recent Members:\n").unwrap();
    assert!(
        recent.find("  bob ").unwrap() < recent.find("  ann ").unwrap(),
        "the latest first: {info}"
    );
    let connections = account.done("connections", &[]);
    assert!(
        connections.contains("SOCKET ID") && connections.contains("ann"),
        "{connections}"
    );
    let presence = account.done("presence", &["ann"]);
    assert!(presence.contains("ann") && presence.contains("online"), "{presence}");
    eventually("the sink has written", async || {
        account.done("status", &[]).contains("] connect cat")
    })
    .await;
    let status = account.done("status", &[]);
    for line in [
        "Server Process:     STOPPED\n",
        "Active Connections: 4\n",
        "Unique Users:       3\n",
        "  Online:  3\n",
        "Top 5 Active Rooms:\n  auto:den: 2 members\n  auto:\\\"memberCount\\\":9: 1 members\n",
        &format!("  ✗ http://127.0.0.1:{port}/health (no answer)\n"),
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    account.done("server", &["start"]);
    let status = account.done("status", &[]);
    let pid = account.server_pid().unwrap();
    assert!(
        status.contains(&format!("Server Process:     RUNNING (PID: {pid})\n")),
        "{status}"
    );
    assert!(
        status.contains(&format!("  ✓ http://127.0.0.1:{port}/health (200)\n")),
        "{status}"
    );
    account.done("server", &["stop"]);
    std::fs::write(account.pid_file(), "1\n").unwrap();
    redis.kill();
    let away = account.refused("status", &[]);
    assert!(
        away.contains("Server Process:     STOPPED (stale PID)\n") && away.contains("Redis"),
        "{away}"
    );
}
