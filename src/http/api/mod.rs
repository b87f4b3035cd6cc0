//! `/api`: what the administration asks over HTTP, with a key in `X-API-Key`. Without keys none of it exists. Every
//! error is a problem document. Not here: what clients ask, which goes over their sockets.

mod archive;
mod body;
mod broadcast;
mod connections;
mod keys;
mod members;
mod openapi;
mod parameters;
mod policy;
mod presence;
mod problem;
mod rooms;
mod schema;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State as Extract};
use axum::http::HeaderName;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::keys::ApiKeys;
use self::parameters::Parameters;
use self::problem::Problem;
use super::{DEPENDENCY_TIMEOUT, State};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Largest body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything below `/api`. Whatever joins it stands behind the key, and in the description.
pub(super) fn router(state: &Arc<State>) -> Router<Arc<State>> {
    let (routes, description) = OpenApiRouter::with_openapi(openapi::begin())
        .routes(routes!(broadcast::one))
        .routes(routes!(broadcast::batch))
        .routes(routes!(rooms::list, rooms::create))
        .routes(routes!(rooms::show, rooms::change, rooms::close))
        .routes(routes!(members::list))
        .routes(routes!(members::invite, members::kick))
        .routes(routes!(members::give_role))
        .routes(routes!(policy::roles))
        .routes(routes!(policy::bans))
        .routes(routes!(policy::ban, policy::unban))
        .routes(routes!(policy::mutes))
        .routes(routes!(policy::mute, policy::unmute))
        .routes(routes!(presence::ask, presence::look))
        .routes(routes!(connections::list))
        .routes(routes!(connections::dismiss))
        .routes(routes!(connections::of_user))
        .routes(routes!(connections::dismiss_user))
        .routes(routes!(users::revoke))
        .routes(routes!(users::revoke_token))
        .routes(routes!(archive::events))
        .routes(routes!(archive::who))
        .routes(routes!(archive::sessions))
        .split_for_parts();
    routes
        .route("/openapi.json", get(openapi::show))
        .layer(Extension(openapi::Written::of(&description)))
        .fallback(|| async { Problem::NoRoute })
        .method_not_allowed_fallback(|| async { Problem::WrongMethod })
        .layer(middleware::from_fn(bound))
        .layer(middleware::from_fn_with_state(Arc::clone(state), admit))
}

/// Lets through whoever shows a key.
async fn admit(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(API_KEY).map(|key| key.as_bytes());
    if shown.is_some_and(|key| state.api_keys.contains(key)) {
        next.run(request).await
    } else {
        Problem::Unauthenticated.into_response()
    }
}

/// Reads the body within its bounds, and answers in time from then on. What was asked may still be done after that: it may
/// be asked again.
async fn bound(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let bytes = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Problem::too_large("body", format!("must be at most {BODY_MAX} bytes")).into_response(),
        Err(_) => return Problem::invalid("body", "did not come in time").into_response(),
    };
    let request = Request::from_parts(head, Body::from(bytes));
    match timeout(DEPENDENCY_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::Unavailable("it took too long, and may be done all the same".into()).into_response(),
    }
}
