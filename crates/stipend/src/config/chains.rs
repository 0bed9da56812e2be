//! The chains, their nodes, bundlers and paymasters.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use chain::Finality;
use erc4337::EntryPointVersion;
use erc4337::user_operation::PaymasterSignatureField;
use serde::Deserialize;
use url::Url;

/// One chain that is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chain {
    /// Its EIP-155 id.
    pub(crate) id: u64,
    /// Its nodes, in order of preference. They may hold keys, and never reach a log.
    pub(crate) rpc_urls: Vec<Url>,
    /// Its bundlers, in order of preference.
    pub(crate) bundler_urls: Vec<Url>,
    /// Which block will not go away: `"finalized"`, `"safe"`, or `{ depth = 64 }`. Default
    /// `"finalized"`.
    #[serde(default = "Chain::default_finality")]
    pub(crate) finality: Finality,
    /// How many of the nodes must show the same block before it counts as final. Default 2, or 1 where there is one
    /// node: then nobody contradicts it.
    pub(crate) final_quorum: Option<usize>,
    /// The first block that can hold an operation of ours: the paymaster's deployment.
    pub(crate) start_block: u64,
    /// Whether a transaction pays at least the floor price of its calldata (EIP-7623) and the bundler
    /// charges for it. Default false.
    #[serde(default)]
    pub(crate) eip7623: bool,
    /// The deadline of one call to a node or bundler, in milliseconds. Default 4000.
    #[serde(default = "Chain::default_deadline")]
    pub(crate) rpc_deadline_millis: u64,
    /// Where the bundlers expect the paymaster signature of EntryPoint v0.9: `"inline"`, at the end of
    /// `paymasterData`, or `"apart"`, in a field `paymasterSignature`, as Alto does. Default `"inline"`.
    #[serde(default)]
    pub(crate) paymaster_signature: PaymasterSignature,
    /// The contracts that a sender may have delegated to by EIP-7702. Default none: such senders are
    /// refused.
    #[serde(default)]
    pub(crate) delegates: BTreeSet<Address>,
    /// The deployed paymasters.
    #[serde(default)]
    pub(crate) paymasters: Vec<Paymaster>,
}

impl Chain {
    const fn default_finality() -> Finality {
        Finality::Finalized
    }

    const fn default_deadline() -> u64 {
        4_000
    }

    /// How many of the nodes must show the same final block.
    pub(crate) fn final_quorum(&self) -> usize {
        self.final_quorum.unwrap_or_else(|| self.rpc_urls.len().clamp(1, 2))
    }
}

/// One deployed paymaster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paymaster {
    /// The company whose deposit it is, by name.
    pub(crate) tenant: String,
    /// Its address.
    pub(crate) address: Address,
    /// The EntryPoint's rules: `"0.7"`, `"0.8"` or `"0.9"`.
    pub(crate) version: EntryPointVersion,
    /// The EntryPoint's address. Default: that version's address on public chains.
    pub(crate) entry_point: Option<Address>,
    /// The names of the keys that may sign for it. The first does, until an operator chooses another by
    /// `stipend admin paymaster rotate`; the contract must list them all.
    pub(crate) signers: Vec<String>,
}

/// Where bundlers expect the paymaster signature of EntryPoint v0.9.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymasterSignature {
    /// At the end of `paymasterData`.
    #[default]
    Inline,
    /// In a field of its own.
    Apart,
}

impl From<PaymasterSignature> for PaymasterSignatureField {
    fn from(setting: PaymasterSignature) -> Self {
        match setting {
            PaymasterSignature::Inline => Self::Inline,
            PaymasterSignature::Apart => Self::Apart,
        }
    }
}

impl Paymaster {
    /// The EntryPoint that it is bound to.
    pub(crate) fn entry_point(&self) -> Address {
        self.entry_point.unwrap_or_else(|| self.version.canonical_address())
    }
}
