//! Points that expire or are of a kind: the order of spending, the way back, and expiry.

use std::collections::BTreeMap;

use domain::chain_fact::ChainFact;
use domain::ids::BucketName;
use domain::ledger::buckets::{
    self, BucketError, BucketRefusal, ExpiredRefund, Leg, Legs, Lot, LotNo, Lots, MAX_LOTS, Part,
    Terms,
};
use domain::ledger::funds::{self, FundsRefusal};
use domain::ledger::journal::{self, Entry, EntryKind, Head, Incarnation, Line};
use domain::ledger::sponsorship::{
    self, CancelOutcome, FactOutcome, GrantOutcome, SponsorshipReservation,
};
use domain::ledger::tcc::{self, DbTime, TccCommand, TccOutcome, TccReservation};
use domain::ledger::{Column, Posting};
use domain::{AccountId, ReservationId, TenantId};
use uuid::Uuid;

use crate::fixtures::{
    HEAD, VALIDITY, confirm_of, micro, posting, release_proof, request, try_for,
};

/// What a reservation is called here: a biz id, or a slot and attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Biz(u8),
    Slot(u8, u32),
}

impl Key {
    fn id(self) -> ReservationId {
        ReservationId(Uuid::from_u128(match self {
            Self::Biz(name) => u128::from(name),
            Self::Slot(nonce, attempt) => 1_000 + 1_000 * u128::from(nonce) + u128::from(attempt),
        }))
    }
}

/// An account with lots: what the store does, without the store.
pub(crate) struct Holder {
    pub(crate) head: Head,
    pub(crate) lots: Lots,
    pub(crate) legs: BTreeMap<Key, Legs>,
    pub(crate) biz: BTreeMap<u8, TccReservation>,
    pub(crate) slots: BTreeMap<u8, SponsorshipReservation>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: DbTime,
    pub(crate) rule: ExpiredRefund,
}

pub(crate) fn lot(bucket: &str, expires_at: Option<i64>) -> Lot {
    Lot { bucket: bucket.parse().unwrap(), expires_at: expires_at.map(DbTime) }
}

impl Holder {
    pub(crate) fn new() -> Self {
        Self {
            head: Head::new(TenantId(Uuid::nil()), AccountId(Uuid::nil())),
            lots: Lots::default(),
            legs: BTreeMap::new(),
            biz: BTreeMap::new(),
            slots: BTreeMap::new(),
            entries: Vec::new(),
            now: DbTime(0),
            rule: ExpiredRefund::Keep,
        }
    }

    /// With so many points in lots that expire at these times, and 100 in the default bucket.
    pub(crate) fn with(lots: &[(&str, Option<i64>, u64)]) -> Self {
        let mut holder = Self::new();
        holder.credit(None, 100).unwrap();
        for (bucket, expires_at, amount) in lots {
            holder.credit(Some(&lot(bucket, *expires_at)), *amount).unwrap();
        }
        holder
    }

    pub(crate) fn credit(&mut self, lot: Option<&Lot>, amount: u64) -> Result<(), FundsRefusal> {
        let postings = funds::credit(&self.head.balances, micro(amount))?;
        let named = lot.map(|lot| self.lots.open(lot, self.now)).transpose()?;
        self.post(EntryKind::Credit, None, named, &postings);
        Ok(())
    }

    pub(crate) fn debit(&mut self, amount: u64) -> Result<(), FundsRefusal> {
        let postings = funds::debit(&self.head.balances, micro(amount))?;
        self.post(EntryKind::Debit, None, None, &postings);
        Ok(())
    }

    pub(crate) fn tcc(&mut self, name: u8, command: &TccCommand) -> TccOutcome {
        let (outcome, step) = tcc::apply(&self.head.balances, self.biz.get(&name), command);
        self.post(EntryKind::Confirm, Some(Key::Biz(name)), None, &step.postings);
        self.biz.extend(step.reservation.map(|reservation| (name, reservation)));
        outcome
    }

    pub(crate) fn key(&self, nonce: u8) -> Key {
        Key::Slot(nonce, self.slots.get(&nonce).map_or(0, |reservation| reservation.attempt))
    }

    pub(crate) fn grant(&mut self, nonce: u8, max_cost: u64) -> GrantOutcome {
        let name = u8::try_from(max_cost % 250).unwrap() + 1;
        let request = request(name, max_cost);
        let (outcome, step) =
            sponsorship::grant(&self.head.balances, self.slots.get(&nonce), &request);
        self.keep(nonce, EntryKind::Reserve, step);
        outcome
    }

    pub(crate) fn confirm(&mut self, nonce: u8, fact: &ChainFact) -> FactOutcome {
        let (outcome, step) =
            sponsorship::confirm(&self.head.balances, self.slots.get(&nonce), fact);
        self.keep(nonce, EntryKind::Confirm, step);
        outcome
    }

    pub(crate) fn undo(&mut self, nonce: u8, fact: &ChainFact) -> FactOutcome {
        let (outcome, step) = sponsorship::undo(&self.head.balances, self.slots.get(&nonce), fact);
        self.keep(nonce, EntryKind::Undo, step);
        outcome
    }

    pub(crate) fn finalise(&mut self, nonce: u8, fact: &ChainFact) -> FactOutcome {
        let (outcome, step) = sponsorship::finalise(self.slots.get(&nonce), fact);
        self.keep(nonce, EntryKind::Finalise, step);
        outcome
    }

    pub(crate) fn release(&mut self, nonce: u8) -> CancelOutcome {
        let proof = release_proof(crate::fixtures::slot(nonce), HEAD + VALIDITY + 1);
        let (outcome, step) = sponsorship::cancel(self.slots.get(&nonce), &proof);
        self.keep(nonce, EntryKind::Release, step);
        outcome
    }

    pub(crate) fn sweep(&mut self) {
        for due in self.lots.due(self.now) {
            let postings = Vec::from_iter(due.posting);
            self.post(EntryKind::Expire, None, Some(due.no), &postings);
            self.lots.sweep(due.no).unwrap();
        }
    }

    fn keep(
        &mut self,
        nonce: u8,
        kind: EntryKind,
        step: domain::ledger::Step<SponsorshipReservation>,
    ) {
        self.slots.extend(step.reservation.map(|reservation| (nonce, reservation)));
        self.post(kind, Some(self.key(nonce)), None, &step.postings);
    }

    fn post(
        &mut self,
        kind: EntryKind,
        key: Option<Key>,
        named: Option<LotNo>,
        postings: &[Posting],
    ) {
        let terms = Terms { named, now: self.now, expired_refund: self.rule };
        let mut none = Legs::new();
        let legs = key.map_or(&mut none, |key| self.legs.entry(key).or_default());
        let spread = buckets::spread(&mut self.lots, legs, &terms, postings).unwrap();
        assert!(key.is_some() || none.is_empty(), "a leg without a reservation");
        let line = Line {
            kind,
            reservation: key.map(Key::id),
            reference: None,
            incarnation: Incarnation(1),
            recorded_at: self.now,
        };
        for parts in [&spread.parts, &spread.forfeited] {
            assert!(parts.iter().all(|part| !part.posting.amount.is_zero()));
            self.entries.extend(journal::append_parts(&mut self.head, &line, parts).unwrap());
        }
    }

    /// What the last commands wrote, behind the first so many entries, as people read it.
    pub(crate) fn said(&self, known: usize) -> Vec<String> {
        let entries = self.entries.iter().skip(known);
        entries
            .map(|entry| {
                let Posting { from, to, amount } = entry.posting;
                let bucket = entry.lot.as_ref().map_or("–", |lot| lot.bucket.as_str());
                format!("{from} → {to} {} of {bucket}", amount.micropoints())
            })
            .collect()
    }

    fn says(&mut self, command: impl FnOnce(&mut Self)) -> Vec<String> {
        let known = self.entries.len();
        command(self);
        self.said(known)
    }

    fn available(&self, bucket: &str) -> u64 {
        let named = self.lots.iter().filter(|(_, state)| state.lot.bucket.as_str() == bucket);
        named.map(|(_, state)| state.available.micropoints()).sum()
    }
}

/// Soon and late expire; ever does not.
fn three() -> Holder {
    Holder::with(&[("ever", None, 10), ("late", Some(90), 10), ("soon", Some(50), 10)])
}

fn landed(cost: u64) -> ChainFact {
    crate::fixtures::landed(1, cost)
}

#[test]
fn what_expires_soonest_is_spent_first_and_the_default_bucket_last() {
    let said = three().says(|holder| holder.debit(35).unwrap());
    assert_eq!(
        said,
        [
            "available → redeemed 10 of soon",
            "available → redeemed 10 of late",
            "available → redeemed 10 of ever",
            "available → redeemed 5 of –",
        ]
    );
}

#[test]
fn among_those_that_never_expire_the_older_goes_first() {
    let mut holder = Holder::with(&[("b", None, 5), ("a", None, 5)]);
    let said = holder.says(|holder| holder.debit(6).unwrap());
    assert_eq!(said, ["available → redeemed 5 of b", "available → redeemed 1 of a"]);
}

#[test]
fn one_bucket_with_two_expiries_is_two_lots_and_the_same_twice_is_one() {
    let mut holder = Holder::with(&[("x", Some(9), 1), ("x", Some(8), 2), ("x", Some(9), 4)]);
    let held = holder.lots.iter().map(|(no, state)| (no.0, state.available.micropoints()));
    assert_eq!(held.collect::<Vec<_>>(), [(1, 5), (2, 2)]);
    assert_eq!(holder.says(|holder| holder.debit(2).unwrap()), ["available → redeemed 2 of x"]);
    assert_eq!(holder.lots.get(LotNo(2)).unwrap().available, micro(0));
}

#[test]
fn a_settlement_spends_the_soonest_and_the_rest_returns_in_reverse() {
    let mut holder = three();
    holder.grant(0, 35);
    holder.confirm(0, &landed(12));
    let known = holder.entries.len() - 2;
    assert_eq!(holder.said(known), ["reserved → spent 10 of soon", "reserved → spent 2 of late"]);
    let said = holder.says(|holder| {
        holder.finalise(0, &landed(12));
    });
    assert_eq!(
        said,
        [
            "reserved → available 5 of –",
            "reserved → available 10 of ever",
            "reserved → available 8 of late",
        ]
    );
}

#[test]
fn an_undo_gives_every_lot_what_it_gave_and_a_late_landing_takes_from_available() {
    let mut holder = three();
    holder.grant(0, 15);
    holder.release(0);
    assert_eq!([10, 10, 10], ["soon", "late", "ever"].map(|name| holder.available(name)));
    let known = holder.entries.len();
    holder.confirm(0, &landed(14));
    holder.undo(0, &landed(14));
    assert_eq!(
        holder.said(known),
        [
            "available → spent 10 of soon",
            "available → spent 4 of late",
            "spent → available 4 of late",
            "spent → available 10 of soon",
        ]
    );
}

#[test]
fn a_credit_repays_the_debt_from_its_own_bucket() {
    let mut holder = Holder::new();
    holder.credit(None, 10).unwrap();
    holder.grant(0, 10);
    holder.confirm(0, &landed(16));
    let said = holder.says(|holder| holder.credit(Some(&lot("gift", Some(9))), 8).unwrap());
    assert_eq!(said, ["issued → available 8 of gift", "available → debt 6 of gift"]);
    assert_eq!(holder.available("gift"), 2);
    let said = holder.says(|holder| {
        holder.undo(0, &landed(16));
    });
    assert_eq!(said, ["spent → reserved 10 of –", "spent → available 6 of –"]);
}

#[test]
fn reserved_points_do_not_expire_and_return_by_the_companys_rule() {
    for (rule, said) in [
        (ExpiredRefund::Keep, vec!["reserved → available 4 of –"]),
        (
            ExpiredRefund::Forfeit,
            vec!["reserved → available 4 of soon", "available → expired 4 of soon"],
        ),
    ] {
        let mut holder = Holder::with(&[("soon", Some(50), 10)]);
        holder.rule = rule;
        holder.tcc(1, &try_for(4));
        holder.now = DbTime(50);
        let swept = holder.says(Holder::sweep);
        assert_eq!(swept, ["available → expired 6 of soon"]);
        let back = holder.says(|holder| {
            holder.tcc(1, &TccCommand::Cancel);
        });
        assert_eq!(back, said);
        assert_eq!(holder.available("soon"), 0);
    }
}

#[test]
fn what_is_expired_by_now_counts_as_expired_before_it_is_swept() {
    let mut holder = Holder::with(&[("soon", Some(50), 10)]);
    holder.tcc(1, &try_for(4));
    holder.now = DbTime(50);
    holder.tcc(1, &confirm_of(1));
    assert_eq!(holder.available("soon"), 6, "what came back is not of the lot any more");
    holder.now = DbTime(49);
    holder.tcc(2, &try_for(4));
    holder.tcc(2, &TccCommand::Cancel);
    assert_eq!(holder.available("soon"), 6);
}

#[test]
fn a_credit_to_a_bucket_whose_time_is_past_or_was_swept_is_refused() {
    let mut holder = Holder::with(&[("soon", Some(50), 10)]);
    holder.now = DbTime(50);
    let expired = Err(FundsRefusal::Bucket(BucketRefusal::Expired));
    assert_eq!(holder.credit(Some(&lot("soon", Some(50))), 1), expired);
    holder.sweep();
    // A clock that was set back does not open it again.
    holder.now = DbTime(49);
    assert_eq!(holder.credit(Some(&lot("soon", Some(50))), 1), expired);
    assert_eq!(holder.credit(Some(&lot("soon", Some(51))), 1), Ok(()));
}

#[test]
fn an_account_has_a_limited_number_of_lots_and_swept_ones_do_not_count() {
    let mut lots = Lots::default();
    for expires_at in 1..=i64::try_from(MAX_LOTS).unwrap() {
        lots.open(&lot("x", Some(expires_at)), DbTime(0)).unwrap();
    }
    let another = lot("y", None);
    assert_eq!(lots.open(&another, DbTime(0)), Err(BucketRefusal::TooMany));
    assert!(lots.open(&lot("x", Some(7)), DbTime(0)).is_ok(), "one that is there takes more");
    lots.sweep(LotNo(1)).unwrap();
    assert!(lots.open(&another, DbTime(1)).is_ok());
}

#[test]
fn legs_that_do_not_fit_are_a_defect() {
    let mut lots = Lots::default();
    let no = lots.open(&lot("x", None), DbTime(0)).unwrap();
    let terms = Terms { named: None, now: DbTime(0), expired_refund: ExpiredRefund::Keep };
    let back = [posting(Column::Reserved, Column::Available, 3)];
    let leg = Leg { reserved: micro(4), ..Leg::default() };
    let mut legs = Legs::from([(no, leg)]);
    let refused = buckets::spread(&mut lots, &mut legs, &terms, &back);
    assert_eq!(refused, Err(BucketError::InPart(micro(3))));
    let mut unknown = Legs::from([(LotNo(7), leg)]);
    let refused = buckets::spread(&mut lots, &mut unknown, &terms, &back);
    assert_eq!(refused, Err(BucketError::NoLot(LotNo(7))));
    let named = Terms { named: Some(no), ..terms };
    let expiry = [posting(Column::Available, Column::Expired, 1)];
    let refused = buckets::spread(&mut lots, &mut Legs::new(), &named, &expiry);
    assert_eq!(refused, Err(BucketError::OutOfRange(no)));
    assert_eq!(lots.sweep(LotNo(7)), Err(BucketError::NoLot(LotNo(7))));
}

#[test]
fn an_entry_is_bound_to_its_bucket_and_expiry() {
    let mut holder = Holder::with(&[("soon", Some(50), 10)]);
    let last = holder.entries.pop().unwrap();
    let before = holder.entries.last().unwrap().hash;
    assert_eq!(journal::hash(&before, &last), last.hash);
    for other in
        [None, Some(lot("soom", Some(50))), Some(lot("soon", Some(51))), Some(lot("soon", None))]
    {
        let tampered = Entry { lot: other, ..last.clone() };
        assert_ne!(journal::hash(&before, &tampered), last.hash);
    }
}

#[test]
fn postings_of_an_account_without_lots_stay_as_they_are() {
    let postings = [
        posting(Column::Reserved, Column::Spent, 3),
        posting(Column::Available, Column::Spent, 2),
        posting(Column::Debt, Column::Spent, 1),
    ];
    let terms = Terms { named: None, now: DbTime(0), expired_refund: ExpiredRefund::Keep };
    let (mut lots, mut legs) = (Lots::default(), Legs::new());
    let spread = buckets::spread(&mut lots, &mut legs, &terms, &postings).unwrap();
    assert_eq!(spread.parts, postings.map(|posting| Part { posting, lot: None }));
    assert!(legs.is_empty() && spread.forfeited.is_empty());
}

#[test]
fn a_buckets_name_is_short_lower_case_and_begins_with_a_letter_or_digit() {
    for good in ["a", "0", "gold-2026_q1.x", &"z".repeat(32)] {
        assert!(good.parse::<BucketName>().is_ok(), "{good}");
    }
    for bad in ["", "-a", ".", "_", "Gold", "a b", "é", "a\n", &"z".repeat(33)] {
        assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
    }
}
