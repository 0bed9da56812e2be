//! A request about an operation: what quotes and sponsorships have in common.

use alloy_primitives::Address;
use domain::ChainId;
use domain::ids::CommandKey;
use erc4337::json::RawUserOperation;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use service::Refusal;
use service::sponsor::SponsorRequest;

use crate::context::Context;
use crate::{ApiError, idempotency, wire};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OperationTerms {
    chain_id: u64,
    #[serde(deserialize_with = "address")]
    entry_point: Address,
    user_operation: RawUserOperation,
    context: Option<Context>,
}

impl OperationTerms {
    /// What the caller says beside the operation.
    pub(super) fn context(&self) -> Context {
        self.context.unwrap_or_default()
    }

    /// The use case's request, with a key where the caller gave one.
    pub(super) fn request(&self, key: Option<CommandKey>) -> Result<SponsorRequest, ApiError> {
        // An operation for v0.6 has another shape; say that before complaining about the shape.
        if self.entry_point == erc4337::entry_point::V06_ADDRESS {
            return Err(Refusal::EntryPointV06.into());
        }
        let operation = self.user_operation.parse()?;
        let keyed = key.map(|key| {
            let phase = self.context().signing_phase();
            idempotency::keyed_sponsorship(key, self.chain_id, self.entry_point, &operation, phase)
        });
        Ok(SponsorRequest {
            chain_id: ChainId(self.chain_id),
            entry_point: self.entry_point,
            operation,
            keyed,
        })
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let text = String::deserialize(deserializer)?;
    wire::address(&text).ok_or_else(|| D::Error::custom("entryPoint must be 0x and 40 hex digits"))
}

/// A price on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PriceBody {
    micropoints_per_e18_wei: String,
    markup_bps: u32,
    source: String,
    block_number: u64,
}

impl From<domain::Quote> for PriceBody {
    fn from(quote: domain::Quote) -> Self {
        Self {
            micropoints_per_e18_wei: quote.micropoints_per_e18_wei.to_string(),
            markup_bps: quote.markup.0,
            source: quote.source,
            block_number: quote.block_number,
        }
    }
}
