//! The development node, and the few things that tests ask of it.
//!
//! Its accounts are the ten of the well-known test mnemonic; anvil signs for them, so a transaction from one of them needs no key. See
//! [`crate::keys`] for who uses which.

use std::{fmt::Debug, path::PathBuf, time::Duration};

use alloy::{
    network::Ethereum,
    primitives::{Address, B256, Bytes, U256},
    providers::{Provider, RootProvider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    sol_types::SolCall,
};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::{
    error::{Error, Result, io},
    process::{Process, Spec, StopSignal, tail_of},
    tools::Tools,
};

const READY_SECONDS: u64 = 30;
/// A transaction is mined at once (mixed mining), so a receipt that takes this long will not come.
const RECEIPT_ATTEMPTS: u32 = 500;
const RECEIPT_POLL: Duration = Duration::from_millis(20);

/// How the node is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The chain id.
    pub chain_id: u64,
    /// How many blocks the `safe` tag lags behind the head; `finalized` lags twice as many.
    pub slots_in_an_epoch: u64,
    /// Seconds between blocks that come without a transaction; with one, a block comes at once.
    pub block_time_seconds: u64,
    /// The port, if it must be a certain one.
    pub port: Option<u16>,
    /// The file of the node's log.
    pub log: PathBuf,
}

/// A running node.
#[derive(Debug)]
pub struct Anvil {
    process: Process,
    node: Node,
}

impl Anvil {
    /// Starts the node and waits until it answers.
    ///
    /// # Errors
    /// When anvil is not installed or does not come up.
    pub async fn start(tools: &Tools, options: &Options) -> Result<Self> {
        let cache = tempfile::Builder::new()
            .prefix("stipend-anvil-")
            .tempdir()
            .map_err(io("create a folder for anvil"))?;
        let mut spec = Spec::new("anvil", tools.anvil()?, tools.root(), &options.log)
            .args(["--host", "127.0.0.1", "--mixed-mining", "--color", "never"])
            .args(["--port".into(), options.port.unwrap_or(0).to_string()])
            .args(["--chain-id".into(), options.chain_id.to_string()])
            .args(["--block-time".into(), options.block_time_seconds.to_string()])
            .args(["--slots-in-an-epoch".into(), options.slots_in_an_epoch.to_string()])
            .args(["--cache-path".as_ref(), cache.path().as_os_str()]);
        spec.stop_signal = StopSignal::Interrupt;
        spec.remove_after = Some(cache.path().to_path_buf());
        let mut process = Process::start(&spec)?;
        let _kept = cache.keep();
        let log = options.log.clone();
        process.ready(READY_SECONDS, async || listening_port(&log).is_some()).await?;
        let port = listening_port(&log).ok_or_else(|| process.ended())?;
        let node = Node::connect(&format!("http://127.0.0.1:{port}"))?;
        process
            .ready(READY_SECONDS, async || node.provider.get_block_number().await.is_ok())
            .await?;
        Ok(Self { process, node })
    }

    /// The node's JSON-RPC side.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node's process, for tests that crash it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the node.
    ///
    /// # Errors
    /// When the system cannot tell us about the node.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }
}

/// anvil picks its own free port, which leaves no moment in which another process could take it, and prints it.
fn listening_port(log: &std::path::Path) -> Option<u16> {
    let tail = tail_of(log);
    let (_, rest) = tail.split_once("Listening on 127.0.0.1:")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A JSON-RPC connection to the development node, with anvil's own methods.
#[derive(Debug, Clone)]
pub struct Node {
    url: Url,
    provider: RootProvider<Ethereum>,
}

impl Node {
    /// Remembers where the node is; asks nothing yet.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn connect(url: &str) -> Result<Self> {
        let url = Url::parse(url).map_err(|error| rpc("read the node's URL", error))?;
        let provider = RootProvider::new_http(url.clone());
        Ok(Self { url, provider })
    }

    /// Where the node listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The provider, for everything that has no shorter way here.
    pub fn provider(&self) -> &RootProvider<Ethereum> {
        &self.provider
    }

    /// Calls any JSON-RPC method.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn request<P, R>(&self, method: &'static str, params: P) -> Result<R>
    where
        P: Serialize + Clone + Debug + Send + Sync + Unpin,
        R: DeserializeOwned + Debug + Send + Sync + Unpin + 'static,
    {
        self.provider.raw_request(method.into(), params).await.map_err(|error| rpc(method, error))
    }

    /// The code at an address in the latest block.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn code(&self, address: Address) -> Result<Bytes> {
        self.provider.get_code_at(address).await.map_err(|error| rpc("read code", error))
    }

    /// Puts code at an address (`anvil_setCode`).
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_code(&self, address: Address, code: &Bytes) -> Result<()> {
        self.request("anvil_setCode", (address, code)).await
    }

    /// Gives an address a balance in wei (`anvil_setBalance`).
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_balance(&self, address: Address, wei: U256) -> Result<()> {
        self.request("anvil_setBalance", (address, wei)).await
    }

    /// Calls a contract's view function in the latest block.
    ///
    /// # Errors
    /// When the call reverts or returns something else.
    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return> {
        let request = TransactionRequest::default().to(to).input(call.abi_encode().into());
        let output = self.provider.call(request).await.map_err(|error| rpc(C::SIGNATURE, error))?;
        C::abi_decode_returns(&output).map_err(|error| rpc(C::SIGNATURE, error))
    }

    /// Hands a transaction of one of anvil's own accounts to the node; does not wait for it.
    ///
    /// # Errors
    /// When the node refuses it.
    pub async fn submit(&self, transaction: TransactionRequest) -> Result<B256> {
        self.request("eth_sendTransaction", (transaction,)).await
    }

    /// Waits for a transaction and returns its receipt.
    ///
    /// # Errors
    /// When it reverted or does not come.
    pub async fn receipt(&self, hash: B256) -> Result<TransactionReceipt> {
        for _ in 0..RECEIPT_ATTEMPTS {
            let receipt = self
                .provider
                .get_transaction_receipt(hash)
                .await
                .map_err(|error| rpc("read a receipt", error))?;
            match receipt {
                Some(receipt) if receipt.status() => return Ok(receipt),
                Some(_) => return Err(rpc(format!("transaction {hash}"), "reverted")),
                None => tokio::time::sleep(RECEIPT_POLL).await,
            }
        }
        Err(rpc(format!("transaction {hash}"), "was not mined"))
    }

    /// Sends a call with value from one of anvil's own accounts and waits for it.
    ///
    /// # Errors
    /// When it is refused or reverts.
    pub async fn send<C: SolCall>(
        &self,
        from: Address,
        to: Address,
        call: &C,
        wei: U256,
    ) -> Result<TransactionReceipt> {
        let transaction = TransactionRequest::default()
            .from(from)
            .to(to)
            .value(wei)
            .input(call.abi_encode().into());
        let hash = self.submit(transaction).await?;
        self.receipt(hash).await
    }
}

/// Adds what was being done to an error of a JSON-RPC call.
pub(crate) fn rpc(doing: impl Into<String>, reason: impl ToString) -> Error {
    Error::Rpc { doing: doing.into(), reason: reason.to_string() }
}
