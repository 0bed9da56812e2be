//! Proof of what the chain said.
//!
//! The two proofs below are the only things that move a sponsorship's points after the grant. Their
//! constructors are named in `clippy.toml` as disallowed: only `store::facts` and `store::slots`, which read
//! what the block ingester committed, may call them, and the lint fails the build elsewhere.

use alloy_primitives::{Address, B256};

use crate::{Slot, Wei};

/// Chain time: the timestamp of a block, in seconds since the Unix epoch. Never a host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainTime(pub u64);

/// One block of one chain, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// The header's timestamp.
    pub timestamp: ChainTime,
}

/// Which log of which ingestion of which block. A block that was reorganised away and comes back is
/// ingested again under the next visit, so that an undo of the first cannot hit the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The block.
    pub block: BlockRef,
    /// Index of the log within the block.
    pub log_index: u32,
    /// How often this block has been ingested, from 1.
    pub visit: u32,
}

/// A `UserOperationEvent` that names one of our paymasters, as ingested
/// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#entrypoint-interface)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationEvent {
    /// Where the log stands.
    pub sighting: Sighting,
    /// The slot it used up.
    pub slot: Slot,
    /// The paymaster whose deposit was charged.
    pub paymaster: Address,
    /// The operation's hash: evidence, not the key.
    pub user_op_hash: B256,
    /// The transaction that carried the bundle.
    pub transaction_hash: B256,
    /// Whether the operation's call succeeded. It is charged either way.
    pub success: bool,
    /// By how much the EntryPoint lowered the paymaster's deposit.
    pub actual_gas_cost: Wei,
    /// Gas that the cost was computed from.
    pub actual_gas_used: u128,
}

/// Proof that an [`OperationEvent`] stands in an ingested block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainFact(OperationEvent);

impl ChainFact {
    /// Vouches for an event. Only the reader of committed, ingested events may call it.
    #[must_use]
    pub const fn from_ingested(event: OperationEvent) -> Self {
        Self(event)
    }

    /// What the chain said.
    #[must_use]
    pub const fn event(&self) -> &OperationEvent {
        &self.0
    }
}

/// Why nothing can land in a slot any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseGround {
    /// The final block is past every grant's window.
    WindowPassed,
    /// The EntryPoint's nonce is past the slot at the final block: `incrementNonce`, or an operation that somebody else
    /// paid, has used it up.
    NonceUsed,
}

/// Proof that no grant up to a final block can land any more: every event up to that block is
/// ingested and applied, and none of ours is in the slot.
///
/// The machine compares the block's timestamp with the reservation's grants once more, under the
/// account's lock, so a grant that was added after the proof was made makes one by the window void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseProof {
    slot: Slot,
    final_block: BlockRef,
    ground: ReleaseGround,
}

impl ReleaseProof {
    /// Vouches for a slot at a final block. Only the reader of committed, ingested blocks may call
    /// it.
    #[must_use]
    pub const fn from_ingested(slot: Slot, final_block: BlockRef, ground: ReleaseGround) -> Self {
        Self { slot, final_block, ground }
    }

    /// The slot in which nothing of ours landed.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The final block up to which that is known.
    #[must_use]
    pub const fn final_block(&self) -> &BlockRef {
        &self.final_block
    }

    /// Why nothing can land behind it.
    #[must_use]
    pub const fn ground(&self) -> ReleaseGround {
        self.ground
    }
}
