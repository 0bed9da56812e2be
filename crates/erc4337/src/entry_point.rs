//! The EntryPoint versions that Stipend speaks.
//!
//! A version says which *rules* hold (hashing, penalties, paymaster signatures). The address is apart from it: a
//! chain may be configured with an EntryPoint at another address, and the canonical ones are only defaults.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, address};
use serde::{Deserialize, Serialize};

/// The canonical EntryPoint v0.6, which is not supported. It is here so that a refusal can name it.
pub const V06_ADDRESS: Address = address!("5FF137D4b0FDCD49DcA30c7CF57E578a026d2789");

/// The rules an EntryPoint follows. Written `"0.7"`, `"0.8"` and `"0.9"` everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryPointVersion {
    /// v0.7: the hash is the keccak of plain ABI encoding, and EIP-7702 is unknown.
    #[serde(rename = "0.7")]
    V07,
    /// v0.8: the hash is EIP-712 typed, and the EIP-7702 marker is understood.
    #[serde(rename = "0.8")]
    V08,
    /// v0.9: as v0.8, and a trailing paymaster signature is left out of the hash.
    #[serde(rename = "0.9")]
    V09,
}

impl EntryPointVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V07, Self::V08, Self::V09];

    /// The address at which this version is deployed on public chains
    /// ([releases](https://github.com/eth-infinitism/account-abstraction/releases)).
    #[must_use]
    pub const fn canonical_address(self) -> Address {
        match self {
            Self::V07 => address!("0000000071727De22E5E9d8BAf0edAc6f37da032"),
            Self::V08 => address!("4337084D9E255Ff0702461CF8895CE9E3b5Ff108"),
            Self::V09 => address!("433709009B8330FDa32311DF1C2AFA402eD8D009"),
        }
    }

    /// The version whose canonical address this is, or `None` for any other address, v0.6 among them.
    #[must_use]
    pub fn from_canonical(address: Address) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.canonical_address() == address)
    }

    /// The written form, for example `"0.8"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V07 => "0.7",
            Self::V08 => "0.8",
            Self::V09 => "0.9",
        }
    }
}

impl fmt::Display for EntryPointVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no EntryPoint version that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the EntryPoint version must be one of \"0.7\", \"0.8\", \"0.9\"")]
pub struct UnknownEntryPointVersion;

impl FromStr for EntryPointVersion {
    type Err = UnknownEntryPointVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or(UnknownEntryPointVersion)
    }
}
