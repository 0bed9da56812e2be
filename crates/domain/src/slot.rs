//! Where an operation can land.

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};

use crate::ChainId;

/// At most one operation can ever land in a slot: the EntryPoint uses up each nonce of a sender
/// once ([ERC-4337, semi-abstracted nonce](https://eips.ethereum.org/EIPS/eip-4337#semi-abstracted-nonce-support)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The chain.
    pub chain_id: ChainId,
    /// The EntryPoint contract that keeps the nonce.
    pub entry_point: Address,
    /// The smart account.
    pub sender: Address,
    /// Key (192 bits) and sequence (64 bits).
    pub nonce: U256,
}
