//! Tokens for the tests' users, signed as an identity service would.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The secret that every test cluster is configured with.
pub const SECRET: &str = "a secret for tests alone, 32 bytes and more";

/// Seconds since 1970, `offset_s` from now.
pub fn seconds_from_now(offset_s: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("this machine's clock is past 1970");
    i64::try_from(now.as_secs()).expect("seconds fit") + offset_s
}

/// A good token: HS256, the user in `sub`, an hour to live.
pub fn token(user: &str) -> String {
    signed(&json!({"sub": user, "exp": seconds_from_now(3600)}))
}

/// HS256 over `claims` as they are.
pub fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("claims are JSON")
}

/// A token whose header says RS256, while its signature is an HMAC with the shared secret: good for whoever lets the
/// token choose the algorithm's family, or the key.
pub fn signed_under_a_false_name(claims: &Value) -> String {
    let body = format!(
        "{}.{}",
        segment(&json!({"alg": "RS256", "typ": "JWT"})),
        segment(claims)
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(body.as_bytes(), &key, Algorithm::HS256).expect("an HMAC key");
    format!("{body}.{signature}")
}

/// Algorithm `none`: header and claims, and an empty signature.
pub fn unsigned(claims: &Value) -> String {
    format!(
        "{}.{}.",
        segment(&json!({"alg": "none", "typ": "JWT"})),
        segment(claims)
    )
}

fn segment(value: &Value) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}
