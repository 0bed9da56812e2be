//! A command in the queue, whatever its kind.

use tokio::sync::oneshot;

use crate::StoreError;
use crate::book::{Book, Needs, Owner};
use crate::command::Command;

/// What a lane knows of a command.
pub(super) trait Job: Send {
    fn owner(&self) -> Owner;

    /// [`Command::ALONE`].
    fn may_go_alone(&self) -> bool;

    fn needs(&self, needs: &mut Needs);

    /// Decides, and keeps the outcome until it is committed.
    fn decide(&mut self, book: &mut Book) -> Result<(), StoreError>;

    /// Tells the caller; an outcome that was decided leaves only when it is committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);

    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
}

/// A command with its way back.
pub(super) struct Queued<C: Command> {
    command: C,
    decided: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, StoreError>>,
}

impl<C: Command> Queued<C> {
    pub(super) const fn new(
        command: C,
        reply: oneshot::Sender<Result<C::Outcome, StoreError>>,
    ) -> Self {
        Self { command, decided: None, reply }
    }
}

impl<C: Command> Job for Queued<C> {
    fn owner(&self) -> Owner {
        self.command.owner()
    }

    fn may_go_alone(&self) -> bool {
        C::ALONE
    }

    fn needs(&self, needs: &mut Needs) {
        self.command.needs(needs);
    }

    fn decide(&mut self, book: &mut Book) -> Result<(), StoreError> {
        self.decided = Some(self.command.decide(book)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { decided, reply, .. } = *self;
        let undecided = StoreError::Corrupt("a command was committed and not decided");
        let outcome = committed.and_then(|()| decided.ok_or(undecided));
        // Nobody may be waiting any more: the outcome is found by the command's key then.
        let _gone = reply.send(outcome);
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}
