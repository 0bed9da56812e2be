//! The envelope of [JSON-RPC 2.0](https://www.jsonrpc.org/specification).

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::ApiError;

/// What a body holds.
#[derive(Debug)]
pub enum Message {
    /// One call.
    Single(Incoming),
    /// Several, to be answered in one array.
    Batch(Vec<Incoming>),
}

/// One call, or something in the place of one.
#[derive(Debug)]
pub enum Incoming {
    /// A call.
    Call(Call),
    /// Not a call; it is answered all the same.
    Invalid {
        /// The id, where one could be read; null otherwise.
        id: Box<RawValue>,
        /// What is wrong with it.
        error: ApiError,
    },
}

/// A call as it arrived.
#[derive(Debug)]
pub struct Call {
    /// The id as the caller wrote it; `None` for a notification.
    pub id: Option<Box<RawValue>>,
    /// The method's name.
    pub method: String,
    /// The parameters as they arrived.
    pub params: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct RawCall {
    #[serde(default)]
    jsonrpc: Option<String>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    method: String,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// Tells an id of null, which asks for an answer, from no id.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The id of an answer to something that has none.
#[must_use]
pub fn null_id() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Reads a body. The number of calls is checked before any of them is read.
///
/// # Errors
/// When it is no JSON, an empty batch, or a batch of more than `max_batch` calls.
pub fn parse(text: &str, max_batch: usize) -> Result<Message, ApiError> {
    let malformed = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        ApiError::MalformedJson(format!("it ends or breaks at line {line}, column {column}"))
    };
    if !text.trim_start().starts_with('[') {
        let raw: &RawValue = serde_json::from_str(text).map_err(malformed)?;
        return Ok(Message::Single(read(raw)));
    }
    let batch: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
    if batch.is_empty() {
        return Err(ApiError::NotARequest("the batch is empty"));
    }
    if batch.len() > max_batch {
        return Err(ApiError::BatchTooLarge(max_batch));
    }
    Ok(Message::Batch(batch.into_iter().map(read).collect()))
}

fn read(raw: &RawValue) -> Incoming {
    let invalid = |id: Option<Box<RawValue>>, reason| Incoming::Invalid {
        id: id.unwrap_or_else(null_id),
        error: ApiError::NotARequest(reason),
    };
    if !raw.get().starts_with('{') {
        return invalid(None, "a call must be an object");
    }
    let Ok(call) = serde_json::from_str::<RawCall>(raw.get()) else {
        return invalid(
            None,
            "a call must have a method, which is a string, and each member only once",
        );
    };
    let RawCall { jsonrpc, id, method, params } = call;
    if id.as_deref().is_some_and(|id| !is_id(id)) {
        return invalid(None, "id must be a string, a number or null");
    }
    if jsonrpc.as_deref() != Some("2.0") {
        return invalid(id, "jsonrpc must be \"2.0\"");
    }
    Incoming::Call(Call { id, method, params })
}

fn is_id(raw: &RawValue) -> bool {
    raw.get() == "null"
        || raw
            .get()
            .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}
