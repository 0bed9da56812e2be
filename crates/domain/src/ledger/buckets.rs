//! Points that expire or are of a kind: the lots of an account, and the legs of its reservations.
//!
//! The machines decide totals and know nothing of this. [`spread`] turns each of their postings into
//! postings of single lots. A *bucket* is a name that the company gives points; a *lot* is what an
//! account has of one bucket with one expiry. The *default bucket* is what is in no lot: it has no
//! name and no row, never expires and is spent last. An account without lots needs nothing of this.
//!
//! | posting | lots |
//! | --- | --- |
//! | available → reserved, spent, redeemed | the soonest to expire first, then those that never do by age, then the default bucket |
//! | reserved → spent | the same order among the lots that the reservation's points came from |
//! | spent → reserved, reserved → available, spent → available | each lot gets what it gave, in reverse; the rest is the default bucket's |
//! | issued → available, available → debt | the lot that the credit names; a credit repays from itself |
//! | available → expired | the lot that expires |
//!
//! What comes back to a lot that has expired meanwhile goes by the company's [`ExpiredRefund`]. Points
//! that are reserved do not expire while they are.
//!
//! **Invariant:** the lots together never hold more than what is available; a reservation's legs never
//! more than the reservation. Everything that gives back gives back all that was taken.

mod spread;

use core::fmt;
use std::collections::BTreeMap;

use super::tcc::DbTime;
use super::{Column, Posting};
use crate::Points;
use crate::ids::BucketName;

pub use spread::{Part, Spread, Terms, spread};

/// The most lots that an account may have which are not swept: a lot a day for more than two years,
/// and little enough to be loaded with every command.
pub const MAX_LOTS: usize = 1_000;

/// Which points these are: what an entry says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lot {
    /// The company's name of them.
    pub bucket: BucketName,
    /// From when on they cannot be given back any more; `None` for never.
    pub expires_at: Option<DbTime>,
}

impl Lot {
    /// Whether its time is past.
    #[must_use]
    pub fn is_expired(&self, now: DbTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The number of a lot in its account, from 1, by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotNo(pub i32);

impl fmt::Display for LotNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One lot as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotState {
    /// Which points.
    pub lot: Lot,
    /// What of them may be spent.
    pub available: Points,
    /// Whether it has expired and its points were taken: nothing enters it any more.
    pub is_swept: bool,
}

/// The lots of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lots {
    last: LotNo,
    by_no: BTreeMap<LotNo, LotState>,
}

/// What a reservation took from one lot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// What was set aside, bumps included.
    pub reserved: Points,
    /// What of it is spent.
    pub settled: Points,
    /// What of it was given back.
    pub returned: Points,
    /// What was spent from available, because the reservation held too little or had been released.
    pub taken: Points,
}

impl Leg {
    /// What is still set aside.
    #[must_use]
    pub const fn held(&self) -> Points {
        self.reserved.saturating_sub(self.settled).saturating_sub(self.returned)
    }
}

/// The legs of one reservation that are not the default bucket's.
pub type Legs = BTreeMap<LotNo, Leg>;

/// What becomes of points that return to a lot which has expired meanwhile: the company's rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredRefund {
    /// They go to the default bucket.
    #[default]
    Keep,
    /// They expire at once.
    Forfeit,
}

impl ExpiredRefund {
    /// Both rules.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Forfeit];

    /// The rule's name in SQL and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Forfeit => "forfeit",
        }
    }
}

/// A credit to a bucket that is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketRefusal {
    /// Its time is past already.
    #[error("the bucket's expiresAt is not later than now")]
    Expired,
    /// The account has as many lots as one may have.
    #[error("the account has {MAX_LOTS} buckets already, each expiry counted")]
    TooMany,
}

/// Lots or legs that a posting does not fit: a defect of Stipend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// A leg names a lot that is not there.
    #[error("there is no lot {0}")]
    NoLot(LotNo),
    /// A lot holds less than the posting takes from it, or would overflow.
    #[error("lot {0} cannot bear the posting")]
    OutOfRange(LotNo),
    /// A posting gives back less than the lots gave.
    #[error("a posting of {0} gives back less than was taken")]
    InPart(Points),
}

/// A lot whose time is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The lot.
    pub no: LotNo,
    /// What takes its points out; `None` where it has none.
    pub posting: Option<Posting>,
}

impl Lots {
    /// Lots as they were kept; `last` is the number of the youngest that the account ever had.
    #[must_use]
    pub fn new(last: LotNo, lots: impl IntoIterator<Item = (LotNo, LotState)>) -> Self {
        Self { last, by_no: lots.into_iter().collect() }
    }

    /// The number of the youngest lot.
    #[must_use]
    pub const fn last(&self) -> LotNo {
        self.last
    }

    /// A lot.
    #[must_use]
    pub fn get(&self, no: LotNo) -> Option<&LotState> {
        self.by_no.get(&no)
    }

    /// All of them, by age.
    pub fn iter(&self) -> impl Iterator<Item = (LotNo, &LotState)> {
        self.by_no.iter().map(|(no, state)| (*no, state))
    }

    /// What they hold together, in micropoints.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.by_no.values().map(|state| u128::from(state.available.micropoints())).sum()
    }

    /// The lot for a credit, made where the account has none.
    ///
    /// # Errors
    /// When its time is past, or the account has too many lots.
    pub fn open(&mut self, lot: &Lot, now: DbTime) -> Result<LotNo, BucketRefusal> {
        let found = self.by_no.iter().find(|(_, state)| state.lot == *lot);
        if lot.is_expired(now) || found.is_some_and(|(_, state)| state.is_swept) {
            return Err(BucketRefusal::Expired);
        }
        if let Some((no, _)) = found {
            return Ok(*no);
        }
        if self.by_no.values().filter(|state| !state.is_swept).count() >= MAX_LOTS {
            return Err(BucketRefusal::TooMany);
        }
        let no = LotNo(self.last.0.checked_add(1).ok_or(BucketRefusal::TooMany)?);
        let state = LotState { lot: lot.clone(), available: Points::ZERO, is_swept: false };
        self.by_no.insert(no, state);
        self.last = no;
        Ok(no)
    }

    /// The lots that are past their time and not swept yet, by age.
    #[must_use]
    pub fn due(&self, now: DbTime) -> Vec<Due> {
        let due = self.iter().filter(|(_, state)| !state.is_swept && state.lot.is_expired(now));
        due.map(|(no, state)| {
            let expiry = Posting::new(Column::Available, Column::Expired, state.available);
            Due { no, posting: (!state.available.is_zero()).then_some(expiry) }
        })
        .collect()
    }

    /// Notes that a lot has expired and its points were taken.
    ///
    /// # Errors
    /// When there is no such lot, or it still has points.
    pub fn sweep(&mut self, no: LotNo) -> Result<(), BucketError> {
        let state = self.state(no)?;
        if !state.available.is_zero() {
            return Err(BucketError::OutOfRange(no));
        }
        state.is_swept = true;
        Ok(())
    }

    /// Numbers in the order of spending: the soonest to expire first, then those that never do.
    fn in_order(&self) -> Vec<LotNo> {
        let mut order: Vec<_> = self
            .by_no
            .iter()
            .map(|(no, state)| (state.lot.expires_at.is_none(), state.lot.expires_at, *no))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, no)| no).collect()
    }

    fn state(&mut self, no: LotNo) -> Result<&mut LotState, BucketError> {
        self.by_no.get_mut(&no).ok_or(BucketError::NoLot(no))
    }

    fn put(&mut self, no: LotNo, amount: Points) -> Result<(), BucketError> {
        let state = self.state(no)?;
        state.available = state.available.checked_add(amount).ok_or(BucketError::OutOfRange(no))?;
        Ok(())
    }

    fn take(&mut self, no: LotNo, amount: Points) -> Result<(), BucketError> {
        let state = self.state(no)?;
        state.available = state.available.checked_sub(amount).ok_or(BucketError::OutOfRange(no))?;
        Ok(())
    }
}
