//! Values that the tests name shortly. One wei costs one micropoint unless a test says otherwise, so
//! that costs and points can be read off each other.

use alloy_primitives::{Address, B256, U256};
use domain::chain_fact::{
    BlockRef, ChainFact, ChainTime, OperationEvent, ReleaseGround, ReleaseProof, Sighting,
};
use domain::ledger::sponsorship::GrantRequest;
use domain::ledger::tcc::{DbTime, TccCommand, TccTerms};
use domain::ledger::{Balances, Column, Posting};
use domain::quote::Bps;
use domain::{ChainId, Points, Quote, Slot, Wei};

/// Chain time of the head at which requests are judged, unless a test moves it.
pub(crate) const HEAD: u64 = 10_000;
/// The validity of a grant, in seconds.
pub(crate) const VALIDITY: u64 = 180;

pub(crate) fn micro(micropoints: u64) -> Points {
    Points::from_micropoints(micropoints).unwrap()
}

pub(crate) fn wei(amount: u64) -> Wei {
    Wei(U256::from(amount))
}

pub(crate) fn balances(available: u64, reserved: u64, spent: u64, debt: u64) -> Balances {
    Balances {
        available: micro(available),
        reserved: micro(reserved),
        spent: micro(spent),
        debt: micro(debt),
    }
}

/// A quote by which one wei costs `micropoints_per_wei`.
pub(crate) fn quote(micropoints_per_wei: u64) -> Quote {
    Quote {
        micropoints_per_e18_wei: micropoints_per_wei * 1_000_000_000_000_000_000,
        markup: Bps(0),
        source: "fixed".to_owned(),
        block_number: 1,
    }
}

pub(crate) fn slot(nonce: u8) -> Slot {
    Slot {
        chain_id: ChainId(31_337),
        entry_point: Address::repeat_byte(0xee),
        sender: Address::repeat_byte(0x5e),
        nonce: U256::from(nonce),
    }
}

/// A block of the test chain; the same name is always the same block.
pub(crate) fn block(name: u8) -> BlockRef {
    BlockRef {
        number: 100 + u64::from(name),
        hash: B256::repeat_byte(name),
        timestamp: ChainTime(HEAD + 12 * u64::from(name)),
    }
}

pub(crate) fn seen(block_name: u8, log_index: u32, visit: u32) -> Sighting {
    Sighting { block: block(block_name), log_index, visit }
}

#[expect(clippy::disallowed_methods, reason = "these tests stand in for the block ingester")]
pub(crate) fn landing(slot: Slot, sighting: Sighting, cost: Wei) -> ChainFact {
    ChainFact::from_ingested(OperationEvent {
        sighting,
        slot,
        paymaster: Address::repeat_byte(0xaa),
        user_op_hash: B256::repeat_byte(0x0b),
        transaction_hash: B256::repeat_byte(0x7a),
        success: true,
        actual_gas_cost: cost,
        actual_gas_used: 21_000,
    })
}

#[expect(clippy::disallowed_methods, reason = "these tests stand in for the block ingester")]
pub(crate) fn release_proof(slot: Slot, timestamp: u64) -> ReleaseProof {
    let final_block =
        BlockRef { number: 1_000, hash: B256::repeat_byte(0xf1), timestamp: ChainTime(timestamp) };
    ReleaseProof::from_ingested(slot, final_block, ReleaseGround::WindowPassed)
}

/// Proof that the slot's nonce was used up by something else, by a final block of any time.
#[expect(clippy::disallowed_methods, reason = "these tests stand in for the block ingester")]
pub(crate) fn used_nonce(slot: Slot) -> ReleaseProof {
    let final_block =
        BlockRef { number: 1_000, hash: B256::repeat_byte(0xf1), timestamp: ChainTime(0) };
    ReleaseProof::from_ingested(slot, final_block, ReleaseGround::NonceUsed)
}

/// The landing of an operation that cost `cost` in a block's only log, on its first visit.
pub(crate) fn landed(block_name: u8, cost: u64) -> ChainFact {
    landing(slot(0), seen(block_name, 0, 1), wei(cost))
}

/// The same log, after its block went away and came back.
pub(crate) fn landed_again(block_name: u8, cost: u64) -> ChainFact {
    landing(slot(0), seen(block_name, 0, 2), wei(cost))
}

/// A request for the operation called `name`, of at most `max_cost` wei, judged at `head`.
pub(crate) fn request_at(name: u8, max_cost: u64, head: u64) -> GrantRequest {
    GrantRequest {
        request_hash: B256::repeat_byte(name),
        max_cost: wei(max_cost),
        quote: quote(1),
        valid_until: ChainTime(head + VALIDITY),
        head: ChainTime(head),
        debt_ceiling: Points::ZERO,
    }
}

pub(crate) fn request(name: u8, max_cost: u64) -> GrantRequest {
    request_at(name, max_cost, HEAD)
}

pub(crate) fn posting(from: Column, to: Column, amount: u64) -> Posting {
    Posting { from, to, amount: micro(amount) }
}

pub(crate) fn terms(amount: u64) -> TccTerms {
    TccTerms { amount: micro(amount), expires_at: None }
}

pub(crate) fn try_for(amount: u64) -> TccCommand {
    TccCommand::Try { terms: terms(amount), issued_at: DbTime(100), oldest: DbTime(0) }
}

pub(crate) fn confirm_of(amount: u64) -> TccCommand {
    TccCommand::Confirm { amount: Some(micro(amount)) }
}
