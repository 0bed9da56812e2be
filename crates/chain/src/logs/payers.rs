//! Whose logs are looked for, and whether a log that a node gives is one of them.

use alloy_primitives::aliases::U64;
use alloy_primitives::{Address, B256, Bloom, Bytes};
use domain::chain_fact::ChainTime;
use erc4337::events::{USER_OPERATION_EVENT_TOPIC, UserOperationEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use super::OperationLog;
use crate::RpcError;

/// Whose operations are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Payers<'a> {
    /// The contracts that emit the events.
    pub entry_points: &'a [Address],
    /// Our paymasters.
    pub paymasters: &'a [Address],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawLog {
    pub(super) address: Address,
    pub(super) topics: Vec<B256>,
    data: Bytes,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    /// Not all nodes give it.
    #[serde(default)]
    block_timestamp: Option<U64>,
    transaction_hash: Option<B256>,
    log_index: Option<U64>,
    #[serde(default)]
    removed: bool,
}

#[derive(Deserialize)]
pub(super) struct RawReceipt {
    pub(super) logs: Vec<RawLog>,
}

impl Payers<'_> {
    /// An empty list in a filter would mean "any".
    pub(super) const fn is_nobody(&self) -> bool {
        self.entry_points.is_empty() || self.paymasters.is_empty()
    }

    /// A filter for the logs of these blocks
    /// ([EIP-234](https://eips.ethereum.org/EIPS/eip-234) for one by its hash).
    pub(super) fn filter<const N: usize>(&self, blocks: [(&str, Value); N]) -> Value {
        let payers: Vec<B256> = self.paymasters.iter().map(|payer| payer.into_word()).collect();
        let which = [
            ("address", json!(self.entry_points)),
            ("topics", json!([USER_OPERATION_EVENT_TOPIC, null, null, payers])),
        ];
        let filter = blocks.into_iter().chain(which);
        Value::Object(filter.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Whether a block with this bloom filter may hold such a log.
    pub(super) fn may_be_in(&self, bloom: &Bloom) -> bool {
        self.entry_points.iter().any(|entry_point| {
            self.paymasters.iter().any(|paymaster| {
                let topics = [USER_OPERATION_EVENT_TOPIC, paymaster.into_word()];
                bloom.contains_raw_log(*entry_point, &topics)
            })
        })
    }

    /// Whether the filter asks for a log.
    pub(super) fn want(&self, log: &RawLog) -> bool {
        self.entry_points.contains(&log.address)
            && log.topics.first() == Some(&USER_OPERATION_EVENT_TOPIC)
            && log.topics.get(3).is_some_and(|topic| {
                self.paymasters.iter().any(|paymaster| paymaster.into_word() == *topic)
            })
    }

    /// Checks that a log is one that was asked for.
    fn check(&self, log: &RawLog) -> Result<OperationLog, RpcError> {
        if log.removed {
            return Err(RpcError::malformed("a removed log"));
        }
        if !self.entry_points.contains(&log.address) {
            return Err(RpcError::malformed("a log of another contract"));
        }
        let event = UserOperationEvent::decode(&log.topics, &log.data)
            .map_err(|error| RpcError::malformed(error.to_string()))?;
        if !self.paymasters.contains(&event.paymaster) {
            return Err(RpcError::malformed("a log of another paymaster"));
        }
        let absent = |what| move || RpcError::malformed(format!("a log without {what}"));
        Ok(OperationLog {
            block_number: log.block_number.ok_or_else(absent("its block's number"))?.to(),
            block_hash: log.block_hash.ok_or_else(absent("its block"))?,
            log_index: log
                .log_index
                .and_then(|index| u32::try_from(index.to::<u64>()).ok())
                .ok_or_else(absent("an index that fits"))?,
            transaction_hash: log.transaction_hash.ok_or_else(absent("its transaction"))?,
            entry_point: log.address,
            event,
        })
    }

    /// The same for many, in chain order.
    pub(super) fn check_all(&self, logs: &[RawLog]) -> Result<Vec<OperationLog>, RpcError> {
        let mut logs: Vec<_> = logs.iter().map(|log| self.check(log)).collect::<Result<_, _>>()?;
        logs.sort_unstable_by_key(OperationLog::place);
        if logs.is_sorted_by(|a, b| a.place() < b.place()) {
            Ok(logs)
        } else {
            Err(RpcError::malformed("two logs of a block share an index"))
        }
    }
}

impl RawLog {
    pub(super) fn time(&self) -> Option<(B256, ChainTime)> {
        Some((self.block_hash?, ChainTime(self.block_timestamp?.to())))
    }
}
