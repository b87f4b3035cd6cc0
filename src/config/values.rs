//! The types of settings that are more than a number: choices, secrets, patterns, networks. Each parses itself.

use std::fmt;
use std::net::IpAddr;

use url::Url;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, as it is written.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The value that is written so; case matters.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

choice!(
    /// What happens to whoever is over a rate or a count.
    Limits {
        /// Refused.
        Enforce => "enforce",
        /// Counted and logged, but let through.
        Shadow => "shadow",
        /// Neither.
        Off => "off",
    }
);
choice!(
    /// Who hears a change of presence.
    PresenceAudience {
        /// Those who share a live room, and subscribers.
        Rooms => "rooms",
        /// Every socket.
        All => "all",
    }
);
choice!(
    /// Whose defaults hold, and whose words.
    Profile {
        /// Those that nchat's client and server need (`config::profile`), and what no setting says: rooms are made and
        /// entered by their names (`domain::names`: `dm:` are private, `user:<id>` is for that user alone), and where a
        /// payload has no `roomName`, its `channelId` means `channel:<id>` (`gateway::payload`). Its server may say
        /// `message:new`.
        Nchat => "nchat",
    }
);
choice!(
    /// Whose a room is that was made by joining it.
    RoomOwnership {
        /// Whoever made it is its admin.
        Creator => "creator",
        /// Nobody's; the administration appoints.
        None => "none",
    }
);
choice!(
    /// How a custom status is written on the wire.
    CustomStatusShape {
        /// `customStatus: string | null` and `customEmoji`.
        Flat => "flat",
        /// `customStatus: {text?, emoji?}`.
        Object => "object",
    }
);
choice!(
    /// Who gets offsets, and can recover with the stock client.
    Recovery {
        /// Connections that ask by `auth.recovery`.
        Asked => "asked",
        /// Everybody.
        All => "all",
        /// Nobody.
        Off => "off",
    }
);
choice!(
    /// What an emptied Redis waits for.
    Restore {
        /// It stays closed until Postgres has brought back what it knows.
        Required => "required",
        /// It opens without that while Postgres is away.
        BestEffort => "best-effort",
    }
);
choice!(
    /// How a log line is written.
    LogFormat {
        /// One JSON object a line.
        Json => "json",
        /// For people.
        Pretty => "pretty",
    }
);
choice!(
    /// The least severe line that is logged.
    LogLevel {
        /// Everything.
        Trace => "trace",
        /// What a developer asks.
        Debug => "debug",
        /// What an operator asks.
        Info => "info",
        /// What may need somebody.
        Warn => "warn",
        /// What needs somebody.
        Error => "error",
    }
);

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; never into a log line or an answer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL whose password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Hides a URL's password.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// With the password; never into a log line or an answer.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// The parts, with the password.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return f.write_str("***");
        }
        // A query may carry a password as well (libpq's URLs do).
        if url.query().is_some() {
            url.set_query(Some("***"));
        }
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Patterns of names, in which `*` stands for any text, also none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamePatterns(Vec<String>);

impl NamePatterns {
    /// Takes the patterns as they are written.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether any pattern matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| wildcard(pattern.as_bytes(), name.as_bytes()))
    }

    /// Whether nothing can match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Greedy matching that goes back to the last `*` only: never more than pattern × name steps.
fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while pos < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, pos));
                at += 1;
            }
            Some(byte) if *byte == name[pos] => {
                at += 1;
                pos += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                at = star + 1;
                pos = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Networks in CIDR notation, single addresses, and the words `loopback` and `private`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

/// What the words of [`Networks`] stand for.
const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1"];
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

impl Networks {
    /// Parses a list; the error is the item that is no network.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut networks = Vec::new();
        for item in items {
            let expanded = match item {
                "loopback" => LOOPBACK,
                "private" => PRIVATE,
                other => {
                    networks.push(network(other).ok_or_else(|| other.to_owned())?);
                    continue;
                }
            };
            networks.extend(expanded.iter().filter_map(|text| network(text)));
        }
        Ok(Self(networks))
    }

    /// Whether the address is in one of the networks; an IPv4 address in IPv6 clothes is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(base, bits)| match (base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        })
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?),
        None => {
            let address = text.parse::<IpAddr>().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    let widest = if address.is_ipv4() { 32 } else { 128 };
    (bits <= widest).then_some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let patterns = NamePatterns::new(["channel:*", "lobby", "a*b*c"]);
        for name in ["channel:", "channel:7", "lobby", "abc", "a-b-b-c"] {
            assert!(patterns.matches(name), "{name}");
        }
        for name in ["channel", "xchannel:7", "lobby2", "", "ab", "abcd"] {
            assert!(!patterns.matches(name), "{name}");
        }
        assert!(NamePatterns::new(["*"]).matches("anything"));
        assert!(NamePatterns::new(["*"]).matches(""));
        assert!(!NamePatterns::default().matches("anything"));
    }

    #[test]
    fn a_hostile_name_does_not_explode() {
        let patterns = NamePatterns::new(["*a*a*a*a*a*a*a*a*b"]);
        assert!(!patterns.matches(&"a".repeat(255)));
    }

    #[test]
    fn networks_hold_their_addresses() {
        let networks = Networks::parse(["loopback", "private", "203.0.113.7", "2001:db8::/32"]).unwrap();
        for inside in [
            "127.0.0.9",
            "::1",
            "10.1.2.3",
            "172.31.0.1",
            "203.0.113.7",
            "2001:db8:1::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.8", "172.32.0.1", "203.0.113.8", "2001:db9::1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(
            Networks::parse(["0.0.0.0/0"])
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        assert_eq!(Networks::parse(["10.0.0.0/33"]), Err("10.0.0.0/33".to_owned()));
        assert_eq!(Networks::parse(["localhost"]), Err("localhost".to_owned()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let url = SecretUrl::new("redis://me:hush@example.test:6379/0?password=hush".parse().unwrap());
        assert!(!format!("{url} {url:?} {:?}", Secret::new("hush")).contains("hush"));
        assert_eq!(url.to_string(), "redis://me:***@example.test:6379/0?***");
    }
}
