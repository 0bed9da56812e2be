//! Reading requests strictly: a field that is unknown or appears twice is refused rather than guessed at.

use core::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess};
use serde_json::error::Category;

use crate::ApiError;
use crate::app::App;

/// The most of a parser's complaint that is repeated, in characters: it may quote the sender's own text.
const MAX_COMPLAINT: usize = 300;

/// A body of this shape.
pub(crate) struct Body<T>(pub(crate) T);

/// No body, or `{}`.
pub(crate) struct NoBody;

/// The text of a body.
pub(crate) struct Text(pub(crate) String);

/// The query of this shape.
pub(crate) struct Params<T>(pub(crate) T);

/// The variable parts of the path.
pub(crate) struct Segments<T>(pub(crate) T);

impl FromRequest<Arc<App>> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, app).await.map_err(unread)?;
        String::from_utf8(bytes.into())
            .map(Self)
            .map_err(|_| ApiError::MalformedJson("it is not UTF-8".to_owned()))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let Text(text) = Text::from_request(request, app).await?;
        serde_json::from_str(&text).map(Self).map_err(|error| complaint(&error))
    }
}

impl FromRequest<Arc<App>> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let Text(text) = Text::from_request(request, app).await?;
        if text.trim().is_empty() {
            return Ok(Self);
        }
        let Nothing = serde_json::from_str(&text).map_err(|error| complaint(&error))?;
        Ok(Self)
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(ApiError::InvalidRequest(shortened(&rejection.body_text()))),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(rejection) => Err(ApiError::InvalidRequest(shortened(&rejection.body_text()))),
        }
    }
}

fn unread(rejection: BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::BodyTooLarge
    } else {
        ApiError::InvalidRequest("the body could not be read".to_owned())
    }
}

fn complaint(error: &serde_json::Error) -> ApiError {
    let words = shortened(&error.to_string());
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => ApiError::MalformedJson(words),
        Category::Data => ApiError::InvalidRequest(words),
    }
}

/// As much of a parser's complaint as is repeated.
pub(crate) fn shortened(words: &str) -> String {
    words.chars().take(MAX_COMPLAINT).collect()
}

/// An object without fields.
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Empty).map(|()| Self)
    }
}

/// Takes an object without fields, or null.
struct Empty;

impl<'de> serde::de::Visitor<'de> for Empty {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body must be absent or {}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(()),
            Some(IgnoredAny) => Err(A::Error::custom("this request has no body")),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}
