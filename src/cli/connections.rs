//! `connections`: who is connected, the latest first. Not here: who was (`sessions`).

use clap::Args;
use serde_json::{Value, json};

use super::progress::Progress;
use super::table::Table;
use super::{Error, note, say, time};
use crate::domain::connections::{self, Connection, Filter, State};
use crate::hot::Hot;
use crate::types::{NodeId, UserId};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many
    #[arg(short, long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    number: u32,
    /// Of this user
    #[arg(long)]
    user: Option<UserId>,
    /// On this node
    #[arg(long)]
    node: Option<NodeId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

const WIDTH: usize = 100;

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    let Options {
        number,
        user,
        node,
        json,
    } = options;
    let progress = Progress::start("Looking");
    let (connections, is_cut) = connections::latest(hot, &Filter { user, node }, number as usize).await?;
    drop(progress);
    if json {
        connections
            .iter()
            .for_each(|connection| say!("{}", as_json(connection)));
    } else {
        tell(&connections);
    }
    if is_cut {
        note!("There are more; --number shows up to 1000000");
    }
    Ok(())
}

fn tell(connections: &[Connection]) {
    let heading = row("SOCKET ID", "USER ID", "TRANSPORT", "LATENCY", "CONNECTED AT");
    let table = Table::open("Active Connections", WIDTH, &heading);
    for connection in connections {
        let user = &connection.lease.user;
        let latency = connection.latency_ms.map(|ms| format!("{ms}ms"));
        let connected = time(connection.connected_ms);
        let connected = match connection.state {
            State::Live => connected,
            State::Grace => format!("{connected} (in grace)"),
        };
        say!(
            "{}",
            row(
                &connection.socket,
                if user.is_anonymous() {
                    "anonymous"
                } else {
                    user.as_str()
                },
                &connection.transport,
                latency.as_deref().unwrap_or("-"),
                &connected,
            )
        );
    }
    table.close();
}

fn row(socket: &str, user: &str, transport: &str, latency: &str, connected: &str) -> String {
    format!("{socket:<20} {user:<20} {transport:<12} {latency:<10} {connected}")
}

fn as_json(connection: &Connection) -> Value {
    let user = &connection.lease.user;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "socketId": connection.socket,
        "connection": connection.lease.connection.as_str(),
        "userId": Some(user.as_str()).filter(|_| !user.is_anonymous()),
        "node": connection.lease.node.as_str(),
        "state": connection.state.as_str(),
        "transport": text(&connection.transport),
        "latency": connection.latency_ms,
        "ip": text(&connection.ip),
        "userAgent": text(&connection.agent),
        "device": serde_json::from_str::<Value>(&connection.device).unwrap_or(Value::Null),
        "sessionId": text(&connection.session),
        "connectedAt": time(connection.connected_ms),
        "rooms": connection.rooms,
        "lost": text(&connection.lost),
    })
}
