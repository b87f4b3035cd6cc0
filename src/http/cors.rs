//! Which browser pages may read health and metrics: those that may talk to the engine. Not here: the engine's own answers,
//! nor `/api`, which no page of a browser asks.

use axum::Router;
use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::engine::Origins;

/// Marks the answers of these routes for the pages of these origins.
pub(super) fn readable<S: Clone + Send + Sync + 'static>(routes: Router<S>, origins: &Origins) -> Router<S> {
    let layer = match origins {
        // Pages of the same origin need no permission.
        Origins::SameOrigin => return routes,
        // With credentials nobody may say "any".
        Origins::Any => CorsLayer::new().allow_origin(AllowOrigin::any()),
        Origins::List(origins) => {
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(origins))
                .allow_credentials(true)
        }
    };
    routes.layer(layer.allow_methods([Method::GET]))
}
