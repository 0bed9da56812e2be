//! The real client libraries (viem, permissionless) behind a Rust interface.
//!
//! One node process, `tests/clients/driver.mjs`, takes requests as JSON lines; many may be under way at once. It ends when its standard input
//! closes, and so never outlives us.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

use crate::{
    anvil::rpc,
    error::{Error, Result, io},
    stack::ChainStack,
    tools::Tools,
};

/// The client library that makes the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// viem's `createBundlerClient`.
    Viem,
    /// permissionless' `createSmartAccountClient`.
    Permissionless,
}

/// The kind of smart account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Account {
    /// SimpleAccount (EntryPoint 0.7 and 0.8).
    Simple,
    /// Safe 1.4.1 with its 4337 module (0.7).
    Safe,
    /// An EIP-7702 account with Simple7702Account as its delegate (0.8 and 0.9).
    Simple7702,
}

/// One call that the account makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The target.
    pub to: Address,
    /// Wei that go with it.
    pub value: U256,
    /// Its input.
    pub data: Bytes,
}

/// Fees per gas, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fees {
    /// The most that a unit of gas may cost.
    pub max_fee_per_gas: U256,
    /// The part of it that goes to the block's producer.
    pub max_priority_fee_per_gas: U256,
}

/// Who acts, through what, and on which stack. The actions of [`Driver`] are done for it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The client library.
    pub client: Client,
    /// The kind of account.
    pub account: Account,
    /// The EntryPoint's version, `"0.7"` …
    pub entry_point: String,
    /// The private key of the account's owner.
    pub owner_key: B256,
    /// Tells accounts of one owner apart.
    pub salt: U256,
    /// The node.
    pub rpc_url: String,
    /// The bundler, or something that passes its methods on.
    pub bundler_url: String,
    /// The ERC-7677 server: a URL, `true` for "the bundler's URL serves it too", or absent for an account that pays itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paymaster_url: Option<Value>,
    /// The dApp's context for the paymaster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paymaster_context: Option<Value>,
    /// What the account does.
    pub calls: Vec<Call>,
    /// The nonce, if not a fresh one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<U256>,
    /// The fees, if not the driver's fixed ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
    /// Gas limits by their names in ERC-4337, for those that are not to be estimated.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub gas: HashMap<String, U256>,
}

impl Request {
    /// An account of `owner_key` on a stack, that pays for itself and does nothing yet.
    pub fn new(
        chain: &ChainStack,
        client: Client,
        account: Account,
        entry_point: &str,
        owner_key: B256,
    ) -> Self {
        Self {
            client,
            account,
            entry_point: entry_point.to_owned(),
            owner_key,
            salt: U256::ZERO,
            rpc_url: chain.rpc_url.to_string(),
            bundler_url: chain.bundler_url.to_string(),
            paymaster_url: None,
            paymaster_context: None,
            calls: Vec::new(),
            nonce: None,
            fees: None,
            gas: HashMap::new(),
        }
    }

    /// Adds a call without value.
    #[must_use]
    pub fn call(mut self, to: Address, data: impl Into<Bytes>) -> Self {
        self.calls.push(Call { to, value: U256::ZERO, data: data.into() });
        self
    }

    /// Asks this ERC-7677 server to pay.
    #[must_use]
    pub fn paid_by(mut self, paymaster_url: impl Into<String>) -> Self {
        self.paymaster_url = Some(Value::String(paymaster_url.into()));
        self
    }
}

/// Where an account is.
#[derive(Debug, Clone, Deserialize)]
pub struct Located {
    /// Its address, also before it is deployed.
    pub address: Address,
    /// Whether there is code.
    pub deployed: bool,
}

/// An operation that was prepared or sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What the bundler answered; absent when nothing was sent.
    pub user_op_hash: Option<B256>,
    /// The operation in its JSON-RPC form.
    #[serde(default)]
    pub op: Value,
    /// The calls that went out on the way, `"paymaster pm_getPaymasterData"` and so on, in order.
    #[serde(default)]
    pub wire: Vec<String>,
}

/// What became of an operation, as the bundler tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Whether the account's calls succeeded.
    pub success: bool,
    /// Wei that the EntryPoint charged.
    pub actual_gas_cost: String,
    /// Gas that the EntryPoint charged for.
    pub actual_gas_used: String,
    /// The bundle.
    pub transaction_hash: B256,
    /// The block of the bundle.
    pub block_number: u64,
    /// The block's hash.
    pub block_hash: B256,
    /// Why the calls failed, when the bundler knows.
    pub reason: Option<String>,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// The running driver. Its requests may overlap.
#[derive(Debug)]
pub struct Driver {
    input: tokio::sync::Mutex<(u64, ChildStdin)>,
    pending: Pending,
    _process: Child,
}

impl Driver {
    /// Starts node with the driver. Must be called on the runtime that will make the requests.
    ///
    /// # Errors
    /// When node cannot be run.
    pub fn start(tools: &Tools) -> Result<Self> {
        let mut process = Command::new("node")
            .arg(tools.root().join("tests/clients/driver.mjs"))
            .current_dir(tools.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(io("start the client driver"))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (input, output) = pipes.ok_or_else(|| gone("has no pipes"))?;
        let pending = Pending::default();
        tokio::spawn(deliver(output, Arc::clone(&pending)));
        Ok(Self { input: tokio::sync::Mutex::new((0, input)), pending, _process: process })
    }

    /// Where the account of a request is.
    ///
    /// # Errors
    /// When the library refuses.
    pub async fn address(&self, request: &Request) -> Result<Located> {
        self.act("address", request, &[]).await
    }

    /// Estimates and sponsors the operation, and neither signs nor sends it.
    ///
    /// # Errors
    /// When the library or a server refuses.
    pub async fn prepare(&self, request: &Request) -> Result<Operation> {
        self.act("prepare", request, &[]).await
    }

    /// The whole flow of a dApp: prepare, sign, send.
    ///
    /// # Errors
    /// When the library or a server refuses.
    pub async fn send(&self, request: &Request) -> Result<Operation> {
        self.act("send", request, &[]).await
    }

    /// Signs a prepared operation for the account's owner.
    ///
    /// # Errors
    /// When the library refuses.
    pub async fn sign(&self, request: &Request, op: &Value) -> Result<Operation> {
        self.act("sign", request, &[("op", op.clone())]).await
    }

    /// Sends a signed operation as it is.
    ///
    /// # Errors
    /// When the bundler refuses.
    pub async fn submit(&self, request: &Request, op: &Value) -> Result<Operation> {
        self.act("submit", request, &[("op", op.clone())]).await
    }

    /// Waits until the bundler has a receipt.
    ///
    /// # Errors
    /// When there is none within a minute.
    pub async fn wait(&self, request: &Request, user_op_hash: B256) -> Result<Receipt> {
        let hash = Value::String(user_op_hash.to_string());
        self.act("wait", request, &[("userOpHash", hash)]).await
    }

    async fn act<T: DeserializeOwned>(
        &self,
        action: &str,
        request: &Request,
        more: &[(&str, Value)],
    ) -> Result<T> {
        let unfit = |error: serde_json::Error| gone(&error.to_string());
        let mut body = serde_json::to_value(request).map_err(unfit)?;
        if let Some(fields) = body.as_object_mut() {
            fields.insert("action".to_owned(), action.into());
            for (name, value) in more {
                fields.insert((*name).to_owned(), value.clone());
            }
        }
        let answer = self.ask(body).await?;
        match (answer.ok, answer.error) {
            (Some(value), _) => serde_json::from_value(value).map_err(unfit),
            (None, Some(refusal)) => Err(Error::Client {
                name: refusal.name,
                message: refusal.message,
                details: refusal.details,
                code: refusal.code,
                data: refusal.data,
            }),
            (None, None) => Err(gone("answered with nothing")),
        }
    }

    async fn ask(&self, mut body: Value) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut input = self.input.lock().await;
        input.0 += 1;
        let id = input.0;
        if let Some(fields) = body.as_object_mut() {
            fields.insert("id".to_owned(), id.into());
        }
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let line = format!("{body}\n");
        input.1.write_all(line.as_bytes()).await.map_err(io("write to the client driver"))?;
        drop(input);
        receiver.await.map_err(|_| gone("ended"))
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    id: Option<u64>,
    ok: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    name: String,
    message: String,
    details: Option<String>,
    code: Option<i64>,
    data: Option<Value>,
}

/// Hands each answer to who waits for it; at the end of the driver everybody who still waits learns that it is gone.
async fn deliver(output: ChildStdout, pending: Pending) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Answer>(&line) {
            Ok(answer) => {
                let waiting = answer.id.and_then(|id| {
                    pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
                });
                if let Some(waiting) = waiting {
                    // Whoever asked may have given up since.
                    let _ = waiting.send(answer);
                }
            }
            Err(error) => tracing::warn!(%error, line, "the client driver printed something else"),
        }
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn gone(reason: &str) -> Error {
    rpc("the client driver", reason)
}
