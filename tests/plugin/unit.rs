//! templates/realtime.service: systemd understands it, it is closed to what the gateway does not need, and it gives a stop the
//! time that a stop takes. Not here: whether the gateway tells systemd what it waits for.

use std::path::Path;
use std::process::Command;

use nself_realtime::config::settings;

use crate::loader::text;

const PROGRAM: &str = "/opt/nself-plugins/plugins/realtime/bin/nself-realtime";
/// Tenths of systemd's points for exposure: 0 is closed, 100 open.
const EXPOSURE_MAX: &str = "15";

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/realtime.service")).unwrap()
}

/// The values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn systemd_understands_it_and_finds_little_that_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nself-realtime.service");
    assert_eq!(values(&unit(), "ExecStart"), [format!("{PROGRAM} serve")]);
    std::fs::write(&path, unit().replace(PROGRAM, env!("CARGO_BIN_EXE_nself-realtime"))).unwrap();
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).arg(&path).output();
        output.expect("systemd is installed (make test does it)")
    };
    let verified = analyze(&["verify", "--man=no"]);
    assert!(
        verified.status.success() && text(&verified).is_empty(),
        "{}",
        text(&verified)
    );
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let judged = analyze(&["security", "--no-pager", "--offline=true", &threshold]);
    assert!(judged.status.success(), "{}", text(&judged));
}

#[test]
fn a_stop_has_the_time_that_it_takes() {
    let unit = unit();
    let timeout_s: u64 = values(&unit, "TimeoutStopSec")[0].parse().unwrap();
    let drain = settings().find(|row| row.name == "REALTIME_DRAIN_TIMEOUT").unwrap();
    let drain_ms: u64 = drain.default.parse().unwrap();
    assert!(timeout_s * 1_000 >= drain_ms + 5_000);
    assert_eq!(
        (values(&unit, "Type"), values(&unit, "NotifyAccess")),
        (vec!["notify"], vec!["main"])
    );
    assert_eq!(values(&unit, "WatchdogSec"), ["30"]);
    assert_eq!(values(&unit, "LimitNOFILE"), ["1048576"]);
    // What the program answers to settings that are wrong.
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["2"]);
}
