//! What goes wrong, as problem documents (RFC 9457) with the codes that clients know from their acks. Causes are logged, not
//! sent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

use crate::archive::query::QueryError;
use crate::domain::moderation::{POLICY_MAX, Refusal};
use crate::hot::HotError;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No key, or a wrong one.
    Unauthenticated,
    /// There is no such route.
    NoRoute,
    /// The route takes another method.
    WrongMethod,
    /// The body is no JSON, by what its head says.
    NoJson,
    /// A field is wrong: which, and what it takes.
    Invalid { field: String, rule: String },
    /// Something is well formed, and over its limit.
    TooLarge { field: String, rule: String },
    /// There is no such room.
    NoRoom,
    /// The room, or Redis, has no place for one more.
    Full(String),
    /// What was asked is above whoever asks.
    Forbidden,
    /// What would answer is switched off.
    Off(&'static str),
    /// What the answer depends on is away; whatever was asked may be asked again.
    Unavailable(Cow<'static, str>),
    /// A defect.
    Internal,
}

/// When to ask again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// `about:blank`: the code says what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// One of the codes that clients know from their acks.
    code: &'static str,
    /// What of the request is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
}

impl Problem {
    pub fn invalid(field: impl Into<String>, rule: impl ToString) -> Self {
        Self::Invalid {
            field: field.into(),
            rule: rule.to_string(),
        }
    }

    pub fn too_large(field: impl Into<String>, rule: impl ToString) -> Self {
        Self::TooLarge {
            field: field.into(),
            rule: rule.to_string(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NoRoute | Self::NoRoom => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full(_) => StatusCode::CONFLICT,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Off(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Those of the clients' acks: a route that there is not is an event that nobody knows.
    fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::NoRoute | Self::WrongMethod => "UNKNOWN_EVENT",
            Self::NoJson | Self::Invalid { .. } => "INVALID_PAYLOAD",
            Self::TooLarge { .. } | Self::Full(_) => "TOO_LARGE",
            Self::NoRoom => "ROOM_NOT_FOUND",
            Self::Forbidden => "FORBIDDEN",
            Self::Off(_) => "FEATURE_DISABLED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    pub fn detail(&self) -> String {
        let plain = match self {
            Self::Unauthenticated => "X-API-Key holds no key of the administration",
            Self::NoRoute => "there is no such route",
            Self::WrongMethod => "this route takes another method",
            Self::NoJson => "Content-Type must be application/json",
            Self::Invalid { field, rule } | Self::TooLarge { field, rule } => return format!("{field}: {rule}"),
            Self::NoRoom => "there is no such room",
            Self::Full(what) => what,
            Self::Forbidden => "the room does not allow it",
            Self::Off(what) => what,
            Self::Unavailable(what) => what,
            Self::Internal => "something went wrong; the log says what",
        };
        plain.to_owned()
    }

    fn field(&self) -> Option<String> {
        match self {
            Self::Invalid { field, .. } | Self::TooLarge { field, .. } => Some(field.clone()),
            _ => None,
        }
    }

    pub fn document(&self) -> Document {
        Document {
            kind: "about:blank",
            title: self.status().canonical_reason().unwrap_or_default(),
            status: self.status().as_u16(),
            detail: self.detail(),
            code: self.code(),
            field: self.field(),
        }
    }
}

const CONTENT_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::to_string(&self.document()).expect("texts and numbers are JSON");
        let mut response = (self.status(), [(header::CONTENT_TYPE, CONTENT_TYPE)], document).into_response();
        match self {
            Self::Unauthenticated => {
                let challenge = HeaderValue::from_static("ApiKey realm=\"api\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            Self::Unavailable(_) => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

/// The problems that every route may have, for its description.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let described = [
            ("400", "INVALID_PAYLOAD: `field` is wrong"),
            ("401", "UNAUTHENTICATED: no key, or a wrong one"),
            ("403", "FORBIDDEN"),
            ("404", "ROOM_NOT_FOUND, or UNKNOWN_EVENT: there is no such route"),
            ("405", "UNKNOWN_EVENT: the route takes another method"),
            ("409", "TOO_LARGE: there is no place for one more"),
            ("413", "TOO_LARGE: the body, or `field`"),
            ("415", "INVALID_PAYLOAD: the body is no JSON"),
            ("500", "INTERNAL_ERROR"),
            ("501", "FEATURE_DISABLED: no database is configured"),
            ("503", "UNAVAILABLE: ask again after Retry-After seconds"),
        ];
        let response = |description: &str| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            let response = ResponseBuilder::new().description(description);
            response.content(CONTENT_TYPE, content.build()).build()
        };
        let described = described.into_iter();
        described
            .map(|(status, description)| (status.to_owned(), RefOr::T(response(description))))
            .collect()
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Off => Self::Off("no database is configured"),
            QueryError::Away(cause) => {
                tracing::debug!(cause, "a question to the archive: Postgres is away");
                Self::Unavailable("Postgres does not answer".into())
            }
            QueryError::TooSlow => Self::Unavailable("Postgres did not answer in time".into()),
            QueryError::NoSchema => Self::Unavailable("the database has no schema".into()),
            QueryError::BadPlace => Self::invalid("cursor", "is none that this route gave"),
            error @ QueryError::Failed(_) => {
                tracing::error!(%error, "a question to the archive failed");
                Self::Internal
            }
        }
    }
}

impl From<HotError> for Problem {
    fn from(error: HotError) -> Self {
        match error {
            HotError::Reply { .. } => {
                tracing::error!(%error, "a request of the administration failed");
                Self::Internal
            }
            error if error.is_restoring() => Self::Unavailable("what Redis had lost is being brought back".into()),
            error => {
                tracing::warn!(%error, "a request of the administration is not answered");
                Self::Unavailable("Redis does not answer".into())
            }
        }
    }
}

impl From<Refusal> for Problem {
    /// The administration is in no room and above every rank, so few refusals are left.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::NoRoom,
            Refusal::Past => Self::invalid("until", "must be in the future"),
            Refusal::Full => Self::Full(format!(
                "the room remembers {POLICY_MAX} users already: lift a ban, a mute or a role first"
            )),
            Refusal::Banned | Refusal::Stranger | Refusal::Forbidden => Self::Forbidden,
        }
    }
}
