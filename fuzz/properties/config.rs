//! The configuration. The input is lines of NAME=VALUE, as a process finds them in its environment.

use std::collections::{BTreeMap, BTreeSet};

use nself_realtime::config::{Config, Setting, settings};

/// Stands in secrets of the corpus, and may not be shown.
const HUSH: &str = "hush-hush";
/// Variables whose whole value is secret; of the URLs only the password is.
const SECRETS: &[&str] = &[
    "REALTIME_JWT_SECRET",
    "REALTIME_API_KEYS",
    "REDIS_PASSWORD",
    "POSTGRES_PASSWORD",
];
const REDIS: (&str, &str) = ("REALTIME_REDIS_URL", "redis://localhost:6379");

type Pairs = BTreeMap<String, String>;

/// Whatever is wrong is named by its variable, and without the variables that were named it is right; secrets are not shown;
/// what was loaded keeps its bounds.
pub fn hold(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut pairs: Pairs = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Each round takes out a variable, so that this ends.
    loop {
        let error = match Config::from_pairs(pairs.clone()) {
            Ok(config) => return config_holds(&config, &pairs),
            Err(error) => error.to_string(),
        };
        is_hushed(&error, &pairs);
        let blamed: BTreeSet<&str> = error.lines().skip(1).flat_map(blamed_by).collect();
        let before = pairs.len();
        pairs.retain(|name, _| !blamed.contains(name.as_str()));
        if pairs.len() == before {
            let only_redis = error.lines().count() == 2 && error.contains("\n  REALTIME_REDIS_URL: is missing");
            assert!(only_redis, "nobody set what is wrong: {error}");
            pairs.insert(REDIS.0.to_owned(), REDIS.1.to_owned());
        }
    }
}

/// The variables that one problem is about, at least one of which stands before the first colon.
fn blamed_by(problem: &str) -> Vec<&'static str> {
    let text = problem.strip_prefix("  ").expect("one line for each problem");
    let head = text.split(": ").next().unwrap_or_default();
    let variables = || settings().flat_map(Setting::variables);
    assert!(
        variables().any(|name| has_word(head, name)),
        "no variable is named: {problem}"
    );
    variables().filter(|name| has_word(text, name)).collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).any(|found| found == word)
}

/// No secret is shown, unless somebody wrote it into something that is none.
fn is_hushed(shown: &str, pairs: &Pairs) {
    let is_secret = |name: &str| settings().any(|row| row.secret && row.name == name) || SECRETS.contains(&name);
    let told_elsewhere = pairs
        .iter()
        .any(|(name, value)| name.contains(HUSH) || (!is_secret(name) && value.contains(HUSH)));
    assert!(told_elsewhere || !shown.contains(HUSH), "{shown}");
}

fn config_holds(config: &Config, pairs: &Pairs) {
    let of_urls = |name: &str| settings().any(|row| row.secret && row.variables().any(|variable| variable == name));
    let is_shown = |name: &str| of_urls(name) && !SECRETS.contains(&name);
    if !pairs.iter().any(|(name, value)| is_shown(name) && value.contains(HUSH)) {
        is_hushed(&format!("{config:?}"), pairs);
    }
    assert!(config.shards >= 1);
    assert!(config.node_lease >= 2 * config.node_beat);
    assert!(config.lease() >= 2 * config.presence_heartbeat);
    assert!((1_024..=100_000_000).contains(&config.max_payload));
    assert!((1..=32).contains(&config.redis_prefix.len()));
    assert!((1..=64).contains(&config.node_id.as_str().len()));
    assert_eq!(config.listen().port(), config.port);
    assert!(config.metrics_path.starts_with('/') && config.health_path.starts_with('/'));
    let paths_differ = config.metrics_path != config.health_path;
    assert!(paths_differ || !(config.enable_metrics && config.enable_health));
    // As it is kept is as it may be written.
    let mut kept = pairs.clone();
    kept.insert("REALTIME_CORS_ORIGIN".to_owned(), config.cors_origin.join(","));
    kept.insert("REALTIME_REDIS_URL".to_owned(), config.redis_url.expose().to_owned());
    kept.insert("REALTIME_NO_SUCH_SETTING".to_owned(), "1".to_owned());
    let again = Config::from_pairs(kept).expect("what is kept is right");
    assert_eq!(again.cors_origin, config.cors_origin);
    assert_eq!(again.redis_url, config.redis_url);
    let misspelt = usize::from(!pairs.contains_key("REALTIME_NO_SUCH_SETTING"));
    assert_eq!(again.warnings().len(), config.warnings().len() + misspelt);
}
