//! A chain, as its node shows it.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::aliases::{U64, U128, U192};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use domain::chain_fact::{BlockRef, ChainTime};
use domain::{ChainId, FeePerGas};
use erc4337::events::IEntryPoint;
use erc4337::user_operation::delegate_of_code;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use crate::rpc::{Delivery, Doubt, Reply, Request, RpcClient, read_result};
use crate::{ConnectError, RpcError};

/// What nodes answer about the state of a block that they do not have, or whose state they keep no more.
const UNKNOWN_STATE: [&str; 5] =
    ["not found", "unknown block", "missing trie node", "could not find", "not available"];

pub(crate) const BLOCK_BY_NUMBER: &str = "eth_getBlockByNumber";

sol! {
    /// What the service reads from our paymaster (`contracts/src/StipendPaymaster.sol`).
    interface IStipendPaymaster {
        /// The EntryPoint that it serves.
        function entryPoint() external view returns (address);
        /// Whether a signature of the candidate makes it pay.
        function isSigner(address candidate) external view returns (bool);
        /// The signers, each once.
        function getSigners() external view returns (address[] memory);
    }
}

/// The part of a block's header that Stipend uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// Hash of the block below.
    pub parent_hash: B256,
    /// The header's timestamp.
    pub timestamp: ChainTime,
    /// What every transaction of the block burned per gas
    /// ([EIP-1559](https://eips.ethereum.org/EIPS/eip-1559)); zero on a chain that has no base fee.
    pub base_fee_per_gas: FeePerGas,
    /// A filter of the addresses and topics of the block's logs; zero on a chain whose nodes give none.
    pub logs_bloom: Bloom,
}

impl Header {
    /// The block that this is the header of.
    #[must_use]
    pub const fn block(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash, timestamp: self.timestamp }
    }

    /// Whether it is the same block. Nodes leave out different things; what both say must be the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.block() == other.block()
            && self.parent_hash == other.parent_hash
            && (self.logs_bloom.is_zero()
                || other.logs_bloom.is_zero()
                || self.logs_bloom == other.logs_bloom)
    }

    /// The block of the height that was asked for.
    pub(crate) fn is_at(self, number: u64) -> Result<Self, RpcError> {
        if self.number == number {
            return Ok(self);
        }
        Err(RpcError::malformed(format!("block {} instead of block {number}", self.number)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawHeader {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U128>,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
}

impl From<RawHeader> for Header {
    fn from(raw: RawHeader) -> Self {
        Self {
            number: raw.number.to(),
            hash: raw.hash,
            parent_hash: raw.parent_hash,
            timestamp: ChainTime(raw.timestamp.to()),
            base_fee_per_gas: FeePerGas(raw.base_fee_per_gas.unwrap_or_default().to()),
            logs_bloom: raw.logs_bloom.unwrap_or_default(),
        }
    }
}

/// Reads the result of [`BLOCK_BY_NUMBER`] and its like.
pub(crate) fn read_header(result: &RawValue) -> Result<Option<Header>, RpcError> {
    let raw: Option<RawHeader> = read_result(BLOCK_BY_NUMBER, result)?;
    Ok(raw.map(Header::from))
}

/// Why there is no header.
enum Missing {
    NotThere,
    Rpc(RpcError),
}

impl From<RpcError> for Missing {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl Doubt for Missing {
    fn may_another_know(&self) -> bool {
        match self {
            Self::NotThere => true,
            Self::Rpc(error) => error.may_another_know(),
        }
    }
}

/// Why there is no answer about a block's state.
struct AtBlock(RpcError);

impl From<RpcError> for AtBlock {
    fn from(error: RpcError) -> Self {
        Self(error)
    }
}

impl Doubt for AtBlock {
    fn may_another_know(&self) -> bool {
        let RpcError::Rpc { message, .. } = &self.0 else { return self.0.may_another_know() };
        let message = message.to_ascii_lowercase();
        UNKNOWN_STATE.iter().any(|words| message.contains(words))
    }
}

/// At which block state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Whatever the head is when the node looks.
    Head,
    /// After the block with this hash ([EIP-1898](https://eips.ethereum.org/EIPS/eip-1898)). Full nodes keep the
    /// state of a few hundred blocks.
    Block(B256),
}

impl At {
    pub(crate) fn param(self) -> Value {
        match self {
            Self::Head => json!("latest"),
            Self::Block(hash) => json!({ "blockHash": hash }),
        }
    }
}

/// What a deployed paymaster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymasterFacts {
    /// The EntryPoint that it serves.
    pub entry_point: Address,
    /// Whose signatures make it pay.
    pub signers: Vec<Address>,
}

/// One chain's node, behind one or more URLs. Cheap to clone.
///
/// Every method fails with [`RpcError`], and with [`RpcError::Malformed`] when the answer is about something else than
/// what was asked.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) rpc: Arc<RpcClient>,
}

impl Node {
    /// Takes the URLs in order of preference and the deadline of each call as a whole. Makes no request, so a node
    /// that is down does not keep the service from starting.
    ///
    /// # Errors
    /// [`ConnectError`] when a URL cannot be used at all.
    pub fn connect(urls: &[Url], deadline: Duration) -> Result<Self, ConnectError> {
        let rpc = Arc::new(RpcClient::new(urls, deadline)?);
        Ok(Self { rpc })
    }

    /// The chain that the node is on.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn chain_id(&self) -> Result<ChainId, RpcError> {
        let id: U64 = self.rpc.ask("eth_chainId", json!([])).await?;
        let id: u64 = id.to();
        if i64::try_from(id).is_err() {
            return Err(RpcError::malformed("the chain id is 2^63 or more"));
        }
        Ok(ChainId(id))
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn head(&self) -> Result<Header, RpcError> {
        self.header_by_tag("latest")
            .await?
            .ok_or_else(|| RpcError::malformed("there is no latest block"))
    }

    /// The canonical block of a height, or `None` above the head. An endpoint that does not have it may lag, so that the
    /// others are asked before there is none.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn header_by_number(&self, number: u64) -> Result<Option<Header>, RpcError> {
        let tag = format!("{number:#x}");
        let request = Request { method: BLOCK_BY_NUMBER, params: json!([tag, false]) };
        let read = |[reply]: [Reply; 1]| {
            let header = read_header(&reply?)?.ok_or(Missing::NotThere)?;
            header.is_at(number).map_err(Missing::from)
        };
        match self.rpc.send_together(Delivery::Repeatable, &[request], read).await {
            Ok(header) => Ok(Some(header)),
            Err(Missing::NotThere) => Ok(None),
            Err(Missing::Rpc(error)) => Err(error),
        }
    }

    pub(crate) async fn header_by_tag(&self, tag: &str) -> Result<Option<Header>, RpcError> {
        let raw: Option<RawHeader> = self.rpc.ask(BLOCK_BY_NUMBER, json!([tag, false])).await?;
        Ok(raw.map(Header::from))
    }

    /// The code of an account at the head; empty for one without code.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn code(&self, account: Address) -> Result<Bytes, RpcError> {
        self.rpc.ask("eth_getCode", json!([account, At::Head.param()])).await
    }

    /// The delegate that an account designates at the head ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702)), or
    /// `None` for any other account.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn delegate_of(&self, account: Address) -> Result<Option<Address>, RpcError> {
        Ok(delegate_of_code(&self.code(account).await?))
    }

    /// The next nonce of a sender for a key, key included: the first of its slots that is not used up
    /// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#semi-abstracted-nonce-support)).
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn nonce(
        &self,
        entry_point: Address,
        sender: Address,
        nonce_key: U192,
        at: At,
    ) -> Result<U256, RpcError> {
        let call = IEntryPoint::getNonceCall { sender, key: nonce_key };
        self.call(entry_point, &call, at).await
    }

    /// A paymaster's deposit after a block, in wei.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn deposit(
        &self,
        entry_point: Address,
        paymaster: Address,
        block_hash: B256,
    ) -> Result<U256, RpcError> {
        let call = IEntryPoint::balanceOfCall { account: paymaster };
        self.call(entry_point, &call, At::Block(block_hash)).await
    }

    /// The tip that the node thinks gets a transaction in.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn max_priority_fee_per_gas(&self) -> Result<FeePerGas, RpcError> {
        let fee: U128 = self.rpc.ask("eth_maxPriorityFeePerGas", json!([])).await?;
        Ok(FeePerGas(fee.to()))
    }

    /// What a deployed paymaster of ours says of itself, at the head.
    ///
    /// # Errors
    /// [`RpcError`], [`RpcError::Malformed`] when the address is not such a contract.
    pub async fn paymaster(&self, paymaster: Address) -> Result<PaymasterFacts, RpcError> {
        let entry_point =
            self.call(paymaster, &IStipendPaymaster::entryPointCall {}, At::Head).await?;
        let signers = self.call(paymaster, &IStipendPaymaster::getSignersCall {}, At::Head).await?;
        Ok(PaymasterFacts { entry_point, signers })
    }

    /// Whether a signature of `candidate` makes the paymaster pay, at the head.
    ///
    /// # Errors
    /// [`RpcError`], [`RpcError::Malformed`] when the address is not such a contract.
    pub async fn is_signer(
        &self,
        paymaster: Address,
        candidate: Address,
    ) -> Result<bool, RpcError> {
        let call = IStipendPaymaster::isSignerCall { candidate };
        self.call(paymaster, &call, At::Head).await
    }

    /// Calls a view function.
    ///
    /// # Errors
    /// [`RpcError::Rpc`] when it reverts, [`RpcError::Malformed`] when it returns something else than it declares,
    /// as an address without code does.
    pub async fn call<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
        at: At,
    ) -> Result<C::Return, RpcError> {
        let input = Bytes::from(call.abi_encode());
        let params = json!([{ "to": contract, "input": input }, at.param()]);
        let request = [Request { method: "eth_call", params }];
        let read = |[reply]: [Reply; 1]| -> Result<Bytes, AtBlock> {
            Ok(read_result("eth_call", &reply?)?)
        };
        let returned = self.rpc.send_together(Delivery::Repeatable, &request, read).await;
        let returned = returned.map_err(|AtBlock(error)| error)?;
        C::abi_decode_returns_validate(&returned).map_err(|_| {
            RpcError::malformed(format!(
                "{contract} returned {} bytes that are no result of {}",
                returned.len(),
                C::SIGNATURE
            ))
        })
    }
}
