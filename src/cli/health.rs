//! `health`: asks the gateway of this machine whether it lives, or whether clients should be sent to it; for a container's health
//! check, where no other program is at hand. Not here: what the answer depends on (`http`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Error, say};
use crate::config::{Config, Flags};

/// Longer than any route of a gateway takes, shorter than what supervisors wait by default.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Ask whether it is ready for clients, not only whether it lives
    #[arg(long)]
    ready: bool,
    /// One JSON object, also where it does not live or is not ready
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(flags: &Flags, options: &Options) -> Result<(), Error> {
    let config = Config::load(flags)?;
    let path = if options.ready { "readyz" } else { "livez" };
    let port = config.admin_port.unwrap_or(config.port);
    let address = SocketAddr::new(reachable(config.host), port);
    let answer = ask(&format!("http://{address}/{path}")).await;
    if options.json {
        say!("{}", as_json(address, path, answer.as_ref().ok()));
    }
    let (status, text) = answer.map_err(|error| Error::Failed(format!("{address} does not answer: {error:#}")))?;
    if !status.is_success() {
        return Err(Error::Failed(format!("{address} answers {status}: {text}")));
    }
    if !options.json {
        say!("{text}");
    }
    Ok(())
}

/// `status` and `answer` are `null` where nobody answered.
fn as_json(address: SocketAddr, path: &str, answer: Option<&(reqwest::StatusCode, String)>) -> Value {
    let told = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    json!({
        "address": address.to_string(),
        "path": format!("/{path}"),
        "ok": answer.is_some_and(|(status, _)| status.is_success()),
        "status": answer.map(|(status, _)| status.as_u16()),
        "answer": answer.map(|(_, text)| told(text)),
    })
}

/// Where a gateway that listens on this address answers its own machine.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}

async fn ask(url: &str) -> reqwest::Result<(reqwest::StatusCode, String)> {
    // Whatever proxy the environment names, this machine is not behind it.
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let response = client.get(url).send().await?;
    let status = response.status();
    Ok((status, response.text().await?))
}
