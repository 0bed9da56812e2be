//! One account in memory: what the store does with a step, without the store. It takes what a key
//! found, asks the machine, appends the postings to the journal and keeps the reservation.

use std::collections::BTreeMap;

use domain::chain_fact::{ChainFact, ReleaseProof};
use domain::ledger::buckets::{self, ExpiredRefund, Legs, Lot, Lots, Terms};
use domain::ledger::funds::{self, FundsRefusal};
use domain::ledger::journal::{self, EntryKind, Head, Incarnation, Line};
use domain::ledger::sponsorship::{
    self, CancelOutcome, FactOutcome, GrantOutcome, GrantRequest, SponsorshipReservation,
    SponsorshipState,
};
use domain::ledger::tcc::{self, DbTime, TccCommand, TccOutcome, TccReservation, TccState};
use domain::ledger::{Balances, Column, Posting, Step};
use domain::{AccountId, TenantId};
use uuid::Uuid;

use crate::fixtures::{balances, micro, slot};

/// An account, its journal and its reservations.
pub(crate) struct Account {
    pub(crate) head: Head,
    pub(crate) postings: Vec<Posting>,
    pub(crate) sponsorships: BTreeMap<u8, SponsorshipReservation>,
    pub(crate) biz: BTreeMap<u8, TccReservation>,
}

impl Account {
    /// An account that nothing ever happened to.
    pub(crate) fn new() -> Self {
        Self {
            head: Head::new(TenantId(Uuid::nil()), AccountId(Uuid::nil())),
            postings: Vec::new(),
            sponsorships: BTreeMap::new(),
            biz: BTreeMap::new(),
        }
    }

    /// An account that was credited once.
    pub(crate) fn with(available: u64) -> Self {
        let mut account = Self::new();
        account.credit(available).unwrap();
        account
    }

    pub(crate) fn balances(&self) -> Balances {
        self.head.balances
    }

    pub(crate) fn credit(&mut self, amount: u64) -> Result<(), FundsRefusal> {
        let postings = funds::credit(&self.balances(), micro(amount))?;
        self.post(EntryKind::Credit, &postings);
        Ok(())
    }

    pub(crate) fn debit(&mut self, amount: u64) -> Result<(), FundsRefusal> {
        let postings = funds::debit(&self.balances(), micro(amount))?;
        self.post(EntryKind::Debit, &postings);
        Ok(())
    }

    /// Expires so many points of a bucket, all that it has.
    pub(crate) fn expire(&mut self, amount: u64) {
        let mut lots = Lots::default();
        let gift = Lot { bucket: "gift".parse().unwrap(), expires_at: Some(DbTime(1)) };
        let named = Some(lots.open(&gift, DbTime(0)).unwrap());
        let terms = Terms { named, now: DbTime(0), expired_refund: ExpiredRefund::Keep };
        let credit = funds::credit(&self.balances(), micro(amount)).unwrap();
        buckets::spread(&mut lots, &mut Legs::new(), &terms, &credit).unwrap();
        let due: Vec<_> = lots.due(DbTime(1)).into_iter().filter_map(|due| due.posting).collect();
        self.post(EntryKind::Expire, &due);
    }

    /// Carries out a command on a biz id.
    pub(crate) fn tcc(&mut self, biz_id: u8, command: &TccCommand) -> TccOutcome {
        let (outcome, step) = tcc::apply(&self.balances(), self.biz.get(&biz_id), command);
        let kind = match command {
            TccCommand::Try { .. } => EntryKind::Reserve,
            TccCommand::Confirm { .. } => EntryKind::Confirm,
            TccCommand::Cancel | TccCommand::Expire { .. } => EntryKind::Release,
        };
        self.post(kind, &step.postings);
        if let Some(reservation) = step.reservation {
            self.biz.insert(biz_id, reservation);
        }
        outcome
    }

    /// Asks for a grant on a slot.
    pub(crate) fn grant(&mut self, nonce: u8, request: &GrantRequest) -> GrantOutcome {
        let (outcome, step) =
            sponsorship::grant(&self.balances(), self.sponsorships.get(&nonce), request);
        if !matches!(outcome, GrantOutcome::Granted) {
            assert_eq!(step, Step::unchanged(), "only a new grant changes anything");
        }
        self.keep(nonce, EntryKind::Reserve, step);
        outcome
    }

    /// Closes a slot's attempt to repeats and bumps; whether there was anything to close.
    pub(crate) fn close(&mut self, nonce: u8) -> bool {
        let step = self.sponsorships.get(&nonce).and_then(sponsorship::close);
        let closed = step.is_some();
        if let Some(step) = step {
            assert!(step.postings.is_empty(), "closing moves no points");
            self.keep(nonce, EntryKind::Release, step);
        }
        closed
    }

    /// Hands a landing to its slot.
    pub(crate) fn confirm(&mut self, fact: &ChainFact) -> FactOutcome {
        let nonce = nonce_of(fact);
        let (outcome, step) =
            sponsorship::confirm(&self.balances(), self.sponsorships.get(&nonce), fact);
        self.keep_fact(nonce, EntryKind::Confirm, outcome, step)
    }

    /// Hands the loss of a landing's block to its slot.
    pub(crate) fn undo(&mut self, fact: &ChainFact) -> FactOutcome {
        let nonce = nonce_of(fact);
        let (outcome, step) =
            sponsorship::undo(&self.balances(), self.sponsorships.get(&nonce), fact);
        self.keep_fact(nonce, EntryKind::Undo, outcome, step)
    }

    /// Hands the finality of a landing's block to its slot.
    pub(crate) fn finalise(&mut self, fact: &ChainFact) -> FactOutcome {
        let nonce = nonce_of(fact);
        let (outcome, step) = sponsorship::finalise(self.sponsorships.get(&nonce), fact);
        self.keep_fact(nonce, EntryKind::Finalise, outcome, step)
    }

    /// Cancels a slot's attempt on proof.
    pub(crate) fn cancel(&mut self, nonce: u8, proof: &ReleaseProof) -> CancelOutcome {
        assert_eq!(*proof.slot(), slot(nonce));
        let (outcome, step) = sponsorship::cancel(self.sponsorships.get(&nonce), proof);
        if outcome != CancelOutcome::Released {
            assert_eq!(step, Step::unchanged(), "only a release changes anything");
        }
        self.keep(nonce, EntryKind::Release, step);
        outcome
    }

    /// The attempt that a slot stands at.
    pub(crate) fn attempt(&self, nonce: u8) -> &SponsorshipReservation {
        &self.sponsorships[&nonce]
    }

    pub(crate) fn state(&self, nonce: u8) -> &SponsorshipState {
        &self.attempt(nonce).state
    }

    /// Promise 5: what must hold of the books after every command.
    pub(crate) fn check_books(&self) {
        let sums = Column::ALL.map(|column| (column, self.sum(column)));
        assert_eq!(sums.iter().map(|(_, sum)| sum).sum::<i128>(), 0, "transfers sum to zero");
        let Balances { available, reserved, spent, debt } = self.balances();
        for (column, balance, sign) in [
            (Column::Available, available, 1),
            (Column::Reserved, reserved, 1),
            (Column::Spent, spent, 1),
            (Column::Debt, debt, -1),
        ] {
            let sum = sign * self.sum(column);
            assert!(sum >= 0, "{column} is negative: {sum}");
            assert_eq!(
                i128::from(balance.micropoints()),
                sum,
                "{column} is the sum of its entries"
            );
        }
        assert_eq!(reserved.micropoints(), self.held(), "reserved is what open reservations hold");
    }

    /// What a column received less what it gave.
    fn sum(&self, column: Column) -> i128 {
        let of = |posting: &Posting| i128::from(posting.amount.micropoints());
        let into: i128 = self.postings.iter().filter(|posting| posting.to == column).map(of).sum();
        let out: i128 = self.postings.iter().filter(|posting| posting.from == column).map(of).sum();
        into - out
    }

    fn held(&self) -> u64 {
        let sponsored = self.sponsorships.values().map(|reservation| match reservation.state {
            SponsorshipState::Open => reservation.reserved.micropoints(),
            SponsorshipState::Provisional(settlement) => match settlement.before {
                sponsorship::Unsettled::Open => {
                    reservation.reserved.micropoints() - settlement.from_reserved.micropoints()
                }
                sponsorship::Unsettled::Released => 0,
            },
            SponsorshipState::Final(_) | SponsorshipState::Released => 0,
        });
        let tried = self.biz.values().map(|reservation| match reservation.state {
            TccState::Open => reservation.terms.unwrap().amount.micropoints(),
            TccState::Settled { .. } | TccState::Released | TccState::Rejected { .. } => 0,
        });
        sponsored.chain(tried).sum()
    }

    fn keep_fact(
        &mut self,
        nonce: u8,
        kind: EntryKind,
        outcome: FactOutcome,
        step: Step<SponsorshipReservation>,
    ) -> FactOutcome {
        if matches!(outcome, FactOutcome::Replayed | FactOutcome::SetAside(_)) {
            assert_eq!(step, Step::unchanged(), "what is not applied changes nothing");
        }
        self.keep(nonce, kind, step);
        outcome
    }

    fn keep(&mut self, nonce: u8, kind: EntryKind, step: Step<SponsorshipReservation>) {
        self.post(kind, &step.postings);
        if let Some(reservation) = step.reservation {
            self.sponsorships.insert(nonce, reservation);
        }
    }

    fn post(&mut self, kind: EntryKind, postings: &[Posting]) {
        assert!(
            postings.iter().all(|posting| !posting.amount.is_zero()),
            "an entry says something"
        );
        let line = Line {
            kind,
            reservation: None,
            reference: None,
            incarnation: Incarnation(1),
            recorded_at: DbTime(0),
        };
        journal::append(&mut self.head, &line, postings)
            .expect("the machines never overdraw a column");
        self.postings.extend_from_slice(postings);
    }
}

fn nonce_of(fact: &ChainFact) -> u8 {
    u8::try_from(fact.event().slot.nonce).unwrap()
}

/// The books hold, and these are the balances.
#[track_caller]
pub(crate) fn expect_balances(
    account: &Account,
    available: u64,
    reserved: u64,
    spent: u64,
    debt: u64,
) {
    account.check_books();
    assert_eq!(account.balances(), balances(available, reserved, spent, debt));
}
