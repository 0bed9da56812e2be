//! Credits and debits.

use domain::ids::Reference;
use domain::ledger::buckets::Lot;
use domain::ledger::funds::{self, FundsRefusal};
use domain::ledger::journal::EntryKind;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, TenantId};

use crate::book::{Book, Needs, NewMovement, Owner, Page, Record};
use crate::command::Command;
use crate::command_keys::{KeyTarget, Keyed, UsedKey};
use crate::{Store, StoreError, codec};

/// Which way points move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the user.
    Credit,
    /// From the user.
    Debit,
}

impl Direction {
    /// The direction's name in SQL and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
        }
    }

    /// The direction that SQL calls so.
    pub(crate) fn named(name: &str) -> Result<Self, StoreError> {
        [Self::Credit, Self::Debit]
            .into_iter()
            .find(|direction| direction.as_str() == name)
            .ok_or(StoreError::Corrupt("direction"))
    }
}

/// A credit or debit that the company's server asks for.
#[derive(Clone, Debug)]
pub struct MoveFunds {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
    /// Which way.
    pub direction: Direction,
    /// How many points.
    pub amount: Points,
    /// Which points a credit is of; `None` for the default bucket, and in a debit, which takes what
    /// expires soonest.
    pub lot: Option<Lot>,
    /// Why, for people.
    pub reason: String,
    /// The company's own name of it, unique per account.
    pub reference: Reference,
    /// The caller's key.
    pub keyed: Keyed,
}

/// A credit or debit as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Which way.
    pub direction: Direction,
    /// How many points.
    pub amount: Points,
    /// Which points a credit was of; `None` for the default bucket, and in a debit.
    pub lot: Option<Lot>,
    /// Why.
    pub reason: String,
    /// The company's own name of it.
    pub reference: String,
    /// Sequence of its last entry.
    pub entry_seq: i64,
    /// What was available after it.
    pub available_after: Points,
    /// What was owed after it.
    pub debt_after: Points,
    /// When it was recorded.
    pub recorded_at: DbTime,
}

/// What became of a credit or debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FundsOutcome {
    /// Carried out now.
    Applied(Movement),
    /// Carried out before, under this reference.
    Replayed(Movement),
    /// Against the rules; nothing changed.
    Refused(FundsRefusal),
    /// The reference was used with other values of these fields.
    Conflict(Vec<&'static str>),
    /// The key was used for another request.
    KeyReused,
    /// There is no such account.
    NoAccount,
}

impl Command for MoveFunds {
    type Outcome = FundsOutcome;

    const ALONE: bool = true;

    fn owner(&self) -> Owner {
        Owner { tenant: self.tenant, account: self.account }
    }

    fn needs(&self, needs: &mut Needs) {
        needs.key(self.owner(), &self.keyed.key);
        needs.reference(self.owner(), &self.reference);
    }

    fn decide(&self, book: &mut Book) -> Result<FundsOutcome, StoreError> {
        let owner = self.owner();
        let Some(page) = book.page(owner) else { return Ok(FundsOutcome::NoAccount) };
        let now = page.now;
        let used = book.keys.get(&(owner, self.keyed.key.clone()));
        let is_new = used.is_none();
        if used.is_some_and(|used| !self.is_repeat(used)) {
            return Ok(FundsOutcome::KeyReused);
        }
        if let Some(earlier) = book.movements.get(&(owner, self.reference.clone())).cloned() {
            let fields = self.differences(&earlier);
            if !fields.is_empty() {
                return Ok(FundsOutcome::Conflict(fields));
            }
            if is_new {
                book.remember(owner, &self.keyed, self.target(), now);
            }
            return Ok(FundsOutcome::Replayed(earlier));
        }
        let decided = match self.direction {
            Direction::Credit => funds::credit(page.balances(), self.amount),
            Direction::Debit => funds::debit(page.balances(), self.amount),
        };
        let postings = match decided {
            Ok(postings) => postings,
            Err(refusal) => return Ok(FundsOutcome::Refused(refusal)),
        };
        let (kind, event) = match self.direction {
            Direction::Credit => (EntryKind::Credit, "account.credited"),
            Direction::Debit => (EntryKind::Debit, "account.debited"),
        };
        let reference = Some(&self.reference);
        let record = Record { kind, postings: &postings, reservation: None, reference, event };
        match self.lot.as_ref().filter(|_| self.direction == Direction::Credit) {
            None => book.record(owner, &record)?,
            Some(lot) => match book.open_lot(owner, lot)? {
                Ok(no) => book.record_in_lots(owner, &record, Some(no))?,
                Err(refusal) => return Ok(FundsOutcome::Refused(refusal.into())),
            },
        }
        let movement = self.movement(codec::present(book.page(owner))?);
        book.movements.insert((owner, self.reference.clone()), movement.clone());
        book.remember(owner, &self.keyed, self.target(), now);
        book.rows.movements.push(NewMovement {
            owner,
            reference: self.reference.clone(),
            kind: self.direction.as_str(),
            amount: self.amount,
            reason: self.reason.clone(),
            entry_seq: movement.entry_seq,
            available_after: movement.available_after,
            debt_after: movement.debt_after,
            lot: movement.lot.clone(),
            now,
        });
        Ok(FundsOutcome::Applied(movement))
    }
}

impl MoveFunds {
    /// Whether the key was used for this very command, and not for a sponsorship or another movement
    /// whose body hashes the same.
    fn is_repeat(&self, used: &UsedKey) -> bool {
        let same = matches!(&used.target, KeyTarget::Movement { command, reference }
            if *command == self.direction.as_str() && reference == self.reference.as_str());
        same && used.request_hash == self.keyed.request_hash
    }

    fn target(&self) -> KeyTarget {
        KeyTarget::Movement {
            command: self.direction.as_str(),
            reference: self.reference.as_str().to_owned(),
        }
    }

    fn movement(&self, page: &Page) -> Movement {
        Movement {
            direction: self.direction,
            amount: self.amount,
            lot: self.lot.clone(),
            reason: self.reason.clone(),
            reference: self.reference.as_str().to_owned(),
            entry_seq: page.entry_seq(),
            available_after: page.balances().available,
            debt_after: page.balances().debt,
            recorded_at: page.now,
        }
    }

    fn differences(&self, earlier: &Movement) -> Vec<&'static str> {
        let mut fields = Vec::new();
        if earlier.direction != self.direction {
            fields.push("direction");
        }
        if earlier.amount != self.amount {
            fields.push("amount");
        }
        if earlier.reason != self.reason {
            fields.push("reason");
        }
        fields.extend(lot_differences(earlier.lot.as_ref(), self.lot.as_ref()));
        fields
    }
}

/// The fields in which one credit's points are others than another's.
#[must_use]
pub fn lot_differences(one: Option<&Lot>, other: Option<&Lot>) -> Vec<&'static str> {
    let bucket = |lot: Option<&Lot>| lot.map(|lot| lot.bucket.clone());
    let expiry = |lot: Option<&Lot>| lot.and_then(|lot| lot.expires_at);
    let differences =
        [("bucket", bucket(one) != bucket(other)), ("expiresAt", expiry(one) != expiry(other))];
    let differing = differences.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(field, _)| field).collect()
}

impl Store {
    /// Credits or debits an account, once per reference.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it with the same key.
    pub async fn move_funds(&self, command: &MoveFunds) -> Result<FundsOutcome, StoreError> {
        self.writer.run(command.clone()).await
    }
}
