//! The defaults of the profiles; what is set explicitly wins over them. Not here: what a profile decides by itself
//! (`domain::names`, `gateway::payload`).

use super::values::Profile;

/// Setting, and its default under `nchat`.
const NCHAT: &[(&str, &str)] = &[
    ("REALTIME_ROOM_AUTOCREATE", "channel:*,thread:*,dm:*,user:*"),
    ("REALTIME_ROOM_OWNERSHIP", "none"),
    ("REALTIME_CUSTOM_STATUS_SHAPE", "object"),
];

impl Profile {
    /// Every profile.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().filter_map(|name| Self::parse(name))
    }

    /// The settings that have another default, and which.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Nchat => NCHAT,
        }
    }

    /// The default of one setting, where it is another than the table's.
    pub fn default_of(self, name: &str) -> Option<&'static str> {
        let row = self.defaults().iter().find(|(setting, _)| *setting == name);
        row.map(|(_, default)| *default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    #[test]
    fn a_profile_changes_what_is_in_the_table() {
        for profile in Profile::all() {
            for (name, default) in profile.defaults() {
                let row = settings().find(|row| row.name == *name);
                let row = row.unwrap_or_else(|| panic!("{name} is a setting"));
                assert_ne!(row.default, *default, "{name}");
            }
        }
    }
}
