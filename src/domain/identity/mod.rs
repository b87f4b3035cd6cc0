//! Who somebody is: tokens are verified here, by the configured algorithms alone. Not here: where a token is found.

mod key_set;
mod keys;
mod named;

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, decode};
use serde::Deserialize;
use serde_json::Value;

use self::key_set::Asked;
pub use self::key_set::KeySet;
pub use self::keys::{BadKey, TokenRules};
use self::keys::{Key, is_shared};
pub use self::named::named;
use crate::types::{ANONYMOUS_PREFIX, TokenId, UserId};

/// Longest token that is looked at, in bytes.
pub const TOKEN_MAX_BYTES: usize = 16 * 1024;
/// Longest session id that is believed, in bytes; the archive's column holds no more.
const SESSION_MAX_BYTES: usize = 255;

/// The end of the year 9999, Unix seconds: nobody waits for what lies behind it.
const CALENDAR_ENDS_S: i64 = 253_402_300_799;

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub session: Option<String>,
    /// Unix seconds; `None`: the token does not end.
    pub expires_at: Option<i64>,
    pub issued: Issued,
}

/// What a revocation asks of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// Claim `iat`, Unix seconds.
    pub at_s: Option<i64>,
    /// Claim `jti`.
    pub token: Option<TokenId>,
}

/// Why a token is not believed. For the log: a client hears `Invalid token`.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("tokens are not accepted: no key is configured")]
    NoKey,
    #[error("the token is over {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    #[error("the token is not valid: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
    #[error("the token names no user")]
    NoUser,
    #[error("the token's user id {0}")]
    BadUser(#[from] crate::types::InvalidId),
    #[error("the token's user id begins like an anonymous one")]
    ReservedUser,
    #[error("the token only names a user, which is believed of this machine alone")]
    Unproven,
    /// Nothing about the token: it passes, and the token may be shown again.
    #[error("the key set that must judge the token cannot be had now")]
    Unjudged,
}

/// Verifies tokens; without a key it believes none.
pub struct Verifier {
    rules: TokenRules,
    secret: Option<Key>,
    key_set: Option<KeySet>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "userId")]
    user_id: Option<Value>,
    sub: Option<Value>,
    #[serde(rename = "https://hasura.io/jwt/claims")]
    hasura: Option<Value>,
    #[serde(rename = "sessionId")]
    session_id: Option<Value>,
    exp: Option<f64>,
    iat: Option<Value>,
    jti: Option<Value>,
}

impl Verifier {
    /// The key decides the family of algorithms, the configuration narrows it; the token has no say.
    pub fn new(secret: Option<&str>, rules: TokenRules, key_set: Option<KeySet>) -> Result<Self, BadKey> {
        let secret = secret.map(|secret| rules.secret(secret)).transpose()?.flatten();
        Ok(Self { rules, secret, key_set })
    }

    /// Whether no token can be judged yet, since nothing but the key set would, and none has come.
    pub fn is_waiting(&self) -> bool {
        self.secret.is_none() && self.key_set.as_ref().is_some_and(|set| !set.has_come())
    }

    /// The identity that a token proves. Waits for nothing, unless the token is signed with a key that is not known.
    pub async fn verify(&self, token: &str) -> Result<Identity, IdentityError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(IdentityError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token)?;
        let by_secret = self.verify_by(self.secret.as_slice(), token, &header);
        let Some(set) = self
            .key_set
            .as_ref()
            .filter(|_| self.is_for_key_set(&header, &by_secret))
        else {
            return by_secret;
        };
        let keys = set.keys().ok_or(IdentityError::Unjudged)?;
        let judged = self.verify_by(&keys, token, &header);
        if !is_of_unknown_key(&judged, &header) {
            return judged;
        }
        match set.newest().await {
            // Nothing newer than what has judged the token already.
            Asked::Newest(newest) if Arc::ptr_eq(&newest, &keys) => judged,
            Asked::Newest(newest) => self.verify_by(&newest, token, &header),
            Asked::Failed => Err(IdentityError::Unjudged),
        }
    }

    fn is_for_key_set(&self, header: &Header, by_secret: &Result<Identity, IdentityError>) -> bool {
        let by_another = match by_secret {
            Err(IdentityError::NoKey) => true,
            Err(error @ IdentityError::Token(_)) => !is_about_claims(error),
            _ => false,
        };
        by_another && !is_shared(header.alg) && self.rules.allows(header.alg)
    }

    /// Tries every key that may have signed the token; several may have the same name.
    fn verify_by(&self, keys: &[Key], token: &str, header: &Header) -> Result<Identity, IdentityError> {
        let may_fit = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let mut refused = IdentityError::NoKey;
        for key in keys.iter().filter(may_fit) {
            match decode::<Claims>(token, &key.key, &key.validation) {
                Ok(decoded) => return self.identity(&decoded.claims),
                // Of the keys that may fit, the one that does says best what is wrong.
                Err(error) if is_about_claims(&refused) => drop(error),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, IdentityError> {
        let user = user(&user_of(claims).ok_or(IdentityError::NoUser)?)?;
        let session = text(claims.session_id.as_ref()).filter(|id| id.len() <= SESSION_MAX_BYTES);
        let leeway_s = i64::try_from(self.rules.leeway_s).unwrap_or(0);
        let expires_at = claims.exp.map(|exp| (exp as i64).saturating_add(leeway_s));
        Ok(Identity {
            user,
            session,
            // An end that no calendar holds is none.
            expires_at: expires_at.filter(|end_s| *end_s < CALENDAR_ENDS_S),
            issued: Issued {
                at_s: claims.iat.as_ref().and_then(Value::as_f64).map(|at_s| at_s as i64),
                token: text(claims.jti.as_ref()).and_then(|id| TokenId::parse(&id).ok()),
            },
        })
    }
}

/// A user that has a name of its own.
fn user(id: &str) -> Result<UserId, IdentityError> {
    let user = UserId::parse(id)?;
    if user.as_str().starts_with(ANONYMOUS_PREFIX) {
        return Err(IdentityError::ReservedUser);
    }
    Ok(user)
}

/// Whether the signature was good, and the claims were not.
fn is_about_claims(error: &IdentityError) -> bool {
    let IdentityError::Token(error) = error else {
        return false;
    };
    !matches!(
        error.kind(),
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat
    )
}

/// Whether a key that is not here may have signed the token: it names one that is not, or names none and fits none.
fn is_of_unknown_key(judged: &Result<Identity, IdentityError>, header: &Header) -> bool {
    match judged {
        Err(IdentityError::NoKey) => true,
        Err(IdentityError::Token(error)) => header.kid.is_none() && *error.kind() == ErrorKind::InvalidSignature,
        _ => false,
    }
}

fn user_of(claims: &Claims) -> Option<String> {
    text(claims.user_id.as_ref())
        .or_else(|| text(claims.sub.as_ref()))
        .or_else(|| {
            // Hasura takes its claims as an object, or as a string that holds one.
            let claims = claims.hasura.as_ref()?;
            match claims {
                Value::String(json) => serde_json::from_str::<Value>(json)
                    .ok()
                    .and_then(|claims| text(claims.get("x-hasura-user-id"))),
                claims => text(claims.get("x-hasura-user-id")),
            }
        })
}

/// A claim as text; anything but a text is no id.
fn text(claim: Option<&Value>) -> Option<String> {
    claim?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
