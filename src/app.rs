//! Wires everything. (The lead's file; this branch holds its signatures.)

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hot;

#[derive(Debug, thiserror::Error)]
#[error("not wired yet")]
pub struct Error;

pub async fn run(_config: Config, stop: CancellationToken) -> Result<(), Error> {
    stop.cancelled().await;
    Ok(())
}

pub fn hot_settings(_config: &Config) -> hot::Settings {
    hot::Settings
}
