//! The routes.

use core::time::Duration;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use service::Service;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};

use crate::app::App;
use crate::boundary::{self, REQUEST_ID};
use crate::health::Readiness;
use crate::{ApiError, HttpSettings, health, rest, rpc};

/// How long a browser may remember the preflight's answer.
const PREFLIGHT_AGE: Duration = Duration::from_secs(86_400);

/// Everything that is served over HTTP.
pub fn router(service: Arc<Service>, settings: HttpSettings) -> Router {
    let app = Arc::new(App { service, settings, readiness: Readiness::default() });
    let probes =
        Router::new().route("/healthz", get(health::healthz)).route("/readyz", get(health::readyz));
    // Wallets call from any page, and send nothing but JSON: the key is in the path.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers([CONTENT_TYPE])
        .expose_headers([REQUEST_ID])
        .max_age(PREFLIGHT_AGE);
    let calls = Router::new()
        .route("/rpc", post(rpc::with_bearer_key))
        .route("/rpc/{key}", post(rpc::with_key_in_path));
    guarded(probes.merge(rest::routes()), settings)
        .merge(guarded(calls, settings).layer(cors))
        .fallback(async || ApiError::NotFound)
        .layer(from_fn(boundary::boundary))
        .with_state(app)
}

/// The layers around every route: body limit, deadline, net for panics.
fn guarded(routes: Router<Arc<App>>, settings: HttpSettings) -> Router<Arc<App>> {
    routes
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(settings.body_limit_bytes))
        .layer(from_fn_with_state(settings.request_timeout, boundary::deadline))
        .layer(CatchPanicLayer::custom(boundary::after_panic))
}
