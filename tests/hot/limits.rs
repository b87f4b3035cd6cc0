//! Rates: one bucket in Redis, whoever draws from it; and connections that a user may have.

use std::time::Duration;

use nself_realtime::domain::limits::{self, Class, Draw, Drawn};
use nself_realtime::hot::Terms;
use nself_realtime::hot::keys::Bucket;
use nself_realtime::hot::messages::{self, Send, SendRequest};
use nself_realtime::hot::presence::{self, Connect, Facts};
use nself_realtime::types::{Rate, UserId};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::stage::{GRACE, ODD_NAMES, Stage, lease, now_ms, send_one, user};

/// One token a minute: while a test runs, none comes back.
fn slow(burst: u32) -> (Rate, Duration) {
    let rate = Rate::new(1, burst).unwrap();
    (rate, Duration::from_micros(rate.interval_us()))
}

impl Stage {
    async fn draw(&self, user: &UserId, rate: Rate, owed: u32, wanted: u32) -> Drawn {
        let draw = Draw { owed, wanted };
        limits::draw(&self.hot, user, Class::Messages, rate, draw)
            .await
            .unwrap()
    }

    fn bucket(&self, user: &UserId) -> String {
        self.keys().limit(&Bucket::User(user, Class::Messages.as_str()))
    }

    async fn full_us(&self, user: &UserId) -> Option<i64> {
        self.ask("GET", self.bucket(user)).await
    }
}

#[tokio::test]
async fn a_bucket_gives_its_burst_and_then_says_when() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let (rate, interval) = slow(5);
    assert_eq!(
        stage.draw(&ann, rate, 0, 4).await,
        Drawn {
            granted: 4,
            wait: Duration::ZERO
        }
    );
    // As many as there are, and how long it takes for one more.
    let last = stage.draw(&ann, rate, 0, 4).await;
    assert_eq!(last.granted, 1);
    assert!(
        last.wait <= interval && last.wait > interval - Duration::from_secs(10),
        "{last:?}"
    );
    assert_eq!(stage.draw(&ann, rate, 0, 1).await.granted, 0);
    // Others have their own, and so has every class.
    assert_eq!(stage.draw(&user("bob"), rate, 0, 5).await.granted, 5);
    let typing = limits::draw(&stage.hot, &ann, Class::Typing, rate, Draw { owed: 0, wanted: 5 });
    assert_eq!(typing.await.unwrap().granted, 5);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_token_is_there_when_the_wait_is_over() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let rate = Rate::new(600, 1).unwrap();
    for _ in 0..5 {
        let drawn = stage.draw(&ann, rate, 0, 1).await;
        assert_eq!(drawn.granted, 1);
        assert!(drawn.wait <= Duration::from_millis(100));
        tokio::time::sleep(drawn.wait).await; // the very time that is promised
    }
}

#[tokio::test]
async fn a_refusal_takes_nothing() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let (rate, _) = slow(2);
    stage.draw(&ann, rate, 0, 2).await;
    let before = stage.full_us(&ann).await;
    for _ in 0..3 {
        assert_eq!(stage.draw(&ann, rate, 0, 7).await.granted, 0);
    }
    assert_eq!(stage.full_us(&ann).await, before);
    // Nor does a question that wants nothing leave a key.
    stage.draw(&user("bob"), rate, 0, 0).await;
    assert_eq!(stage.full_us(&user("bob")).await, None);
}

/// A repeat after an unknown outcome: the user has fewer, nobody more.
#[tokio::test]
async fn a_repeat_takes_again_and_lets_nothing_through() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let (rate, _) = slow(10);
    let mut granted = 0;
    for _ in 0..5 {
        granted += stage.draw(&ann, rate, 0, 3).await.granted;
    }
    assert_eq!(granted, 10);
}

#[tokio::test]
async fn what_was_used_is_charged_and_a_debt_is_bounded() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let (rate, interval) = slow(2);
    let slack = Duration::from_secs(10);
    stage.draw(&ann, rate, 0, 2).await;
    let owing = stage.draw(&ann, rate, 1, 1).await;
    assert_eq!(owing.granted, 0);
    assert!(owing.wait > 2 * interval - slack, "{owing:?}");
    for _ in 0..20 {
        stage.draw(&ann, rate, 1, 0).await;
    }
    let deepest = stage.draw(&ann, rate, 0, 1).await;
    assert!(
        deepest.wait <= 17 * interval,
        "sixteen tokens of debt, and the token: {deepest:?}"
    );
}

/// After a failover Redis's clock may stand earlier: nobody is shut out for as long as it went back.
#[tokio::test]
async fn a_clock_that_went_back_shuts_nobody_out() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let rate = Rate::new(60, 3).unwrap();
    let next_year_us = (now_ms() + 365 * 86_400_000) * 1_000;
    let () = stage.ask("SET", (stage.bucket(&ann), next_year_us)).await;
    let drawn = stage.draw(&ann, rate, 0, 1).await;
    assert_eq!(drawn.granted, 0);
    assert!(drawn.wait <= Duration::from_secs(17), "{drawn:?}");
    let full_us = stage.full_us(&ann).await.unwrap();
    assert!(
        full_us <= (now_ms() + 20_000) * 1_000,
        "from now on it fills: {full_us}"
    );
    // A clock that went ahead finds a full bucket, not a fuller one.
    let () = stage.ask("SET", (stage.bucket(&ann), 1)).await;
    assert_eq!(stage.draw(&ann, rate, 0, 10).await.granted, 3);
}

#[tokio::test]
async fn a_bucket_is_gone_when_it_is_full() {
    let (stage, ann) = (Stage::new().await, user("ann"));
    let rate = Rate::new(6_000, 50).unwrap();
    stage.draw(&ann, rate, 0, 50).await;
    let ttl: i64 = stage.ask("PTTL", stage.bucket(&ann)).await;
    assert!((1..=501).contains(&ttl), "{ttl} ms for 50 tokens of 10 ms");
}

#[tokio::test]
async fn two_nodes_share_one_rate() {
    let stage = Stage::new().await;
    let other = stage.sibling();
    let (rate, _) = slow(100);
    for name in ODD_NAMES {
        let ann = user(name);
        let draw = Draw { owed: 0, wanted: 7 };
        let draws = (0..40).map(|number| {
            let hot = if number % 2 == 0 { &stage.hot } else { &other };
            limits::draw(hot, &ann, Class::Joins, rate, draw)
        });
        let drawn = futures_util::future::join_all(draws).await;
        let granted: u32 = drawn.into_iter().map(|drawn| drawn.unwrap().granted).sum();
        assert_eq!(granted, 100, "{name}");
    }
}

#[tokio::test]
async fn an_address_has_one_bucket_on_all_nodes() {
    let stage = Stage::new().await;
    let other = stage.sibling();
    let (rate, _) = slow(2);
    let home = limits::neighbourhood("2001:db8:1:2::3".parse().unwrap());
    for (hot, granted) in [(&stage.hot, 1), (&other, 1), (&stage.hot, 0), (&other, 0)] {
        assert_eq!(
            limits::draw_handshakes(hot, &home, rate, 1).await.unwrap().granted,
            granted
        );
    }
    let next_door = limits::neighbourhood("2001:db8:1:3::3".parse().unwrap());
    assert_eq!(
        limits::draw_handshakes(&other, &next_door, rate, 1)
            .await
            .unwrap()
            .granted,
        1
    );
}

/// All tabs lose their network at once, and come back: what they left behind is in nobody's way, up to as many again.
#[tokio::test]
async fn what_is_in_grace_is_no_reason_to_turn_its_user_away() {
    let stage = Stage::with(|terms| terms.user_connections = 2).await;
    for number in 1..=4 {
        stage.connect(&lease("alice", number)).await;
        presence::lose(&stage.hot, &lease("alice", number), GRACE, "test")
            .await
            .unwrap();
    }
    let again = async |number| {
        let lease = lease("alice", number);
        presence::connect(&stage.hot, &lease, &Facts::default(), None)
            .await
            .unwrap()
    };
    assert!(matches!(again(5).await, Connect::Full));
    presence::finish(&stage.hot, &lease("alice", 1), "asked").await.unwrap();
    stage.connect(&lease("alice", 5)).await;
    presence::finish(&stage.hot, &lease("alice", 2), "asked").await.unwrap();
    stage.connect(&lease("alice", 6)).await;
    assert!(matches!(again(7).await, Connect::Full), "a third that lives");
}

#[tokio::test]
async fn in_the_shadow_one_connection_too_many_is_let_in_and_told_of() {
    let change = |terms: &mut Terms| (terms.user_connections, terms.only_counted) = (1, true);
    let stage = Stage::with(change).await;
    for (number, over) in [(1, false), (2, true), (2, false)] {
        let lease = lease("alice", number);
        let connected = presence::connect(&stage.hot, &lease, &Facts::default(), None).await;
        let Connect::Connected { is_over, .. } = connected.unwrap() else {
            panic!("turned away in the shadow");
        };
        assert_eq!(is_over, over, "connection {number}");
    }
}

/// To the message, and behind everything else: who may not speak pays nothing, and neither does a repeat.
#[tokio::test]
async fn a_user_says_so_much_in_one_room() {
    let stage = Stage::with(|terms| terms.room_messages = Some(slow(2).0)).await;
    let (ann, lobby, attic) = (lease("ann", 1), stage.room("lobby").await, stage.room("attic").await);
    stage.connect(&ann).await;
    let say = async |room, id| {
        let request = SendRequest {
            lease: &ann,
            room,
            body: "{",
            client_message_id: id,
            listens_only: false,
            tokens: 1,
        };
        send_one(&stage.hot, request).await.unwrap()
    };
    for _ in 0..3 {
        assert!(matches!(say(&lobby, None).await, Send::Stranger));
    }
    stage.join(&ann, &lobby).await;
    stage.join(&ann, &attic).await;
    assert!(matches!(say(&lobby, Some("a")).await, Send::Sent(sent) if sent.seq == 1));
    assert!(matches!(say(&lobby, Some("a")).await, Send::Sent(sent) if sent.duplicate));
    assert!(matches!(say(&lobby, None).await, Send::Sent(sent) if sent.seq == 2));
    assert!(matches!(say(&lobby, None).await, Send::Limited(wait) if wait > Duration::from_secs(30)));
    assert!(matches!(say(&lobby, Some("a")).await, Send::Sent(sent) if sent.duplicate));
    assert!(matches!(say(&attic, None).await, Send::Sent(_)));
}

/// Of the tokens that a message draws it uses one, those behind it in the call use theirs of it, and the node is given what is
/// left; whoever has one already is charged nothing.
#[tokio::test]
async fn a_message_draws_tokens_for_those_behind_it() {
    let stage = Stage::with(|terms| terms.room_messages = Some(slow(10).0)).await;
    let (ann, lobby) = (lease("ann", 1), stage.room("lobby").await);
    stage.connect(&ann).await;
    stage.join(&ann, &lobby).await;
    let say = async |tokens: &[u32]| {
        let request = |tokens: &u32| SendRequest {
            lease: &ann,
            room: &lobby,
            body: "{",
            client_message_id: None,
            listens_only: false,
            tokens: *tokens,
        };
        let requests: Vec<SendRequest<'_>> = tokens.iter().map(request).collect();
        let outcomes = messages::send(&stage.hot, &requests, 0).await.unwrap();
        let ahead = |outcome: &Send| match outcome {
            Send::Sent(sent) => Some(sent.tokens_ahead),
            Send::Limited(_) => None,
            refused => panic!("{refused:?}"),
        };
        outcomes.iter().map(ahead).collect::<Vec<_>>()
    };
    assert_eq!(say(&[3]).await, [Some(2)]);
    assert_eq!(say(&[0, 0]).await, [Some(0), Some(0)]);
    assert_eq!(say(&[4, 1, 1]).await, [Some(1), Some(0), Some(0)]);
    // Three are left, however many are wanted.
    assert_eq!(say(&[9]).await, [Some(2)]);
    assert_eq!(say(&[2, 0]).await, [None, Some(0)]);
}

/// What the script should answer, by whole microseconds.
fn model(full_us: i128, now_us: i128, rate: Rate, draw: Draw) -> (i128, u32, i128) {
    let (interval, burst) = (i128::from(rate.interval_us()), i128::from(rate.burst()));
    let farthest = now_us + interval * (burst + burst.max(16));
    let charged = (full_us.max(now_us).min(farthest) + i128::from(draw.owed) * interval).min(farthest);
    let room = ((now_us + interval * burst - charged).max(0) / interval).min(i128::from(draw.wanted));
    let full = charged + room * interval;
    let granted = u32::try_from(room).unwrap();
    (full, granted, (full + interval - interval * burst - now_us).max(0))
}

/// The bucket is put at a distance from now, so that only the time between two commands is unknown.
#[tokio::test]
async fn the_script_reckons_as_the_model_does() {
    const SLACK_US: i128 = 2_000_000;
    let stage = Stage::new().await;
    let ann = user("ann");
    let inputs = (1_u32..12, 1_u32..1_000, -10_i64..4_000, 0_u32..5, 0_u32..70);
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let (per_minute, burst, tokens, owed, wanted) = inputs.new_tree(&mut runner).unwrap().current();
        let (rate, draw) = (Rate::new(per_minute, burst).unwrap(), Draw { owed, wanted });
        let (seconds, micros): (i128, i128) = stage.ask("TIME", &[] as &[&str]).await;
        let now_us = seconds * 1_000_000 + micros;
        // In the middle between two tokens.
        let interval = i128::from(rate.interval_us());
        let full_us = now_us + i128::from(tokens) * interval + interval / 2;
        let () = stage
            .ask("SET", (stage.bucket(&ann), i64::try_from(full_us).unwrap()))
            .await;
        let drawn = limits::draw(&stage.hot, &ann, Class::Messages, rate, draw)
            .await
            .unwrap();
        let (full, granted, wait_us) = model(full_us, now_us, rate, draw);
        let what = format!("{rate:?} {draw:?} {tokens} ahead: {drawn:?}");
        assert_eq!(drawn.granted, granted, "{what}");
        assert!(
            (i128::try_from(drawn.wait.as_micros()).unwrap() - wait_us).abs() < SLACK_US,
            "{what}, not {wait_us}"
        );
        let stored = stage.full_us(&ann).await.map_or(now_us, i128::from);
        assert!(
            (stored - full.max(now_us)).abs() < SLACK_US,
            "{what}: {stored}, not {full}"
        );
    }
}
