//! The stock clients' scenarios (tests/clients), each over each transport, on two nodes.
//! The cases and what they expect are in the scenario files.

use tokio::sync::OnceCell;

use crate::support::clients;
use crate::support::cluster::Cluster;

/// Two nodes whose settings differ from the defaults, for scenarios/settings.mjs.
async fn with_other_settings() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let settings = [
        ("REALTIME_PRESENCE_ROOM_LIMIT", "2"),
        ("REALTIME_CUSTOM_STATUS_SHAPE", "object"),
        ("REALTIME_ALLOW_ANONYMOUS", "true"),
        ("REALTIME_PRESENCE_GRACE", "500"),
    ];
    CLUSTER.get_or_init(|| Cluster::start(2, &settings)).await
}

macro_rules! javascript {
    ($($scenario:ident)+) => {$(
        mod $scenario {
            use super::{Cluster, clients};

            #[tokio::test]
            async fn over_websocket() {
                clients::javascript(Cluster::shared().await, stringify!($scenario), "websocket").await;
            }

            #[tokio::test]
            async fn over_polling() {
                clients::javascript(Cluster::shared().await, stringify!($scenario), "polling").await;
            }

            #[tokio::test]
            async fn over_upgrade() {
                clients::javascript(Cluster::shared().await, stringify!($scenario), "upgrade").await;
            }
        }
    )+};
}

javascript! { handshake broadcast rooms messages history recovery moderation typing presence errors pipelined revocation compression }

mod settings {
    use super::{clients, with_other_settings};

    #[tokio::test]
    async fn over_websocket() {
        clients::javascript(with_other_settings().await, "settings", "websocket").await;
    }

    #[tokio::test]
    async fn over_polling() {
        clients::javascript(with_other_settings().await, "settings", "polling").await;
    }

    #[tokio::test]
    async fn over_upgrade() {
        clients::javascript(with_other_settings().await, "settings", "upgrade").await;
    }
}

mod drain {
    use super::{Cluster, clients};

    /// The scenario ends a node, so each transport has a cluster of its own.
    async fn over(transport: &str) {
        let cluster = Cluster::start(2, &[]).await;
        clients::javascript(&cluster, "drain", transport).await;
        let status = cluster.nodes[0].ended(std::time::Duration::from_secs(20)).await;
        assert!(status.success(), "{status}\n{}", cluster.nodes[0].log_text());
    }

    #[tokio::test]
    async fn over_websocket() {
        over("websocket").await;
    }

    #[tokio::test]
    async fn over_polling() {
        over("polling").await;
    }

    #[tokio::test]
    async fn over_upgrade() {
        over("upgrade").await;
    }
}

mod farewell {
    use super::{Cluster, clients};

    /// The scenario counts the sessions that end, so it has a cluster of its own.
    #[tokio::test]
    async fn over_upgrade() {
        clients::javascript(&Cluster::start(2, &[]).await, "farewell", "upgrade").await;
    }
}

mod recovery_kill {
    use super::{Cluster, clients};

    /// The scenario kills a node, so each transport has a cluster of its own.
    async fn over(transport: &str) {
        clients::javascript(&Cluster::start(2, &[]).await, "recovery_kill", transport).await;
    }

    #[tokio::test]
    async fn over_websocket() {
        over("websocket").await;
    }

    #[tokio::test]
    async fn over_polling() {
        over("polling").await;
    }
}

mod reset {
    use super::{Cluster, clients};

    /// The scenario empties Redis, so each transport has a cluster of its own.
    async fn over(transport: &str) {
        let cluster = Cluster::start(2, &[("REALTIME_PRESENCE_HEARTBEAT", "1000")]).await;
        clients::javascript(&cluster, "reset", transport).await;
    }

    #[tokio::test]
    async fn over_websocket() {
        over("websocket").await;
    }

    #[tokio::test]
    async fn over_polling() {
        over("polling").await;
    }

    #[tokio::test]
    async fn over_upgrade() {
        over("upgrade").await;
    }
}

mod python {
    use super::{Cluster, clients};

    #[tokio::test]
    async fn over_websocket() {
        clients::python(Cluster::shared().await, "websocket").await;
    }

    #[tokio::test]
    async fn over_polling() {
        clients::python(Cluster::shared().await, "polling").await;
    }
}
