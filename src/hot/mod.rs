//! The ONLY module that knows Redis. (The lead's module; this branch holds its signatures.)

use std::time::Duration;

pub mod bus;
pub mod presence;

#[derive(Debug, thiserror::Error)]
#[error("not wired yet")]
pub struct HotError;

#[derive(Debug, Clone)]
pub struct Settings;

#[derive(Debug, Clone)]
pub struct Hot;

impl Hot {
    pub async fn connect(_settings: Settings) -> Result<Self, HotError> {
        Err(HotError)
    }

    pub async fn check(&self) -> Result<Duration, HotError> {
        Err(HotError)
    }
}
