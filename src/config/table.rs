//! What a row of the table of settings is; the table makes the flags, the lookup, the help and `.env.example`. Not here:
//! the rows (`groups`), and their types (`values`).

mod groups;

pub use self::groups::GROUPS;
use super::values::Profile;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What holds when nothing is set; empty = not set.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Variables of the nself loader that mean the same, asked after `name` in every source.
    pub aliases: &'static [&'static str],
    /// Variables of which the value is put together when neither `name` nor an alias is set.
    pub parts: &'static [&'static str],
    /// Whether the value is hidden.
    pub secret: bool,
    /// Whether the flag may stand without a value, which means `true`.
    pub switch: bool,
}

impl Setting {
    /// The command line's name, without the dashes.
    pub fn flag(&self) -> String {
        let bare = self.name.strip_prefix("REALTIME_").unwrap_or(self.name);
        bare.to_ascii_lowercase().replace('_', "-")
    }

    /// What other defaults the profiles have, for the help: `(nchat: object)`; empty where they have none.
    pub(super) fn profiles(&self) -> String {
        let others = Profile::all().filter_map(|profile| Some((profile.as_str(), profile.default_of(self.name)?)));
        let others: Vec<_> = others
            .map(|(profile, default)| format!("{profile}: {default}"))
            .collect();
        if others.is_empty() {
            String::new()
        } else {
            format!(" ({})", others.join("; "))
        }
    }

    /// Every variable that is read for it.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name)
            .chain(self.aliases.iter().copied())
            .chain(self.parts.iter().copied())
    }

    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn parts(mut self, parts: &'static [&'static str]) -> Self {
        self.parts = parts;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// Settings that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The heading in help and `.env.example`.
    pub title: &'static str,
    /// In the order in which they are shown.
    pub settings: &'static [Setting],
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        default,
        help,
        aliases: &[],
        parts: &[],
        secret: false,
        switch: false,
    }
}

const fn switch(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    let mut row = setting(name, default, help);
    row.switch = true;
    row
}

/// Every setting, in the order of the table.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// The text of `.env.example`.
pub fn example() -> String {
    let mut text = String::from(
        "# Every setting with its default. Flags win over the environment, that over --config FILE, that over ./.env.\n\
         # An empty value counts as not set. Durations are whole milliseconds.\n",
    );
    for group in GROUPS {
        text.push_str(&format!("\n## {}\n", group.title));
        for row in group.settings {
            text.push_str(&format!("# {}{}", row.help, row.profiles()));
            let others: Vec<_> = row.variables().skip(1).collect();
            if !others.is_empty() {
                text.push_str(&format!(" (else {})", others.join(", ")));
            }
            text.push_str(&format!("\n{}={}\n", row.name, row.default));
        }
    }
    text
}
