//! Profiles: which defaults they change, what wins over them, and how that is said.

use std::path::Path;

use nself_realtime::config::{
    Config, CustomStatusShape, LogLevel, Profile, RoomOwnership, Sources, Warning, example, settings,
};

use crate::{REDIS, config, program, refused, stderr};

const NCHAT: (&str, &str) = ("REALTIME_PROFILE", "nchat");

fn said(warnings: &[Warning]) -> String {
    warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn nchats_defaults_are_those_of_the_documents() {
    let config = config(&[NCHAT]);
    assert_eq!(config.profile, Some(Profile::Nchat));
    assert_eq!(config.custom_status_shape, CustomStatusShape::Object);
    assert_eq!(config.room_ownership, RoomOwnership::None);
    for name in ["channel:7", "thread:7", "dm:7", "user:ada"] {
        assert!(config.room_autocreate.matches(name), "{name}");
    }
    assert!(!config.room_autocreate.matches("lobby"));
    assert!(!config.insecure_user_tokens, "no profile believes anybody");
    assert!(!said(&config.warnings()).contains("REALTIME_PROFILE"));
}

#[test]
fn a_profile_changes_no_other_default() {
    let profile = Profile::Nchat;
    let changed: Vec<_> = profile.defaults().iter().map(|(name, _)| *name).collect();
    let rows = settings().filter(|row| !row.default.is_empty() && !changed.contains(&row.name));
    let explicit: Vec<_> = rows
        .map(|row| (row.name, row.default))
        .chain([REDIS, ("REALTIME_NODE_ID", "n")])
        .collect();
    let with = Config::from_pairs(explicit.iter().copied().chain([NCHAT])).unwrap();
    let mut without = Config::from_pairs(explicit).unwrap();
    assert_ne!(format!("{with:?}"), format!("{without:?}"));
    without.profile = with.profile;
    without.custom_status_shape = with.custom_status_shape;
    without.room_ownership = with.room_ownership;
    without.room_autocreate = with.room_autocreate.clone();
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
}

#[test]
fn what_is_set_wins_over_the_profile_and_is_told() {
    let config = config(&[
        NCHAT,
        ("REALTIME_CUSTOM_STATUS_SHAPE", "flat"),
        ("REALTIME_ROOM_AUTOCREATE", "lobby"),
        ("REALTIME_ROOM_OWNERSHIP", "none"),
    ]);
    assert_eq!(config.custom_status_shape, CustomStatusShape::Flat);
    assert!(config.room_autocreate.matches("lobby") && !config.room_autocreate.matches("dm:7"));
    let said = said(&config.warnings());
    for name in ["REALTIME_CUSTOM_STATUS_SHAPE", "REALTIME_ROOM_AUTOCREATE"] {
        let line = said.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is told: {said}"));
        assert!(line.contains("REALTIME_PROFILE=nchat"), "{line}");
    }
    assert!(
        !said.contains("REALTIME_ROOM_OWNERSHIP"),
        "it is what the profile would have it: {said}"
    );
}

#[test]
fn an_empty_value_leaves_it_to_the_profile() {
    let config = config(&[NCHAT, ("REALTIME_ROOM_AUTOCREATE", "")]);
    assert!(config.room_autocreate.matches("dm:7"));
}

#[test]
fn an_unknown_profile_stops_the_start() {
    let error = refused("REALTIME_PROFILE", "slack");
    assert!(error.contains("\"slack\"") && error.contains("takes nchat"), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

/// The profile may come by any source, as may what it changes.
#[test]
fn a_profile_is_a_setting_like_others() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nchat.env"), "REALTIME_PROFILE=nchat\n").unwrap();
    let wrong = program(
        directory.path(),
        &["serve", "--config=nchat.env", "--custom-status-shape=round"],
        &[REDIS],
    );
    let wrong = stderr(&wrong);
    assert!(
        wrong.contains("--custom-status-shape (command line): got \"round\""),
        "{wrong}"
    );
    let sources = Sources::only([NCHAT, REDIS]);
    assert_eq!(Config::from_sources(&sources).unwrap().profile, Some(Profile::Nchat));
}

#[test]
fn the_help_shows_what_a_profile_changes() {
    let help = program(Path::new(env!("CARGO_TARGET_TMPDIR")), &["--help"], &[]);
    let help = String::from_utf8(help.stdout).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, default) in Profile::Nchat.defaults() {
        let said = format!("(nchat: {default})");
        assert!(words(&help).contains(&said), "{name}: {said}");
        let line = format!("{said}\n{name}=");
        assert!(example().contains(&line), "{line}");
    }
}

#[test]
fn tokens_that_prove_nothing_are_for_this_machine_and_loud() {
    let on = ("REALTIME_INSECURE_USER_TOKENS", "true");
    for host in ["0.0.0.0", "::", "10.0.0.1"] {
        let error = Config::from_pairs([REDIS, on, ("REALTIME_HOST", host)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("REALTIME_INSECURE_USER_TOKENS") && error.contains(host),
            "{error}"
        );
    }
    for host in ["127.0.0.1", "::1", "localhost"] {
        let warnings = config(&[on, ("REALTIME_HOST", host)]).warnings();
        let loud = &warnings[0];
        assert!(
            loud.level == LogLevel::Error && loud.text.contains("REALTIME_INSECURE_USER_TOKENS is true"),
            "{loud}"
        );
        assert!(!said(&warnings).contains("nobody can get in"), "those can");
    }
    // Any web page could be anybody, and in production anybody could.
    for (name, value) in [
        ("REALTIME_CORS_ORIGIN", "*"),
        ("REALTIME_CORS_ORIGIN", "https://a.example,*"),
        ("NODE_ENV", "production"),
    ] {
        let set = [REDIS, ("REALTIME_HOST", "127.0.0.1"), (name, value)];
        Config::from_pairs(set).expect("it is the two together");
        let error = Config::from_pairs(set.into_iter().chain([on])).unwrap_err().to_string();
        assert!(
            error.contains("REALTIME_INSECURE_USER_TOKENS") && error.contains(name),
            "{error}"
        );
    }
    let fine = [on, ("REALTIME_HOST", "127.0.0.1"), ("NODE_ENV", "development")];
    config(&fine);
}
