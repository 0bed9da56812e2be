//! A chain of the tests' own, read by the store's own ingester statements: facts come from nowhere
//! else.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{B256, U256, keccak256};
use domain::chain_fact::{BlockRef, ChainTime};
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, SetAside};
use store::Store;
use store::cursor::{CursorMove, NewBlock, NewOperation};
use store::facts::{FactStep, Work};

use crate::builder::{CHAIN, ENTRY_POINT, HEAD, PAYMASTER, User};

/// Seconds between blocks.
pub(crate) const BLOCK_TIME: u64 = 12;

/// A block that follows `parent`; every call makes another one.
pub(crate) fn block_after(parent: &BlockRef, operations: &[NewOperation]) -> NewBlock {
    static BLOCKS: AtomicU64 = AtomicU64::new(1);
    let hash = keccak256(BLOCKS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let block = BlockRef {
        number: parent.number + 1,
        hash,
        timestamp: ChainTime(parent.timestamp.0 + BLOCK_TIME),
    };
    NewBlock { block, parent_hash: parent.hash, operations: operations.to_vec() }
}

/// The landing of a user's operation that cost so many wei, as the first log of its block.
pub(crate) fn landing(user: &User, nonce: u64, cost: u64) -> NewOperation {
    NewOperation {
        log_index: 0,
        transaction_hash: B256::repeat_byte(0x7a),
        entry_point: ENTRY_POINT,
        user_op_hash: B256::repeat_byte(0x0b),
        sender: user.wallet.address,
        paymaster: PAYMASTER,
        nonce: U256::from(nonce),
        success: true,
        actual_gas_cost: U256::from(cost),
        actual_gas_used: 21_000,
    }
}

/// The chain as its node tells it, and what the ingester and the appliers do about it.
pub(crate) struct Chain {
    store: Store,
    blocks: Vec<NewBlock>,
}

impl Chain {
    pub(crate) async fn start(store: &Store) -> Self {
        let block = BlockRef { number: 100, hash: keccak256("anchor"), timestamp: ChainTime(HEAD) };
        let parent_hash = keccak256("before the anchor");
        store.start_cursor(CHAIN, &block, parent_hash).await.unwrap();
        let anchor = NewBlock { block, parent_hash, operations: Vec::new() };
        Self { store: store.clone(), blocks: vec![anchor] }
    }

    pub(crate) fn head(&self) -> BlockRef {
        self.blocks.last().unwrap().block
    }

    /// The next block is made and ingested.
    pub(crate) async fn mine(&mut self, operations: &[NewOperation]) -> NewBlock {
        let block = block_after(&self.head(), operations);
        self.ingest(&block).await;
        block
    }

    /// Empty blocks, until the head's time is later than this.
    pub(crate) async fn mine_past(&mut self, time: u64) {
        let mut block = block_after(&self.head(), &[]);
        block.block.timestamp = ChainTime(time + 1);
        self.ingest(&block).await;
    }

    pub(crate) async fn ingest(&mut self, block: &NewBlock) {
        let moved = self.store.extend_cursor(CHAIN, block).await.unwrap();
        assert_eq!(moved, CursorMove::Moved);
        self.blocks.push(block.clone());
    }

    /// The next block was ingested by somebody else.
    pub(crate) fn follow(&mut self, block: &NewBlock) {
        self.blocks.push(block.clone());
    }

    /// The head goes away.
    pub(crate) async fn reorganise(&mut self) -> NewBlock {
        let gone = self.blocks.pop().unwrap();
        let moved = self.store.walk_cursor_back(CHAIN, gone.block.hash).await.unwrap();
        assert_eq!(moved, CursorMove::Moved);
        gone
    }

    /// How many blocks of this chain carry operations.
    pub(crate) fn landed(&self) -> u64 {
        let carriers = self.blocks.iter().filter(|block| !block.operations.is_empty()).count();
        u64::try_from(carriers).unwrap()
    }

    /// Everything up to the head is final.
    pub(crate) async fn finalise(&self) {
        self.store.advance_final(CHAIN, self.head().hash).await.unwrap();
    }

    pub(crate) async fn work(&self) -> Vec<Work> {
        self.store.fact_work(CHAIN, 100).await.unwrap()
    }

    /// Applies what waits, as the appliers do, until nothing waits.
    pub(crate) async fn apply(&self) -> Vec<(FactStep, FactOutcome)> {
        let mut outcomes = Vec::new();
        loop {
            let applied = apply_once(&self.store).await;
            if applied.is_empty() {
                return outcomes;
            }
            outcomes.extend(applied);
        }
    }

    /// Releases what can be released, as the releaser does.
    pub(crate) async fn release(&self) -> Vec<CancelOutcome> {
        release_once(&self.store).await
    }
}

/// One round of an applier.
pub(crate) async fn apply_once(store: &Store) -> Vec<(FactStep, FactOutcome)> {
    let mut outcomes = Vec::new();
    for work in store.fact_work(CHAIN, 100).await.unwrap() {
        let outcome = match store.owner_of(&work.fact).await.unwrap() {
            Some(owner) => store.apply_fact(owner, &work).await.unwrap(),
            // The undo of an event that nobody owned has nothing to take back.
            None if work.step == FactStep::Undo => FactOutcome::Replayed,
            None => FactOutcome::SetAside(SetAside::UnknownOperation),
        };
        if let FactOutcome::SetAside(reason) = outcome {
            store.set_aside(&work, &reason.to_string()).await.unwrap();
        } else {
            store.finish_work(&work).await.unwrap();
        }
        outcomes.push((work.step, outcome));
    }
    outcomes
}

/// One round of a releaser.
pub(crate) async fn release_once(store: &Store) -> Vec<CancelOutcome> {
    let mut outcomes = Vec::new();
    for releasable in store.releasable(CHAIN, 100).await.unwrap() {
        outcomes.push(store.release(&releasable).await.unwrap());
    }
    outcomes
}
