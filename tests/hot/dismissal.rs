//! The word that connections are to be sent away.

use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::connections::dismiss;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::types::ConnectionId;

use crate::ear::Ear;
use crate::stage::{Stage, lease};

#[tokio::test]
async fn the_word_to_send_away_reaches_every_node() {
    let stage = Stage::new().await;
    let mut ear = Ear::open(&stage, &[Topic::Everybody]).await;
    let ids = |count: u32| -> Vec<ConnectionId> { (0..count).map(|n| lease("a@b:{c}", n).connection).collect() };
    for ids in [ids(1), ids(1), ids(1_000)] {
        dismiss(&stage.hot, &ids).await.unwrap();
        assert_eq!(ear.heard(&stage, &Topic::Everybody).await, [BusEvent::Dismissed(ids)]);
    }
    dismiss(&stage.hot, &[]).await.unwrap();
    assert_eq!(ear.heard(&stage, &Topic::Everybody).await, [], "nobody is meant");
}
