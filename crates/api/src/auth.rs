//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use service::identity::Caller;

use crate::ApiError;
use crate::app::App;

/// The longest key that is looked up, in bytes; ours are shorter.
const MAX_KEY: usize = 128;

/// One of the company's servers: the holder of a secret key.
pub(crate) struct Server(pub(crate) Caller);

impl FromRequestParts<Arc<App>> for Server {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = authenticate(app, bearer_key(&parts.headers)).await?;
        if caller.is_server { Ok(Self(caller)) } else { Err(ApiError::SecretKeyRequired) }
    }
}

/// Whom a key speaks for.
pub(crate) async fn authenticate(app: &App, key: Option<&str>) -> Result<Caller, ApiError> {
    let key = key.filter(|key| (1..=MAX_KEY).contains(&key.len())).ok_or(ApiError::Unauthorized)?;
    app.service.authenticate(key).await?.ok_or(ApiError::Unauthorized)
}

/// The key of an `Authorization: Bearer` header ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
pub(crate) fn bearer_key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
