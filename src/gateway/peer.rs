//! Whose word is taken for who somebody is: a token's, or, of a program on this machine where a setting says so, its own.
//! Not here: how a token is verified (`domain::identity`).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::node::Node;
use crate::domain::identity::{self, Identity, IdentityError};

/// What proxies write a client's address into; one value may name several.
const NAMES_CLIENT: [&str; 2] = ["x-forwarded-for", "x-real-ip"];

/// The user that a token proves; or that it only names, where the gateway was told to believe that of a peer on this
/// machine. Each of those is logged.
pub async fn identify(node: &Node, token: &str, ip: IpAddr, is_local: bool) -> Result<Identity, IdentityError> {
    if !node.settings.insecure_user_tokens {
        return node.verifier.verify(token).await;
    }
    match identity::named(token) {
        None => node.verifier.verify(token).await,
        Some(_) if !is_local => Err(IdentityError::Unproven),
        Some(named) => {
            let named = named?;
            tracing::warn!(user = %named.user, %ip, "believed without any proof: REALTIME_INSECURE_USER_TOKENS is true");
            Ok(named)
        }
    }
}

/// Whether a request comes from this machine, as far as can be told: from a loopback address, and no proxy says that it
/// passes it on for another. What cannot be read counts as another.
pub fn is_local(headers: &HeaderMap, remote: IpAddr) -> bool {
    let named = NAMES_CLIENT.iter().flat_map(|name| headers.get_all(*name));
    let mut hops = named.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    // The standard's own header has a syntax of its own, and hardly a proxy writes it.
    remote.to_canonical().is_loopback() && !headers.contains_key("forwarded") && hops.all(is_loopback)
}

fn is_loopback(hop: &str) -> bool {
    let hop = hop.trim();
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    let address = hop.parse::<IpAddr>().or_else(|_| with_port());
    address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local_with(remote: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        is_local(&headers.collect(), remote.parse().unwrap())
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for remote in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local_with(remote, &[]), "{remote}");
            assert!(is_local_with(
                remote,
                &[("x-forwarded-for", "127.0.0.1, [::1]:80"), ("x-real-ip", "::1")]
            ));
        }
        for remote in ["10.0.0.1", "192.168.0.1", "203.0.113.7", "::2", "::ffff:10.0.0.1"] {
            assert!(!is_local_with(remote, &[]), "{remote}");
            assert!(!is_local_with(remote, &[("x-forwarded-for", "127.0.0.1")]), "{remote}");
        }
        for header in [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1, 10.0.0.1"),
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-for", ""),
            ("x-real-ip", "203.0.113.7"),
            ("forwarded", "for=127.0.0.1"),
        ] {
            assert!(!is_local_with("127.0.0.1", &[header]), "{header:?}");
        }
        let two = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "203.0.113.7")];
        let mut headers = HeaderMap::new();
        for (name, value) in two {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        assert!(!is_local(&headers, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));
    }
}
