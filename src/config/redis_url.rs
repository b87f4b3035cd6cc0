//! The URL of Redis in its forms: one server, a master that Sentinels watch, a Cluster. Not here: reaching any of them
//! (`hot::topology`).

use std::fmt;

use url::Url;

use super::values::SecretUrl;

/// What the setting takes, for whoever wrote something else.
pub(super) const TAKES: &str = "redis://[user:password@]host[:port][/db], unix:///path, \
     redis+sentinel://[user:password@]host[:port][,host[:port]…]/<master's name>[/db]\
     [?sentinel_username=…&sentinel_password=…] or redis-cluster://[user:password@]host[:port][,host[:port]…]";

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;

/// Where Redis is. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: String,
    servers: RedisServers,
}

/// Every URL but a Sentinel's has the login and the database that the servers of the data want.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisServers {
    /// One server.
    One(SecretUrl),
    /// Whichever server the Sentinels call the master.
    Sentinel {
        /// The Sentinels, with their own login: that of the data is never shown to them.
        sentinels: Vec<SecretUrl>,
        /// What the Sentinels call it.
        master: String,
        /// Login and database of the data; its host is a Sentinel's.
        model: SecretUrl,
    },
    /// The masters of a Cluster.
    Cluster {
        /// Members to begin with; the others are learnt from them.
        seeds: Vec<SecretUrl>,
    },
}

impl RedisUrl {
    /// `None` for whatever is of none of the forms.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let list = |servers| Self {
            text: text.to_owned(),
            servers,
        };
        match scheme {
            "redis" | "unix" | "redis+unix" => Url::parse(text).ok().map(Self::from),
            "redis+sentinel" => {
                let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
                let (hosts, path) = rest.split_once('/')?;
                let (master, db) = path.split_once('/').unwrap_or((path, "0"));
                let db: u32 = db.parse().ok()?;
                let named = !master.is_empty() && !master.contains(['#', '%']);
                let servers = servers(hosts, SENTINEL_PORT, db)?;
                let model = servers.first()?.clone();
                let login = SentinelLogin::parse(query)?;
                let sentinels = servers
                    .iter()
                    .map(|server| login.put_into(server))
                    .collect::<Option<_>>()?;
                named.then(|| {
                    list(RedisServers::Sentinel {
                        sentinels,
                        master: master.to_owned(),
                        model,
                    })
                })
            }
            "redis-cluster" | "redis+cluster" => {
                let (hosts, db) = rest.split_once('/').unwrap_or((rest, ""));
                // A Cluster has no other database.
                let seeds = servers(hosts, REDIS_PORT, 0)?;
                matches!(db, "" | "0").then(|| list(RedisServers::Cluster { seeds }))
            }
            _ => None,
        }
    }

    /// With the password; never into a log line or an answer.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The servers, with the password.
    pub fn servers(&self) -> &RedisServers {
        &self.servers
    }
}

impl From<Url> for RedisUrl {
    fn from(url: Url) -> Self {
        Self {
            text: url.as_str().to_owned(),
            servers: RedisServers::One(SecretUrl::new(url)),
        }
    }
}

/// What the Sentinels want to hear; both empty: nothing.
#[derive(Default)]
struct SentinelLogin {
    user: String,
    password: String,
}

impl SentinelLogin {
    /// From `sentinel_username=…&sentinel_password=…`; `None` for anything else, and for a user without a password.
    fn parse(query: &str) -> Option<Self> {
        let mut login = Self::default();
        // A plus sign is itself, as it is before the host.
        for (name, value) in url::form_urlencoded::parse(query.replace('+', "%2B").as_bytes()) {
            let field = match &*name {
                "sentinel_username" => &mut login.user,
                "sentinel_password" => &mut login.password,
                _ => return None,
            };
            if !field.is_empty() || value.is_empty() {
                return None;
            }
            *field = value.into_owned();
        }
        (login.user.is_empty() || !login.password.is_empty()).then_some(login)
    }

    fn put_into(&self, server: &SecretUrl) -> Option<SecretUrl> {
        let mut url = Url::parse(server.expose()).ok()?;
        url.set_username(&self.user).ok()?;
        let password = Some(&*self.password).filter(|password| !password.is_empty());
        url.set_password(password).ok()?;
        url.set_path("/0");
        Some(SecretUrl::new(url))
    }
}

/// One URL for each host of `[user:password@]host[:port][,host[:port]…]`.
fn servers(text: &str, port: u16, db: u32) -> Option<Vec<SecretUrl>> {
    let (login, hosts) = text
        .rsplit_once('@')
        .map_or(("", text), |(login, _)| text.split_at(login.len() + 1));
    if hosts.contains(['?', '#']) {
        return None;
    }
    let server = |host: &str| {
        let mut url = Url::parse(&format!("redis://{login}{host}/{db}")).ok()?;
        if url.port().is_none() {
            url.set_port(Some(port)).ok()?;
        }
        url.host().is_some().then(|| SecretUrl::new(url))
    };
    hosts.split(',').map(server).collect()
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let RedisServers::One(url) = &self.servers {
            return url.fmt(f);
        }
        let (text, query) = match self.text.split_once('?') {
            Some((text, _)) => (text, "?***"),
            None => (&*self.text, ""),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((login, hosts)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                write!(f, "{scheme}://{user}:***@{hosts}{query}")
            }
            None => write!(f, "{text}{query}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(urls: &[SecretUrl]) -> Vec<&str> {
        urls.iter().map(SecretUrl::expose).collect()
    }

    #[test]
    fn each_form_names_its_servers() {
        let url = RedisUrl::parse("redis+sentinel://me:p%40ss@a:1,b,[::1]:3/rt.main/2").unwrap();
        let RedisServers::Sentinel {
            sentinels,
            master,
            model,
        } = url.servers()
        else {
            panic!("{url}");
        };
        assert_eq!((&**master, model.expose()), ("rt.main", "redis://me:p%40ss@a:1/2"));
        assert_eq!(
            texts(sentinels),
            ["redis://a:1/0", "redis://b:26379/0", "redis://[::1]:3/0"],
            "nobody but the data's servers is shown their login"
        );
        let url = RedisUrl::parse("redis-cluster://a,b:7001").unwrap();
        let RedisServers::Cluster { seeds } = url.servers() else {
            panic!("{url}");
        };
        assert_eq!(texts(seeds), ["redis://a:6379/0", "redis://b:7001/0"]);
        for one in ["redis://h", "unix:///run/redis.sock", "redis+unix:///run/redis.sock"] {
            assert!(
                matches!(RedisUrl::parse(one).unwrap().servers(), RedisServers::One(_)),
                "{one}"
            );
        }
    }

    #[test]
    fn sentinels_have_a_login_of_their_own() {
        for (query, expected) in [
            (
                "sentinel_password=w%40tch+er/:1",
                "redis://:w%40tch+er%2F%3A1@a:26379/0",
            ),
            (
                "sentinel_username=eye&sentinel_password=w@tch",
                "redis://eye:w%40tch@a:26379/0",
            ),
            ("", "redis://a:26379/0"),
        ] {
            let url = RedisUrl::parse(&format!("redis+sentinel://:p@a/main/2?{query}")).unwrap();
            let RedisServers::Sentinel { sentinels, model, .. } = url.servers() else {
                panic!("{url}");
            };
            assert_eq!(
                (&*texts(sentinels), model.expose()),
                (&[expected][..], "redis://:p@a:26379/2")
            );
        }
    }

    #[test]
    fn what_is_none_of_the_forms_is_refused() {
        for text in [
            "h:6379",
            "rediss://h",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+sentinel://a:1/main/db",
            "redis+sentinel://a:port/main",
            "redis+sentinel://,a/main",
            "redis+sentinel://a/main?password=x",
            "redis+sentinel://a/main?sentinel_username=eye",
            "redis+sentinel://a/main?sentinel_password=",
            "redis+sentinel://a/main?sentinel_password=x&sentinel_password=y",
            "redis-cluster://",
            "redis-cluster://a,,b",
            "redis-cluster://a/1",
            "redis-cluster://a?password=x",
        ] {
            assert!(RedisUrl::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        for text in [
            "redis://me:hush@h",
            "redis+sentinel://me:hush@a,b/main",
            "redis+sentinel://a/main?sentinel_password=hush",
            "redis+sentinel://me:hush@a,b/main?sentinel_username=eye&sentinel_password=@hush",
            "redis-cluster://:hush@a,b",
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert!(!format!("{url} {url:?}").contains("hush"), "{url}");
            assert!(url.expose().contains("hush"));
        }
    }
}
