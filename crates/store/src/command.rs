//! What a command is to the writer.

use crate::StoreError;
use crate::book::{Book, Needs, Owner};

/// One command on one account: what it reads, and what it decides. It may be decided again after a failure that says
/// nothing about the commit, so that it must find what an earlier decision of itself committed, by its key.
pub(crate) trait Command: Send + Sync + 'static {
    /// What the command answers.
    type Outcome: Send + 'static;

    /// Whether all that it reads changes only together with its account's sequences of entries and events, so that it may
    /// be decided without the account's lock while it is alone.
    const ALONE: bool;

    /// The account whose row it takes.
    fn owner(&self) -> Owner;

    /// The rows that the decision reads.
    fn needs(&self, needs: &mut Needs);

    /// Decides on the rows that the batch has loaded and changed so far, and leaves in the book what is to be written.
    /// Nothing of the answer leaves before that is committed.
    ///
    /// # Errors
    /// A defect, which ends the whole batch: it is decided again, one command at a time. A refusal is an outcome.
    fn decide(&self, book: &mut Book) -> Result<Self::Outcome, StoreError>;
}
