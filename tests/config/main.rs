//! Settings: precedence of their sources, strictness, what is said about wrong ones, and `.env.example`.

mod pages;
mod profiles;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use nself_realtime::config::{
    Config, CustomStatusShape, Limits, LogFormat, LogLevel, PresenceAudience, Recovery, settings,
};
use nself_realtime::types::Rate;

const REDIS: (&str, &str) = ("REALTIME_REDIS_URL", "redis://localhost:6379");

/// Public keys whose private halves nobody kept.
const PUBLIC_KEYS: &[(&str, &[Algorithm])] = &[
    (
        "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEp9CF8+S1CnSR0Cc0kaLvI65P5tGN
4OCbSAGdT5teg5oBynMrZUSB54uZ909lPaprptDDIzDAgqSgH6T/FDzb/A==
-----END PUBLIC KEY-----",
        &[Algorithm::ES256, Algorithm::ES384],
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAVA37GGAlWRLplfxV3PL1Bq4ACApA1l/GmaClSPSco2M=
-----END PUBLIC KEY-----",
        &[Algorithm::EdDSA],
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAta47fHDnh6qVlmZ5Modi
c+Mikv1p1sSszeEJqDGI1SrOibEeijm7xDppxMo6aeifCHBEosXIOSc4abH+P17b
X2cc/oJx3ZbJ5hDRzJuznjCH76QhKIMxRAX8r57G62JUr/ndzUgeg0iSgkG3B78+
R82+jtyw2u/HYkiQ9IyjuuIswXZEX/hjQr5F8BUxzjKFzpioRtK9H4Rw67nYb2SF
SQnmEZU5eWUl1hua5v4IjaJvfjLUx7tEfQSdqC1F8zGeRKYrAzu6V4w25iacnb8G
9nnxIklMN0kjn1zWCP4z4cf2BLtJzC+pomdgMlGp++om88v0ulxYDPk4qSO2f2RL
DQIDAQAB
-----END PUBLIC KEY-----",
        &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
    ),
];

fn config(pairs: &[(&str, &str)]) -> Config {
    Config::from_pairs([REDIS].iter().chain(pairs).copied()).unwrap()
}

fn errors(pairs: &[(&str, &str)]) -> String {
    Config::from_pairs(pairs.iter().copied()).unwrap_err().to_string()
}

/// The error of one wrong value.
fn refused(name: &str, text: &str) -> String {
    errors(&[REDIS, (name, text)])
}

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
fn only_redis_is_required() {
    let error = errors(&[]);
    assert!(error.contains("REALTIME_REDIS_URL: is missing"), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
    config(&[]);
}

#[test]
fn the_defaults_are_those_of_the_documents() {
    let config = config(&[]);
    assert_eq!(config.listen().to_string(), "0.0.0.0:3101");
    assert_eq!(config.redis_prefix, "rt");
    assert!(config.database_url.is_none() && config.cors_origin.is_empty() && config.api_keys.is_empty());
    assert!(!config.jwt.has_key() && !config.allow_anonymous && !config.anonymous_may_send);
    assert_eq!(config.ping_interval, Duration::from_secs(25));
    assert_eq!(config.ping_timeout, Duration::from_secs(60));
    assert_eq!((config.max_payload, config.max_content), (1_000_000, 65_536));
    assert_eq!(
        (config.max_connections, config.max_user_connections, config.batch_size),
        (10_000, 50, 100)
    );
    assert_eq!(config.limits, Limits::Enforce);
    assert_eq!((Rate::new(100, 100), config.max_rooms), (Some(config.rate_limit), 200));
    assert_eq!(config.recovery, Recovery::Asked);
    assert_eq!(config.recovery_window, Duration::from_secs(120));
    assert_eq!(config.presence_audience, PresenceAudience::Rooms);
    assert_eq!(config.presence_room_limit, 500);
    assert_eq!(config.presence_heartbeat, Duration::from_secs(30));
    assert_eq!(config.lease(), Duration::from_secs(75));
    assert_eq!(config.presence_grace, Duration::from_secs(5));
    assert_eq!(config.custom_status_shape, CustomStatusShape::Flat);
    assert_eq!(config.typing_timeout, Duration::from_secs(3));
    assert_eq!(config.node_beat, Duration::from_secs(2));
    assert_eq!(config.node_lease, Duration::from_secs(6));
    assert_eq!(config.sweep_interval, Duration::from_millis(250));
    assert!(config.enable_presence && config.enable_typing && config.enable_compression);
    assert!(config.room_autocreate.is_empty());
    assert!(config.log_events && config.log_event_types.matches("disconnect"));
    assert!(!config.log_event_types.matches("message"));
    assert_eq!(
        (config.metrics_path.as_str(), config.health_path.as_str()),
        ("/metrics", "/health")
    );
    assert_eq!(config.log_level, LogLevel::Info);
}

#[test]
fn node_ids_are_random() {
    assert_ne!(config(&[]).node_id, config(&[]).node_id);
    assert_eq!(config(&[("REALTIME_NODE_ID", "a")]).node_id.as_str(), "a");
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let config = config(&[("REALTIME_PORT", ""), ("REALTIME_JWT_SECRET", "  "), ("PORT", "4000")]);
    assert_eq!(config.port, 4000);
    assert!(!config.jwt.has_key());
}

#[test]
fn a_wrong_value_is_answered_by_name_value_and_what_is_taken() {
    for (name, text, takes) in [
        ("REALTIME_PORT", "70000", "a whole number from 0 to 65535"),
        ("REALTIME_PORT", "31O1", "a whole number"),
        ("REALTIME_PORT", "+3101", "a whole number"),
        ("REALTIME_MAX_PAYLOAD", "-1", "a whole number"),
        ("REALTIME_MAX_CONNECTIONS", "1e4", "a whole number"),
        ("REALTIME_RATE_LIMIT", "0", "<a minute>/<at once>"),
        ("REALTIME_RATE_MESSAGES", "+600", "<a minute>/<at once>"),
        ("REALTIME_RATE_MESSAGES", "600/", "<a minute>/<at once>"),
        ("REALTIME_RATE_MESSAGES", "600/5/5", "<a minute>/<at once>"),
        ("REALTIME_RATE_MESSAGES", "10000001", "from 1 to 10000000"),
        ("REALTIME_PING_TIMEOUT", "60s", "whole milliseconds"),
        ("REALTIME_TYPING_TIMEOUT", "3.5", "whole milliseconds"),
        ("REALTIME_ENABLE_TYPING", "yes", "true, false, 1 or 0"),
        ("REALTIME_LIMITS", "Enforce", "enforce, shadow or off"),
        ("REALTIME_RECOVERY", "none", "asked, all or off"),
        ("REALTIME_PRESENCE_AUDIENCE", "everyone", "rooms or all"),
        ("REALTIME_CUSTOM_STATUS_SHAPE", "nested", "flat or object"),
        ("REALTIME_HOST", "example.test", "an IP address, or localhost"),
        ("REALTIME_CORS_ORIGIN", "https://a.test/", "scheme://host[:port]"),
        ("REALTIME_TRUSTED_PROXIES", "10.0.0.0/40", "networks"),
        ("REALTIME_REDIS_PREFIX", "{rt}", "letters"),
        ("REALTIME_METRICS_PATH", "metrics", "a path"),
        ("LOG_LEVEL", "verbose", "trace, debug, info, warn or error"),
        ("LOG_FORMAT", "xml", "json or pretty"),
    ] {
        let error = refused(name, text);
        let line = error.lines().nth(1).unwrap();
        assert!(line.contains(&format!("{name} (environment)")), "{error}");
        assert!(line.contains(&format!("got {text:?}")), "{error}");
        assert!(line.contains(takes), "{error}");
    }
}

#[test]
fn every_error_is_named_at_once() {
    let error = errors(&[
        ("REALTIME_PORT", "x"),
        ("REALTIME_LIMITS", "x"),
        ("REALTIME_NODE_LEASE", "2000"),
    ]);
    for name in ["REALTIME_PORT", "REALTIME_LIMITS", "REALTIME_REDIS_URL"] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let pem = "-----BEGIN PUBLIC KEY-----\\nhush\\n-----END PUBLIC KEY-----";
    for (name, text) in [
        ("REALTIME_REDIS_URL", "rediss://u:hush@h"),
        ("DATABASE_URL", "mysql://u:hush@h/d"),
        ("REALTIME_JWT_SECRET", pem),
    ] {
        let error = refused(name, text);
        assert!(
            error.contains(name) && error.contains("hidden") && !error.contains("hush"),
            "{error}"
        );
    }
    let config = Config::from_pairs([
        ("REALTIME_REDIS_URL", "redis://u:hush@h"),
        ("REALTIME_DATABASE_URL", "postgres://u:hush@h/d?password=hush"),
        ("REALTIME_JWT_SECRET", "hush"),
        ("REALTIME_API_KEYS", "hush,hush2"),
    ])
    .unwrap();
    assert!(!format!("{config:?} {:?}", config.warnings()).contains("hush"));
}

#[test]
fn booleans_are_true_false_1_and_0() {
    for (text, expected) in [
        ("true", true),
        ("TRUE", true),
        ("1", true),
        ("false", false),
        ("False", false),
        ("0", false),
    ] {
        assert_eq!(config(&[("REALTIME_ALLOW_ANONYMOUS", text)]).allow_anonymous, expected);
    }
}

#[test]
fn the_nself_loaders_variables_are_fallbacks() {
    let from = |pairs: &[(&str, &str)]| Config::from_pairs(pairs.iter().copied()).unwrap();
    let config = from(&[
        ("PORT", "3000"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PASSWORD", "p@ss/word"),
        ("POSTGRES_HOST", "db"),
        ("POSTGRES_PASSWORD", "p:w"),
        ("POSTGRES_SSL", "true"),
    ]);
    assert_eq!(config.port, 3000);
    assert_eq!(config.redis_url.expose(), "redis://:p%40ss%2Fword@redis:6379");
    assert_eq!(
        config.database_url.unwrap().expose(),
        "postgres://postgres:p%3Aw@db:5432/nself?sslmode=require"
    );

    let config = from(&[
        ("REDIS_URL", "redis://b"),
        ("REDIS_HOST", "c"),
        ("DATABASE_URL", "postgres://u@h/d"),
        ("POSTGRES_HOST", "i"),
    ]);
    assert_eq!(config.redis_url.expose(), "redis://b");
    assert_eq!(config.database_url.unwrap().expose(), "postgres://u@h/d");

    let config = from(&[
        ("REALTIME_REDIS_URL", "redis://a"),
        ("REDIS_URL", "redis://b"),
        ("REALTIME_PORT", "1"),
        ("PORT", "2"),
    ]);
    assert_eq!((config.redis_url.expose(), config.port), ("redis://a", 1));

    let config = from(&[
        REDIS,
        ("DATABASE_URL", "postgres://h/d"),
        ("REALTIME_DATABASE_URL", "none"),
    ]);
    assert!(config.database_url.is_none());
    let config = from(&[REDIS, ("LOG_FORMAT", "pretty"), ("NODE_ENV", "production")]);
    assert_eq!(config.log_format, LogFormat::Pretty);
    let config = from(&[REDIS, ("NODE_ENV", "production")]);
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn a_part_that_says_nonsense_is_refused_whether_or_not_it_is_used() {
    let wrong = "POSTGRES_SSL: got \"yes\", takes true, false, 1 or 0";
    for beside in [
        ("POSTGRES_HOST", "db"),
        ("DATABASE_URL", "postgres://h/d"),
        ("REALTIME_DATABASE_URL", "none"),
        ("LOG_FORMAT", "json"),
    ] {
        let error = errors(&[REDIS, beside, ("POSTGRES_SSL", "yes")]);
        assert_eq!(error.matches(wrong).count(), 1, "{beside:?}: {error}");
    }
    assert!(config(&[("POSTGRES_SSL", "true")]).database_url.is_none());
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let error = errors(&[REDIS, ("REALTIME_NODE_LEASE", "3999")]);
    assert!(
        error.contains("REALTIME_NODE_LEASE") && error.contains("REALTIME_NODE_BEAT"),
        "{error}"
    );
    config(&[("REALTIME_NODE_LEASE", "4000")]);
    assert!(refused("REALTIME_HEALTH_PATH", "/metrics").contains("both are /metrics"));
    assert!(refused("REALTIME_HEALTH_PATH", "/socket.io/x").contains("is taken by /socket.io"));
    config(&[("REALTIME_HEALTH_PATH", "/apiary")]);
}

#[test]
fn algorithms_fit_the_key() {
    let shared = config(&[("REALTIME_JWT_SECRET", "secret")]);
    assert_eq!(
        shared.jwt.algorithms,
        [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
    );
    let one = config(&[("REALTIME_JWT_SECRET", "secret"), ("REALTIME_JWT_ALGORITHMS", "HS512")]);
    assert_eq!(one.jwt.algorithms, [Algorithm::HS512]);

    // An RS token against an HS secret, `none`, and an HS token against a public key never get as far as a client.
    for algorithm in ["RS256", "none", "ES256", "hs256"] {
        let error = errors(&[
            REDIS,
            ("REALTIME_JWT_SECRET", "secret"),
            ("REALTIME_JWT_ALGORITHMS", algorithm),
        ]);
        assert!(error.contains("fits the key: HS256, HS384, HS512"), "{error}");
    }
    for (key, expected) in PUBLIC_KEYS {
        // Line ends may be escaped, as they must be in most files of variables.
        for text in [key.to_string(), key.replace('\n', "\\n")] {
            let jwt = config(&[("REALTIME_JWT_SECRET", &text)]).jwt;
            assert!(jwt.is_public_key());
            assert_eq!(jwt.algorithms, *expected);
            let error = errors(&[
                REDIS,
                ("REALTIME_JWT_SECRET", &text),
                ("REALTIME_JWT_ALGORITHMS", "HS256"),
            ]);
            assert!(error.contains("fits the key") && !error.contains("HS384"), "{error}");
        }
    }
    let set = config(&[("REALTIME_JWT_JWKS_URL", "https://id.test/keys")]);
    assert!(set.jwt.has_key() && !set.jwt.algorithms.contains(&Algorithm::HS256));
    let both = config(&[("REALTIME_JWT_SECRET", "x"), ("REALTIME_JWT_JWKS_FILE", "/keys")]);
    assert!(both.jwt.algorithms.contains(&Algorithm::HS256) && both.jwt.algorithms.contains(&Algorithm::ES256));
    let two_sets = errors(&[
        REDIS,
        ("REALTIME_JWT_JWKS_URL", "https://id.test/keys"),
        ("REALTIME_JWT_JWKS_FILE", "/keys"),
    ]);
    assert!(two_sets.contains("at most one"), "{two_sets}");
}

#[test]
fn an_operator_is_warned() {
    let all = |pairs: &[(&str, &str)]| config(pairs).warnings();
    let nobody = &all(&[])[0];
    assert!(
        nobody.level == LogLevel::Error && nobody.text.contains("nobody can get in"),
        "{nobody}"
    );
    assert!(
        all(&[("REALTIME_ALLOW_ANONYMOUS", "true")])
            .iter()
            .all(|warning| warning.level == LogLevel::Warn)
    );
    let text = |pairs: &[(&str, &str)]| {
        all(pairs)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let bare = text(&[]);
    assert!(
        bare.contains("the archive is off") && bare.contains("own origin only"),
        "{bare}"
    );
    assert!(text(&[("REALTIME_PROT", "1")]).contains("did you mean REALTIME_PORT?"));
    assert!(text(&[("REALTIME_JWT_SECRET", "short")]).contains("shorter than 32 bytes"));
    let full = text(&[
        ("REALTIME_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("REALTIME_CORS_ORIGIN", "*"),
        ("REALTIME_DATABASE_URL", "postgres://h/d"),
    ]);
    assert_eq!(full, "");
}

/// Each source is made wrong in turn; the error says which one was believed.
#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_dotenv() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join(".env"),
        "REALTIME_PORT=from-dotenv\nREALTIME_LIMITS=from-dotenv\n",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("my.env"),
        "export REALTIME_PORT=from-file # a comment\n",
    )
    .unwrap();
    let env = [("REALTIME_PORT", "from-environment")];
    let said = |args: &[&str], envs: &[(&str, &str)]| {
        let output = program(directory.path(), args, envs);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    let flag = said(&["serve", "--config", "my.env", "--port", "from-flag"], &env);
    assert!(flag.contains("--port (command line): got \"from-flag\""), "{flag}");
    let environment = said(&["serve", "--config", "my.env"], &env);
    assert!(
        environment.contains("REALTIME_PORT (environment): got \"from-environment\""),
        "{environment}"
    );
    let file = said(&["--config", "my.env"], &[]);
    assert!(file.contains("REALTIME_PORT (my.env): got \"from-file\""), "{file}");
    assert!(
        file.contains("REALTIME_LIMITS (.env): got \"from-dotenv\""),
        "what one file lacks, the next one gives: {file}"
    );
    let dotenv = said(&[], &[("REALTIME_PORT", "")]);
    assert!(dotenv.contains("REALTIME_PORT (.env): got \"from-dotenv\""), "{dotenv}");
    let fallback = said(&[], &[("PORT", "from-fallback")]);
    assert!(
        fallback.contains("from-dotenv"),
        "a setting's own name wins wherever it stands: {fallback}"
    );
}

#[test]
fn a_file_that_is_missing_or_malformed_stops_the_start_without_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let missing = program(directory.path(), &["--config", "none.env"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("none.env"), "{}", stderr(&missing));
    std::fs::write(directory.path().join(".env"), "REALTIME_JWT_SECRET=hush hush\n").unwrap();
    let malformed = program(directory.path(), &[], &[]);
    assert_eq!(malformed.status.code(), Some(2));
    assert!(stderr(&malformed).contains(".env"), "{}", stderr(&malformed));
    assert!(!stderr(&malformed).contains("hush"), "{}", stderr(&malformed));
}

#[test]
fn every_setting_is_a_flag() {
    let directory = tempfile::tempdir().unwrap();
    let help = program(directory.path(), &["serve", "--help"], &[]);
    let help = String::from_utf8(help.stdout).unwrap();
    for row in settings() {
        assert!(help.contains(&format!("--{}", row.flag())), "{}", row.flag());
        assert!(help.contains(&format!("[env: {}]", row.name)), "{}", row.name);
    }
    let short = program(directory.path(), &["serve", "-h"], &[]);
    assert!(
        !String::from_utf8(short.stdout).unwrap().contains("--redis-prefix"),
        "-h stays short"
    );
}

#[test]
fn a_switch_needs_no_value() {
    let directory = tempfile::tempdir().unwrap();
    let output = program(
        directory.path(),
        &["token", "--allow-anonymous", "ann"],
        &[("REALTIME_JWT_SECRET", "s")],
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_the_archive_keeps_is_said_in_days_and_milliseconds() {
    let kept = config(&[
        ("REALTIME_EVENT_RETENTION_DAYS", "0"),
        ("REALTIME_CONNECTION_RETENTION", "60000"),
    ]);
    assert_eq!(kept.event_retention_days, 0, "for ever");
    assert_eq!(kept.connection_retention, Duration::from_secs(60));
    assert_eq!(config(&[]).event_retention_days, 30);
    for (name, value) in [
        ("REALTIME_EVENT_RETENTION_DAYS", "-1"),
        ("REALTIME_CONNECTION_RETENTION", "59999"),
    ] {
        let error = Config::from_pairs([REDIS, (name, value)].map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(error.expect_err(name).to_string().contains(name));
    }
}

#[test]
fn a_rate_is_a_minute_and_what_may_come_at_once() {
    let config = config(&[("REALTIME_RATE_LIMIT", "7"), ("REALTIME_RATE_JOINS", "120/1")]);
    assert_eq!(Rate::new(7, 7), Some(config.rate_limit));
    assert_eq!(Rate::new(120, 1), Some(config.rate_joins));
    assert_eq!(config.rate_joins.interval_us(), 500_000);
}
