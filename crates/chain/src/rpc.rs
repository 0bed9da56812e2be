//! JSON-RPC 2.0 over HTTP, to the first of several endpoints that answers.
//!
//! One deadline holds for the whole call. Each endpoint gets an equal share of what is left of it, so that one that
//! hangs leaves time for the next. An endpoint that fails is tried again by the very next call.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::{ConnectError, RpcError};

/// The most bytes of one answer that are read. A block's header with its transaction hashes, or a receipt with its
/// logs, stays well below; an endpoint that sends more is broken and must not fill our memory.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Whether a request may reach two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It reads, so it can be repeated.
    Repeatable,
    /// It acts, so only an endpoint that surely did not take it lets the next one have it.
    Once,
}

/// One method call.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Value,
}

/// Several endpoints that serve the same chain, in order of preference.
#[derive(Debug)]
pub(crate) struct RpcClient {
    endpoints: Vec<Endpoint>,
    deadline: Duration,
    next_id: AtomicU64,
}

struct Endpoint {
    url: Url,
    host: String,
    http: reqwest::Client,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

/// What an endpoint answered: the result, or its refusal as [`RpcError::Rpc`].
pub(crate) type Reply = Result<Box<RawValue>, RpcError>;

/// How an endpoint failed to answer, which decides whether the next one is asked.
enum Failure {
    /// It surely did not take the request.
    NotTaken(RpcError),
    /// It may have taken the request.
    Uncertain(RpcError),
}

impl RpcClient {
    /// Makes no request. `deadline` is for a whole call, over all endpoints.
    pub(crate) fn new(urls: &[Url], deadline: Duration) -> Result<Self, ConnectError> {
        if urls.is_empty() {
            return Err(ConnectError::NoUrl);
        }
        let endpoints = urls
            .iter()
            .zip(1..)
            .map(|(url, position)| Endpoint::new(url, position))
            .collect::<Result<_, _>>()?;
        Ok(Self { endpoints, deadline, next_id: AtomicU64::new(1) })
    }

    /// Asks one thing that can be repeated, and reads the result as `T`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.send(Delivery::Repeatable, Request { method, params }).await
    }

    /// Sends one request, and reads the result as `T`.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        delivery: Delivery,
        request: Request<'_>,
    ) -> Result<T, RpcError> {
        let method = request.method;
        let [reply] = self.send_together(delivery, &[request]).await?;
        read_result(method, &reply?)
    }

    /// Sends several requests at once to one endpoint, the first that answers them all.
    pub(crate) async fn send_together<const N: usize>(
        &self,
        delivery: Delivery,
        requests: &[Request<'_>; N],
    ) -> Result<[Reply; N], RpcError> {
        let end = Instant::now() + self.deadline;
        let mut last = RpcError::malformed("no endpoint was asked");
        for (endpoint, left) in self.endpoints.iter().zip((1..=self.endpoints.len()).rev()) {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(Instant::now()) / left;
            let answers = try_join_all(requests.iter().map(|request| {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                endpoint.exchange(id, request)
            }));
            let failure = match timeout(share, answers).await {
                Ok(Ok(replies)) => {
                    return replies
                        .try_into()
                        .map_err(|_| RpcError::malformed("fewer answers than questions"));
                }
                Ok(Err(failure)) => failure,
                Err(_elapsed) => {
                    Failure::Uncertain(RpcError::TimedOut { host: endpoint.host.clone() })
                }
            };
            last = match (failure, delivery) {
                (Failure::Uncertain(error), Delivery::Once) => return Err(error),
                (Failure::Uncertain(error), Delivery::Repeatable)
                | (Failure::NotTaken(error), _) => error,
            };
            if left > 1 {
                tracing::warn!(host = endpoint.host, error = %last, "RPC endpoint failed, trying the next");
            }
        }
        Err(last)
    }
}

impl Endpoint {
    fn new(url: &Url, position: usize) -> Result<Self, ConnectError> {
        let unsupported = ConnectError::UnsupportedUrl { position };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(unsupported);
        }
        let name = url.host_str().ok_or(unsupported)?;
        let host = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        // A redirect would repeat the request, with the caller's operation in it, at a host nobody configured.
        let mut builder = reqwest::Client::builder().redirect(Policy::none());
        if is_loopback(url) {
            // A proxy for the outside world must not stand between us and a node on this machine.
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|error| ConnectError::Client { reason: in_words(error) })?;
        Ok(Self { url: url.clone(), host, http })
    }

    async fn exchange(&self, id: u64, request: &Request<'_>) -> Result<Reply, Failure> {
        let call = Call { jsonrpc: "2.0", id, method: request.method, params: &request.params };
        let sent = self.http.post(self.url.clone()).json(&call).send().await;
        let response = sent.map_err(|error| {
            if error.is_connect() {
                Failure::NotTaken(self.unreachable(in_words(error)))
            } else {
                Failure::Uncertain(self.unreachable(in_words(error)))
            }
        })?;
        let status = response.status();
        let body = self.read_body(response).await?;
        let reply = match serde_json::from_slice::<Answer>(&body) {
            Ok(answer) => answer.into_reply(id),
            Err(_) => Err(RpcError::malformed("no JSON-RPC")),
        };
        let reply = match reply {
            Err(RpcError::Malformed { .. }) if !status.is_success() => {
                Err(self.unreachable(format!("HTTP {status}")))
            }
            Ok(_) | Err(_) => reply,
        };
        self.classify(status, reply)
    }

    /// What a reply means that came with this HTTP status. A gateway's 5xx may hide a request that went through; 429,
    /// 503 and, where no JSON-RPC refusal says more, a status below 500 come before a request is taken.
    fn classify(&self, status: StatusCode, reply: Reply) -> Result<Reply, Failure> {
        let busy =
            status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        match reply {
            Err(error) if busy => Err(Failure::NotTaken(error)),
            Err(error) if status.is_server_error() => Err(Failure::Uncertain(error)),
            Ok(_) | Err(RpcError::Rpc { .. }) => Ok(reply),
            Err(RpcError::Malformed { what }) => {
                Err(Failure::Uncertain(RpcError::malformed(format!("{} sent {what}", self.host))))
            }
            Err(error @ (RpcError::Unreachable { .. } | RpcError::TimedOut { .. })) => {
                Err(Failure::NotTaken(error))
            }
        }
    }

    async fn read_body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| Failure::Uncertain(self.unreachable(in_words(error))))?;
            let Some(chunk) = chunk else {
                return Ok(body);
            };
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Uncertain(RpcError::malformed(format!(
                    "{} sent more than {MAX_ANSWER_BYTES} bytes",
                    self.host
                ))));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn unreachable(&self, reason: String) -> RpcError {
        RpcError::Unreachable { host: self.host.clone(), reason }
    }
}

#[derive(Serialize)]
struct Call<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a Value,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    /// Absent and `null` differ: `null` is the answer for a block that does not exist.
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl Answer {
    fn into_reply(self, id: u64) -> Reply {
        // An error may come without the id, when the other side could not read it.
        if let Some(ErrorObject { code, message, data }) = self.error {
            return Err(RpcError::Rpc { code, message, data });
        }
        if self.id.as_u64() != Some(id) {
            return Err(RpcError::malformed("an answer to another request"));
        }
        self.result.ok_or_else(|| RpcError::malformed("an answer with neither result nor error"))
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the result of one method.
pub(crate) fn read_result<T: DeserializeOwned>(
    method: &str,
    result: &RawValue,
) -> Result<T, RpcError> {
    serde_json::from_str(result.get())
        .map_err(|error| RpcError::malformed(format!("the result of {method}: {error}")))
}

/// The whole chain of causes without the URL, which may hold a key.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    words
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
