//! Turns texts into values. A wrong text is noted and the default stands in, so that one start names all errors.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::sources::{Found, Origin, Sources};
use super::table::{Setting, settings};
use super::values::{NamePatterns, Profile, SecretUrl};
use super::{ConfigError, Problem};
use crate::types::Rate;

/// A day, in ms: hardly any setting needs a longer time.
pub(super) const DAY_MS: u64 = 86_400_000;

/// The one setting that others depend on.
const PROFILE: &str = "REALTIME_PROFILE";

/// Longest part of a wrong value that is shown, in characters.
const SHOWN: usize = 80;

/// Reads settings one by one and remembers what was wrong.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    profile: Option<Profile>,
    problems: Vec<Problem>,
    read: BTreeSet<&'static str>,
    overrides: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        // A wrong one is noted where the setting itself is read.
        let profile = sources.find(PROFILE).and_then(|found| Profile::parse(found.text));
        Self {
            sources,
            profile,
            problems: Vec::new(),
            read: BTreeSet::new(),
            overrides: Vec::new(),
        }
    }

    /// What is set to something else than the profile would have it.
    pub fn overrides(&mut self) -> Vec<String> {
        std::mem::take(&mut self.overrides)
    }

    /// All errors, or nothing.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(self.problems))
        }
    }

    /// The settings that were asked for.
    #[cfg(test)]
    pub fn names_read(&self) -> &BTreeSet<&'static str> {
        &self.read
    }

    /// Notes an error that is about more than one value.
    pub fn problem(&mut self, text: impl Display) {
        self.problems.push(Problem(text.to_string()));
    }

    /// The text of a variable that is no setting of its own, but a part of one.
    pub fn part(&self, variable: &'static str) -> Option<&'a str> {
        self.sources.find(variable).map(|found| found.text)
    }

    /// Whether the setting itself, by any of its names, has a text, right or wrong.
    pub fn is_set(&mut self, name: &'static str) -> bool {
        self.found(name).1.is_some()
    }

    /// The strongest text that is set, by the setting's own name before any other.
    fn found(&mut self, name: &'static str) -> (&'static Setting, Option<Found<'a>>) {
        let row = settings()
            .find(|row| row.name == name)
            .expect("every name that is read is a row of the table");
        self.read.insert(name);
        let names = std::iter::once(row.name).chain(row.aliases.iter().copied());
        let sources = self.sources;
        (row, names.into_iter().find_map(|variable| sources.find(variable)))
    }

    fn wrong(&mut self, row: &Setting, found: &Found<'_>, takes: &dyn Display) {
        let name = match found.origin {
            Origin::Flag => format!("--{} (command line)", row.flag()),
            origin => format!("{} ({origin})", found.variable),
        };
        let got = if row.secret {
            format!("a hidden value of {} characters", found.text.chars().count())
        } else {
            format!("{:?}", found.text.chars().take(SHOWN).collect::<String>())
        };
        self.problem(format_args!("{name}: got {got}, takes {takes}"));
    }

    /// What holds where nothing is set: the profile's default, else the table's.
    fn default(&self, row: &Setting) -> &'static str {
        let profiles = self.profile.and_then(|profile| profile.default_of(row.name));
        profiles.unwrap_or(row.default)
    }

    fn note_override(&mut self, row: &Setting, found: &Found<'_>) {
        let Some(profile) = self.profile else { return };
        if let Some(default) = profile.default_of(row.name).filter(|default| *default != found.text) {
            self.overrides.push(format!(
                "{} ({}) is set, so what {PROFILE}={} would make of it does not hold: {default}",
                found.variable,
                found.origin,
                profile.as_str(),
            ));
        }
    }

    /// A value that may be absent; the default text is parsed when there is one.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        takes: &dyn Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (row, found) = self.found(name);
        if let Some(found) = found {
            self.note_override(row, &found);
            let value = parse(found.text);
            if value.is_some() {
                return value;
            }
            self.wrong(row, &found, takes);
        }
        let default = self.default(row);
        (!default.is_empty()).then(|| parse(default)).flatten()
    }

    /// A value that the default gives when nothing else does.
    pub fn value<T>(&mut self, name: &'static str, takes: &dyn Display, parse: impl Fn(&str) -> Option<T>) -> T {
        self.optional(name, takes, parse)
            .expect("the table's default is a valid value")
    }

    /// So many a minute, and so many at once.
    pub fn rate(&mut self, name: &'static str) -> Rate {
        let takes = format!("<a minute>/<at once>, or one number for both, from 1 to {}", Rate::MAX);
        self.value(name, &takes, Rate::parse)
    }

    pub fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        let takes = format!("a whole number from {} to {}", range.start(), range.end());
        self.value(name, &takes, |text| whole(text).filter(|number| range.contains(number)))
    }

    pub fn millis(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Duration {
        let takes = format!("whole milliseconds from {} to {}", range.start(), range.end());
        let parse = |text: &str| whole(text).filter(|ms| range.contains(ms)).map(Duration::from_millis);
        self.value(name, &takes, parse)
    }

    pub fn boolean(&mut self, name: &'static str) -> bool {
        self.value(name, &"true, false, 1 or 0", boolean)
    }

    pub fn choice<T>(&mut self, name: &'static str, names: &[&str], parse: impl Fn(&str) -> Option<T>) -> T {
        self.value(name, &OneOf(names), parse)
    }

    /// A comma list of which every item must parse. Blank items are passed over.
    pub fn list<T>(&mut self, name: &'static str, takes: &dyn Display, item: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.optional(name, takes, |text| items(text).map(&item).collect())
            .unwrap_or_default()
    }

    pub fn patterns(&mut self, name: &'static str) -> NamePatterns {
        let plain = |text: &str| (!text.chars().any(char::is_control)).then(|| text.to_owned());
        NamePatterns::new(self.list(name, &"a comma list of names, in which * stands for any text", plain))
    }

    pub fn url(&mut self, name: &'static str, schemes: &[&str]) -> Option<SecretUrl> {
        let takes = format!("a URL that starts with {}", OneOf(schemes));
        self.optional(name, &takes, |text| {
            let url = Url::parse(text).ok()?;
            let fits = schemes.iter().any(|scheme| text.starts_with(scheme));
            fits.then(|| SecretUrl::new(url))
        })
    }

    /// An absolute path of HTTP.
    pub fn path(&mut self, name: &'static str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        self.value(name, &"a path: / and then letters, digits, / - _ . ~", |text| {
            let path = text.len() > 1 && text.starts_with('/') && text.chars().all(allowed);
            path.then(|| text.to_owned())
        })
    }
}

/// The items of a comma list, trimmed, without blank ones.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Digits and nothing else: `FromStr` alone would take `+1`.
fn whole<T: FromStr>(text: &str) -> Option<T> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// `a, b or c`.
pub(super) struct OneOf<'a>(pub &'a [&'a str]);

impl Display for OneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let between = match index {
                0 => "",
                last if last + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{between}{name}")?;
        }
        Ok(())
    }
}
