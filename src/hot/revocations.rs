//! Tokens that are no longer good. One typed function per file of lua/revocations. Not here: which token a revocation
//! means (`domain::revocations`).

use std::sync::LazyLock;
use std::time::Duration;

use redis::Cmd;

use super::script::{Script, script};
use super::{Hot, HotError, millis};
use crate::types::{TokenId, UserId};

script!(ADD = "revocations/add");
script!(SINCE = "revocations/since");

pub(super) const SCRIPTS: &[&LazyLock<Script>] = &[&ADD, &SINCE];

/// Revocations that are kept at once; one more is refused, since the oldest may still be needed.
pub const REVOCATIONS_MAX: u32 = 100_000;
/// Forgotten ones that one call removes: what Redis does at once stays short.
const REMOVE_MAX: u32 = 1_000;
/// Entries of one page. More than one millisecond holds, so that each page goes on behind the last.
const PAGE: usize = 1_000;

/// Whose tokens are revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Every token of the user that was issued so far.
    User(UserId),
    /// The one token with this id.
    Token(TokenId),
}

impl Subject {
    /// From its kind and its id, as the bus and Redis have them.
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "user" => UserId::parse(id).ok().map(Self::User),
            "token" => TokenId::parse(id).ok().map(Self::Token),
            _ => None,
        }
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::User(user) => ("user", user.as_str()),
            Self::Token(token) => ("token", token.as_str()),
        }
    }
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub subject: Subject,
    /// Unix ms, by Redis's clock.
    pub at_ms: i64,
}

/// What [`add`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    At(i64),
    /// Nothing was revoked: there is no place without forgetting an older one.
    Full,
}

/// Revokes, and tells every node. A repeat revokes anew.
pub async fn add(hot: &Hot, subject: &Subject) -> Result<Added, HotError> {
    let (kind, id) = subject.parts();
    let mut reply = ADD
        .call()
        .key(hot.keys().revocations())
        .key(hot.keys().everybody_channel())
        .arg(kind)
        .arg(id)
        .number(millis(hot.terms().revocation_keep))
        .number(hot.terms().revocations)
        .number(REMOVE_MAX)
        .run(hot)
        .await?;
    ADD.read(|| {
        Ok(if reply.flag()? {
            Added::At(reply.integer()?)
        } else {
            Added::Full
        })
    })
}

/// What the look into the revocations is called in errors and metrics.
const CHECK: &str = "revocations/check";

/// When the user, and the token, were revoked, Unix ms. No script, since one command does it, on every connect.
pub async fn check(hot: &Hot, user: &UserId, token: Option<&TokenId>) -> Result<(Option<i64>, Option<i64>), HotError> {
    let mut command = redis::cmd("ZMSCORE");
    command.arg(hot.keys().revocations()).arg(entry("user", user.as_str()));
    if let Some(token) = token {
        command.arg(entry("token", token.as_str()));
    }
    let running = hot.begin(CHECK);
    let scores = ask(hot, &command).await;
    running.end(&scores);
    let at = |score: Option<&Option<f64>>| score.copied().flatten().map(|at_ms| at_ms as i64);
    scores.map(|scores| (at(scores.first()), at(scores.get(1))))
}

async fn ask(hot: &Hot, command: &Cmd) -> Result<Vec<Option<f64>>, HotError> {
    let fail = |error| HotError::of(CHECK, error);
    let value = hot.link().connection().await.map_err(fail)?.send(command).await;
    redis::from_redis_value(value.map_err(fail)?).map_err(|error| fail(error.into()))
}

fn entry(kind: &str, id: &str) -> String {
    [kind, "\0", id].concat()
}

/// What was revoked within `age`, oldest first; some may come twice.
pub async fn since(hot: &Hot, age: Duration) -> Result<Vec<Revocation>, HotError> {
    let mut found: Vec<Revocation> = Vec::new();
    let mut from = (millis(age).to_string(), String::new());
    let mut from_ms = 0;
    loop {
        let mut reply = SINCE
            .call()
            .key(hot.keys().revocations())
            .arg(from.0)
            .arg(from.1)
            .number(PAGE as u32)
            .run(hot)
            .await?;
        let more = SINCE.read(|| reply.flag())?;
        let mut last_ms = 0;
        while !reply.is_empty() {
            let (entry, at_ms): (String, i64) = SINCE.read(|| Ok((reply.text()?, reply.integer()?)))?;
            last_ms = at_ms;
            let subject = entry.split_once('\0').and_then(|(kind, id)| Subject::parse(kind, id));
            // What a newer version wrote, and this one does not know, is not for this one to apply.
            found.extend(subject.map(|subject| Revocation { subject, at_ms }));
        }
        if !more {
            return Ok(found);
        }
        // Each page goes on, whatever Redis holds.
        from_ms = last_ms.max(from_ms + 1);
        from = (String::new(), from_ms.to_string());
    }
}
