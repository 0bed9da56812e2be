//! Sponsorships under a chain that mines, reorganises, brings blocks back and becomes final. Here the
//! truth is the chain itself: whatever it went through, what is spent is what its blocks charged.

use std::collections::BTreeSet;

use domain::chain_fact::ChainFact;
use domain::ledger::sponsorship::FactOutcome;
use proptest::prelude::*;

use super::{COMMANDS, config};
use crate::account::Account;
use crate::fixtures::{landing, micro, release_proof, request_at, seen, slot, wei};

const SLOTS: u8 = 3;
/// So far apart are blocks that no grant outlives one, and a release is decided by finality alone.
const BLOCK_SECONDS: u64 = 1_000;

/// A block of the chain, with what its operations cost.
#[derive(Clone)]
struct Block {
    name: u8,
    visit: u32,
    landed: Vec<(u8, u64)>,
}

impl Block {
    fn facts(&self) -> Vec<ChainFact> {
        let fact = |(index, &(nonce, cost)): (u32, &(u8, u64))| {
            landing(slot(nonce), seen(self.name, index, self.visit), wei(cost))
        };
        (0..).zip(&self.landed).map(fact).collect()
    }
}

#[derive(Clone, Debug)]
enum Command {
    Credit(u64),
    Debit(u64),
    Grant {
        nonce: u8,
        name: u8,
        max_cost: u64,
    },
    Cancel {
        nonce: u8,
    },
    Mine {
        landing: Vec<(u8, u64)>,
    },
    /// The last blocks go away.
    Fork {
        depth: usize,
    },
    /// The last blocks go away and come back, which is heard before that they went.
    Flicker {
        depth: usize,
    },
    Finalise {
        blocks: usize,
    },
}

struct World {
    account: Account,
    canonical: Vec<Block>,
    final_height: usize,
    mined: u8,
    granted: BTreeSet<u8>,
    funds: u64,
}

impl World {
    fn head(&self) -> u64 {
        BLOCK_SECONDS * (1 + u64::from(self.mined))
    }

    fn has_landed(&self, nonce: u8) -> bool {
        self.canonical.iter().any(|block| block.landed.iter().any(|(used, _)| *used == nonce))
    }

    fn mine(&mut self, landing: &[(u8, u64)]) {
        self.mined += 1;
        let mut block = Block { name: self.mined, visit: 1, landed: Vec::new() };
        for &(nonce, cost) in landing {
            let used = block.landed.iter().any(|(used, _)| *used == nonce);
            if self.granted.contains(&nonce) && !used && !self.has_landed(nonce) {
                block.landed.push((nonce, cost));
            }
        }
        for fact in block.facts() {
            self.account.confirm(&fact);
            assert_eq!(self.account.confirm(&fact), FactOutcome::Replayed);
        }
        self.canonical.push(block);
    }

    /// The blocks that are not final, at most so many, from the head downwards.
    fn take_last(&mut self, depth: usize) -> Vec<Block> {
        let lowest = self.canonical.len().saturating_sub(depth).max(self.final_height);
        self.canonical.split_off(lowest)
    }

    fn fork(&mut self, depth: usize) {
        for fact in self.take_last(depth).iter().rev().flat_map(Block::facts) {
            assert_eq!(
                self.account.undo(&fact),
                FactOutcome::Applied,
                "an undo is always possible"
            );
            assert_eq!(self.account.undo(&fact), FactOutcome::Replayed);
        }
    }

    fn flicker(&mut self, depth: usize) {
        let gone = self.take_last(depth);
        let back = gone.iter().map(|block| Block { visit: block.visit + 1, ..block.clone() });
        self.canonical.extend(back.clone());
        for fact in back.flat_map(|block| block.facts()) {
            assert_eq!(self.account.confirm(&fact), FactOutcome::Applied);
        }
        for fact in gone.iter().flat_map(Block::facts) {
            assert_eq!(self.account.undo(&fact), FactOutcome::Replayed);
            assert_eq!(self.account.confirm(&fact), FactOutcome::Replayed);
        }
    }

    fn finalise(&mut self, blocks: usize) {
        let height = (self.final_height + blocks).min(self.canonical.len());
        for fact in self.canonical[self.final_height..height].iter().flat_map(Block::facts) {
            assert_eq!(self.account.finalise(&fact), FactOutcome::Applied);
            assert_eq!(self.account.finalise(&fact), FactOutcome::Replayed);
        }
        self.final_height = height;
    }

    fn drive(&mut self, command: &Command) {
        match command {
            Command::Credit(amount) => {
                self.account.credit(*amount).unwrap();
                self.funds += amount;
            }
            Command::Debit(amount) => {
                if self.account.debit(*amount).is_ok() {
                    self.funds -= amount;
                }
            }
            Command::Grant { nonce, name, max_cost } => {
                self.account.grant(*nonce, &request_at(*name, *max_cost, self.head()));
                if self.account.sponsorships.contains_key(nonce) {
                    self.granted.insert(*nonce);
                }
            }
            // The proof is good for the blocks that are final; a landing above them, of a bundler
            // who came late, is what the house has to bear.
            Command::Cancel { nonce } => {
                self.account.cancel(*nonce, &release_proof(slot(*nonce), self.head()));
            }
            Command::Mine { landing } => self.mine(landing),
            Command::Fork { depth } => self.fork(*depth),
            Command::Flicker { depth } => self.flicker(*depth),
            Command::Finalise { blocks } => self.finalise(*blocks),
        }
    }

    fn check(&self) {
        self.account.check_books();
        let charged = self.canonical.iter().flat_map(|block| &block.landed);
        let charged: u64 = charged.map(|(_, cost)| cost).sum();
        let balances = self.account.balances();
        assert_eq!(balances.spent, micro(charged), "spent is what the chain charged");
        let own = balances.available.micropoints() + balances.reserved.micropoints() + charged;
        assert_eq!(own - balances.debt.micropoints(), self.funds, "no point comes or goes");
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let nonce = 0..SLOTS;
    let granted = (nonce.clone(), 0_u8..3, 1_u64..=60)
        .prop_map(|(nonce, name, max_cost)| Command::Grant { nonce, name, max_cost });
    let mined = prop::collection::vec((nonce.clone(), 1_u64..=90), 0..3)
        .prop_map(|landing| Command::Mine { landing });
    prop_oneof![
        3 => (1_u64..=90).prop_map(Command::Credit),
        1 => (1_u64..=60).prop_map(Command::Debit),
        6 => granted,
        2 => nonce.prop_map(|nonce| Command::Cancel { nonce }),
        6 => mined,
        3 => (1_usize..4).prop_map(|depth| Command::Fork { depth }),
        2 => (1_usize..4).prop_map(|depth| Command::Flicker { depth }),
        1 => (1_usize..3).prop_map(|blocks| Command::Finalise { blocks }),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_the_chain_goes_through_the_ledger_spends_what_it_charged(
        commands in prop::collection::vec(any_command(), 1..=COMMANDS)
    ) {
        let mut world = World {
            account: Account::new(),
            canonical: Vec::new(),
            final_height: 0,
            mined: 0,
            granted: BTreeSet::new(),
            funds: 0,
        };
        for command in &commands {
            world.drive(command);
            world.check();
        }
        world.finalise(usize::MAX / 2);
        for nonce in 0..SLOTS {
            world.account.cancel(nonce, &release_proof(slot(nonce), u64::MAX));
        }
        world.check();
        prop_assert!(world.account.balances().reserved.is_zero(), "nothing stays held for ever");
    }
}
