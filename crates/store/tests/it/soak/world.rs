//! Where a sequence takes place: a company of its own with its users, a chain of its own, and the list of all calls.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256, keccak256};
use domain::chain_fact::{BlockRef, ChainTime};
use domain::{ChainId, ReservationId};
use store::StoreError;
use store::cursor::{CursorMove, NewBlock, NewOperation};
use store::facts::Work;
use store::paymasters::Paymaster;
use store::slots::Releasable;
use store::wallets::Wallet;
use tokio::sync::Mutex as Turn;

use super::process::{Lost, Process};
use super::request::{Call, Claim, Request, Told};
use super::script::{Dice, Script, Trouble};
use crate::builder::{ENTRY_POINT, HEAD, User};
use crate::chain::{BLOCK_TIME, landing};

/// The paymasters of the company: a bump of the one cannot join the attempt of the other.
pub(super) const PAYMASTERS: [Address; 2] = [crate::builder::PAYMASTER, Address::repeat_byte(0xbb)];

/// How often the ends of a call were counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) commands: u64,
    pub(super) lost: u64,
    pub(super) abandoned: u64,
    pub(super) killed: u64,
    /// Answers that a repeat found by its key.
    pub(super) resolved: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.lost += other.lost;
        self.abandoned += other.abandoned;
        self.killed += other.killed;
        self.resolved += other.resolved;
    }
}

/// A proof as a worker holds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    Fact(Work),
    Release(Releasable),
}

/// A block that the ingester stands on, and how often it has been there.
#[derive(Clone, Debug)]
pub(super) struct Mined {
    pub(super) block: NewBlock,
    pub(super) visit: u32,
}

/// From the moment before to the moment after.
pub(super) type Span = (u64, u64);

/// The chain as its node tells it.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) blocks: Vec<Mined>,
    /// How many of them are final.
    pub(super) finals: usize,
    visits: HashMap<B256, u32>,
    made: u64,
}

pub(super) struct World {
    pub(super) script: Script,
    pub(super) chain_id: ChainId,
    pub(super) users: Vec<User>,
    pub(super) processes: Vec<Process>,
    pub(super) chain: Turn<Chain>,
    /// Chain time of the head.
    pub(super) head: AtomicU64,
    clock: AtomicU64,
    pub(super) calls: Mutex<Vec<Call>>,
    /// When blocks went away, by hash and visit.
    pub(super) gone: Mutex<HashMap<(B256, u32), Span>>,
    /// For each user when its wallet was unlinked (`false`) and linked.
    pub(super) links: Vec<Turn<Vec<(Span, bool)>>>,
    /// The latest reservation in each slot that a caller has heard of.
    pub(super) known: Mutex<HashMap<(usize, u64), ReservationId>>,
    pub(super) proofs: Mutex<Vec<Proof>>,
    pub(super) counts: Mutex<Counts>,
}

impl World {
    /// A company with an opened account for each user. Names rest on the number, which no other sequence has.
    pub(super) async fn create(
        script: &Script,
        number: u64,
        processes: Vec<Process>,
    ) -> Result<Self, StoreError> {
        let store = processes[0].store().await;
        let tenant = store.ensure_tenant(&format!("company-{number}")).await?;
        let app = store.ensure_app(tenant, "shop").await?;
        let chain_id = ChainId(1_000_000 + number);
        for address in PAYMASTERS {
            let paymaster =
                Paymaster { chain: chain_id, address, tenant, entry_point: ENTRY_POINT };
            store.register_paymaster(&paymaster).await?;
        }
        let mut users = Vec::new();
        for name in 0..script.opening.len() {
            let account =
                store.ensure_account(tenant, &format!("user-{name}").parse().unwrap()).await?;
            let address = Address::from_word(keccak256(format!("{number} {name}")));
            let wallet = Wallet { chain: chain_id, address };
            store.link_wallet(tenant, account, wallet).await?;
            users.push(User { store: store.clone(), tenant, app, account, wallet });
        }
        let block = BlockRef {
            number: 100,
            hash: keccak256(format!("{number}")),
            timestamp: ChainTime(HEAD),
        };
        let anchor = NewBlock { block, parent_hash: B256::ZERO, operations: Vec::new() };
        store.start_cursor(chain_id, &block, anchor.parent_hash).await?;
        let chain = Chain {
            blocks: vec![Mined { block: anchor, visit: 1 }],
            finals: 1,
            visits: HashMap::new(),
            made: 0,
        };
        Ok(Self {
            script: script.clone(),
            chain_id,
            links: users.iter().map(|_| Turn::default()).collect(),
            users,
            processes,
            chain: Turn::new(chain),
            head: AtomicU64::new(HEAD),
            clock: AtomicU64::new(1),
            calls: Mutex::default(),
            gone: Mutex::default(),
            known: Mutex::default(),
            proofs: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Sends a command until it is answered, and writes each call down.
    pub(super) async fn ask<T, Answer>(
        &self,
        by: &mut Caller<'_>,
        (user, request): (usize, Request),
        command: impl Fn(store::Store) -> Answer,
        told: impl Fn(&T) -> Told,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        Answer: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.counts.lock().unwrap().commands += 1;
        let mut lost = 0;
        loop {
            let (called, may_repeat) = (self.tick(), by.process.may_repeat());
            let call = Call {
                user,
                request: request.clone(),
                told: Told::Nothing,
                called,
                answered: u64::MAX,
                may_repeat,
            };
            let index = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(call);
                calls.len() - 1
            };
            let answer = by.process.run(by.trouble, &mut by.dice, &command).await;
            let mut counts = self.counts.lock().unwrap();
            match answer {
                Ok(answer) => {
                    let mut calls = self.calls.lock().unwrap();
                    calls[index].answered = self.tick();
                    calls[index].told = told(&answer);
                    counts.resolved +=
                        u64::from(lost > 0 && calls[index].told.claim() == Claim::NothingHappened);
                    return Ok(answer);
                }
                Err(Lost::Defect(error)) => {
                    return Err(format!("{request:?} met a defect: {error:?}"));
                }
                Err(Lost::Abandoned) => counts.abandoned += 1,
                Err(Lost::Failed) => counts.lost += 1,
            }
            lost += 1;
            if lost > 200 {
                return Err(format!("{request:?} is not answered"));
            }
        }
    }

    /// Sends what is no command of an account until it is answered.
    pub(super) async fn insist<T, Answer>(
        &self,
        by: &mut Caller<'_>,
        command: impl Fn(store::Store) -> Answer,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        Answer: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        for _ in 0..200 {
            // Whoever does this does not go away: it holds its turn.
            let trouble = if by.trouble == Trouble::Abandon { Trouble::None } else { by.trouble };
            match by.process.run(trouble, &mut by.dice, &command).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::Defect(error)) => return Err(format!("a defect: {error:?}")),
                Err(Lost::Abandoned | Lost::Failed) => {}
            }
        }
        Err("a worker is not answered".to_owned())
    }
}

/// Who sends something.
pub(super) struct Caller<'a> {
    pub(super) process: &'a Process,
    pub(super) trouble: Trouble,
    pub(super) dice: Dice,
}

impl World {
    /// The next block is made and ingested, with those landings whose slot is unused.
    pub(super) async fn mine(
        &self,
        by: &mut Caller<'_>,
        landings: &[(usize, u64, u64)],
        seconds: u64,
    ) -> Result<(), String> {
        let mut chain = self.chain.lock().await;
        chain.made += 1;
        let mut operations: Vec<NewOperation> = Vec::new();
        for &(user, nonce, cost) in landings {
            let landed = NewOperation {
                log_index: u32::try_from(operations.len()).unwrap(),
                ..landing(&self.users[user], nonce, cost)
            };
            let is_same =
                |other: &NewOperation| (other.sender, other.nonce) == (landed.sender, landed.nonce);
            let mut earlier = chain.blocks.iter().flat_map(|mined| &mined.block.operations);
            let is_used = earlier.any(is_same) || operations.iter().any(is_same);
            // Now and then an operation lands that nobody has asked for.
            let is_known = self.known.lock().unwrap().contains_key(&(user, nonce));
            if !is_used && (is_known || cost % 10 == 0) {
                operations.push(landed);
            }
        }
        let parent = chain.blocks.last().unwrap().block.block;
        let block = BlockRef {
            number: parent.number + 1,
            hash: keccak256(format!("{} {}", self.chain_id.0, chain.made)),
            timestamp: ChainTime(parent.timestamp.0 + BLOCK_TIME + seconds),
        };
        let block = NewBlock { block, parent_hash: parent.hash, operations };
        self.ingest(by, &mut chain, &block).await
    }

    async fn ingest(
        &self,
        by: &mut Caller<'_>,
        chain: &mut Chain,
        block: &NewBlock,
    ) -> Result<(), String> {
        let (chain_id, next) = (self.chain_id, block.clone());
        // The second time nothing moves.
        for is_repeat in [false, true] {
            let moved = self
                .insist(by, |store| {
                    let next = next.clone();
                    async move {
                        let moved = store.extend_cursor(chain_id, &next).await?;
                        let head = store.cursor(chain_id).await?.unwrap().head;
                        Ok((moved, head))
                    }
                })
                .await?;
            let is_expected = !is_repeat || moved.0 == CursorMove::Lost;
            if moved.1 != block.block || !is_expected {
                return Err(format!("the cursor is at {moved:?} instead of {:?}", block.block));
            }
        }
        let visit = chain.visits.entry(block.block.hash).or_default();
        *visit += 1;
        let visit = *visit;
        chain.blocks.push(Mined { block: block.clone(), visit });
        self.head.store(block.block.timestamp.0, Ordering::SeqCst);
        Ok(())
    }

    /// The last blocks go away, as many as are not final; perhaps the first of them comes back.
    pub(super) async fn reorganise(
        &self,
        by: &mut Caller<'_>,
        depth: u64,
        returns: bool,
    ) -> Result<(), String> {
        let mut chain = self.chain.lock().await;
        let mut last = None;
        for _ in 0..depth {
            if chain.blocks.len() <= chain.finals {
                break;
            }
            let gone = chain.blocks.pop().unwrap();
            let (chain_id, hash) = (self.chain_id, gone.block.block.hash);
            let called = self.tick();
            self.gone.lock().unwrap().insert((hash, gone.visit), (called, u64::MAX));
            let walk = move |store: store::Store| async move {
                store.walk_cursor_back(chain_id, hash).await?;
                Ok(store.cursor(chain_id).await?.unwrap().head)
            };
            let head = self.insist(by, walk).await?;
            let parent = chain.blocks.last().unwrap().block.block;
            if head != parent {
                return Err(format!("the cursor walked back to {head:?} instead of {parent:?}"));
            }
            self.gone.lock().unwrap().insert((hash, gone.visit), (called, self.tick()));
            self.head.store(parent.timestamp.0, Ordering::SeqCst);
            last = Some(gone);
        }
        match last.filter(|_| returns) {
            Some(back) => self.ingest(by, &mut chain, &back.block).await,
            None => Ok(()),
        }
    }

    /// All blocks but the last few are final.
    pub(super) async fn finalise(&self, by: &mut Caller<'_>, above: usize) -> Result<(), String> {
        let mut chain = self.chain.lock().await;
        let finals = chain.blocks.len().saturating_sub(above).max(chain.finals);
        let (chain_id, hash) = (self.chain_id, chain.blocks[finals - 1].block.block.hash);
        self.insist(by, move |store| async move { store.advance_final(chain_id, hash).await })
            .await?;
        chain.finals = finals;
        Ok(())
    }
}
