//! `/api/openapi.json`: what this version's administration takes and answers, as the code says it.

use std::sync::Arc;

use axum::extract::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Server};
use utoipa::{Modify, OpenApi as _};

use super::problem::Document;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "nself-realtime: administration",
        description = "What the administration of the gateway asks over HTTP, with a key of REALTIME_API_KEYS in X-API-Key. \
                       Every error is a problem document (RFC 9457) with a stable code. Whatever is asked may be asked again."
    ),
    modifiers(&Key),
    components(schemas(Document, super::schema::Room, super::schema::User))
)]
struct Description;

/// Every route stands behind the key.
struct Key;

const SCHEME: &str = "key";

impl Modify for Key {
    fn modify(&self, description: &mut OpenApi) {
        let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
        let components = description.components.get_or_insert_default();
        components.add_security_scheme(SCHEME, key);
        description.security = Some(vec![SecurityRequirement::new(SCHEME, [""; 0])]);
        description.servers = Some(vec![Server::new("/api")]);
    }
}

/// What the routes are added to.
pub(super) fn begin() -> OpenApi {
    Description::openapi()
}

/// The description of all routes, as text.
#[derive(Clone)]
pub(super) struct Written(Arc<str>);

impl Written {
    pub fn of(description: &OpenApi) -> Self {
        let text = description.to_json().expect("a description is JSON");
        Self(text.into())
    }
}

/// `GET /api/openapi.json`
pub(super) async fn show(Extension(Written(text)): Extension<Written>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}
