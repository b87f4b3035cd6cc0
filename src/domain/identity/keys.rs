//! What tokens are verified with: a secret, or the public keys of a set, each with the algorithms that fit it. Not here:
//! where a set comes from.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of a set: a token that names none is tried with each.
pub const KEYS_MAX: usize = 64;

/// The keys of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    #[error("REALTIME_JWT_SECRET looks like a PEM public key and is none: {0}")]
    Pem(jsonwebtoken::errors::Error),
    #[error("what should be a key set is none: {0}")]
    KeySet(#[from] serde_json::Error),
    #[error("the key set holds no public key that can be used")]
    EmptyKeySet,
    #[error("the key set holds over {KEYS_MAX} keys")]
    TooManyKeys,
}

/// What tokens must be, beside being signed by a key.
#[derive(Debug, Clone, Default)]
pub struct TokenRules {
    /// Empty: every algorithm that fits the key.
    pub algorithms: Vec<Algorithm>,
    /// Empty: any.
    pub audience: Vec<String>,
    /// Empty: any.
    pub issuer: Vec<String>,
    pub leeway_s: u64,
}

/// A key with what a token must be that it verifies.
pub(super) struct Key {
    /// A token that names a key is verified by no other.
    pub id: Option<String>,
    pub key: DecodingKey,
    pub validation: Validation,
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

/// Whether tokens of this algorithm are signed with a shared secret, which no key set holds.
pub(super) fn is_shared(algorithm: Algorithm) -> bool {
    HMAC.contains(&algorithm)
}

impl TokenRules {
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.is_empty() || self.algorithms.contains(&algorithm)
    }

    /// A key as these rules use it; `None` where no allowed algorithm fits it.
    fn key(&self, id: Option<String>, key: DecodingKey, fitting: &[Algorithm]) -> Option<Key> {
        let allowed: Vec<Algorithm> = fitting.iter().copied().filter(|&one| self.allows(one)).collect();
        let first = *allowed.first()?;
        let mut validation = Validation::new(first);
        validation.algorithms = allowed;
        validation.leeway = self.leeway_s;
        validation.validate_nbf = true;
        // A token without an end is the issuer's choice; one with an end is held to it.
        validation.required_spec_claims.clear();
        validation.validate_aud = !self.audience.is_empty();
        if !self.audience.is_empty() {
            validation.set_audience(&self.audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !self.issuer.is_empty() {
            validation.set_issuer(&self.issuer);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Some(Key { id, key, validation })
    }

    /// The key in `REALTIME_JWT_SECRET`: a shared secret, or a PEM public key.
    pub(super) fn secret(&self, secret: &str) -> Result<Option<Key>, BadKey> {
        if !secret.trim_start().starts_with("-----BEGIN") {
            return Ok(self.key(None, DecodingKey::from_secret(secret.as_bytes()), HMAC));
        }
        // Variables hold one line: \n stands for a line's end.
        let pem = secret.replace("\\n", "\n");
        let (key, family) = DecodingKey::from_rsa_pem(pem.as_bytes())
            .map(|key| (key, RSA))
            .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()).map(|key| (key, ELLIPTIC)))
            .or_else(|_| DecodingKey::from_ed_pem(pem.as_bytes()).map(|key| (key, EDWARDS)))
            .map_err(BadKey::Pem)?;
        Ok(self.key(None, key, family))
    }

    /// The usable public keys of a set. A key of a kind that is not known here spoils none of the others.
    pub(super) fn set(&self, json: &str) -> Result<Vec<Key>, BadKey> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_str(json)?;
        if set.keys.len() > KEYS_MAX {
            return Err(BadKey::TooManyKeys);
        }
        let known = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = known.filter_map(|jwk| self.public(&jwk)).collect();
        if keys.is_empty() {
            return Err(BadKey::EmptyKeySet);
        }
        Ok(keys)
    }

    /// A public key that is meant for signatures; a shared secret has no place in a set that everybody can read.
    fn public(&self, jwk: &Jwk) -> Option<Key> {
        let common = &jwk.common;
        let verifies = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
        if common
            .public_key_use
            .as_ref()
            .is_some_and(|purpose| *purpose != PublicKeyUse::Signature)
            || !common.key_operations.as_ref().is_none_or(verifies)
        {
            return None;
        }
        let family: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => EDWARDS,
            _ => return None,
        };
        let named = common.key_algorithm.map(|algorithm| algorithm.to_string().parse());
        let fitting: Vec<Algorithm> = match named {
            None => family.to_vec(),
            // One that is not known here signs nothing that could be verified.
            Some(named) => family.iter().copied().filter(|one| named.as_ref() == Ok(one)).collect(),
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        self.key(common.key_id.clone(), key, &fitting)
    }
}
