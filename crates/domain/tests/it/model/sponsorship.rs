//! Sponsorships against a list of what happened, with chain facts in any order, any number of times.

use alloy_primitives::{B256, U256};
use domain::chain_fact::{ChainFact, ChainTime, Sighting};
use domain::ledger::sponsorship::{
    CancelOutcome, FactOutcome, GrantOutcome, GrantRefusal, GrantRequest, SetAside,
};
use domain::quote::Bps;
use domain::{Quote, Wei};
use proptest::prelude::*;

use super::past::{Happened, PRICES, Past, SLOTS, Variant, price_of};
use super::{COMMANDS, config};
use crate::account::Account;
use crate::fixtures::{HEAD, VALIDITY, balances, landing, micro, release_proof, seen, slot, wei};

/// The account, what happened to it, and the head of the chain.
struct Machine {
    account: Account,
    history: Vec<Happened>,
    head: u64,
}

impl Machine {
    fn past(&self) -> Past<'_> {
        Past(&self.history)
    }

    fn applied(&mut self, event: Happened) -> FactOutcome {
        self.history.push(event);
        FactOutcome::Applied
    }

    fn expect_grant(&mut self, nonce: u8, name: u8, wei: u64, price: usize) -> GrantOutcome {
        let (past, head) = (self.past(), self.head);
        if past.standing(nonce).is_some() {
            return GrantOutcome::Refused(GrantRefusal::NonceUsed);
        }
        if past.is_closed(nonce) {
            return GrantOutcome::Refused(GrantRefusal::Closing);
        }
        let variants = past.variants(nonce);
        let fresh = |it: &Variant| it.name == name && it.valid_until >= head + 60;
        if let Some(index) = variants.iter().rposition(fresh) {
            return GrantOutcome::Replayed(index);
        }
        if variants.len() == 32 {
            return GrantOutcome::Refused(GrantRefusal::TooManyGrants);
        }
        let cost = if variants.is_empty() { price_of(wei, price) } else { past.cost(nonce, wei) };
        if variants.is_empty() && past.debt() > DEBT_CEILING {
            return GrantOutcome::Refused(GrantRefusal::DebtAboveCeiling {
                debt: micro(past.debt()),
                ceiling: micro(DEBT_CEILING),
            });
        }
        let needed = cost.saturating_sub(past.dearest(nonce));
        let available = past.available(past.debt());
        if needed > available {
            return GrantOutcome::Refused(GrantRefusal::InsufficientPoints {
                available: micro(available),
                needed: micro(needed),
            });
        }
        let valid_until = head + VALIDITY;
        self.history.push(Happened::Granted { nonce, name, wei, price, valid_until });
        GrantOutcome::Granted
    }

    fn expect_cancel(&mut self, nonce: u8, at: u64) -> CancelOutcome {
        let past = self.past();
        if past.standing(nonce).is_some() {
            return CancelOutcome::AlreadySettled;
        }
        let variants = past.variants(nonce);
        if variants.is_empty() {
            return CancelOutcome::Replayed;
        }
        if variants.iter().any(|variant| variant.valid_until >= at) {
            return CancelOutcome::NotYet;
        }
        self.history.push(Happened::Returned { nonce });
        CancelOutcome::Released
    }

    fn expect_confirm(&mut self, nonce: u8, sighting: Sighting, wei: u64) -> FactOutcome {
        let past = self.past();
        if !past.knows(nonce) {
            return FactOutcome::SetAside(SetAside::UnknownOperation);
        }
        match past.standing(nonce) {
            Some((standing, _)) if !is_same_log(&standing, &sighting) => {
                FactOutcome::SetAside(SetAside::SettledElsewhere)
            }
            Some((standing, _)) if standing.visit >= sighting.visit || past.is_final(nonce) => {
                FactOutcome::Replayed
            }
            Some(_) => self.applied(Happened::SeenAgain { nonce, sighting }),
            None => {
                let shortage = past.shortage(nonce, past.cost(nonce, wei), past.debt());
                self.history.push(Happened::Landed { nonce, sighting, wei });
                match shortage {
                    (0, 0) => FactOutcome::Applied,
                    (from_available, from_debt) => FactOutcome::AppliedWithShortage {
                        from_available: micro(from_available),
                        from_debt: micro(from_debt),
                    },
                }
            }
        }
    }

    fn expect_undo(&mut self, nonce: u8, sighting: Sighting) -> FactOutcome {
        match self.past().standing(nonce) {
            Some((standing, _)) if standing == sighting => {
                if self.past().is_final(nonce) {
                    FactOutcome::SetAside(SetAside::UndoAfterFinal)
                } else {
                    self.applied(Happened::Vanished { nonce })
                }
            }
            Some(_) | None => FactOutcome::Replayed,
        }
    }

    fn expect_finalise(&mut self, nonce: u8, sighting: Sighting) -> FactOutcome {
        if !self.past().knows(nonce) {
            return FactOutcome::SetAside(SetAside::UnknownOperation);
        }
        match self.past().standing(nonce) {
            None => FactOutcome::SetAside(SetAside::FinalBeforeSettled),
            Some((standing, _)) if !is_same_log(&standing, &sighting) => {
                FactOutcome::SetAside(SetAside::SettledElsewhere)
            }
            Some(_) if self.past().is_final(nonce) => FactOutcome::Replayed,
            Some(_) => self.applied(Happened::BecameFinal { nonce }),
        }
    }

    fn standing_fact(&self, nonce: u8) -> Option<ChainFact> {
        let (sighting, _) = self.past().standing(nonce)?;
        Some(landing(slot(nonce), sighting, wei(0)))
    }

    fn drive(&mut self, command: &Command) {
        match *command {
            Command::Tick(seconds) => self.head += seconds,
            Command::Credit(amount) => {
                assert_eq!(self.account.credit(amount), Ok(()));
                self.history.push(Happened::Credited(amount));
            }
            Command::Debit(amount) => {
                let enough = amount <= self.past().available(self.past().debt());
                assert_eq!(self.account.debit(amount).is_ok(), enough);
                if enough {
                    self.history.push(Happened::Debited(amount));
                }
            }
            Command::Grant { nonce, name, wei, price } => {
                let expected = self.expect_grant(nonce, name, wei, price);
                let request = request(name, wei, price, self.head);
                assert_eq!(self.account.grant(nonce, &request), expected);
            }
            Command::Close { nonce } => {
                let past = self.past();
                let is_open = past.standing(nonce).is_none() && !past.variants(nonce).is_empty();
                let expected = is_open && !past.is_closed(nonce);
                assert_eq!(self.account.close(nonce), expected);
                if expected {
                    self.history.push(Happened::Closed { nonce });
                }
            }
            Command::Cancel { nonce, lag } => {
                let at = self.head - lag;
                let expected = self.expect_cancel(nonce, at);
                assert_eq!(self.account.cancel(nonce, &release_proof(slot(nonce), at)), expected);
            }
            Command::Confirm(place) => {
                let expected = self.expect_confirm(place.nonce, place.sighting(), place.cost());
                assert_eq!(self.account.confirm(&place.fact()), expected);
            }
            Command::Undo(place) => {
                let expected = self.expect_undo(place.nonce, place.sighting());
                assert_eq!(self.account.undo(&place.fact()), expected);
            }
            Command::Finalise(place) => {
                let expected = self.expect_finalise(place.nonce, place.sighting());
                assert_eq!(self.account.finalise(&place.fact()), expected);
            }
            Command::UndoStanding { nonce } => {
                if let Some(fact) = self.standing_fact(nonce) {
                    let expected = self.expect_undo(nonce, fact.event().sighting);
                    assert_eq!(self.account.undo(&fact), expected);
                }
            }
            Command::Again(_) => unreachable!("resolved by the caller"),
        }
    }

    fn check(&self) {
        let past = self.past();
        let debt = past.debt();
        let expected = balances(past.available(debt), past.reserved(), past.spent(), debt);
        assert_eq!(self.account.balances(), expected);
        self.account.check_books();
        for (nonce, reservation) in &self.account.sponsorships {
            let attempts = past.attempts(*nonce);
            let opened = attempts
                .iter()
                .filter(|attempt| attempt.iter().any(|it| matches!(it, Happened::Granted { .. })));
            assert_eq!(usize::try_from(reservation.attempt), Ok(opened.count()));
        }
    }
}

fn is_same_log(one: &Sighting, other: &Sighting) -> bool {
    (one.block, one.log_index) == (other.block, other.log_index)
}

fn request(name: u8, max_cost: u64, price: usize, head: u64) -> GrantRequest {
    let (micropoints_per_e18_wei, markup) = PRICES[price];
    GrantRequest {
        request_hash: B256::repeat_byte(name),
        max_cost: Wei(U256::from(max_cost)),
        quote: Quote {
            micropoints_per_e18_wei,
            markup: Bps(markup),
            source: "fixed".to_owned(),
            block_number: 1,
        },
        valid_until: ChainTime(head + VALIDITY),
        head: ChainTime(head),
        debt_ceiling: micro(DEBT_CEILING),
    }
}

/// Where an operation may be seen. The same log always says the same.
#[derive(Clone, Copy, Debug)]
struct Place {
    nonce: u8,
    block: u8,
    log_index: u32,
    visit: u32,
}

impl Place {
    fn sighting(self) -> Sighting {
        seen(self.block, self.log_index, self.visit)
    }

    fn cost(self) -> u64 {
        1 + (37 * u64::from(self.nonce + 1) * u64::from(self.block + 1)
            + 11 * u64::from(self.log_index))
            % 97
    }

    fn fact(self) -> ChainFact {
        landing(slot(self.nonce), self.sighting(), wei(self.cost()))
    }
}

#[derive(Clone, Debug)]
enum Command {
    Tick(u64),
    Credit(u64),
    Debit(u64),
    Grant {
        nonce: u8,
        name: u8,
        wei: u64,
        price: usize,
    },
    Close {
        nonce: u8,
    },
    Cancel {
        nonce: u8,
        lag: u64,
    },
    Confirm(Place),
    Undo(Place),
    Finalise(Place),
    /// The block in which the slot's operation stands goes away.
    UndoStanding {
        nonce: u8,
    },
    /// The delivery of this many commands ago comes again.
    Again(usize),
}

/// What a user may owe, in micropoints: sequences end on either side of it.
const DEBT_CEILING: u64 = 20;

/// Chain time moves in steps that divide every bound, so that sequences meet the bounds exactly.
const STEP: u64 = 30;

fn any_command() -> impl Strategy<Value = Command> {
    let nonce = 0..SLOTS;
    let place = (nonce.clone(), 0_u8..3, 0_u32..2, 1_u32..=2)
        .prop_map(|(nonce, block, log_index, visit)| Place { nonce, block, log_index, visit });
    let granted = (nonce.clone(), 0_u8..3, 1_u64..=70, 0..PRICES.len())
        .prop_map(|(nonce, name, wei, price)| Command::Grant { nonce, name, wei, price });
    prop_oneof![
        3 => (1_u64..=90).prop_map(Command::Credit),
        1 => (1_u64..=60).prop_map(Command::Debit),
        4 => (0_u64..=8).prop_map(|steps| Command::Tick(STEP * steps)),
        6 => granted,
        1 => nonce.clone().prop_map(|nonce| Command::Close { nonce }),
        4 => (nonce.clone(), 0_u64..=2)
            .prop_map(|(nonce, steps)| Command::Cancel { nonce, lag: STEP * steps }),
        4 => nonce.prop_map(|nonce| Command::UndoStanding { nonce }),
        5 => place.clone().prop_map(Command::Confirm),
        2 => place.clone().prop_map(Command::Undo),
        1 => place.prop_map(Command::Finalise),
        3 => (1_usize..8).prop_map(Command::Again),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn sponsorships_answer_as_the_history_of_the_account_says(
        commands in prop::collection::vec(any_command(), 1..=COMMANDS)
    ) {
        let mut machine = Machine { account: Account::new(), history: Vec::new(), head: HEAD };
        let mut delivered: Vec<Command> = Vec::new();
        for command in commands {
            let command = match command {
                Command::Again(ago) => match delivered.len().checked_sub(ago) {
                    Some(index) => delivered[index].clone(),
                    None => continue,
                },
                first => first,
            };
            machine.drive(&command);
            machine.check();
            delivered.push(command);
        }
    }
}
