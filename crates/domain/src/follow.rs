//! How a cursor follows a chain that may reorganise.

use alloy_primitives::B256;

use crate::chain_fact::BlockRef;

/// What the ingester does with the next block that the node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The block follows the cursor: store its events, move the cursor.
    Extend,
    /// The block has another parent: the cursor's own block is no longer canonical and goes.
    WalkBack,
    /// The cursor's block was final, and the chain contradicts it: a named halt, no signing on this
    /// chain until an operator decides.
    PastFinality,
}

/// Decides what a block whose parent is `parent_hash` means for a cursor that stands at `cursor`,
/// with everything up to height `final_number` final.
#[must_use]
pub fn step(cursor: &BlockRef, final_number: u64, parent_hash: B256) -> Step {
    if parent_hash == cursor.hash {
        Step::Extend
    } else if cursor.number <= final_number {
        Step::PastFinality
    } else {
        Step::WalkBack
    }
}
