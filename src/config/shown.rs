//! Which text of each setting holds, and where it stands; secrets are hidden. Not here: what the texts mean (`read`).

use super::sources::{Origin, Sources};
use super::table::{Setting, settings};
use super::{Config, ConfigError};

/// What stands where a secret is set.
const HIDDEN: &str = "***";

/// A setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The variable.
    pub name: &'static str,
    /// Its text; empty = not set.
    pub value: String,
    /// Where the text stands; `default` where nothing is set.
    pub origin: String,
}

impl Config {
    /// Every setting of the configuration that these sources made, in the table's order.
    pub fn shown(&self, sources: &Sources) -> Vec<Shown> {
        settings()
            .map(|row| Shown {
                name: row.name,
                value: self.value_of(row, sources),
                origin: self.origin_of(row, sources),
            })
            .collect()
    }

    fn value_of(&self, row: &Setting, sources: &Sources) -> String {
        let text = named(row)
            .find_map(|variable| sources.find(variable))
            .map(|found| found.text);
        match row.name {
            // Put together of several variables, it may be; and shown without its password.
            "REALTIME_REDIS_URL" => self.redis_url.to_string(),
            "REALTIME_DATABASE_URL" => self
                .database_url
                .as_ref()
                .map_or_else(|| text.unwrap_or_default().to_owned(), ToString::to_string),
            _ if row.secret => text.map(|_| HIDDEN).unwrap_or_default().to_owned(),
            _ => text.unwrap_or_else(|| self.default_of(row)).to_owned(),
        }
    }

    fn origin_of(&self, row: &Setting, sources: &Sources) -> String {
        let found = row.variables().find_map(|variable| sources.find(variable));
        match found {
            Some(found) if *found.origin == Origin::Flag => format!("--{} (command line)", row.flag()),
            Some(found) if found.variable == row.name => found.origin.to_string(),
            Some(found) => format!("{} ({})", found.variable, found.origin),
            None if self.profiles_default(row).is_some() => "profile".to_owned(),
            None => "default".to_owned(),
        }
    }

    fn profiles_default(&self, row: &Setting) -> Option<&'static str> {
        self.profile.and_then(|profile| profile.default_of(row.name))
    }

    fn default_of(&self, row: &Setting) -> &'static str {
        self.profiles_default(row).unwrap_or(row.default)
    }
}

/// The variables whose text is the setting's own.
fn named(row: &Setting) -> impl Iterator<Item = &'static str> {
    std::iter::once(row.name).chain(row.aliases.iter().copied())
}

impl ConfigError {
    /// Each thing that is wrong, in a line.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|problem| problem.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: &[(&str, &str)]) -> impl Fn(&str) -> (String, String) {
        let sources = Sources::only(pairs.iter().copied());
        let all = Config::from_sources(&sources).unwrap().shown(&sources);
        assert_eq!(all.len(), settings().count());
        move |name| {
            let one = all.iter().find(|shown| shown.name == name).unwrap();
            (one.value.clone(), one.origin.clone())
        }
    }

    #[test]
    fn what_holds_is_shown_with_its_origin() {
        let of = shown(&[
            ("REDIS_HOST", "cache"),
            ("REDIS_PASSWORD", "hush"),
            ("DATABASE_URL", "postgres://me:hush@db/x"),
            ("REALTIME_JWT_SECRET", "hush"),
            ("PORT", "1234"),
            ("REALTIME_PROFILE", "nchat"),
            ("REALTIME_ROOM_OWNERSHIP", "creator"),
        ]);
        for (name, value, origin) in [
            (
                "REALTIME_REDIS_URL",
                "redis://:***@cache:6379",
                "REDIS_HOST (environment)",
            ),
            (
                "REALTIME_DATABASE_URL",
                "postgres://me:***@db/x",
                "DATABASE_URL (environment)",
            ),
            ("REALTIME_JWT_SECRET", "***", "environment"),
            ("REALTIME_API_KEYS", "", "default"),
            ("REALTIME_PORT", "1234", "PORT (environment)"),
            ("REALTIME_ROOM_OWNERSHIP", "creator", "environment"),
            ("REALTIME_CUSTOM_STATUS_SHAPE", "object", "profile"),
            ("REALTIME_PING_INTERVAL", "25000", "default"),
        ] {
            assert_eq!(of(name), (value.to_owned(), origin.to_owned()), "{name}");
        }
    }
}
