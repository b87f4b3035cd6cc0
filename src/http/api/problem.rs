//! What goes wrong, as problem documents (RFC 9457) with a stable `code`. Causes are logged, not sent.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::archive::query::QueryError;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No key, or a wrong one.
    Unauthorized,
    /// There is no such route.
    NotFound,
    /// The route takes another method.
    MethodNotAllowed,
    /// A parameter is wrong: which, and what it takes.
    InvalidParameter(String),
    /// The archive is off.
    NoArchive,
    /// What the answer depends on is away.
    Unavailable(Cow<'static, str>),
    /// A defect.
    Internal,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidParameter(_) => StatusCode::BAD_REQUEST,
            Self::NoArchive | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::InvalidParameter(_) => "INVALID_PARAMETER",
            Self::NoArchive => "ARCHIVE_OFF",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Unauthorized => "X-API-Key holds no key of the administration",
            Self::NotFound => "there is no such route",
            Self::MethodNotAllowed => "this route takes another method",
            Self::InvalidParameter(what) => what,
            Self::NoArchive => "no database is configured",
            Self::Unavailable(what) => what,
            Self::Internal => "something went wrong; the log says what",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": self.code(),
        });
        let content_type = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [content_type], body.to_string()).into_response();
        if self == Self::Unauthorized {
            let challenge = header::HeaderValue::from_static("ApiKey realm=\"api\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Off => Self::NoArchive,
            QueryError::Away(cause) => {
                tracing::debug!(cause, "a question to the archive: Postgres is away");
                Self::Unavailable("Postgres does not answer".into())
            }
            QueryError::TooSlow => Self::Unavailable("Postgres did not answer in time".into()),
            QueryError::NoSchema => Self::Unavailable("the database has no schema".into()),
            QueryError::BadPlace => Self::InvalidParameter("cursor: is none that this route gave".to_owned()),
            error @ QueryError::Failed(_) => {
                tracing::error!(%error, "a question to the archive failed");
                Self::Internal
            }
        }
    }
}
