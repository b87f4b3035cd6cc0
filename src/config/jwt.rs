//! Whom to believe: the key's source and the algorithms that fit it. Not here: verifying a token (`gateway::handshake`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::read::Reader;
use super::values::{Secret, SecretUrl};
use super::{ConfigError, Sources};

const SHARED: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
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

/// Shortest shared secret that cannot be guessed, in bytes: as long as HS256's digest.
pub(super) const SHORT_SECRET_BYTES: usize = 32;

/// How tokens are verified.
#[derive(Clone, Default)]
pub struct JwtSettings {
    /// A shared secret (HS*), or a PEM public key (RS*, PS*, ES*, EdDSA).
    pub secret: Option<Secret>,
    /// What a token may be signed with; never empty when there is a key. Each key verifies its own family alone.
    pub algorithms: Vec<Algorithm>,
    /// `aud` must name one of these; empty = not checked.
    pub audience: Vec<String>,
    /// `iss` must be one of these; empty = not checked.
    pub issuer: Vec<String>,
    /// Tolerance for `exp` and `nbf`.
    pub leeway: Duration,
    /// A key set fetched by HTTP.
    pub jwks_url: Option<SecretUrl>,
    /// A key set read from a file.
    pub jwks_file: Option<PathBuf>,
}

impl JwtSettings {
    /// Reads these settings alone, for a process that needs no Redis.
    pub fn from_sources(sources: &Sources) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources);
        let jwt = Self::read(&mut reader);
        reader.finish().map(|()| jwt)
    }

    /// Whether any token can be verified at all.
    pub fn has_key(&self) -> bool {
        self.secret.is_some() || self.has_key_set()
    }

    /// Whether keys come from a set.
    pub fn has_key_set(&self) -> bool {
        self.jwks_url.is_some() || self.jwks_file.is_some()
    }

    /// What a shared secret signs with.
    pub fn signing_algorithm(&self) -> Option<Algorithm> {
        self.algorithms.iter().copied().find(|one| SHARED.contains(one))
    }

    /// Whether the secret is a PEM public key, and no shared one.
    pub fn is_public_key(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| is_pem(secret.expose()))
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let jwt = Self {
            secret: reader.optional("REALTIME_JWT_SECRET", &"a shared secret, or a PEM public key", |text| {
                let text = if is_pem(text) {
                    text.replace("\\n", "\n")
                } else {
                    text.to_owned()
                };
                fitting(Some(&text)).map(|_| Secret::new(text))
            }),
            algorithms: Vec::new(),
            audience: reader.list("REALTIME_JWT_AUDIENCE", &"a comma list", |text| Some(text.to_owned())),
            issuer: reader.list("REALTIME_JWT_ISSUER", &"a comma list", |text| Some(text.to_owned())),
            leeway: reader.millis("REALTIME_JWT_LEEWAY", 0..=300_000),
            jwks_url: reader.url("REALTIME_JWT_JWKS_URL", &["https://", "http://"]),
            jwks_file: reader.optional("REALTIME_JWT_JWKS_FILE", &"a path", |text| Some(PathBuf::from(text))),
        };
        if jwt.jwks_url.is_some() && jwt.jwks_file.is_some() {
            reader.problem("REALTIME_JWT_JWKS_URL, REALTIME_JWT_JWKS_FILE: at most one may be set");
        }
        let secret = jwt.secret.as_ref().map(Secret::expose);
        let mut possible = fitting(secret).unwrap_or_default();
        if secret.is_some() && jwt.has_key_set() {
            let public = fitting(None).unwrap_or_default();
            let others: Vec<Algorithm> = public.into_iter().filter(|one| !possible.contains(one)).collect();
            possible.extend(others);
        }
        let names: Vec<_> = possible.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        let takes = format!("a comma list of what fits the key: {}", names.join(", "));
        let asked = reader.list("REALTIME_JWT_ALGORITHMS", &takes, |text| {
            text.parse::<Algorithm>()
                .ok()
                .filter(|algorithm| possible.contains(algorithm))
        });
        Self {
            algorithms: if asked.is_empty() { possible } else { asked },
            ..jwt
        }
    }
}

impl fmt::Debug for JwtSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSettings")
            .field("secret", &self.secret)
            .field("algorithms", &self.algorithms)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("leeway", &self.leeway)
            .field("jwks_url", &self.jwks_url)
            .field("jwks_file", &self.jwks_file)
            .finish()
    }
}

fn is_pem(secret: &str) -> bool {
    secret.starts_with("-----BEGIN ")
}

/// The algorithms that fit a key; without a secret those of public keys, since a key set holds nothing else.
/// `None` = a PEM text that holds no public key. An HS* token is never verified with a public key, which everybody has.
fn fitting(secret: Option<&str>) -> Option<Vec<Algorithm>> {
    let Some(secret) = secret else {
        return Some([RSA, ELLIPTIC, EDWARDS].concat());
    };
    if !is_pem(secret) {
        return Some(SHARED.to_vec());
    }
    let pem = secret.as_bytes();
    if !secret.contains("PUBLIC KEY-----") {
        return None;
    }
    if DecodingKey::from_rsa_pem(pem).is_ok() {
        Some(RSA.to_vec())
    } else if DecodingKey::from_ec_pem(pem).is_ok() {
        Some(ELLIPTIC.to_vec())
    } else if DecodingKey::from_ed_pem(pem).is_ok() {
        Some(EDWARDS.to_vec())
    } else {
        None
    }
}
