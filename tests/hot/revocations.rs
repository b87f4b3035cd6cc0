//! What is revoked: written down, told to every node, found again, and never forgotten early.

use std::time::Duration;

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::revocations::{Added, Revocation, Subject, add, check, since};
use nself_realtime::types::TokenId;

use crate::ear::Ear;
use crate::stage::{Stage, now_ms, user};

fn token(id: &str) -> TokenId {
    TokenId::parse(id).unwrap()
}

fn subjects() -> [Subject; 2] {
    [Subject::User(user("ann")), Subject::Token(token("t:1"))]
}

async fn added(stage: &Stage, subject: &Subject) -> i64 {
    match add(&stage.hot, subject).await.unwrap() {
        Added::At(at_ms) => at_ms,
        Added::Full => panic!("there is place for {subject:?}"),
    }
}

#[tokio::test]
async fn a_revocation_is_told_and_found() {
    let stage = Stage::new().await;
    let mut ear = Ear::open(&stage, &[Topic::Everybody]).await;
    let (ann, one) = (user("ann"), token("t:1"));
    assert_eq!(check(&stage.hot, &ann, Some(&one)).await.unwrap(), (None, None));
    let mut told = Vec::new();
    for subject in subjects() {
        let at_ms = added(&stage, &subject).await;
        assert!((now_ms() - at_ms).abs() < 5_000, "{at_ms}");
        told.push(BusEvent::Revoked(Revocation { subject, at_ms }));
    }
    assert_eq!(ear.heard(&stage, &Topic::Everybody).await, told);
    let (user_ms, token_ms) = check(&stage.hot, &ann, Some(&one)).await.unwrap();
    assert!(user_ms.is_some() && token_ms >= user_ms);
    assert_eq!(check(&stage.hot, &ann, None).await.unwrap(), (user_ms, None));
    assert_eq!(
        check(&stage.hot, &user("t:1"), Some(&token("ann"))).await.unwrap(),
        (None, None)
    );
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_repeat_revokes_anew_and_never_earlier() {
    let stage = Stage::new().await;
    let [ann, _] = subjects();
    let first = added(&stage, &ann).await;
    assert!(added(&stage, &ann).await >= first);
    let ahead_ms = now_ms() + 60_000;
    let () = stage
        .ask("ZADD", (stage.keys().revocations(), ahead_ms, "user\0ann"))
        .await;
    assert_eq!(
        added(&stage, &ann).await,
        ahead_ms,
        "a clock that went back takes nothing back"
    );
    assert_eq!(stage.ask::<u64>("ZCARD", stage.keys().revocations()).await, 1);
}

#[tokio::test]
async fn without_a_place_adding_fails_and_nothing_is_forgotten() {
    let stage = Stage::with(|terms| terms.revocations = 2).await;
    let mut ear = Ear::open(&stage, &[Topic::Everybody]).await;
    for subject in &subjects() {
        added(&stage, subject).await;
    }
    ear.heard(&stage, &Topic::Everybody).await;
    let third = Subject::User(user("cat"));
    assert_eq!(add(&stage.hot, &third).await.unwrap(), Added::Full);
    assert_eq!(ear.heard(&stage, &Topic::Everybody).await, []);
    added(&stage, &subjects()[0]).await;

    // What is older than the time that is kept makes place.
    let old_ms = now_ms() - 3_700_000;
    let () = stage
        .ask("ZADD", (stage.keys().revocations(), old_ms, "token\0t:1"))
        .await;
    added(&stage, &third).await;
    assert_eq!(
        check(&stage.hot, &user("ann"), Some(&token("t:1"))).await.unwrap().1,
        None
    );
    let ttl: i64 = stage.ask("PTTL", stage.keys().revocations()).await;
    assert!((1..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn what_was_missed_is_read_in_pages() {
    let stage = Stage::new().await;
    assert_eq!(since(&stage.hot, Duration::from_secs(60)).await.unwrap(), []);
    let now_ms = now_ms();
    for n in 0..2_500_i64 {
        let at_ms = now_ms - 30_000 + n / 2;
        let () = stage
            .ask("ZADD", (stage.keys().revocations(), at_ms, format!("token\0t{n}")))
            .await;
    }
    let () = stage
        .ask("ZADD", (stage.keys().revocations(), now_ms - 120_000, "token\0old"))
        .await;
    let () = stage
        .ask(
            "ZADD",
            (stage.keys().revocations(), now_ms, "kind of a later version\0x"),
        )
        .await;
    let mut found = since(&stage.hot, Duration::from_secs(60)).await.unwrap();
    assert!(found.is_sorted_by_key(|revocation| revocation.at_ms));
    found.sort_by_key(|revocation| format!("{:?}", revocation.subject));
    found.dedup();
    assert_eq!(found.len(), 2_500);
}
