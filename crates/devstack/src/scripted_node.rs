//! A node that misbehaves as it is told: a JSON-RPC proxy before a real one.
//!
//! Everything that is not named by a [`Rule`] goes through as it is, so that a test sees the real chain but for the one
//! lie. `cargo xtask dev --faults` puts one with rules by chance before the service's node.

mod fault;

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle, time::timeout};
use url::Url;

pub use fault::{Fault, Rule, When};

use crate::error::{Result, io};
use fault::Script;

/// How long a request that is to be overtaken waits for another one.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(500);

/// The proxy. Dropping it closes its port.
#[derive(Debug)]
pub struct ScriptedNode {
    url: Url,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Url,
    http: reqwest::Client,
    script: Mutex<Script>,
    /// Somebody was answered.
    answered: Notify,
}

impl ScriptedNode {
    /// Listens on a free port, before the node at this URL. Without rules it changes nothing.
    ///
    /// # Errors
    /// When the system has no port, or the URL is none.
    pub async fn start(upstream: &Url) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.await.map_err(io("listen as a scripted node"))?;
        let address = listener.local_addr().map_err(io("listen as a scripted node"))?;
        let url = format!("http://{address}/")
            .parse()
            .map_err(|error| io("name the scripted node")(std::io::Error::other(error)))?;
        let shared = Arc::new(Shared {
            upstream: upstream.clone(),
            http: reqwest::Client::new(),
            script: Mutex::default(),
            answered: Notify::new(),
        });
        let router = Router::new().route("/", post(serve)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It serves until it is dropped, and has nobody to tell that it cannot.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { url, shared, server })
    }

    /// Where the scripted node listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Follows these rules from now on, and no others.
    pub fn follow(&self, rules: Vec<Rule>) {
        self.shared.script().follow(rules);
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.follow(Vec::new());
    }

    /// How often a method was asked for.
    pub fn asked(&self, method: &str) -> usize {
        self.shared.script().asked(method)
    }

    /// How many faults there were.
    pub fn faults(&self) -> usize {
        self.shared.script().faults()
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    let calls = request.as_array().cloned();
    let answer = match calls {
        None => shared.answer(request).await,
        Some(calls) => {
            let mut answers = Vec::new();
            for call in calls {
                match shared.answer(call).await {
                    Ok(answer) => answers.push(answer),
                    Err(response) => return response,
                }
            }
            Ok(Value::Array(answers))
        }
    };
    shared.answered.notify_waiters();
    answer.map_or_else(|response| response, |answer| Json(answer).into_response())
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one call is answered with; or what is sent instead of any answer.
    async fn answer(&self, mut call: Value) -> std::result::Result<Value, Response> {
        let method = fault::method(&call).to_owned();
        let faults = self.script().faults_of(&method);
        for fault in &faults {
            match fault {
                Fault::Drop => core::future::pending().await,
                Fault::Delay(pause) => tokio::time::sleep(*pause).await,
                Fault::Reorder => {
                    let _overtaken = timeout(OVERTAKEN_AFTER, self.answered.notified()).await;
                }
                Fault::Duplicate => drop(self.forward(&call).await),
                Fault::Disconnect => return Err(broken_off()),
                Fault::Status(status) => {
                    let status =
                        StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    return Err((status, "scripted").into_response());
                }
                Fault::WrongBlock
                | Fault::OtherBranch
                | Fault::NoBloom
                | Fault::TruncatedLogs
                | Fault::NoLogs
                | Fault::RangeLimit(_)
                | Fault::StaleHead(_) => {
                    if let Some(answer) = fault.instead_of(&mut call) {
                        return Ok(answer);
                    }
                }
            }
        }
        let mut answer = self.forward(&call).await?;
        for fault in &faults {
            fault.spoil(&method, &mut answer);
        }
        if let Some(height) = faults.iter().find_map(Fault::stale_head) {
            self.forget_above(height, &call, &mut answer).await?;
        }
        Ok(answer)
    }

    async fn forward(&self, call: &Value) -> std::result::Result<Value, Response> {
        let unreachable = |error: reqwest::Error| {
            (StatusCode::BAD_GATEWAY, error.without_url().to_string()).into_response()
        };
        let sent = self.http.post(self.upstream.clone()).json(call).send().await;
        sent.map_err(unreachable)?.json().await.map_err(unreachable)
    }

    /// What is above this height, or hangs on a block there by its hash, is unknown.
    async fn forget_above(
        &self,
        height: u64,
        call: &Value,
        answer: &mut Value,
    ) -> std::result::Result<(), Response> {
        let hash = match fault::method(call) {
            "eth_getBlockByNumber" => answer.pointer("/result/hash"),
            "eth_getBlockByHash" | "eth_getBlockReceipts" => call.pointer("/params/0"),
            "eth_getLogs" => call.pointer("/params/0/blockHash"),
            _ => None,
        };
        let Some(hash) = hash else { return Ok(()) };
        let block = json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByHash", "params": [hash, false],
        });
        let block = self.forward(&block).await?;
        let number = block.pointer("/result/number").and_then(fault::number);
        if number.is_some_and(|number| number > height)
            && let Some(result) = answer.get_mut("result")
        {
            let is_list = fault::method(call) == "eth_getLogs";
            *result = if is_list { json!([]) } else { Value::Null };
        }
        Ok(())
    }
}

/// An answer that begins, and is never ended.
fn broken_off() -> Response {
    let part = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) });
    let end = stream::once(async { Err(std::io::Error::other("scripted")) });
    let response = Response::builder().header("content-type", "application/json");
    let body = Body::from_stream(part.chain(end));
    response.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}
