//! One endpoint: a request over HTTP, and what its answer means.

use std::fmt;

use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use super::breaker::Breaker;
use super::{Reply, Request};
use crate::{ConnectError, RpcError};

/// The most bytes of one answer that are read. A block's header with its transaction hashes, its receipts, or a stretch
/// of logs stays well below; an endpoint that sends more must not fill our memory.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One URL of a node or bundler.
pub(super) struct Endpoint {
    url: Url,
    pub(super) host: String,
    http: reqwest::Client,
    pub(super) breaker: Breaker,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

/// How an endpoint failed to answer, which decides whether the next one is asked.
pub(super) enum Failure {
    /// It surely did not take the request.
    NotTaken(RpcError),
    /// It may have taken the request.
    Uncertain(RpcError),
}

impl Endpoint {
    pub(super) fn new(url: &Url, position: usize) -> Result<Self, ConnectError> {
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
        Ok(Self { url: url.clone(), host, http, breaker: Breaker::default() })
    }

    /// Sends one call and reads its reply.
    pub(super) async fn exchange(&self, id: u64, request: &Request<'_>) -> Result<Reply, Failure> {
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
            Err(error) => Err(Failure::NotTaken(error)),
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
                return Err(Failure::Uncertain(RpcError::TooLarge { host: self.host.clone() }));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// It did not answer, or another endpoint knew better.
    pub(super) fn failed(&self) {
        if self.breaker.fail() {
            tracing::warn!(host = self.host, "RPC endpoint is asked last for a while");
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
