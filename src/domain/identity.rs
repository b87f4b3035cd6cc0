//! Who somebody is: tokens are verified here, by the configured algorithms alone. Not here: where a token is found.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use crate::types::{ANONYMOUS_PREFIX, UserId};

/// Longest token that is looked at, in bytes.
pub const TOKEN_MAX_BYTES: usize = 16 * 1024;
/// Longest session id that is believed, in bytes; the archive's column holds no more.
const SESSION_MAX_BYTES: usize = 255;

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub session: Option<String>,
    /// Unix seconds; `None`: the token does not end.
    pub expires_at: Option<i64>,
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
}

/// The keys of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    #[error("REALTIME_JWT_SECRET looks like a PEM public key and is none: {0}")]
    Pem(jsonwebtoken::errors::Error),
    #[error("REALTIME_JWT_JWKS_FILE is no key set: {0}")]
    KeySet(#[from] serde_json::Error),
    #[error("REALTIME_JWT_JWKS_FILE cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("REALTIME_JWT_JWKS_FILE holds no public key that can be used")]
    EmptyKeySet,
}

/// What tokens must be, as the configuration says.
pub struct TokenRules<'a> {
    pub secret: Option<&'a str>,
    /// A JSON Web Key Set: its public keys, each by its `kid`.
    pub key_set: Option<&'a str>,
    /// Empty: every algorithm that fits the key.
    pub algorithms: &'a [Algorithm],
    /// Empty: any.
    pub audience: &'a [String],
    /// Empty: any.
    pub issuer: &'a [String],
    pub leeway_s: u64,
}

/// Verifies tokens; without a key it believes none.
pub struct Verifier {
    keys: Vec<Key>,
    leeway_s: u64,
}

struct Key {
    /// A token that names a key is verified by no other.
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
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
}

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

const ELLIPTIC: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
const EDWARDS: &[Algorithm] = &[Algorithm::EdDSA];

impl Verifier {
    /// The key decides the family of algorithms, the configuration narrows it; the token has no say.
    pub fn new(rules: &TokenRules<'_>) -> Result<Self, BadKey> {
        let secret = rules
            .secret
            .map(key)
            .transpose()?
            .map(|(key, family)| (None, key, family));
        let key_set = rules.key_set.map(keys_of).transpose()?.unwrap_or_default();
        let fits = |(id, key, family): NamedKey| {
            let allowed: Vec<Algorithm> = family
                .iter()
                .copied()
                .filter(|one| rules.algorithms.is_empty() || rules.algorithms.contains(one))
                .collect();
            // A configured algorithm that does not fit a key leaves nothing allowed: the key is not used.
            (!allowed.is_empty()).then(|| Key {
                id,
                key,
                validation: validation(allowed, rules),
            })
        };
        Ok(Self {
            keys: secret.into_iter().chain(key_set).filter_map(fits).collect(),
            leeway_s: rules.leeway_s,
        })
    }

    /// The identity that a token proves.
    pub fn verify(&self, token: &str) -> Result<Identity, IdentityError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(IdentityError::TooLong);
        }
        let named = jsonwebtoken::decode_header(token)?.kid;
        let may_fit = |key: &&Key| named.is_none() || key.id.is_none() || key.id == named;
        let mut refused = IdentityError::NoKey;
        for key in self.keys.iter().filter(may_fit) {
            match decode::<Claims>(token, &key.key, &key.validation) {
                Ok(decoded) => return self.identity(&decoded.claims),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, IdentityError> {
        let user = UserId::parse(&user_of(claims).ok_or(IdentityError::NoUser)?)?;
        if user.as_str().starts_with(ANONYMOUS_PREFIX) {
            return Err(IdentityError::ReservedUser);
        }
        let session = text(claims.session_id.as_ref()).filter(|id| id.len() <= SESSION_MAX_BYTES);
        let leeway_s = i64::try_from(self.leeway_s).unwrap_or(0);
        Ok(Identity {
            user,
            session,
            expires_at: claims.exp.map(|exp| (exp as i64).saturating_add(leeway_s)),
        })
    }
}

/// A key with its name, and the algorithms that fit it.
type NamedKey = (Option<String>, DecodingKey, &'static [Algorithm]);

/// The public keys of a set, with the algorithms that fit each; shared secrets have no place in one.
fn keys_of(json: &str) -> Result<Vec<NamedKey>, BadKey> {
    let set: JwkSet = serde_json::from_str(json)?;
    let usable = |jwk: &Jwk| {
        let family = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(_) => ELLIPTIC,
            AlgorithmParameters::OctetKeyPair(_) => EDWARDS,
            _ => return None,
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some((jwk.common.key_id.clone(), key, family))
    };
    let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
    if keys.is_empty() {
        return Err(BadKey::EmptyKeySet);
    }
    Ok(keys)
}

fn key(secret: &str) -> Result<(DecodingKey, &'static [Algorithm]), BadKey> {
    if !secret.trim_start().starts_with("-----BEGIN") {
        return Ok((DecodingKey::from_secret(secret.as_bytes()), HMAC));
    }
    // Variables hold one line: \n stands for a line's end.
    let pem = secret.replace("\\n", "\n");
    DecodingKey::from_rsa_pem(pem.as_bytes())
        .map(|key| (key, RSA))
        .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()).map(|key| (key, ELLIPTIC)))
        .or_else(|_| DecodingKey::from_ed_pem(pem.as_bytes()).map(|key| (key, EDWARDS)))
        .map_err(BadKey::Pem)
}

fn validation(allowed: Vec<Algorithm>, rules: &TokenRules<'_>) -> Validation {
    let mut validation = Validation::new(allowed.first().copied().unwrap_or(Algorithm::HS256));
    validation.algorithms = allowed;
    validation.leeway = rules.leeway_s;
    validation.validate_nbf = true;
    // A token without an end is the issuer's choice; one with an end is held to it.
    validation.required_spec_claims.clear();
    validation.validate_aud = !rules.audience.is_empty();
    if !rules.audience.is_empty() {
        validation.set_audience(rules.audience);
        validation.required_spec_claims.insert("aud".to_owned());
    }
    if !rules.issuer.is_empty() {
        validation.set_issuer(rules.issuer);
        validation.required_spec_claims.insert("iss".to_owned());
    }
    validation
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
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    fn rules(secret: &str) -> TokenRules<'_> {
        TokenRules {
            secret: Some(secret),
            key_set: None,
            algorithms: &[],
            audience: &[],
            issuer: &[],
            leeway_s: 0,
        }
    }

    fn signed(claims: &Value, algorithm: Algorithm) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(b"s3cret")).expect("signs")
    }

    fn verified(claims: Value) -> Result<Identity, IdentityError> {
        Verifier::new(&rules("s3cret"))
            .expect("a key")
            .verify(&signed(&claims, Algorithm::HS256))
    }

    #[test]
    fn the_user_is_found_in_this_order() {
        let hasura = json!({"x-hasura-user-id": "h"});
        let user = |claims| verified(claims).expect("valid").user.to_string();
        assert_eq!(
            user(json!({"userId": "u", "sub": "s", "https://hasura.io/jwt/claims": hasura})),
            "u"
        );
        assert_eq!(user(json!({"sub": "s", "https://hasura.io/jwt/claims": hasura})), "s");
        assert_eq!(user(json!({"https://hasura.io/jwt/claims": hasura})), "h");
    }

    #[test]
    fn a_token_without_a_user_or_with_a_strange_one_is_refused() {
        assert!(matches!(verified(json!({"name": "x"})), Err(IdentityError::NoUser)));
        assert!(matches!(verified(json!({"sub": ""})), Err(IdentityError::NoUser)));
        assert!(matches!(verified(json!({"sub": 42})), Err(IdentityError::NoUser)));
        assert!(matches!(
            verified(json!({"sub": "a\u{0}b"})),
            Err(IdentityError::BadUser(_))
        ));
        assert!(matches!(
            verified(json!({"sub": "anon:x"})),
            Err(IdentityError::ReservedUser)
        ));
    }

    #[test]
    fn times_are_checked_without_leeway() {
        let now = jiff::Timestamp::now().as_second();
        assert!(verified(json!({"sub": "u", "exp": now - 2})).is_err());
        assert!(verified(json!({"sub": "u", "nbf": now + 60})).is_err());
        assert_eq!(
            verified(json!({"sub": "u", "exp": now + 60}))
                .expect("valid")
                .expires_at,
            Some(now + 60)
        );
    }

    #[test]
    fn the_algorithm_comes_from_the_configuration() {
        let token = signed(&json!({"sub": "u"}), Algorithm::HS512);
        assert!(Verifier::new(&rules("s3cret")).expect("a key").verify(&token).is_ok());
        let narrow = TokenRules {
            algorithms: &[Algorithm::HS256],
            ..rules("s3cret")
        };
        assert!(Verifier::new(&narrow).expect("a key").verify(&token).is_err());
        let unfit = TokenRules {
            algorithms: &[Algorithm::RS256],
            ..rules("s3cret")
        };
        assert!(matches!(
            Verifier::new(&unfit).expect("a key").verify(&token),
            Err(IdentityError::NoKey)
        ));
    }

    #[test]
    fn without_a_key_nobody_is_believed() {
        let none = TokenRules {
            secret: None,
            ..rules("")
        };
        let token = signed(&json!({"sub": "u"}), Algorithm::HS256);
        assert!(matches!(
            Verifier::new(&none).expect("no key").verify(&token),
            Err(IdentityError::NoKey)
        ));
    }

    /// A key that signs nothing but these tests' tokens.
    const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQw5arWThHBFGp4a2\n\
rLqBuBmKltiaiJobHMbyA4I90wShRANCAASGH/VQGjrCQAPfS/xdYCHKi+ul5eV1\n\
37sw6aruveGF011JYCOFinBcOf0rTnzlsX5PSbWBTukLXkbTfheR9rBc\n\
-----END PRIVATE KEY-----";

    fn signed_by_key(kid: Option<&str>) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = kid.map(str::to_owned);
        let key = EncodingKey::from_ec_pem(SIGNING_KEY.as_bytes()).expect("a key");
        encode(&header, &json!({"sub": "u"}), &key).expect("signs")
    }

    #[test]
    fn a_key_set_verifies_by_kid() {
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": "hh_1UBo6wkAD30v8XWAhyovrpeXldd-7MOmq7r3hhdM", "y": "XUlgI4WKcFw5_StOfOWxfk9JtYFO6QteRtN-F5H2sFw"});
        let shared = json!({"kty": "oct", "kid": "k2", "k": "c2VjcmV0"});
        let set = json!({"keys": [shared, key]}).to_string();
        let rules = TokenRules {
            secret: None,
            key_set: Some(&set),
            ..rules("")
        };
        let verifier = Verifier::new(&rules).expect("a key set");
        assert!(verifier.verify(&signed_by_key(Some("k1"))).is_ok());
        assert!(
            verifier.verify(&signed_by_key(None)).is_ok(),
            "a token may leave its key unnamed"
        );
        assert!(matches!(
            verifier.verify(&signed_by_key(Some("k3"))),
            Err(IdentityError::NoKey)
        ));
        let shared = signed(&json!({"sub": "u"}), Algorithm::HS256);
        assert!(verifier.verify(&shared).is_err(), "no shared secret comes out of a set");
        let none = TokenRules {
            key_set: Some(r#"{"keys":[]}"#),
            ..rules
        };
        assert!(matches!(Verifier::new(&none), Err(BadKey::EmptyKeySet)));
    }
}
