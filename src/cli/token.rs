//! `token`: signs a test token with the configured shared secret. Not here: verifying tokens.

use clap::Args;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{Error, say};
use crate::config::{Flags, JwtSettings, Secret, Sources};
use crate::types::{TokenId, UserId};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The user that the token is for
    user: UserId,
    /// How long it is valid, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// The token's own id, by which it can be revoked
    #[arg(long, value_name = "ID")]
    jti: Option<TokenId>,
    /// A further claim; the value is JSON, or else a text
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() {
        return Err("must be NAME=VALUE".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

pub(super) fn run(flags: &Flags, options: &Options) -> Result<(), Error> {
    let jwt = JwtSettings::from_sources(&Sources::read(flags)?)?;
    let id = options.jti.iter().map(|id| ("jti".to_owned(), id.as_str().into()));
    let claims = id.chain(options.claims.iter().cloned()).collect();
    let token = sign(&jwt, &options.user, options.ttl, claims)?;
    if options.json {
        say!("{}", json!({ "token": token, "userId": options.user.as_str() }));
    } else {
        say!("{token}");
    }
    Ok(())
}

/// A token for a user that this configuration accepts for `ttl_s` seconds. `claims` win over the usual ones.
pub(super) fn sign(jwt: &JwtSettings, user: &UserId, ttl_s: u32, claims: Map<String, Value>) -> Result<String, Error> {
    let secret = match &jwt.secret {
        Some(secret) if !jwt.is_public_key() => secret,
        Some(_) => {
            return Err(Error::Usage(
                "REALTIME_JWT_SECRET is a public key: only its owner can sign".into(),
            ));
        }
        None => {
            return Err(Error::Usage(
                "there is no secret to sign with: set REALTIME_JWT_SECRET".into(),
            ));
        }
    };
    let algorithm = jwt
        .signing_algorithm()
        .ok_or_else(|| Error::Usage("REALTIME_JWT_ALGORITHMS allows none that a shared secret signs with".into()))?;
    let now_s = jiff::Timestamp::now().as_second();
    let mut all = Map::new();
    all.insert("sub".into(), user.as_str().into());
    all.insert("userId".into(), user.as_str().into());
    all.insert("iat".into(), now_s.into());
    all.insert("exp".into(), (now_s + i64::from(ttl_s)).into());
    if let Some(audience) = jwt.audience.first() {
        all.insert("aud".into(), audience.as_str().into());
    }
    if let Some(issuer) = jwt.issuer.first() {
        all.insert("iss".into(), issuer.as_str().into());
    }
    all.extend(claims);
    encode(secret, algorithm, &all)
}

fn encode(secret: &Secret, algorithm: jsonwebtoken::Algorithm, claims: &Map<String, Value>) -> Result<String, Error> {
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key)
        .map_err(|error| Error::Failed(format!("cannot sign: {error}")))
}
