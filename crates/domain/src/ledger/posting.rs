//! The chart of accounts and what a posting does to the balances.

use core::fmt;

use crate::Points;

/// A column of the chart of accounts. The first four are a user's balances, the others belong to the
/// system and are the other side of what enters or leaves a user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// What the user may spend.
    Available,
    /// What open reservations hold.
    Reserved,
    /// What settled operations cost.
    Spent,
    /// What the user owes after a late settlement; its entries carry the opposite sign.
    Debt,
    /// Where credits come from.
    Issued,
    /// Where debits go.
    Redeemed,
    /// Where expired points go.
    Expired,
    /// Where costs stand that belong to nobody yet.
    Suspense,
    /// What promotions pay.
    Promo,
    /// What the company pays.
    House,
}

impl Column {
    /// Every column, in the order of the chart.
    pub const ALL: [Self; 10] = [
        Self::Available,
        Self::Reserved,
        Self::Spent,
        Self::Debt,
        Self::Issued,
        Self::Redeemed,
        Self::Expired,
        Self::Suspense,
        Self::Promo,
        Self::House,
    ];

    /// The column's name in SQL and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Spent => "spent",
            Self::Debt => "debt",
            Self::Issued => "issued",
            Self::Redeemed => "redeemed",
            Self::Expired => "expired",
            Self::Suspense => "suspense",
            Self::Promo => "promo",
            Self::House => "house",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One transfer: `amount` leaves one column and enters another, so that it sums to zero by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Posting {
    /// The column that the points leave.
    pub from: Column,
    /// The column that they enter.
    pub to: Column,
    /// How many.
    pub amount: Points,
}

impl Posting {
    pub(super) const fn new(from: Column, to: Column, amount: Points) -> Self {
        Self { from, to, amount }
    }
}

/// A user's four balances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// What the user may spend.
    pub available: Points,
    /// What open reservations hold.
    pub reserved: Points,
    /// What settled operations cost.
    pub spent: Points,
    /// What the user owes.
    pub debt: Points,
}

/// A posting that the balances cannot take. From a step of the machines it is a defect of Stipend:
/// the command is aborted and an alarm raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostingError {
    /// The column holds less than the posting takes.
    #[error("{column} would fall below zero by a posting of {amount}")]
    Overdrawn {
        /// The column.
        column: Column,
        /// What was to be taken.
        amount: Points,
    },
    /// The column would pass [`Points::MAX`].
    #[error("{column} would overflow by a posting of {amount}")]
    Overflow {
        /// The column.
        column: Column,
        /// What was to be added.
        amount: Points,
    },
}

impl Balances {
    /// The balances after one posting.
    ///
    /// # Errors
    /// When a user column would fall below zero or overflow; the balances stay as they were.
    pub fn after(&self, posting: &Posting) -> Result<Self, PostingError> {
        let mut balances = *self;
        balances.take(posting.from, posting.amount)?;
        balances.put(posting.to, posting.amount)?;
        Ok(balances)
    }

    /// The balances after all postings, in order.
    ///
    /// # Errors
    /// As [`Balances::after`], at the first posting that does not fit.
    pub fn after_all(&self, postings: &[Posting]) -> Result<Self, PostingError> {
        postings.iter().try_fold(*self, |balances, posting| balances.after(posting))
    }

    fn take(&mut self, column: Column, amount: Points) -> Result<(), PostingError> {
        // Debt is what the house lent: taking from it lends more.
        if column == Column::Debt {
            return self
                .debt
                .checked_add(amount)
                .map(|debt| self.debt = debt)
                .ok_or(PostingError::Overflow { column, amount });
        }
        let Some(balance) = self.user_column(column) else {
            return Ok(());
        };
        *balance = balance.checked_sub(amount).ok_or(PostingError::Overdrawn { column, amount })?;
        Ok(())
    }

    fn put(&mut self, column: Column, amount: Points) -> Result<(), PostingError> {
        if column == Column::Debt {
            return self
                .debt
                .checked_sub(amount)
                .map(|debt| self.debt = debt)
                .ok_or(PostingError::Overdrawn { column, amount });
        }
        let Some(balance) = self.user_column(column) else {
            return Ok(());
        };
        *balance = balance.checked_add(amount).ok_or(PostingError::Overflow { column, amount })?;
        Ok(())
    }

    fn user_column(&mut self, column: Column) -> Option<&mut Points> {
        match column {
            Column::Available => Some(&mut self.available),
            Column::Reserved => Some(&mut self.reserved),
            Column::Spent => Some(&mut self.spent),
            Column::Debt => Some(&mut self.debt),
            Column::Issued
            | Column::Redeemed
            | Column::Expired
            | Column::Suspense
            | Column::Promo
            | Column::House => None,
        }
    }
}
