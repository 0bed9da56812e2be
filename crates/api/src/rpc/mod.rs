//! JSON-RPC 2.0 for wallets and dApps.
//!
//! Every outcome of a call is HTTP 200 with the outcome in the body: clients repeat other statuses up to four times and
//! some lose the reason. Only what never was a request (too long, too slow, unreadable) has another status.
//!
//! A call without an `id` asks for no answer; every method here is of use for its answer alone, so that nothing is done
//! for it.

mod bundler;
pub mod envelope;
pub mod error;
mod params;
mod paymaster;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ChainId;
use futures::StreamExt;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use service::Refusal;
use service::chains::Chain;
use service::identity::Caller;

use crate::app::App;
use crate::auth::{authenticate, bearer_key};
use crate::boundary::RpcOutcome;
use crate::json::{Params, Segments, Text};
use crate::{ApiError, wire};
use envelope::{Call, Incoming, Message};
use error::RpcFailure;

/// How many calls of one batch run at once, so that one request cannot take all connections to the database.
const CONCURRENT_CALLS: usize = 8;
/// How many calls of a batch the log names.
const LOGGED_CALLS: usize = 8;

/// The query of the endpoint. Other parameters are the callers' own business and change nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcParams {
    chain_id: Option<String>,
}

/// What a call may assume.
struct Session {
    app: Arc<App>,
    caller: Caller,
    chain_id: Option<String>,
}

impl Session {
    /// The chain that the URL names, if it names one.
    fn named_chain(&self) -> Result<Option<ChainId>, ApiError> {
        let Some(text) = &self.chain_id else { return Ok(None) };
        let id = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().and_then(wire::servable),
            None => wire::chain_id(text),
        };
        id.map(Some)
            .ok_or_else(|| ApiError::InvalidRequest("?chainId= must be a number".to_owned()))
    }

    /// The chain for a method whose parameters do not name one.
    fn chain(&self) -> Result<&Chain, ApiError> {
        Ok(self.app.service.relay_chain(self.named_chain()?)?)
    }
}

/// `POST /rpc`, with the key in the `Authorization` header.
pub(crate) async fn with_bearer_key(
    State(app): State<Arc<App>>,
    params: Result<Params<RpcParams>, ApiError>,
    headers: HeaderMap,
    text: Result<Text, ApiError>,
) -> Response {
    answer(app, bearer_key(&headers), params, text).await
}

/// `POST /rpc/{key}`, for wallets, which send no headers of the dApp's.
pub(crate) async fn with_key_in_path(
    State(app): State<Arc<App>>,
    key: Result<Segments<String>, ApiError>,
    params: Result<Params<RpcParams>, ApiError>,
    text: Result<Text, ApiError>,
) -> Response {
    let key = key.ok().map(|Segments(key)| key);
    answer(app, key.as_deref(), params, text).await
}

/// One answer. The id is the caller's own text.
#[derive(Serialize)]
struct Answer {
    jsonrpc: &'static str,
    id: Box<RawValue>,
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(skip)]
    method: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(Value),
    Error(RpcFailure),
}

impl Answer {
    fn error(id: Box<RawValue>, failure: RpcFailure) -> Self {
        Self { jsonrpc: "2.0", id, outcome: Outcome::Error(failure), method: "-" }
    }
}

async fn answer(
    app: Arc<App>,
    key: Option<&str>,
    params: Result<Params<RpcParams>, ApiError>,
    text: Result<Text, ApiError>,
) -> Response {
    let message = match text.and_then(|Text(text)| envelope::parse(&text, app.settings.max_batch)) {
        Ok(message) => message,
        Err(error @ ApiError::BodyTooLarge) => return error.into_response(),
        Err(error) => {
            let failure = RpcFailure::from(&error);
            return respond(&[Answer::error(envelope::null_id(), failure)], false);
        }
    };
    let session = open_session(app, key, params).await;
    let session = session.map(Arc::new).map_err(|error| RpcFailure::from(&error));
    let (incoming, is_batch) = match message {
        Message::Single(incoming) => (vec![incoming], false),
        Message::Batch(batch) => (batch, true),
    };
    let answers: Vec<_> = stream::iter(incoming)
        .map(|incoming| carry_out(session.clone(), incoming))
        .buffered(CONCURRENT_CALLS)
        .filter_map(async |answer| answer)
        .collect()
        .await;
    respond(&answers, is_batch)
}

async fn open_session(
    app: Arc<App>,
    key: Option<&str>,
    params: Result<Params<RpcParams>, ApiError>,
) -> Result<Session, ApiError> {
    let caller = authenticate(&app, key).await?;
    let Params(RpcParams { chain_id }) = params?;
    Ok(Session { app, caller, chain_id })
}

async fn carry_out(
    session: Result<Arc<Session>, RpcFailure>,
    incoming: Incoming,
) -> Option<Answer> {
    let call = match incoming {
        Incoming::Call(call) => call,
        Incoming::Invalid { id, error } => {
            return Some(Answer::error(id, RpcFailure::from(&error)));
        }
    };
    let Call { id, method, params } = call;
    let id = id?;
    let session = match session {
        Ok(session) => session,
        Err(failure) => return Some(Answer::error(id, failure)),
    };
    let Some(method) = Method::named(&method) else {
        return Some(Answer::error(id, RpcFailure::from(&ApiError::MethodNotFound)));
    };
    let outcome = match Box::pin(dispatch(&session, method, params.as_deref())).await {
        Ok(result) => Outcome::Result(result),
        Err(failure) => Outcome::Error(failure),
    };
    Some(Answer { jsonrpc: "2.0", id, outcome, method: method.as_str() })
}

async fn dispatch(
    session: &Session,
    method: Method,
    params: Option<&RawValue>,
) -> Result<Value, RpcFailure> {
    let plain = |error: ApiError| RpcFailure::from(&error);
    match method {
        Method::StubData => paymaster::stub_data(session, params).await,
        Method::Data => paymaster::data(session, params).await,
        Method::PaymasterEntryPoints | Method::BundlerEntryPoints => {
            params::none(params).and_then(|()| session.entry_points()).map_err(plain)
        }
        Method::ChainId => {
            let id = params::none(params).and_then(|()| session.chain()).map_err(plain)?.id;
            Ok(wire::quantity(id.0).into())
        }
        Method::Send => bundler::send(session, params).await.map_err(plain),
        Method::Estimate => bundler::estimate(session, params).await.map_err(plain),
        Method::Receipt | Method::ByHash => {
            bundler::look_up(session, method.as_str(), params).await.map_err(plain)
        }
        Method::GasPrice => bundler::gas_price(session, params).await.map_err(plain),
    }
}

impl Session {
    /// The EntryPoints that this company's operations are sponsored for.
    fn entry_points(&self) -> Result<Value, ApiError> {
        let chain = self.chain()?;
        let served = chain.entry_points().into_iter();
        Ok(served
            .filter(|entry_point| chain.paymaster(self.caller.tenant, *entry_point).is_ok())
            .map(|entry_point| Value::from(entry_point.to_checksum(None)))
            .collect())
    }

    /// Whether an EntryPoint is one that this company's operations are sponsored for.
    fn refuse_unless_served(
        &self,
        chain: &Chain,
        entry_point: alloy_primitives::Address,
    ) -> Result<(), Refusal> {
        chain.paymaster(self.caller.tenant, entry_point).map(drop)
    }
}

/// The methods that are served.
#[derive(Clone, Copy)]
enum Method {
    StubData,
    Data,
    PaymasterEntryPoints,
    Send,
    Estimate,
    Receipt,
    ByHash,
    BundlerEntryPoints,
    ChainId,
    GasPrice,
}

impl Method {
    const ALL: [Self; 10] = [
        Self::StubData,
        Self::Data,
        Self::PaymasterEntryPoints,
        Self::Send,
        Self::Estimate,
        Self::Receipt,
        Self::ByHash,
        Self::BundlerEntryPoints,
        Self::ChainId,
        Self::GasPrice,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::StubData => "pm_getPaymasterStubData",
            Self::Data => "pm_getPaymasterData",
            Self::PaymasterEntryPoints => "pm_supportedEntryPoints",
            Self::Send => "eth_sendUserOperation",
            Self::Estimate => "eth_estimateUserOperationGas",
            Self::Receipt => "eth_getUserOperationReceipt",
            Self::ByHash => "eth_getUserOperationByHash",
            Self::BundlerEntryPoints => "eth_supportedEntryPoints",
            Self::ChainId => "eth_chainId",
            Self::GasPrice => "pimlico_getUserOperationGasPrice",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// The answers as they leave; nothing at all where nobody asked for one.
fn respond(answers: &[Answer], is_batch: bool) -> Response {
    let text = match answers {
        [] => return StatusCode::NO_CONTENT.into_response(),
        [only] if !is_batch => serde_json::to_string(only),
        many => serde_json::to_string(many),
    };
    let mut response = match text {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => ApiError::Internal(error.to_string()).into_response(),
    };
    response.extensions_mut().insert(outcome(answers));
    response
}

fn outcome(answers: &[Answer]) -> RpcOutcome {
    let mut calls: Vec<_> = answers
        .iter()
        .take(LOGGED_CALLS)
        .map(|answer| match &answer.outcome {
            Outcome::Result(_) => format!("{} ok", answer.method),
            Outcome::Error(failure) => format!("{} {}", answer.method, failure.reason()),
        })
        .collect();
    if answers.len() > LOGGED_CALLS {
        calls.push(format!("and {} more", answers.len().saturating_sub(LOGGED_CALLS)));
    }
    let cause = answers.iter().find_map(|answer| match &answer.outcome {
        Outcome::Result(_) => None,
        Outcome::Error(failure) => failure.cause().map(str::to_owned),
    });
    RpcOutcome { calls: calls.join(", "), cause }
}
