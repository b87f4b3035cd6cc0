//! The client module (clients/js) against real nodes: in Node, and in Chromium. The cases are in its test/gateway.

use crate::support::clients;
use crate::support::cluster::Cluster;

#[tokio::test]
async fn in_node() {
    clients::module(Cluster::shared().await, "node").await;
}

#[tokio::test]
async fn in_chromium() {
    // A page comes from another origin than the nodes'.
    let cluster = Cluster::start(2, &[("REALTIME_CORS_ORIGIN", "*")]).await;
    clients::module(&cluster, "browser").await;
}
