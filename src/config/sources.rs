//! Where the texts of settings come from, strongest first: flags, environment, `--config` file, `./.env`.
//! Not here: what the texts mean.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::table::{GROUPS, Setting, settings};
use super::{ConfigError, Problem};

/// The file in the working directory that is read when it is there.
const DOTENV: &str = ".env";
const CONFIG: &str = "config";

type Texts = BTreeMap<String, String>;

/// What the command line says about settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    given: Texts,
    config: Option<PathBuf>,
}

impl Flags {
    /// The flags as they can be given to another process, without those of the settings in `except`.
    pub fn to_args(&self, except: &[&str]) -> Vec<String> {
        let config = self.config.iter().map(|path| format!("--{CONFIG}={}", path.display()));
        let flags = settings().filter(|row| !except.contains(&row.name)).filter_map(|row| {
            let text = self.given.get(row.name)?;
            Some(format!("--{}={text}", row.flag()))
        });
        config.chain(flags).collect()
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let mut command = command.arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .global(true)
                .help("File of KEY=VALUE lines; weaker than the environment"),
        );
        for group in GROUPS {
            for row in group.settings {
                command = command.arg(argument(row).help_heading(group.title));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// `-h` stays short: settings are shown by `--help` alone.
fn argument(row: &'static Setting) -> Arg {
    let default = if row.default.is_empty() {
        String::new()
    } else {
        format!(" [default: {}]", row.default)
    };
    let argument = Arg::new(row.name)
        .long(row.flag())
        .env(row.name)
        .hide_env_values(true)
        .help(format!("{}{}{default}", row.help, row.profiles()))
        .value_name("VALUE")
        .global(true)
        .hide_short_help(true);
    if row.switch {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        argument
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let on_command_line = |name: &&Setting| matches.value_source(name.name) == Some(ValueSource::CommandLine);
        let given = settings()
            .filter(on_command_line)
            .filter_map(|row| Some((row.name.to_owned(), matches.get_one::<String>(row.name)?.clone())))
            .collect();
        Ok(Self {
            given,
            config: matches.get_one::<PathBuf>(CONFIG).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// One source of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A text, and where it stood.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub variable: &'static str,
    pub origin: &'a Origin,
    pub text: &'a str,
}

/// All sources, strongest first.
#[derive(Debug, Default)]
pub struct Sources(Vec<(Origin, Texts)>);

impl Sources {
    /// Reads the environment and the files. Fails when a named file is missing, or any is not made of KEY=VALUE lines.
    pub fn read(flags: &Flags) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = vec![
            (Origin::Flag, flags.given.clone()),
            (Origin::Environment, environment(&mut problems)),
        ];
        let named = flags.config.iter().map(|path| (path.as_path(), true));
        for (path, required) in named.chain([(Path::new(DOTENV), false)]) {
            match file(path, required) {
                Ok(texts) => layers.push((Origin::File(path.to_owned()), texts)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(Self(layers))
        } else {
            Err(ConfigError(problems))
        }
    }

    /// Exactly these texts, as if they stood in the environment; nothing else is read.
    pub fn only<K: Into<String>, V: Into<String>>(texts: impl IntoIterator<Item = (K, V)>) -> Self {
        let texts = texts
            .into_iter()
            .map(|(name, text)| (name.into(), text.into()))
            .collect();
        Self(vec![(Origin::Environment, texts)])
    }

    /// Whether any source has a text for the setting, by any of its names.
    pub fn is_set(&self, name: &str) -> bool {
        settings()
            .filter(|row| row.name == name)
            .flat_map(Setting::variables)
            .any(|variable| self.find(variable).is_some())
    }

    /// The same sources, with one text that is weaker than all of them.
    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.0
            .push((Origin::Environment, Texts::from([(name.to_owned(), text.to_owned())])));
        self
    }

    /// The strongest text of a variable that is not blank.
    pub(super) fn find(&self, variable: &'static str) -> Option<Found<'_>> {
        self.0.iter().find_map(|(origin, texts)| {
            let text = texts.get(variable)?.trim();
            (!text.is_empty()).then_some(Found { variable, origin, text })
        })
    }

    /// `REALTIME_…` variables that are no settings: most likely misspelt.
    pub(super) fn unknown(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        for (origin, texts) in &self.0 {
            for name in texts.keys().filter(|name| name.starts_with("REALTIME_")) {
                if settings().all(|row| row.name != name) {
                    let near = nearest(name)
                        .map(|near| format!("; did you mean {near}?"))
                        .unwrap_or_default();
                    unknown.push(format!("{name} ({origin}) is no setting and is ignored{near}"));
                }
            }
        }
        unknown
    }
}

/// Where programs are looked for.
pub fn program_directories() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

fn environment(problems: &mut Vec<Problem>) -> Texts {
    let mut texts = Texts::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        let known = settings().any(|row| row.variables().any(|variable| variable == name));
        if !known && !name.starts_with("REALTIME_") {
            continue;
        }
        match value.into_string() {
            Ok(text) => drop(texts.insert(name, text)),
            Err(_) => problems.push(Problem(format!("{name} (environment): is not UTF-8"))),
        }
    }
    texts
}

fn file(path: &Path, required: bool) -> Result<Texts, Problem> {
    let problem = |what: &dyn fmt::Display| Problem(format!("{}: {what}", path.display()));
    if !required && !path.exists() {
        return Ok(Texts::new());
    }
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(dotenvy::Error::Io(error)) => return Err(problem(&error)),
        Err(error) => return Err(problem(&error)),
    };
    let mut texts = Texts::new();
    let mut last = None;
    for line in lines {
        match line {
            Ok((name, text)) => {
                last = Some(name.clone());
                texts.insert(name, text);
            }
            Err(dotenvy::Error::Io(error)) => return Err(problem(&error)),
            // The parser's own words repeat the line, and the line may hold a secret.
            Err(_) => {
                let place = last.map_or_else(|| "the first line".to_owned(), |name| format!("the line after {name}"));
                return Err(problem(&format_args!(
                    "{place} is not KEY=VALUE; values with spaces or # need quotes"
                )));
            }
        }
    }
    Ok(texts)
}

/// The setting whose name needs at most two edits, for a hint.
fn nearest(name: &str) -> Option<&'static str> {
    let (distance, near) = settings().map(|row| (edits(name, row.name), row.name)).min()?;
    (distance <= 2).then_some(near)
}

/// Levenshtein's distance of two ASCII names, row by row.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
