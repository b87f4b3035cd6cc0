//! One GET of a small document, bounded in every direction: time, bytes, redirects. Not here: what the document is.

use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use url::Url;

/// From the first byte sent to the last received, redirects included.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const REDIRECTS_MAX: usize = 3;
/// Longest document that is read.
pub const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// Why there is no document. Says neither the URL, which may hold a password, nor anything that was received.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{}", causes(.0))]
    Http(reqwest::Error),
    #[error("the answer was {0}")]
    Status(StatusCode),
    #[error("the document is over {DOCUMENT_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the document is no UTF-8")]
    NoText,
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// A document, and how long its server says that it holds.
pub struct Document {
    pub text: String,
    pub max_age: Option<Duration>,
}

/// A client that trusts the authorities that this system trusts, so that an organisation's own are among them. It goes
/// straight to its server: no setting names a proxy.
pub fn client() -> Result<Client, FetchError> {
    Ok(Client::builder()
        .user_agent(concat!("nself-realtime/", env!("CARGO_PKG_VERSION")))
        .timeout(PATIENCE)
        .connect_timeout(CONNECT_PATIENCE)
        .redirect(Policy::custom(follow))
        .no_proxy()
        .build()?)
}

/// A redirect never leads from https to http.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else if was_secure && attempt.url().scheme() != "https" {
        attempt.error("a redirect away from https")
    } else {
        attempt.follow()
    }
}

/// Fetches a JSON document.
pub async fn json(client: &Client, url: &Url) -> Result<Document, FetchError> {
    let mut response = client
        .get(url.clone())
        .header(ACCEPT, "application/json, */*;q=0.5")
        .send()
        .await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let max_age = max_age(&response);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > DOCUMENT_MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(bytes).map_err(|_| FetchError::NoText)?;
    Ok(Document { text, max_age })
}

/// `max-age` of Cache-Control; one that forbids to keep the document is an age of nothing.
fn max_age(response: &Response) -> Option<Duration> {
    let values = response.headers().get_all(CACHE_CONTROL);
    let directives = values.iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).find_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(&*directive, "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        let seconds = directive.strip_prefix("max-age=")?.trim_matches('"').parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}

/// An error of the client with its causes: the outermost alone says only that something failed.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
