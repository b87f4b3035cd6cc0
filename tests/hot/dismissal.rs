//! The word that sockets are to be sent away, and the answer to it.

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::connections::{answer, answered, dismiss};
use nself_realtime::hot::frame::BusEvent;

use crate::ear::Ear;
use crate::stage::{Stage, lease};

#[tokio::test]
async fn the_word_to_send_away_reaches_every_node() {
    let stage = Stage::new().await;
    let mut ear = Ear::open(&stage, &[Topic::Everybody]).await;
    let ids = |count: u32| -> Vec<String> { (0..count).map(|n| lease("a@b:{c}", n).connection.to_string()).collect() };
    for ids in [ids(1), ids(1), ids(2_000), vec!["a socket's: é@{1}".to_owned()]] {
        dismiss(&stage.hot, &ids).await.unwrap();
        assert_eq!(ear.heard(&stage, &Topic::Everybody).await, [BusEvent::Dismissed(ids)]);
    }
    dismiss(&stage.hot, &[]).await.unwrap();
    assert_eq!(ear.heard(&stage, &Topic::Everybody).await, [], "nobody is meant");
}

#[tokio::test]
async fn an_answer_is_heard_once_and_forgotten_soon() {
    let stage = Stage::new().await;
    assert_eq!(answered(&stage.hot, "socket").await.unwrap(), None);
    let ann = lease("ann", 1);
    for _ in 0..2 {
        answer(&stage.hot, "socket", &ann).await.unwrap();
    }
    let ttl: i64 = stage.ask("PTTL", stage.keys().dismissed("socket")).await;
    assert!((1..=5_000).contains(&ttl), "{ttl}");
    assert_eq!(answered(&stage.hot, "another").await.unwrap(), None);
    assert_eq!(answered(&stage.hot, "socket").await.unwrap(), Some(ann));
    assert_eq!(answered(&stage.hot, "socket").await.unwrap(), None);
}
