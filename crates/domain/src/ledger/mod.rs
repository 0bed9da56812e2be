//! Double entry and the two reservation machines.
//!
//! A command goes through one pure function that takes the account's balances, the reservation that
//! the command's key found, and the command; it gives an outcome and a [`Step`]: the postings to
//! append and the reservation as it will stand. The store locks, loads, applies and writes; it holds
//! no rule of its own.
//!
//! | module | commands |
//! | --- | --- |
//! | [`funds`] | credit, debit |
//! | [`tcc`] | try, confirm, cancel, expire: keyed by biz id, commanded by the company's services |
//! | [`sponsorship`] | grant (try and extend), close, confirm, undo, finalise, cancel: keyed by slot, commanded by requests and by the chain only |
//! | [`buckets`] | none: what the postings of the others are in points that expire or are of a kind |
//! | [`posting`] | the chart of accounts and what a posting does to the balances |
//! | [`journal`] | the entry and its hash chain |
//!
//! **Invariant:** a step's postings never take a user column below zero, and a refusal has none.

pub mod buckets;
pub mod funds;
pub mod journal;
pub mod posting;
pub mod sponsorship;
pub mod tcc;

pub use posting::{Balances, Column, Posting, PostingError};

/// What a command changes: nothing, unless the outcome says that it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<R> {
    /// Lines to append to the account's journal, in order.
    pub postings: Vec<Posting>,
    /// The reservation as it stands after the command; `None` where it did not change.
    pub reservation: Option<R>,
}

impl<R> Step<R> {
    /// A command that changes nothing.
    #[must_use]
    pub const fn unchanged() -> Self {
        Self { postings: Vec::new(), reservation: None }
    }

    /// A command that leaves the reservation as given, with these postings; empty ones are left out.
    fn to(reservation: R, postings: impl IntoIterator<Item = Posting>) -> Self {
        Self {
            postings: postings.into_iter().filter(|posting| !posting.amount.is_zero()).collect(),
            reservation: Some(reservation),
        }
    }
}
