//! The operations of one block that our paymasters paid for.

use alloy_primitives::aliases::U64;
use alloy_primitives::{Address, B256, Bytes};
use erc4337::events::{USER_OPERATION_EVENT_TOPIC, UserOperationEvent};
use serde::Deserialize;
use serde_json::json;

use crate::RpcError;
use crate::node::Node;
use crate::rpc::{Delivery, Request, read_result};

/// One `UserOperationEvent` of one of our paymasters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationLog {
    /// Index of the log within the block.
    pub log_index: u32,
    /// The transaction that carried the bundle.
    pub transaction_hash: B256,
    /// The EntryPoint that emitted it.
    pub entry_point: Address,
    /// What it says.
    pub event: UserOperationEvent,
}

/// Why a block's logs are not known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LogsError {
    /// The node does not know the block: it lags behind another one, or the block was reorganised away and dropped.
    /// Some nodes would answer with no logs at all, which must not be taken for an empty block.
    #[error("the node does not know block {0}")]
    UnknownBlock(B256),
    /// The node gave no usable answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

#[derive(Deserialize)]
struct KnownBlock {
    hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_hash: Option<B256>,
    transaction_hash: Option<B256>,
    log_index: Option<U64>,
    #[serde(default)]
    removed: bool,
}

impl Node {
    /// The `UserOperationEvent`s of a block that `entry_points` emitted and that name one of `paymasters`, by rising
    /// log index. All of them or an error: the block and its logs are asked of the same endpoint, so that one that
    /// has not seen the block yet cannot make it look empty.
    ///
    /// # Errors
    /// [`LogsError`]; [`RpcError::Malformed`] within it when a log is of another block, contract or paymaster, was
    /// removed, does not decode, or shares its index with another.
    pub async fn operation_logs(
        &self,
        block_hash: B256,
        entry_points: &[Address],
        paymasters: &[Address],
    ) -> Result<Vec<OperationLog>, LogsError> {
        // An empty list in a filter would mean "any".
        if entry_points.is_empty() || paymasters.is_empty() {
            return Ok(Vec::new());
        }
        let payers: Vec<B256> = paymasters.iter().map(|payer| payer.into_word()).collect();
        let filter = json!({
            "blockHash": block_hash,
            "address": entry_points,
            "topics": [USER_OPERATION_EVENT_TOPIC, null, null, payers],
        });
        let requests = [
            Request { method: "eth_getBlockByHash", params: json!([block_hash, false]) },
            Request { method: "eth_getLogs", params: json!([filter]) },
        ];
        let [block, logs] = self.rpc.send_together(Delivery::Repeatable, &requests).await?;
        match read_result::<Option<KnownBlock>>("eth_getBlockByHash", &block?)? {
            None => return Err(LogsError::UnknownBlock(block_hash)),
            Some(block) if block.hash != block_hash => {
                return Err(RpcError::malformed("another block than was asked for").into());
            }
            Some(_) => {}
        }
        let mut logs = read_result::<Vec<RawLog>>("eth_getLogs", &logs?)?
            .into_iter()
            .map(|log| log.check(block_hash, entry_points, paymasters))
            .collect::<Result<Vec<_>, _>>()?;
        logs.sort_unstable_by_key(|log| log.log_index);
        if logs.is_sorted_by(|a, b| a.log_index < b.log_index) {
            Ok(logs)
        } else {
            Err(RpcError::malformed("two logs of a block share an index").into())
        }
    }
}

impl RawLog {
    fn check(
        self,
        block_hash: B256,
        entry_points: &[Address],
        paymasters: &[Address],
    ) -> Result<OperationLog, RpcError> {
        if self.removed {
            return Err(RpcError::malformed("a removed log"));
        }
        if self.block_hash != Some(block_hash) {
            return Err(RpcError::malformed("a log of another block"));
        }
        if !entry_points.contains(&self.address) {
            return Err(RpcError::malformed("a log of another contract"));
        }
        let event = UserOperationEvent::decode(&self.topics, &self.data)
            .map_err(|error| RpcError::malformed(error.to_string()))?;
        if !paymasters.contains(&event.paymaster) {
            return Err(RpcError::malformed("a log of another paymaster"));
        }
        Ok(OperationLog {
            log_index: self
                .log_index
                .and_then(|index| u32::try_from(index.to::<u64>()).ok())
                .ok_or_else(|| RpcError::malformed("a log without an index that fits"))?,
            transaction_hash: self
                .transaction_hash
                .ok_or_else(|| RpcError::malformed("a log without its transaction"))?,
            entry_point: self.address,
            event,
        })
    }
}
