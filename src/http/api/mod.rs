//! `/api`: what the administration asks over HTTP, with a key in `X-API-Key`. Without keys none of it exists. Every
//! error is a problem document. Not here: what clients ask, which goes over their sockets.

mod archive;
mod drain;
mod keys;
mod parameters;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::http::HeaderName;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use self::keys::ApiKeys;
use self::parameters::Parameters;
use self::problem::Problem;
use super::{DEPENDENCY_TIMEOUT, State};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Everything below `/api`. Whatever joins it stands behind the key.
pub(super) fn router(state: &Arc<State>) -> Router<Arc<State>> {
    Router::new()
        .route("/drain", post(drain::drain))
        .route("/events", get(archive::events))
        .route("/who", get(archive::who))
        .route("/users/{id}/sessions", get(archive::sessions))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(Arc::clone(state), admit))
}

/// Lets through whoever shows a key.
async fn admit(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(API_KEY).map(|key| key.as_bytes());
    if shown.is_some_and(|key| state.api_keys.contains(key)) {
        next.run(request).await
    } else {
        Problem::Unauthorized.into_response()
    }
}
