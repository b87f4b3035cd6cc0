//! The door: who is let in before a session is made, and who a CONNECT is. CONNECT_ERROR is for identity alone, since
//! the stock client gives up on it; whatever passes is said by HTTP, or by closing the transport.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::About;
use super::node::Node;
use super::peer;
use super::shard::Shard;
use crate::config::{Limits, Recovery};
use crate::domain::identity::{Identity, IdentityError};
use crate::domain::journal::Entry;
use crate::domain::offset::Offset;
use crate::domain::sessions::Claim;
use crate::engine::{CloseReason, ConnectError, Handshake, Refusal, Socket};
use crate::types::{Pid, UserId};

/// Most bytes of a user agent that are kept.
const AGENT_MAX_BYTES: usize = 512;
/// Most bytes of each text of `auth.device` that are kept.
const DEVICE_TEXT_MAX_BYTES: usize = 64;
/// Proxies in `X-Forwarded-For` that are looked through, from the right.
const FORWARDED_MAX: usize = 16;
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATER: Duration = Duration::from_secs(5);

/// Turned down before there is a session: draining, full, Redis away, and last, since it alone asks Redis, too many from
/// one address. A rate that cannot be asked closes the door: without Redis nobody could be registered either.
pub async fn admit(shard: &Shard, request: &Parts, remote: SocketAddr) -> Result<(), Refusal> {
    let node = &shard.node;
    let turn_down = |status, cause: &str, message: &str, retry_after| {
        node.metrics.refuse(cause);
        Err(Refusal {
            status,
            retry_after: Some(retry_after),
            message: message.to_owned(),
        })
    };
    let refuse = |cause, message, retry_after| turn_down(StatusCode::SERVICE_UNAVAILABLE, cause, message, retry_after);
    if node.drain.is_closed() {
        return refuse("draining", "This node is going away", RETRY_SOON);
    }
    if node.is_full() {
        return refuse("full", "This node is full", RETRY_LATER);
    }
    if !node.hot.is_up() {
        return refuse("redis", "Try again in a moment", RETRY_SOON);
    }
    if !node.gate.is_open() {
        return refuse("restoring", "Try again in a moment", RETRY_SOON);
    }
    if node.verifier.is_waiting() && !node.settings.allow_anonymous {
        return refuse("key_set", "Try again in a moment", RETRY_SOON);
    }
    match shard.knock(address(node, &request.headers, remote.ip())).await {
        Ok(wait) if shard.is_kept_out(wait) => {
            let (status, wait) = (StatusCode::TOO_MANY_REQUESTS, wait.unwrap_or_default());
            let ip = address(node, &request.headers, remote.ip());
            node.note(|| Entry::RateLimited {
                class: "handshakes".to_owned(),
                ip,
                user: None,
            });
            turn_down(status, "rate", "Too many connections from this address", wait)
        }
        Err(error) if node.settings.limits == Limits::Enforce => {
            tracing::warn!(error = %error, "handshake not counted");
            refuse("redis", "Try again in a moment", RETRY_SOON)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What CONNECT brought; whatever else it holds is none of ours.
#[derive(Deserialize, Default)]
struct Auth {
    token: Option<Value>,
    device: Option<Value>,
    recovery: Option<Value>,
    pid: Option<Value>,
    offset: Option<Value>,
}

/// Somebody at the door, known.
pub struct Guest {
    /// `None`: anonymous.
    pub identity: Option<Identity>,
    pub ip: IpAddr,
    /// It comes from this machine.
    pub is_local: bool,
    pub about: About,
    /// Its session is kept.
    pub recovers: bool,
    /// The session that it comes back to.
    pub claim: Option<Result<Claim, &'static str>>,
}

/// Who asks to CONNECT. An error is about identity; where nobody can tell now, the transport is closed.
pub async fn recognise(
    node: &Node,
    socket: &Socket,
    handshake: &Handshake,
    auth: Option<&str>,
) -> Result<Guest, ConnectError> {
    let auth: Auth = auth
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let ip = address(node, &handshake.headers, handshake.remote.ip());
    let is_local = peer::is_local(&handshake.headers, handshake.remote.ip());
    let agent = text(handshake.headers.get(header::USER_AGENT), AGENT_MAX_BYTES);
    let refused = |cause, message| refused(node, ip, &agent, cause, message);
    let token = token(auth.token.as_ref(), &handshake.headers);
    let identity = match token.map_err(|WrongToken| refused("token", "Invalid token"))? {
        Some(token) => match peer::identify(node, &token, ip, is_local).await {
            Ok(identity) => Some(identity),
            Err(error @ IdentityError::Unjudged) => {
                tracing::warn!(error = %error, "connection not let in");
                node.metrics.refuse("key_set");
                socket.close(CloseReason::Unavailable);
                return Err(try_again());
            }
            Err(error) => {
                tracing::info!(error = %error, "token refused");
                return Err(refused("token", "Invalid token"));
            }
        },
        None if node.settings.allow_anonymous => None,
        None => return Err(refused("no_token", "Authentication required")),
    };
    let session = identity.as_ref().and_then(|identity| identity.session.clone());
    let about = About {
        agent: agent.into(),
        device: device(auth.device.as_ref()).into(),
        session: session.map(String::into_boxed_str),
    };
    // Nobody comes back as the same anonymous user.
    let recovers = identity.is_some()
        && match node.settings.recovery {
            Recovery::All => true,
            Recovery::Asked => auth.recovery == Some(Value::Bool(true)),
            Recovery::Off => false,
        };
    Ok(Guest {
        recovers,
        claim: claim(&auth).filter(|_| recovers),
        identity,
        ip,
        is_local,
        about,
    })
}

impl Guest {
    /// The user this is, given the socket's id.
    pub fn user(&self, socket_id: &str) -> UserId {
        self.identity
            .as_ref()
            .map_or_else(|| UserId::anonymous(socket_id), |identity| identity.user.clone())
    }
}

/// The session that a stock client wants back, as it says by itself; or why what it says is of no use.
fn claim(auth: &Auth) -> Option<Result<Claim, &'static str>> {
    let pid = auth.pid.as_ref().filter(|pid| !pid.is_null())?;
    let Some(Ok(pid)) = pid.as_str().map(Pid::parse) else {
        return Some(Err("session_unknown"));
    };
    let offset = match &auth.offset {
        None | Some(Value::Null) => None,
        Some(offset) => match offset.as_str().and_then(Offset::parse) {
            Some(offset) => Some(offset),
            None => return Some(Err("offset_unknown")),
        },
    };
    Some(Ok(Claim { pid, offset }))
}

/// What nobody hears, since the transport is closed: the stock client comes back, which it would not after an answer.
pub fn try_again() -> ConnectError {
    ConnectError {
        message: "Try again in a moment".to_owned(),
        data: None,
    }
}

/// CONNECT_ERROR, counted by its cause, and noted.
pub fn refused(node: &Node, ip: IpAddr, agent: &str, cause: &str, message: &str) -> ConnectError {
    node.metrics.refuse(cause);
    node.note(|| Entry::AuthFailure {
        code: cause.to_owned(),
        ip,
        agent: agent.to_owned(),
        user: None,
    });
    ConnectError {
        message: message.to_owned(),
        data: Some(r#"{"code":"UNAUTHENTICATED"}"#.to_owned()),
    }
}

/// A token that is no text.
struct WrongToken;

/// From `auth.token`, else from the header. A token that is no string is a wrong one, not a missing one.
fn token(auth: Option<&Value>, headers: &HeaderMap) -> Result<Option<String>, WrongToken> {
    match auth {
        Some(Value::String(token)) if !token.is_empty() => return Ok(Some(token.clone())),
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err(WrongToken),
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    Ok(bearer
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned()))
}

#[derive(Serialize)]
struct Device {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// The four texts of a device, cut to their bounds; what is no text is left out.
fn device(device: Option<&Value>) -> String {
    let field = |name: &str| {
        let text = device?.get(name)?.as_str()?;
        Some(cut(text, DEVICE_TEXT_MAX_BYTES).to_owned())
    };
    let device = Device {
        kind: field("type"),
        os: field("os"),
        browser: field("browser"),
        version: field("version"),
    };
    serde_json::to_string(&device).unwrap_or_default()
}

fn text(value: Option<&http::HeaderValue>, max_bytes: usize) -> String {
    let text = value
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .unwrap_or_default();
    cut(&text, max_bytes).to_owned()
}

fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// The client's address: what the nearest trusted proxy says, looking through further trusted ones.
fn address(node: &Node, headers: &HeaderMap, remote: IpAddr) -> IpAddr {
    let trusted = &node.settings.trusted_proxies;
    let mut address = remote;
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in forwarded.iter().rev().take(FORWARDED_MAX) {
        if !trusted.contains(address) {
            break;
        }
        // Some proxies write the port as well.
        let hop = hop.trim();
        let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
        let Ok(next) = hop.parse().or_else(|_| with_port()) else {
            break;
        };
        address = next;
    }
    address
}
