//! The operations that our paymasters paid for, block by block or in a stretch of final blocks.
//!
//! A node that has a block may not have its logs yet, or not all of them. What a block's header says of its logs, a bloom
//! filter, is held against what the node gives: where something of ours may be in the block, the logs of all its receipts
//! must make exactly that filter.

mod payers;

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bloom};
use domain::Slot;
use domain::chain_fact::{BlockRef, ChainTime};
use erc4337::events::{USER_OPERATION_EVENT_TOPIC, UserOperationEvent};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::RpcError;
use crate::node::{BLOCK_BY_NUMBER, Header, Node, read_header};
use crate::rpc::{Delivery, Doubt, Reply, Request, read_result};
pub use payers::Payers;
use payers::{RawLog, RawReceipt};

const BLOCK_BY_HASH: &str = "eth_getBlockByHash";
const GET_LOGS: &str = "eth_getLogs";
const GET_RECEIPTS: &str = "eth_getBlockReceipts";
/// How many headers are asked for at once.
const HEADERS_AT_ONCE: usize = 16;

/// How many blocks are looked through at once for what one sender did.
const LOOK_BACK: u64 = 500;

/// JSON-RPC's code for a method that the other side does not have, and what nodes answer instead of it.
const NO_SUCH_METHOD: [i64; 2] = [-32601, -32004];

/// What nodes say when a stretch is too long for them or holds too many logs
/// ([EIP-1474](https://eips.ethereum.org/EIPS/eip-1474#error-codes) has a code for it that few use).
const TOO_WIDE: [&str; 8] =
    ["range", "limit", "too many", "too large", "more than", "exceed", "response size", "timeout"];

/// One `UserOperationEvent` of one of our paymasters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationLog {
    /// Height of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Index of the log within the block.
    pub log_index: u32,
    /// The transaction that carried the bundle.
    pub transaction_hash: B256,
    /// The EntryPoint that emitted it.
    pub entry_point: Address,
    /// What it says.
    pub event: UserOperationEvent,
}

/// The operations of consecutive final blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The parent of the first of the blocks.
    pub onto: B256,
    /// The last of the blocks.
    pub last: Header,
    /// The blocks of which logs are here, in chain order, with their logs.
    pub blocks: Vec<(BlockRef, Vec<OperationLog>)>,
}

/// Why logs are not known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LogsError {
    /// No node knows the block: it lags behind another one, or the block was reorganised away and dropped. Some nodes
    /// would answer with no logs at all, which must not be taken for an empty block.
    #[error("the node does not know block {0}")]
    UnknownBlock(B256),
    /// The logs are not those that the block's header speaks of.
    #[error("the node does not show all logs of block {0}")]
    Incomplete(B256),
    /// Two nodes give different logs of the same final blocks.
    #[error("the chain's nodes give different logs of the same final blocks")]
    Disputed,
    /// The stretch is too much for the node at once.
    #[error("the stretch of blocks is too long for the node: {0}")]
    TooWide(RpcError),
    /// The node gave no usable answer.
    #[error(transparent)]
    Rpc(RpcError),
}

impl From<RpcError> for LogsError {
    fn from(error: RpcError) -> Self {
        match &error {
            RpcError::TooLarge { .. } | RpcError::TimedOut { .. } => Self::TooWide(error),
            RpcError::Rpc { message, .. } if speaks_of_width(message) => Self::TooWide(error),
            RpcError::Unreachable { .. } | RpcError::Rpc { .. } | RpcError::Malformed { .. } => {
                Self::Rpc(error)
            }
        }
    }
}

impl From<LogsError> for RpcError {
    fn from(error: LogsError) -> Self {
        match error {
            LogsError::TooWide(error) | LogsError::Rpc(error) => error,
            LogsError::UnknownBlock(_) | LogsError::Incomplete(_) | LogsError::Disputed => {
                Self::malformed(error.to_string())
            }
        }
    }
}

impl Doubt for LogsError {
    fn may_another_know(&self) -> bool {
        match self {
            Self::UnknownBlock(_) | Self::Incomplete(_) => true,
            Self::Disputed | Self::TooWide(_) => false,
            Self::Rpc(error) => error.may_another_know(),
        }
    }
}

fn speaks_of_width(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    TOO_WIDE.iter().any(|words| message.contains(words))
}

impl OperationLog {
    const fn place(&self) -> (u64, u32) {
        (self.block_number, self.log_index)
    }
}

impl Node {
    /// The `UserOperationEvent`s of a block, by rising log index. The block and its logs are asked of the same endpoint, so
    /// that one that has not seen the block yet does not make it look empty. Where the block's bloom filter has something
    /// of ours, the logs are those of all its receipts, which must make at least that filter; without bloom filters, or where
    /// the node has no `eth_getBlockReceipts`, they are what the node says.
    ///
    /// # Errors
    /// [`LogsError`]; [`RpcError::Malformed`] within it when a log is of another block, contract or paymaster, was
    /// removed, does not decode, or shares its index with another.
    pub async fn operation_logs(
        &self,
        block: &Header,
        payers: Payers<'_>,
    ) -> Result<Vec<OperationLog>, LogsError> {
        if payers.is_nobody() {
            return Ok(Vec::new());
        }
        let filter = payers.filter([("blockHash", json!(block.hash))]);
        let requests =
            [block_by_hash(block), Request { method: GET_LOGS, params: json!([filter]) }];
        let read = |[known, logs]: [Reply; 2]| {
            is_known(block, known)?;
            let raw: Vec<RawLog> = read_result(GET_LOGS, &logs?)?;
            let logs = payers.check_all(&raw)?;
            if logs.iter().any(|log| log.place().0 != block.number || log.block_hash != block.hash)
            {
                return Err(RpcError::malformed("a log of another block").into());
            }
            if !logs.is_empty()
                && !block.logs_bloom.is_zero()
                && !payers.may_be_in(&block.logs_bloom)
            {
                return Err(LogsError::Incomplete(block.hash));
            }
            Ok(logs)
        };
        let logs = self.rpc.send_together(Delivery::Repeatable, &requests, read).await?;
        if block.logs_bloom.is_zero() || !payers.may_be_in(&block.logs_bloom) {
            return Ok(logs);
        }
        match self.logs_of_receipts(block, payers).await {
            Ok(all) => {
                if all != logs {
                    tracing::warn!(
                        block = block.number,
                        hash = %block.hash,
                        "the node's logs are not those of its receipts; the receipts are what the header speaks of"
                    );
                }
                Ok(all)
            }
            // There is nothing to hold the logs against.
            Err(LogsError::Rpc(RpcError::Rpc { code, .. })) if NO_SUCH_METHOD.contains(&code) => {
                Ok(logs)
            }
            Err(error) => Err(error),
        }
    }

    /// The same logs, from all receipts of the block.
    async fn logs_of_receipts(
        &self,
        block: &Header,
        payers: Payers<'_>,
    ) -> Result<Vec<OperationLog>, LogsError> {
        let receipts = Request { method: GET_RECEIPTS, params: json!([block.hash]) };
        let read = |[known, receipts]: [Reply; 2]| {
            is_known(block, known)?;
            let receipts: Option<Vec<RawReceipt>> = read_result(GET_RECEIPTS, &receipts?)?;
            let receipts = receipts.ok_or(LogsError::UnknownBlock(block.hash))?;
            let mut bloom = Bloom::ZERO;
            let mut wanted = Vec::new();
            for log in receipts.into_iter().flat_map(|receipt| receipt.logs) {
                bloom.accrue_raw_log(log.address, &log.topics);
                wanted.extend(payers.want(&log).then_some(log));
            }
            // Some chains' receipts hold more than their headers speak of.
            if bloom & block.logs_bloom != block.logs_bloom {
                return Err(LogsError::Incomplete(block.hash));
            }
            Ok(payers.check_all(&wanted)?)
        };
        self.rpc.send_together(Delivery::Repeatable, &[block_by_hash(block), receipts], read).await
    }

    /// The `UserOperationEvent`s of all blocks from one height to another, both included, in one question. For final
    /// blocks only: between two others the logs may be of several branches. Where more than one endpoint must show what is
    /// final, as many must give the same logs.
    ///
    /// # Errors
    /// [`LogsError`]; with [`LogsError::TooWide`] a shorter stretch may be had.
    pub async fn operation_logs_between(
        &self,
        from: u64,
        to: u64,
        payers: Payers<'_>,
        quorum: usize,
    ) -> Result<Stretch, LogsError> {
        let blocks = [("fromBlock", from), ("toBlock", to)];
        let filter =
            payers.filter(blocks.map(|(end, number)| (end, json!(format!("{number:#x}")))));
        let which = logs_or_nothing(&filter, payers);
        let requests = [block_by_number(from), block_by_number(to), which];
        let read = |[first, last, logs]: [Reply; 3]| {
            let absent = || RpcError::malformed("a final block is not there");
            let first = read_header(&first?)?.ok_or_else(absent)?.is_at(from)?;
            let last = read_header(&last?)?.ok_or_else(absent)?.is_at(to)?;
            let raw: Vec<RawLog> = read_result(GET_LOGS, &logs?)?;
            let mut times: HashMap<_, _> = raw.iter().filter_map(RawLog::time).collect();
            times.extend([(first.hash, first.timestamp), (last.hash, last.timestamp)]);
            Ok((first, last, payers.check_all(&raw)?, times))
        };
        let (first, last, logs, times) = self
            .rpc
            .send_together::<3, _, LogsError>(Delivery::Repeatable, &requests, read)
            .await?;
        if logs.iter().any(|log| !(from..=to).contains(&log.block_number)) {
            return Err(RpcError::malformed("a log of a block that was not asked for").into());
        }
        let is_of_another_block = |log: &OperationLog| {
            [first, last]
                .iter()
                .any(|end| end.number == log.block_number && end.hash != log.block_hash)
        };
        if logs.iter().any(is_of_another_block) {
            return Err(RpcError::malformed("a log of another block").into());
        }
        self.hold_against_others(&last, &filter, payers, &logs, quorum).await?;
        let blocks = logs.chunk_by(|a, b| a.block_hash == b.block_hash).map(<[_]>::to_vec);
        let blocks = stream::iter(blocks.map(async |logs| {
            let block = self.block_of(&logs, &times).await?;
            Ok::<_, LogsError>((block, logs))
        }));
        let blocks = blocks.buffered(HEADERS_AT_ONCE).try_collect().await?;
        Ok(Stretch { onto: first.parent_hash, last, blocks })
    }

    /// The operation of ours that used a slot up in a block from one height to another, both included, if there is one.
    /// Looked for by its sender, so that what an index of paymasters left out can still be found.
    ///
    /// # Errors
    /// [`LogsError`].
    pub async fn operation_in_slot(
        &self,
        slot: &Slot,
        from: u64,
        to: u64,
        payers: Payers<'_>,
    ) -> Result<Option<OperationLog>, LogsError> {
        let (mut begin, mut length) = (from, LOOK_BACK);
        while begin <= to {
            let end = to.min(begin.saturating_add(length.saturating_sub(1)));
            let filter = json!({
                "fromBlock": format!("{begin:#x}"),
                "toBlock": format!("{end:#x}"),
                "address": slot.entry_point,
                "topics": [USER_OPERATION_EVENT_TOPIC, null, slot.sender.into_word()],
            });
            let raw: Result<Vec<RawLog>, _> = self.rpc.ask(GET_LOGS, json!([filter])).await;
            let raw = match raw.map_err(LogsError::from) {
                Ok(raw) => raw,
                Err(LogsError::TooWide(_)) if length > 1 => {
                    length /= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let ours: Vec<_> = raw.into_iter().filter(|log| payers.want(log)).collect();
            let found = payers.check_all(&ours)?;
            let found = found.into_iter().find(|log| log.event.nonce == slot.nonce);
            if found.is_some() {
                return Ok(found);
            }
            begin = end.saturating_add(1);
        }
        Ok(None)
    }

    /// Whether enough endpoints that have the last of the blocks give the same logs. One that does not answer, lags or
    /// talks nonsense says nothing.
    async fn hold_against_others(
        &self,
        last: &Header,
        filter: &Value,
        payers: Payers<'_>,
        logs: &[OperationLog],
        quorum: usize,
    ) -> Result<(), LogsError> {
        let quorum = quorum.min(self.rpc.endpoints());
        if quorum <= 1 {
            return Ok(());
        }
        let which = logs_or_nothing(filter, payers);
        let requests = [block_by_number(last.number), which];
        let (mut witnesses, mut too_wide) = (0_usize, None);
        for [header, raw] in self.rpc.ask_all(&requests, quorum).await {
            let header = header.and_then(|header| read_header(&header));
            if !matches!(header, Ok(Some(header)) if header.is_same(last)) {
                continue;
            }
            let theirs = raw.map_err(LogsError::from).and_then(|raw| {
                let raw: Vec<RawLog> = read_result(GET_LOGS, &raw)?;
                Ok(payers.check_all(&raw)?)
            });
            match theirs {
                Ok(theirs) if theirs == logs => {
                    witnesses = witnesses.saturating_add(1);
                }
                Ok(_) => return Err(LogsError::Disputed),
                Err(error @ LogsError::TooWide(_)) => too_wide = Some(error),
                Err(_) => {}
            }
        }
        if witnesses >= quorum {
            return Ok(());
        }
        Err(too_wide.unwrap_or_else(|| RpcError::malformed("too few nodes give the logs").into()))
    }

    /// The block that some logs are of.
    async fn block_of(
        &self,
        logs: &[OperationLog],
        times: &HashMap<B256, ChainTime>,
    ) -> Result<BlockRef, LogsError> {
        let Some(OperationLog { block_number: number, block_hash: hash, .. }) = logs.first() else {
            return Err(RpcError::malformed("a block without logs").into());
        };
        if let Some(timestamp) = times.get(hash) {
            return Ok(BlockRef { number: *number, hash: *hash, timestamp: *timestamp });
        }
        match self.header_by_number(*number).await? {
            Some(header) if header.hash == *hash => Ok(header.block()),
            Some(_) | None => Err(LogsError::UnknownBlock(*hash)),
        }
    }
}

/// Asked for nobody's logs a node would answer with everybody's: then it is asked for those of no event.
fn logs_or_nothing(filter: &Value, payers: Payers<'_>) -> Request<'static> {
    let mut filter = filter.clone();
    if payers.is_nobody()
        && let Some(filter) = filter.as_object_mut()
    {
        filter.insert("address".to_owned(), json!(Address::ZERO));
        filter.insert("topics".to_owned(), json!([B256::ZERO]));
    }
    Request { method: GET_LOGS, params: json!([filter]) }
}

fn block_by_hash(block: &Header) -> Request<'static> {
    Request { method: BLOCK_BY_HASH, params: json!([block.hash, false]) }
}

fn block_by_number(number: u64) -> Request<'static> {
    Request { method: BLOCK_BY_NUMBER, params: json!([format!("{number:#x}"), false]) }
}

/// Whether the endpoint that gave the other answers has the block.
fn is_known(block: &Header, reply: Reply) -> Result<(), LogsError> {
    match read_header(&reply?)? {
        None => Err(LogsError::UnknownBlock(block.hash)),
        Some(known) if !known.is_same(block) => {
            Err(RpcError::malformed("another block than was asked for").into())
        }
        Some(_) => Ok(()),
    }
}
