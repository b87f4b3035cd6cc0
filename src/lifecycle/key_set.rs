//! Keeps the key set of the tokens up to date: from a URL by what its server says of its age, from a file when the file
//! changes. One task, so one load at a time. Not here: what a set holds (`domain::identity`).

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use reqwest::Client;
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;
use url::Url;

use super::Metrics;
use super::fetch::{self, DOCUMENT_MAX_BYTES, FetchError};
use crate::domain::identity::{BadKey, KeySet};

/// Bounds of the time between two fetches that went well, whatever the server says.
const FETCH_EVERY_AT_LEAST: Duration = Duration::from_secs(60);
const FETCH_EVERY_AT_MOST: Duration = Duration::from_secs(86_400);
/// Where the server says nothing.
const FETCH_EVERY: Duration = Duration::from_secs(600);
/// After a failed fetch; doubled by each that fails too.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_AT_MOST: Duration = Duration::from_secs(60);
/// Between two looks at a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the set comes from.
pub enum Source {
    File(PathBuf),
    Url(Url),
}

/// A set was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("it cannot be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Set(#[from] BadKey),
}

/// Keeps a set up to date.
pub struct Loader {
    from: From,
    set: KeySet,
    metrics: Metrics,
    failures: u32,
}

enum From {
    File { path: PathBuf, seen: Option<Stamp> },
    Url { client: Client, url: Url },
}

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl Loader {
    /// A file is read at once, since a wrong one stops the start; a URL is not waited for.
    pub async fn open(source: Source, set: KeySet, metrics: Metrics) -> Result<Self, LoadError> {
        let (failures, is_file) = (0, matches!(source, Source::File(_)));
        let from = match source {
            Source::File(path) => From::File { path, seen: None },
            Source::Url(url) => From::Url {
                client: fetch::client()?,
                url,
            },
        };
        let mut loader = Self {
            from,
            set,
            metrics,
            failures,
        };
        if is_file {
            loader.set.begin(false);
            loader.load().await?;
            loader.note_success();
        }
        Ok(loader)
    }

    /// Loads until it is dropped.
    pub async fn run(mut self) {
        let mut due = match self.from {
            From::File { .. } => LOOK_EVERY,
            From::Url { .. } => Duration::ZERO,
        };
        loop {
            let asked = tokio::select! {
                () = sleep(due) => false,
                () = self.set.asked() => true,
            };
            self.set.begin(asked);
            due = match self.load().await {
                Ok(next) => {
                    self.note_success();
                    next
                }
                Err(error) => {
                    self.set.fail();
                    self.note_failure(&error)
                }
            };
        }
    }

    /// Loads the set, and ends the load with it; in how long it should be loaded again.
    async fn load(&mut self) -> Result<Duration, LoadError> {
        match &mut self.from {
            From::Url { client, url } => {
                let document = fetch::json(client, url).await?;
                let keys = self.set.publish(&document.text)?;
                tracing::debug!(keys, "key set fetched");
                let age = document.max_age.unwrap_or(FETCH_EVERY);
                Ok(jittered(age.clamp(FETCH_EVERY_AT_LEAST, FETCH_EVERY_AT_MOST)))
            }
            From::File { path, seen } => {
                let stamp = stamp(path).await?;
                if seen.as_ref() == Some(&stamp) {
                    self.set.keep();
                    return Ok(LOOK_EVERY);
                }
                let keys = self.set.publish(&read(path).await?)?;
                tracing::info!(keys, "key set read from its file");
                *seen = Some(stamp);
                Ok(LOOK_EVERY)
            }
        }
    }

    fn note_success(&mut self) {
        self.metrics.key_set_loaded.set(jiff::Timestamp::now().as_second());
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the key set is up to date again");
        }
        self.failures = 0;
    }

    /// One line for a row of failures; the count tells the others.
    fn note_failure(&mut self, error: &LoadError) -> Duration {
        self.metrics.key_set_failures.inc();
        if self.failures == 0 {
            let kept = self.set.has_come();
            tracing::warn!(error = %error, kept, "the key set of the tokens is not up to date; it is tried again");
        } else {
            tracing::debug!(error = %error, "the key set of the tokens is still not up to date");
        }
        let after = RETRY_AFTER.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        match self.from {
            From::File { .. } => LOOK_EVERY,
            From::Url { .. } => jittered(after.min(RETRY_AFTER_AT_MOST)),
        }
    }
}

/// A time a little shorter, so that nodes that started together do not ask together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.75..1.0))
}

async fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = tokio::fs::metadata(path).await?;
    Ok(Stamp {
        modified: file.modified()?,
        bytes: file.len(),
        inode: file.ino(),
    })
}

async fn read(path: &Path) -> io::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    let (mut text, most) = (String::new(), DOCUMENT_MAX_BYTES as u64);
    let bytes = file.take(most + 1).read_to_string(&mut text).await?;
    if bytes > DOCUMENT_MAX_BYTES {
        return Err(io::Error::other(format!("it is over {DOCUMENT_MAX_BYTES} bytes")));
    }
    Ok(text)
}
