//! `nself plugin install` and `remove`: what they need, what they leave.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use redis::AsyncCommands as _;

use crate::loader::{Account, is_alive, text, typed};
use crate::support::postgres::{Database, Postgres};
use crate::support::redis::Redis;
use crate::{LIMIT, dotenv};

/// Tables in the database, and keys in Redis.
async fn data(redis: &Redis, database: &Database) -> (i64, usize) {
    let query = "SELECT count(*) FROM pg_class WHERE relname LIKE 'realtime_%'";
    let tables = database.connect().await.query_one(query, &[]).await.unwrap().get(0);
    let keys: Vec<String> = redis.connection().await.keys("rt:*").await.unwrap();
    (tables, keys.len())
}

#[tokio::test]
async fn an_install_says_what_is_missing() {
    let redis = Redis::start().await;
    let account = Account::new("REALTIME_PORT=1\n");
    let unset = account.install(&[]);
    assert_eq!(unset.status.code(), Some(1));
    assert!(
        text(&unset).contains("REALTIME_REDIS_URL is not set"),
        "{}",
        text(&unset)
    );

    account.configure(&format!("REALTIME_REDIS_URL={}\n", redis.url()));
    let wrong = account.install(&[("NSELF_REALTIME_BINARY", "/etc/passwd")]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("is no program: /etc/passwd"), "{}", text(&wrong));
    let strange = account.install(&[("NSELF_REALTIME_BINARY", "/bin/false")]);
    assert_eq!(strange.status.code(), Some(1));
    assert!(
        text(&strange).contains("does not run on this machine"),
        "{}",
        text(&strange)
    );
    // No program anywhere, and nothing that could build one.
    let bare = account.home().join("bare");
    std::fs::create_dir(&bare).unwrap();
    for tool in ["bash", "sed", "dirname", "cat", "mkdir", "chmod", "cp", "mv", "rm"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join(tool))
            .find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), bare.join(tool)).unwrap();
    }
    let none = account.install(&[("PATH", bare.to_str().unwrap())]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none));
    assert!(text(&none).contains("NSELF_REALTIME_BINARY="), "{}", text(&none));
    assert!(account.refused("init", &[]).contains("install.sh"));

    // In the path is good enough for an action, and for an install.
    let built = Path::new(env!("CARGO_BIN_EXE_nself-realtime")).parent().unwrap();
    let path = format!("{}:{}", bare.display(), built.display());
    let mut by_path = account.command("bash");
    by_path
        .arg(account.plugin().join("actions/init.sh"))
        .arg("--help")
        .env("PATH", &path);
    let by_path = by_path.output().unwrap();
    assert!(by_path.status.success(), "{}", text(&by_path));
    let from_path = account.install(&[("PATH", &path)]);
    assert!(from_path.status.success(), "{}", text(&from_path));

    let good = account.install(&[("NSELF_REALTIME_BINARY", env!("CARGO_BIN_EXE_nself-realtime"))]);
    assert!(good.status.success(), "{}", text(&good));
    for warned in ["REALTIME_JWT_SECRET", "REALTIME_CORS_ORIGIN", "the archive is off"] {
        assert!(text(&good).contains(warned), "{}", text(&good));
    }
    assert!(text(&good).contains("ws://localhost:3101"), "{}", text(&good));
    account.configure(&format!("REALTIME_REDIS_URL={}\nREALTIME_PORT=x\n", redis.url()));
    let wrong = account.install(&[("NSELF_REALTIME_BINARY", env!("CARGO_BIN_EXE_nself-realtime"))]);
    assert!(
        wrong.status.success(),
        "settings can still be put right: {}",
        text(&wrong)
    );
    assert!(
        text(&wrong).contains("does not start") && text(&wrong).contains("REALTIME_PORT"),
        "{}",
        text(&wrong)
    );
    for directory in ["data", "logs", "cache"] {
        assert!(
            account
                .home()
                .join(".nself")
                .join(directory)
                .join("plugins/realtime")
                .is_dir()
        );
    }
}

/// A program that says which version it is, and otherwise does as the one that is under test.
fn program_of(version: &str) -> String {
    let real = env!("CARGO_BIN_EXE_nself-realtime");
    format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo nself-realtime {version}\nexec '{real}' \"$@\"\n")
}

/// Another file under the name, as whoever builds or unpacks it leaves one.
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn an_update_of_the_sources_updates_the_program() {
    let redis = Redis::start().await;
    let account = Account::new(&format!("REALTIME_REDIS_URL={}\n", redis.url()));
    let first = account.home().join("elsewhere");
    put(&first, &program_of("0.0.1"));
    let done = account.install(&[("NSELF_REALTIME_BINARY", first.to_str().unwrap())]);
    assert!(done.status.success(), "{}", text(&done));
    let plugin = account.plugin();
    let (program, next) = (plugin.join("bin/nself-realtime"), account.home().join("next"));
    let built = plugin.join("target/release/nself-realtime");
    // What builds here only copies.
    let tools = account.home().join("tools");
    let cargo = format!(
        "#!/bin/sh\nmkdir -p '{}' && cp '{}' '{}'\n",
        built.parent().unwrap().display(),
        next.display(),
        built.display()
    );
    put(&tools.join("cargo"), &cargo);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let again = || {
        let mut command = account.command("bash");
        command.arg(plugin.join("install.sh")).env("PATH", &path);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        std::fs::read_to_string(&program).unwrap()
    };
    put(&next, &program_of("0.0.2"));
    assert_eq!(again(), program_of("0.0.1"), "the sources are the same");
    put(&plugin.join("lua/nodes/new.lua"), "return 1\n");
    assert_eq!(again(), program_of("0.0.2"), "it is built anew");
    assert!(!plugin.join("target").exists(), "nobody needs that any more");
    put(&next, &program_of("0.0.3"));
    assert_eq!(again(), program_of("0.0.2"), "once");
    // What was built here is taken as it is.
    put(&plugin.join("src/new.rs"), "//! New.\n");
    put(&built, &program_of("0.0.4"));
    assert_eq!(again(), program_of("0.0.4"));
    // A package that brings its program along, over what was there.
    put(&plugin.join("src/new.rs"), "//! Newer.\n");
    put(&program, &program_of("0.0.5"));
    assert_eq!(again(), program_of("0.0.5"));
}

#[tokio::test]
async fn a_removal_keeps_the_data_unless_it_is_told_otherwise() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let account = Account::installed(&dotenv(&redis, Some(&database)).0);
    account.done("init", &[]);
    let kept = data(&redis, &database).await;
    assert!(kept.0 > 10 && kept.1 > 64, "{kept:?}");

    // As the loader calls it; with nothing said and nobody there; with somebody who does not want to.
    for arguments in [&["--keep-data"][..], &[][..]] {
        account.done("server", &["start"]);
        let pid = account.server_pid().unwrap();
        let output = account.uninstall(arguments);
        assert!(
            output.status.success() && text(&output).contains("Kept:"),
            "{}",
            text(&output)
        );
        assert!(!is_alive(&pid) && account.data().is_dir());
        assert_eq!(data(&redis, &database).await.0, kept.0);
    }
    assert!(
        !account.home().join(".nself/bin/nself-realtime").is_symlink(),
        "no link to what goes away"
    );
    let unknown = account.uninstall(&["--all"]);
    assert_eq!(unknown.status.code(), Some(1));
    for answers in ["\n", "n\n"] {
        let output = typed(&account, &account.plugin().join("uninstall.sh"), "", answers);
        assert!(
            output.status.success() && text(&output).contains("Kept:"),
            "{}",
            text(&output)
        );
    }
    assert!(data(&redis, &database).await.1 > 64);
    let output = typed(&account, &account.plugin().join("uninstall.sh"), "", "y\n");
    assert!(
        output.status.success() && text(&output).contains("✓ Data deleted"),
        "{}",
        text(&output)
    );
    assert_eq!(data(&redis, &database).await, (0, 0));
    assert!(!account.data().exists() && !account.server_log().exists());
}

#[tokio::test]
async fn a_removal_with_the_data_stops_everything_first_and_fails_where_it_cannot() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::shared());
    let database = postgres.database().await;
    let (dotenv, _) = dotenv(&redis, Some(&database));
    let account = Account::installed(&dotenv);
    account.done("init", &[]);
    account.done("server", &["start"]);
    // One that nobody's file tells of.
    let by_hand = crate::support::process::Process::spawn(
        "by hand",
        account
            .command(account.plugin().join("bin/nself-realtime").to_str().unwrap())
            .args([
                "serve",
                "--port",
                "0",
                "--host",
                "127.0.0.1",
                "--drain-wait",
                "0",
                "--drain-window",
                "0",
            ])
            .current_dir(account.plugin())
            .env("REALTIME_REDIS_URL", redis.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    account.configure(&dotenv.replace(&database.url(), "postgres://nobody@127.0.0.1:1/nowhere"));
    let away = account.uninstall(&["--delete-data"]);
    assert_eq!(away.status.code(), Some(1), "{}", text(&away));
    assert!(text(&away).contains("the data is still there"), "{}", text(&away));
    assert!(
        by_hand.wait(LIMIT).await.is_some_and(|status| status.success()),
        "it was stopped, too"
    );
    let left = data(&redis, &database).await;
    assert!(left.0 > 10 && left.1 > 64 && account.data().is_dir(), "{left:?}");

    account.configure(&dotenv);
    let done = account.uninstall(&["--delete-data"]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(data(&redis, &database).await, (0, 0));
}
