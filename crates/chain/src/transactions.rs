//! Transactions of an operator: what one would do, what it needs, handing it over, and what became of it.

use alloy_primitives::aliases::{U64, U128};
use alloy_primitives::{Address, B256, Bytes, U256};
use domain::{FeePerGas, Gas};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::RpcError;
use crate::node::{At, Node};

/// What nodes say about a transaction that they hold already: Geth and its kin, anvil, Nethermind, Erigon. Handing one
/// over twice is no mistake, because it has one hash and one nonce.
const KNOWN: [&str; 4] = ["already known", "already imported", "alreadyknown", "known transaction"];

/// A call as a transaction would make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Whose transaction it would be.
    pub from: Address,
    /// The contract.
    pub to: Address,
    /// Wei that go with it.
    pub value: U256,
    /// Selector and arguments.
    pub input: Bytes,
}

impl CallRequest {
    fn param(&self) -> Value {
        json!({ "from": self.from, "to": self.to, "value": self.value, "input": self.input })
    }
}

/// A contract's event, as a receipt holds it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The contract.
    pub address: Address,
    /// Which event, and its indexed values.
    pub topics: Vec<B256>,
    /// The other values.
    pub data: Bytes,
}

/// What became of a transaction that is in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The block.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// Whether it did what it should; one that reverted pays for its gas and changes nothing else.
    pub success: bool,
    /// What it used.
    pub gas_used: Gas,
    /// What it paid per gas.
    pub gas_price: FeePerGas,
    /// What the contracts said.
    pub events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: B256,
    block_number: U64,
    block_hash: B256,
    status: U64,
    gas_used: U128,
    #[serde(default)]
    effective_gas_price: U128,
    logs: Vec<Event>,
}

impl Node {
    /// How many transactions an account has sent, at the head.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn transaction_count(&self, account: Address) -> Result<u64, RpcError> {
        self.count(account, "latest").await
    }

    /// The same with those that the node holds and no block does yet: the nonce of the next one.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn next_nonce(&self, account: Address) -> Result<u64, RpcError> {
        self.count(account, "pending").await
    }

    async fn count(&self, account: Address, tag: &str) -> Result<u64, RpcError> {
        let count: U64 = self.rpc.ask("eth_getTransactionCount", json!([account, tag])).await?;
        Ok(count.to())
    }

    /// An account's own ether at the head, in wei.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.rpc.ask("eth_getBalance", json!([account, At::Head.param()])).await
    }

    /// What the call would return at the head; nothing is changed.
    ///
    /// # Errors
    /// [`RpcError::Rpc`] when it would revert, with what it would revert with in [`RpcError::revert_data`].
    pub async fn simulate(&self, call: &CallRequest) -> Result<Bytes, RpcError> {
        self.rpc.ask("eth_call", json!([call.param(), At::Head.param()])).await
    }

    /// The gas that the call needs at the head.
    ///
    /// # Errors
    /// [`RpcError::Rpc`] when it would fail whatever it is given.
    pub async fn estimate_gas(&self, call: &CallRequest) -> Result<Gas, RpcError> {
        let gas: U128 = self.rpc.ask("eth_estimateGas", json!([call.param()])).await?;
        Ok(Gas(gas.to()))
    }

    /// Hands a signed transaction over. A node that holds it already is no error. After any error but
    /// [`RpcError::Rpc`] it may have been taken all the same: look for its receipt.
    ///
    /// # Errors
    /// [`RpcError`], with the node's reason in [`RpcError::Rpc`].
    pub async fn send_raw_transaction(&self, raw: &Bytes) -> Result<(), RpcError> {
        // It may reach two endpoints: it is the same transaction to both.
        let sent: Result<B256, RpcError> =
            self.rpc.ask("eth_sendRawTransaction", json!([raw])).await;
        match sent {
            Err(RpcError::Rpc { message, .. }) if is_known(&message) => Ok(()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What became of a transaction, or `None` while it is in no block.
    ///
    /// # Errors
    /// [`RpcError`], [`RpcError::Malformed`] for a receipt of another transaction.
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, RpcError> {
        let raw: Option<RawReceipt> =
            self.rpc.ask("eth_getTransactionReceipt", json!([hash])).await?;
        let Some(raw) = raw else { return Ok(None) };
        if raw.transaction_hash != hash {
            return Err(RpcError::malformed("a receipt of another transaction"));
        }
        Ok(Some(Receipt {
            block_number: raw.block_number.to(),
            block_hash: raw.block_hash,
            success: raw.status == U64::from(1),
            gas_used: Gas(raw.gas_used.to()),
            gas_price: FeePerGas(raw.effective_gas_price.to()),
            events: raw.logs,
        }))
    }
}

impl RpcError {
    /// What a call reverted with, where the node says so: an ABI-encoded error, or nothing. Nodes put it into the
    /// error's data, as hex or in an object.
    #[must_use]
    pub fn revert_data(&self) -> Option<Bytes> {
        let Self::Rpc { data: Some(data), .. } = self else { return None };
        let hex = data.as_str().or_else(|| data.get("data").and_then(Value::as_str))?;
        // Some nodes prefix it with words.
        let start = hex.find("0x")?;
        hex.get(start..)?.parse().ok()
    }
}

fn is_known(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    KNOWN.iter().any(|known| message.contains(known))
}
