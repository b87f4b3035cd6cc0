//! The scripts read the project's settings as nself does, run nothing of what stands there, and take no more than theirs.

use crate::loader::Account;

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/actions/lib/plugin.sh");

/// What the scripts make of the files and the environment, one variable a line.
fn read(account: &Account, envs: &[(&str, &str)]) -> Vec<String> {
    read_by(LIBRARY, account, envs)
}

fn read_by(library: &str, account: &Account, envs: &[(&str, &str)]) -> Vec<String> {
    let output = account
        .command("bash")
        .args([
            "-euo",
            "pipefail",
            "-c",
            r#"source "$0"; load_settings; exec /usr/bin/env -0"#,
            library,
        ])
        .envs(envs.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let ours = text.split('\0').filter(|line| {
        ["REALTIME_", "REDIS_", "POSTGRES_", "DATABASE_URL", "PORT", "LOG_"]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let mut ours: Vec<String> = ours.map(str::to_owned).collect();
    ours.sort();
    ours
}

#[test]
fn values_are_read_and_never_run() {
    let account = Account::new("");
    let touched = account.home().join("touched");
    let touch = format!("$(touch '{0}')`touch '{0}'`; touch '{0}'", touched.display());
    for (line, value) in [
        ("REALTIME_X=plain", "plain"),
        ("export REALTIME_X=plain", "plain"),
        ("  REALTIME_X = spaced out \t", "spaced out"),
        ("REALTIME_X=crlf\r", "crlf"),
        ("REALTIME_X=a # comment", "a"),
        ("REALTIME_X=a#b", "a#b"),
        ("REALTIME_X=#none", ""),
        ("REALTIME_X=", ""),
        ("REALTIME_X='single # ${HOST} \\n' # comment", "single # ${HOST} \\n"),
        (
            r#"REALTIME_X="double # \"q\" \\ \$ $" # comment"#,
            r#"double # "q" \ $ $"#,
        ),
        (r#"REALTIME_X="two\nlines""#, "two\nlines"),
        (r#"REALTIME_X="unclosed"#, r#""unclosed"#),
        (
            "HOST=h.test\nREALTIME_X=http://${HOST}:${NOT_SET}1/$HOST",
            "http://h.test:1/$HOST",
        ),
        ("REALTIME_X=${a b}${", "${a b}${"),
        ("REALTIME_X=-n", "-n"),
        ("REALTIME_X=first\nREALTIME_X=last", "last"),
        ("not a line\n=x\n1A=b\nREALTIME_X=last without end", "last without end"),
        (
            "REALTIME_X=\"-----BEGIN PUBLIC KEY-----\r\nabc\r\n-----END PUBLIC KEY-----\"\r\nOTHER=1",
            "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        ),
        (&format!("REALTIME_X={touch}"), &touch),
        (&format!("REALTIME_X=\"{touch}\""), &touch),
    ] {
        account.configure(line);
        assert_eq!(read(&account, &[]), [format!("REALTIME_X={value}")], "{line}");
    }
    account.configure(
        "PATH=/nowhere\nHOME=/nowhere\nLD_PRELOAD=x\nBASH_ENV=x\nIFS=x\nREALTIME_X=1\nPLUGIN=/x\nPROJECT=/x",
    );
    assert_eq!(
        read(&account, &[]),
        ["REALTIME_X=1"],
        "nobody else's variable changes the script"
    );
    assert!(!touched.exists());
}

#[test]
fn the_environment_wins_over_the_files_and_those_over_each_other_as_in_nself() {
    let account = Account::new("REALTIME_A=env\nREALTIME_F=${REALTIME_B}");
    let write = |name: &str, text: &str| std::fs::write(account.project().join(name), text).unwrap();
    write(
        ".env.dev",
        "REALTIME_A=dev\nREALTIME_B=dev\nREALTIME_C=dev\nREALTIME_D=dev\nREALTIME_E=dev",
    );
    write(".env.local", "REALTIME_B=local");
    write(".env.staging", "REALTIME_C=staging\nREALTIME_D=staging");
    write(".env.prod", "REALTIME_D=prod");
    write(".env.secrets", "REALTIME_E=secret");
    let of = |letters: [&str; 6]| -> Vec<String> {
        let names = ["A", "B", "C", "D", "E", "F"].into_iter().zip(letters);
        names.map(|(name, value)| format!("REALTIME_{name}={value}")).collect()
    };
    assert_eq!(read(&account, &[]), of(["env", "local", "dev", "dev", "dev", "local"]));
    let staging = of(["env", "local", "staging", "staging", "dev", "local"]);
    assert_eq!(read(&account, &[("ENV", "staging")]), staging);
    let production = of(["env", "local", "staging", "prod", "secret", "local"]);
    assert_eq!(
        read(&account, &[("NSELF_ENV", "production"), ("ENV", "dev")]),
        production
    );
    account.configure("ENV=prod\nREALTIME_A=env\nREALTIME_F=${REALTIME_B}");
    assert_eq!(read(&account, &[]), production);

    let given = [("REALTIME_A", "given"), ("REALTIME_B", "given"), ("REALTIME_C", "")];
    assert_eq!(
        read(&account, &given),
        of(["given", "given", "staging", "prod", "secret", "given"]),
        "an empty one counts as not set"
    );
}

#[test]
fn what_stands_in_the_plugin_s_directory_is_weaker_than_the_project() {
    let account = Account::new("REALTIME_A=project");
    let library = account.plugin().join("actions/lib");
    std::fs::create_dir_all(&library).unwrap();
    let library = library.join("plugin.sh");
    std::fs::copy(LIBRARY, &library).unwrap();
    std::fs::write(account.plugin().join(".env"), "REALTIME_A=plugin\nREALTIME_B=plugin").unwrap();
    let said = read_by(library.to_str().unwrap(), &account, &[]);
    assert_eq!(said, ["REALTIME_A=project", "REALTIME_B=plugin"]);
}

#[test]
fn a_path_is_meant_from_the_project() {
    let account = Account::new("REALTIME_JWT_JWKS_FILE=keys/set.json");
    let expected = account.project().join("keys/set.json");
    assert_eq!(
        read(&account, &[]),
        [format!("REALTIME_JWT_JWKS_FILE={}", expected.display())]
    );
}
