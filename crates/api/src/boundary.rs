//! The outermost layer: names each request, writes its problem, and logs one line about it.

use core::any::Any;
use core::time::Duration;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::ApiError;
use crate::problem::Problem;

/// The request's id, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a caller: it is repeated in answers and logs.
const MAX_REQUEST_ID: usize = 64;

/// What a JSON-RPC answer of status 200 holds, for the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct RpcOutcome {
    /// The methods with what became of them.
    pub(crate) calls: String,
    /// What went wrong inside, if anything did.
    pub(crate) cause: Option<String>,
}

/// Names, renders and logs a request. Only the matched route is logged: the path itself may hold a key.
pub(crate) async fn boundary(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(&request);
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let rpc = response.extensions_mut().remove::<RpcOutcome>().unwrap_or_default();
    if let Some(problem) = &problem {
        response = problem.write(&request_id, response);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let code = problem.as_ref().map_or("", |problem| problem.code);
    let cause = problem.as_ref().and_then(|problem| problem.cause.as_deref());
    let cause = cause.or(rpc.cause.as_deref()).unwrap_or_default();
    let status = status.as_u16();
    if cause.is_empty() && status < 500 {
        tracing::info!(method, route, status, millis, request_id, code, rpc = rpc.calls, "request");
    } else {
        let calls = rpc.calls;
        tracing::warn!(
            method,
            route,
            status,
            millis,
            request_id,
            code,
            rpc = calls,
            cause,
            "request"
        );
    }
    response
}

/// Gives up on a request that takes too long. What it had committed stays; a repeat finds it.
pub(crate) async fn deadline(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

/// The answer in place of a handler that panicked. The panic's text stays inside.
pub(crate) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal("a handler panicked".to_owned()).into_response()
}

/// The caller's own id if it is short and harmless in a log, or a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given.filter(harmless).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The method for the log: a caller may invent others, of any length.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
