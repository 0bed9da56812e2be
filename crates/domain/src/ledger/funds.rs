//! Credits and debits: points that enter and leave an account.

use super::buckets::BucketRefusal;
use super::{Balances, Column, Posting};
use crate::Points;

/// A debit, or a credit, that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FundsRefusal {
    /// The account has fewer points than the debit takes.
    #[error("the account has {available} points available, the debit takes {requested}")]
    InsufficientPoints {
        /// What is available.
        available: Points,
        /// What was to be taken.
        requested: Points,
    },
    /// The account would hold more than [`Points::MAX`].
    #[error("the account would hold more than {} points", Points::MAX)]
    BalanceTooLarge,
    /// An amount of zero, which would leave an entry that says nothing.
    #[error("an amount must be more than 0")]
    ZeroAmount,
    /// The bucket that a credit names cannot take it.
    #[error(transparent)]
    Bucket(#[from] BucketRefusal),
}

/// A credit of `amount`: `issued → available`, and what the account owes is repaid first.
///
/// # Errors
/// When the amount is zero or the account would overflow.
pub fn credit(balances: &Balances, amount: Points) -> Result<Vec<Posting>, FundsRefusal> {
    if amount.is_zero() {
        return Err(FundsRefusal::ZeroAmount);
    }
    // Every point an account can ever hold passed through here, so that with this bound no later
    // move between the columns can overflow.
    [balances.available, balances.reserved, balances.spent]
        .into_iter()
        .try_fold(amount, Points::checked_add)
        .ok_or(FundsRefusal::BalanceTooLarge)?;
    let repaid = amount.min(balances.debt);
    let mut postings = vec![Posting::new(Column::Issued, Column::Available, amount)];
    if !repaid.is_zero() {
        postings.push(Posting::new(Column::Available, Column::Debt, repaid));
    }
    Ok(postings)
}

/// A debit of `amount`: `available → redeemed`.
///
/// # Errors
/// When the amount is zero or more than what is available.
pub fn debit(balances: &Balances, amount: Points) -> Result<Vec<Posting>, FundsRefusal> {
    if amount.is_zero() {
        return Err(FundsRefusal::ZeroAmount);
    }
    if balances.available < amount {
        return Err(FundsRefusal::InsufficientPoints {
            available: balances.available,
            requested: amount,
        });
    }
    Ok(vec![Posting::new(Column::Available, Column::Redeemed, amount)])
}
