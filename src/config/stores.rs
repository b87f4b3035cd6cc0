//! Where Redis and Postgres are: a URL, or the parts that the nself loader sets.

use url::Url;

use super::read::{Reader, boolean};
use super::{RedisUrl, SecretUrl, redis_url};

pub(super) fn redis_servers(r: &mut Reader<'_>) -> Option<RedisUrl> {
    let given = r.optional("REALTIME_REDIS_URL", &redis_url::TAKES, RedisUrl::parse);
    if r.is_set("REALTIME_REDIS_URL") {
        return given;
    }
    let Some(host) = r.part("REDIS_HOST") else {
        r.problem(format_args!(
            "REALTIME_REDIS_URL: is missing, takes {} (or REDIS_URL, REDIS_HOST)",
            redis_url::TAKES
        ));
        return None;
    };
    let built = built_url(
        "redis",
        host,
        r.part("REDIS_PORT").unwrap_or("6379"),
        None,
        r.part("REDIS_PASSWORD"),
    );
    if built.is_none() {
        r.problem("REDIS_HOST, REDIS_PORT: make no address, take a host name and a port");
    }
    built.map(RedisUrl::from)
}

pub(super) fn database_url(r: &mut Reader<'_>) -> Option<SecretUrl> {
    let tls = tls(r);
    if r.part("REALTIME_DATABASE_URL") == Some("none") {
        return None;
    }
    let given = r.url("REALTIME_DATABASE_URL", &["postgres://", "postgresql://"]);
    let parts = [
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
    ];
    if r.is_set("REALTIME_DATABASE_URL") || parts.iter().all(|part| r.part(part).is_none()) {
        return given;
    }
    let [host, port, database, user, password] = parts.map(|part| r.part(part));
    let (host, port) = (host.unwrap_or("localhost"), port.unwrap_or("5432"));
    let Some(mut url) = built_url("postgres", host, port, Some(user.unwrap_or("postgres")), password) else {
        r.problem("POSTGRES_HOST, POSTGRES_PORT: make no address, take a host name and a port");
        return None;
    };
    url.path_segments_mut().ok()?.push(database.unwrap_or("nself"));
    if tls {
        url.set_query(Some("sslmode=require"));
    }
    Some(SecretUrl::new(url))
}

/// Whether the parts ask for it. Read also where no URL is made of them: who writes nonsense there means something.
fn tls(r: &mut Reader<'_>) -> bool {
    let Some(text) = r.part("POSTGRES_SSL") else {
        return false;
    };
    boolean(text).unwrap_or_else(|| {
        r.problem(format_args!("POSTGRES_SSL: got {text:?}, takes true, false, 1 or 0"));
        false
    })
}

/// Puts a URL together; whatever needs escaping is escaped.
fn built_url(scheme: &str, host: &str, port: &str, user: Option<&str>, password: Option<&str>) -> Option<Url> {
    let bracketed = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let mut url = Url::parse(&format!("{scheme}://placeholder")).ok()?;
    url.set_host(Some(&bracketed)).ok()?;
    url.set_port(Some(port.parse().ok()?)).ok()?;
    url.set_username(user.unwrap_or_default()).ok()?;
    url.set_password(password).ok()?;
    Some(url)
}

pub(super) fn asks_for_tls(url: &Url) -> bool {
    url.query_pairs()
        .any(|(key, value)| key == "sslmode" && (value == "require" || value.starts_with("verify-")))
}
