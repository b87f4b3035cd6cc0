//! Tokens and keys, good and bad, without a network.

use futures_util::FutureExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::*;

fn verifier(secret: &str, rules: TokenRules) -> Verifier {
    Verifier::new(Some(secret), rules, None).expect("a key")
}

fn signed(claims: &Value, algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(b"s3cret")).expect("signs")
}

/// Verification waits for nothing but a key set.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

fn verified(claims: Value) -> Result<Identity, IdentityError> {
    now(verifier("s3cret", TokenRules::default()).verify(&signed(&claims, Algorithm::HS256)))
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
fn an_end_may_be_any_number_and_no_other_thing() {
    let now_s = jiff::Timestamp::now().as_second();
    let end = |exp: Value| verified(json!({"sub": "u", "exp": exp})).map(|identity| identity.expires_at);
    assert_eq!(end(json!(now_s as f64 + 60.75)).expect("a fraction"), Some(now_s + 60));
    assert_eq!(end(json!(1e15)).expect("beyond every calendar"), None);
    for wrong in [json!(-1), json!(1e300), json!("2999-01-01"), json!([1]), json!(true)] {
        assert!(end(wrong.clone()).is_err(), "{wrong}");
    }
    let start = |nbf: Value| verified(json!({"sub": "u", "nbf": nbf}));
    assert!(start(json!(now_s as f64 - 0.5)).is_ok());
    for wrong in [json!(now_s as f64 + 60.5), json!(1e300), json!("now")] {
        assert!(start(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn leeway_moves_the_end_too() {
    let now_s = jiff::Timestamp::now().as_second();
    let lenient = TokenRules {
        leeway_s: 60,
        ..TokenRules::default()
    };
    let verified =
        now(verifier("s3cret", lenient).verify(&signed(&json!({"sub": "u", "exp": now_s - 30}), Algorithm::HS256)));
    assert_eq!(verified.expect("within the leeway").expires_at, Some(now_s + 30));
}

#[test]
fn what_a_revocation_asks_is_read_and_never_made_up() {
    let issued = |claims| verified(claims).expect("valid").issued;
    let whole = issued(json!({"sub": "u", "iat": 1_700_000_000.9, "jti": "t1"}));
    assert_eq!(whole.at_s, Some(1_700_000_000));
    assert_eq!(whole.token.expect("an id").as_str(), "t1");
    for (iat, jti) in [
        (json!("1700000000"), json!(7)),
        (json!(null), json!("x".repeat(256))),
        (json!({}), json!("a\u{0}")),
    ] {
        assert_eq!(issued(json!({"sub": "u", "iat": iat, "jti": jti})), Issued::default());
    }
}

#[test]
fn the_algorithm_comes_from_the_configuration() {
    let token = signed(&json!({"sub": "u"}), Algorithm::HS512);
    let only = |algorithm| TokenRules {
        algorithms: vec![algorithm],
        ..TokenRules::default()
    };
    assert!(now(verifier("s3cret", TokenRules::default()).verify(&token)).is_ok());
    assert!(now(verifier("s3cret", only(Algorithm::HS256)).verify(&token)).is_err());
    let unfit = now(verifier("s3cret", only(Algorithm::RS256)).verify(&token));
    assert!(matches!(unfit, Err(IdentityError::NoKey)));
}

#[test]
fn a_token_may_only_name_a_user() {
    let named = |token| named(token).map(|named| named.map(|named| named.user.to_string()));
    assert!(matches!(named("user:ada"), Some(Ok(user)) if user == "ada"));
    assert!(matches!(named("user:a:b"), Some(Ok(user)) if user == "a:b"));
    assert!(matches!(named("user:"), Some(Err(IdentityError::BadUser(_)))));
    assert!(matches!(named("user:anon:x"), Some(Err(IdentityError::ReservedUser))));
    let token = signed(&json!({"sub": "ada"}), Algorithm::HS256);
    for other in [&*token, "ada", "User:ada", "", " user:ada"] {
        assert!(named(other).is_none(), "{other}");
    }
    let verifier = verifier("s3cret", TokenRules::default());
    assert!(
        matches!(now(verifier.verify("user:ada")), Err(IdentityError::Token(_))),
        "it is not verified"
    );
}

#[test]
fn without_a_key_nobody_is_believed() {
    let none = Verifier::new(None, TokenRules::default(), None).expect("no key");
    let token = signed(&json!({"sub": "u"}), Algorithm::HS256);
    assert!(matches!(now(none.verify(&token)), Err(IdentityError::NoKey)));
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

fn public_key(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": "hh_1UBo6wkAD30v8XWAhyovrpeXldd-7MOmq7r3hhdM", "y": "XUlgI4WKcFw5_StOfOWxfk9JtYFO6QteRtN-F5H2sFw"})
}

/// Another key, of the same kind.
fn other_key(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

fn key_set(keys: &[Value]) -> Result<KeySet, BadKey> {
    let set = KeySet::new(TokenRules::default());
    set.publish(&json!({"keys": keys}).to_string()).map(|_| set)
}

fn by_set(set: &KeySet) -> Verifier {
    Verifier::new(None, TokenRules::default(), Some(set.clone())).expect("no secret")
}

#[test]
fn a_key_set_verifies_by_kid() {
    let shared = json!({"kty": "oct", "kid": "k2", "k": "c2VjcmV0"});
    let strange = json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "k3", "pub": "x"});
    let verifier = by_set(&key_set(&[shared.clone(), strange, other_key("k1"), public_key("k1")]).expect("a key set"));
    assert!(
        now(verifier.verify(&signed_by_key(Some("k1")))).is_ok(),
        "two keys may share a name"
    );
    assert!(
        now(verifier.verify(&signed_by_key(None))).is_ok(),
        "a token may leave its key unnamed"
    );
    let shared_token = signed(&json!({"sub": "u"}), Algorithm::HS256);
    assert!(
        now(verifier.verify(&shared_token)).is_err(),
        "no shared secret comes out of a set"
    );
    for keys in [&[][..], &[shared]] {
        assert!(matches!(key_set(keys), Err(BadKey::EmptyKeySet)));
    }
    let many: Vec<_> = (0..=keys::KEYS_MAX).map(|n| public_key(&n.to_string())).collect();
    assert!(matches!(key_set(&many), Err(BadKey::TooManyKeys)));
}

#[test]
fn a_key_is_used_for_what_it_is_meant_for() {
    let with = |name: &str, value: Value| {
        let mut key = public_key("k1");
        key[name] = value;
        key_set(&[key])
    };
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("ES384")),
        ("alg", json!("RS256")),
        ("alg", json!("none")),
        ("crv", json!("P-521")),
    ] {
        assert!(
            matches!(with(name, value.clone()), Err(BadKey::EmptyKeySet)),
            "{name} {value}"
        );
    }
    for (name, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("alg", json!("ES256")),
    ] {
        let verifier = by_set(&with(name, value).expect("a key"));
        assert!(now(verifier.verify(&signed_by_key(Some("k1")))).is_ok(), "{name}");
    }
}

#[test]
fn a_secret_and_a_set_are_both_believed() {
    let set = key_set(&[public_key("k1")]).expect("a key set");
    let both = Verifier::new(Some("s3cret"), TokenRules::default(), Some(set)).expect("a key");
    assert!(now(both.verify(&signed_by_key(Some("k1")))).is_ok());
    assert!(now(both.verify(&signed(&json!({"sub": "u"}), Algorithm::HS256))).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_judged_before_the_set_has_come() {
    let set = KeySet::new(TokenRules::default());
    let verifier = by_set(&set);
    assert!(verifier.is_waiting());
    assert!(matches!(
        now(verifier.verify(&signed_by_key(Some("k1")))),
        Err(IdentityError::Unjudged)
    ));
    let shared = signed(&json!({"sub": "u"}), Algorithm::HS256);
    assert!(
        matches!(now(verifier.verify(&shared)), Err(IdentityError::NoKey)),
        "no set would help"
    );
    set.publish(&json!({"keys": [public_key("k1")]}).to_string())
        .expect("a set");
    assert!(now(verifier.verify(&signed_by_key(Some("k1")))).is_ok() && !verifier.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn many_unknown_names_are_one_load_and_known_names_wait_for_none() {
    let set = key_set(&[other_key("old")]).expect("a key set");
    let verifier = by_set(&set);
    let new = signed_by_key(Some("new"));
    let loads = std::cell::Cell::new(0);
    let load = async {
        loop {
            set.asked().await;
            set.begin(true);
            loads.set(loads.get() + 1);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            set.publish(&json!({"keys": [other_key("old"), public_key("new")]}).to_string())
                .expect("a set");
        }
    };
    let verify = async {
        let all = futures_util::future::join_all((0..100).map(|_| verifier.verify(&new))).await;
        assert!(all.iter().all(Result::is_ok));
        for n in 0..100 {
            let made_up = verifier.verify(&signed_by_key(Some(&format!("made-up-{n}")))).await;
            assert!(matches!(made_up, Err(IdentityError::NoKey)));
        }
        assert!(now(verifier.verify(&new)).is_ok());
    };
    tokio::select! { () = load => {}, () = verify => {} }
    assert_eq!(loads.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_not_judged_where_no_newer_set_can_be_had() {
    let set = key_set(&[other_key("old")]).expect("a key set");
    let verifier = by_set(&set);
    let new = signed_by_key(Some("new"));
    let (judged, ()) = tokio::join!(verifier.verify(&new), async {
        set.asked().await;
        set.begin(true);
        set.fail();
    });
    assert!(matches!(judged, Err(IdentityError::Unjudged)));
    assert!(set.has_come(), "the old set stays");
    assert!(
        matches!(now(verifier.verify(&new)), Err(IdentityError::Unjudged)),
        "and nobody is asked again so soon"
    );
}
