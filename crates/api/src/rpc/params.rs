//! Reading the parameters of a call. What is wrong is said without repeating the caller's text.

use alloy_primitives::{Address, B256};
use domain::ChainId;
use erc4337::UserOperation;
use erc4337::json::RawUserOperation;
use serde_json::value::RawValue;

use crate::context::Context;
use crate::{ApiError, wire};

/// The parameters, as they arrived; absent ones are none.
pub(super) struct Positional<'a>(Vec<&'a RawValue>);

fn invalid(words: &str) -> ApiError {
    ApiError::InvalidRequest(words.to_owned())
}

/// Refuses parameters where there are none.
pub(super) fn none(params: Option<&RawValue>) -> Result<(), ApiError> {
    Positional::read(params, 0).map(drop)
}

impl<'a> Positional<'a> {
    /// Reads an array of at most so many.
    pub(super) fn read(params: Option<&'a RawValue>, most: usize) -> Result<Self, ApiError> {
        let Some(params) = params else { return Ok(Self(Vec::new())) };
        let array: Vec<&RawValue> =
            serde_json::from_str(params.get()).map_err(|_| invalid("params must be an array"))?;
        if array.len() > most {
            return Err(ApiError::InvalidRequest(format!("at most {most} params are taken here")));
        }
        Ok(Self(array))
    }

    /// A parameter; null is none.
    fn get(&self, index: usize) -> Option<&'a RawValue> {
        self.0.get(index).copied().filter(|raw| raw.get() != "null")
    }

    /// The operation. Read from its own text, because a reader between us and it would drop repeated fields.
    pub(super) fn operation(&self, index: usize) -> Result<UserOperation, ApiError> {
        let raw = self.get(index).ok_or_else(|| invalid("the UserOperation is missing"))?;
        let raw: RawUserOperation = serde_json::from_str(raw.get()).map_err(|_| {
            invalid("userOperation must be a JSON object that has each field only once")
        })?;
        Ok(raw.parse()?)
    }

    /// The EntryPoint's address.
    pub(super) fn entry_point(&self, index: usize) -> Result<Address, ApiError> {
        self.text(index)
            .as_deref()
            .and_then(wire::address)
            .ok_or_else(|| invalid("entryPoint must be 0x and 40 hex digits"))
    }

    /// An operation's hash.
    pub(super) fn hash(&self, index: usize) -> Result<B256, ApiError> {
        self.text(index)
            .as_deref()
            .and_then(|text| text.strip_prefix("0x"))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| invalid("the hash must be 0x and 64 hex digits"))
    }

    /// The chain's id: hex, as the standard has it, or a number.
    pub(super) fn chain_id(&self, index: usize) -> Result<ChainId, ApiError> {
        let raw = self.get(index).ok_or_else(|| invalid("the chain id is missing"))?;
        let number = match self.text(index) {
            Some(text) => {
                let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
                digits.and_then(|digits| u64::from_str_radix(digits, 16).ok())
            }
            None => serde_json::from_str(raw.get()).ok(),
        };
        number
            .and_then(wire::servable)
            .ok_or_else(|| invalid("the chain id must be a quantity in hex, for example 0x7a69"))
    }

    /// What the dApp says beside the operation.
    pub(super) fn context(&self, index: usize) -> Result<Context, ApiError> {
        let Some(raw) = self.get(index) else { return Ok(Context::default()) };
        serde_json::from_str(raw.get()).map_err(|_| {
            invalid(
                "context must be null or an object; its one field is signingPhase, \"commit\" or \
                 \"finalize\"",
            )
        })
    }

    fn text(&self, index: usize) -> Option<String> {
        serde_json::from_str(self.get(index)?.get()).ok()
    }
}
