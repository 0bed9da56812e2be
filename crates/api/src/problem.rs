//! Errors as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems.
//!
//! A handler's error travels outwards as a [`Problem`] in the response's extensions; the boundary, which alone knows the
//! request's id, writes the body. So every error has one form, wherever it arose.

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::ApiError;

/// An error on its way to the boundary.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    detail: String,
    retryable: bool,
    retry_after_seconds: Option<u32>,
    /// For the log only.
    pub(crate) cause: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemBody<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'static str,
    retryable: bool,
    request_id: &'a str,
}

impl From<&ApiError> for Problem {
    fn from(error: &ApiError) -> Self {
        Self {
            status: error.status(),
            code: error.code(),
            detail: error.to_string(),
            retryable: error.is_retryable(),
            retry_after_seconds: error.retry_after_seconds(),
            cause: error.cause(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Problem::from(&self).into_response()
    }
}

impl Problem {
    /// Writes the problem into a response, and keeps what other layers put in its headers.
    pub(crate) fn write(&self, request_id: &str, response: Response) -> Response {
        let body = ProblemBody {
            r#type: format!("/docs/errors#{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            retryable: self.retryable,
            request_id,
        };
        // Strings and numbers always have a JSON form.
        let text = without_verdicts(serde_json::to_string(&body).unwrap_or_default());
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            parts.headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Response::from_parts(parts, text.into())
    }
}

/// Words that a DTM coordinator takes for its verdict wherever in a body they stand, whatever the
/// status. The caller's own text may hold them.
const VERDICTS: [&str; 2] = ["ONGOING", "FAILURE"];

fn without_verdicts(body: String) -> String {
    VERDICTS.iter().fold(body, |body, verdict| {
        if body.contains(verdict) { body.replace(verdict, &verdict.to_lowercase()) } else { body }
    })
}

/// `insufficient_points` as people write it: `Insufficient points`.
fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
