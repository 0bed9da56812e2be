//! A posting of the machines as postings of single lots.

use super::{BucketError, ExpiredRefund, Leg, Legs, Lot, LotNo, Lots};
use crate::Points;
use crate::ledger::tcc::DbTime;
use crate::ledger::{Column, Posting};

/// A posting of the points of one lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The transfer.
    pub posting: Posting,
    /// Which points: of what is available those that leave or enter it, otherwise those that the
    /// reservation took. `None` for the default bucket.
    pub lot: Option<Lot>,
}

/// What a command says of lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The lot that a credit or an expiry names; `None` for the default bucket.
    pub named: Option<LotNo>,
    /// Database time, read under the account's lock.
    pub now: DbTime,
    /// What becomes of points that return to a lot which has expired.
    pub expired_refund: ExpiredRefund,
}

/// What a command's postings are in lots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// In order.
    pub parts: Vec<Part>,
    /// What returned to a lot that has expired and expires at once, after the parts.
    pub forfeited: Vec<Part>,
}

/// Spreads a command's postings over the account's lots and the legs of its reservation.
///
/// # Errors
/// When they do not fit, which is a defect; lots and legs are to be thrown away then.
pub fn spread(
    lots: &mut Lots,
    legs: &mut Legs,
    terms: &Terms,
    postings: &[Posting],
) -> Result<Spread, BucketError> {
    if let Some(no) = legs.keys().find(|no| lots.get(**no).is_none()) {
        return Err(BucketError::NoLot(*no));
    }
    let order = lots.in_order();
    let mut spreading = Spreading { lots, legs, order, terms, spread: Spread::default() };
    postings.iter().try_for_each(|posting| spreading.posting(posting))?;
    Ok(spreading.spread)
}

struct Spreading<'a> {
    lots: &'a mut Lots,
    legs: &'a mut Legs,
    /// Of spending.
    order: Vec<LotNo>,
    terms: &'a Terms,
    spread: Spread,
}

/// What of a leg an amount is.
type Share = fn(&mut Leg) -> &mut Points;

impl Spreading<'_> {
    fn posting(&mut self, posting: &Posting) -> Result<(), BucketError> {
        match (posting.from, posting.to) {
            (Column::Issued, Column::Available) => self.named(posting, Lots::put),
            (Column::Available, Column::Debt | Column::Expired) => self.named(posting, Lots::take),
            (Column::Available, Column::Reserved) => {
                self.spend(posting, Some(|leg| &mut leg.reserved))
            }
            (Column::Available, Column::Spent) => self.spend(posting, Some(|leg| &mut leg.taken)),
            (Column::Available, _) => self.spend(posting, None),
            (Column::Reserved, Column::Spent) => self.settle(posting),
            (Column::Spent, Column::Reserved) => {
                self.give_back(posting, |leg| core::mem::take(&mut leg.settled), false)
            }
            (Column::Reserved, Column::Available) => {
                self.give_back(posting, Leg::return_held, true)
            }
            (Column::Spent, Column::Available) => {
                self.give_back(posting, |leg| core::mem::take(&mut leg.taken), true)
            }
            // Nothing of these is in a lot.
            _ => {
                self.add(posting, posting.amount, None);
                Ok(())
            }
        }
    }

    /// Of the lot that the command names.
    fn named(
        &mut self,
        posting: &Posting,
        change: fn(&mut Lots, LotNo, Points) -> Result<(), BucketError>,
    ) -> Result<(), BucketError> {
        if let Some(no) = self.terms.named {
            change(self.lots, no, posting.amount)?;
        }
        self.add(posting, posting.amount, self.terms.named);
        Ok(())
    }

    /// From what is available, in the order of spending; the reservation's legs remember it.
    fn spend(&mut self, posting: &Posting, share: Option<Share>) -> Result<(), BucketError> {
        let mut left = posting.amount;
        for no in self.order.clone() {
            let available = self.lots.get(no).map_or(Points::ZERO, |state| state.available);
            let amount = available.min(left);
            if amount.is_zero() {
                continue;
            }
            self.lots.take(no, amount)?;
            if let Some(share) = share {
                let leg = share(self.legs.entry(no).or_default());
                *leg = leg.checked_add(amount).ok_or(BucketError::OutOfRange(no))?;
            }
            self.add(posting, amount, Some(no));
            left = left.saturating_sub(amount);
        }
        self.add(posting, left, None);
        Ok(())
    }

    /// From what the reservation holds, in the order of spending.
    fn settle(&mut self, posting: &Posting) -> Result<(), BucketError> {
        let mut left = posting.amount;
        for no in self.order.clone() {
            let Some(leg) = self.legs.get_mut(&no) else { continue };
            let amount = leg.held().min(left);
            leg.settled = leg.settled.checked_add(amount).ok_or(BucketError::OutOfRange(no))?;
            left = left.saturating_sub(amount);
            self.add(posting, amount, Some(no));
        }
        self.add(posting, left, None);
        Ok(())
    }

    /// Gives every leg back what it gave, in the reverse order, the default bucket's share first: what
    /// the legs did not give was its.
    fn give_back(
        &mut self,
        posting: &Posting,
        take_back: fn(&mut Leg) -> Points,
        is_available: bool,
    ) -> Result<(), BucketError> {
        let mut shares = Vec::new();
        let mut rest = posting.amount;
        for no in self.order.iter().rev().copied() {
            let Some(leg) = self.legs.get_mut(&no) else { continue };
            let amount = take_back(leg);
            rest = rest.checked_sub(amount).ok_or(BucketError::InPart(posting.amount))?;
            shares.push((no, amount));
        }
        self.add(posting, rest, None);
        for (no, amount) in shares.into_iter().filter(|(_, amount)| !amount.is_zero()) {
            if is_available {
                self.refund(posting, no, amount)?;
            } else {
                self.add(posting, amount, Some(no));
            }
        }
        Ok(())
    }

    /// Puts points back into their lot, or where its company wants them if it has expired meanwhile.
    fn refund(&mut self, posting: &Posting, no: LotNo, amount: Points) -> Result<(), BucketError> {
        let state = self.lots.get(no).ok_or(BucketError::NoLot(no))?;
        if !state.is_swept && !state.lot.is_expired(self.terms.now) {
            self.add(posting, amount, Some(no));
            return self.lots.put(no, amount);
        }
        match self.terms.expired_refund {
            ExpiredRefund::Keep => self.add(posting, amount, None),
            ExpiredRefund::Forfeit => {
                let lot = Some(state.lot.clone());
                let expiry = Posting::new(Column::Available, Column::Expired, amount);
                self.add(posting, amount, Some(no));
                self.spread.forfeited.push(Part { posting: expiry, lot });
            }
        }
        Ok(())
    }

    fn add(&mut self, posting: &Posting, amount: Points, no: Option<LotNo>) {
        if amount.is_zero() {
            return;
        }
        let lot = no.and_then(|no| self.lots.get(no)).map(|state| state.lot.clone());
        self.spread.parts.push(Part { posting: Posting { amount, ..*posting }, lot });
    }
}

impl Leg {
    /// Gives back all that is held.
    fn return_held(&mut self) -> Points {
        let held = self.held();
        self.returned = self.returned.checked_add(held).unwrap_or(self.reserved);
        held
    }
}
