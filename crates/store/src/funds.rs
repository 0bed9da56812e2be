//! Credits and debits.

use domain::ids::Reference;
use domain::ledger::funds::{self, FundsRefusal};
use domain::ledger::journal::EntryKind;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, TenantId};
use sqlx::PgConnection;

use crate::account_lock::LockedAccount;
use crate::command::{Command, commit};
use crate::command_keys::{self, KeyTarget, Keyed, UsedKey};
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

    async fn execute(&self, connection: &mut PgConnection) -> Result<FundsOutcome, StoreError> {
        let Some(mut account) = LockedAccount::lock(connection, self.tenant, self.account).await?
        else {
            return Ok(FundsOutcome::NoAccount);
        };
        let used =
            command_keys::find(connection, self.tenant, self.account, &self.keyed.key).await?;
        if used.as_ref().is_some_and(|used| !self.is_repeat(used)) {
            return Ok(FundsOutcome::KeyReused);
        }
        if let Some(earlier) = movement(connection, self).await? {
            let fields = self.differences(&earlier);
            if !fields.is_empty() {
                return Ok(FundsOutcome::Conflict(fields));
            }
            if used.is_none() {
                command_keys::remember(connection, &account, &self.keyed, &self.target()).await?;
            }
            return Ok(FundsOutcome::Replayed(earlier));
        }
        let decided = match self.direction {
            Direction::Credit => funds::credit(account.balances(), self.amount),
            Direction::Debit => funds::debit(account.balances(), self.amount),
        };
        let postings = match decided {
            Ok(postings) => postings,
            Err(refusal) => return Ok(FundsOutcome::Refused(refusal)),
        };
        let (kind, event) = match self.direction {
            Direction::Credit => (EntryKind::Credit, "account.credited"),
            Direction::Debit => (EntryKind::Debit, "account.debited"),
        };
        account.refer_to(self.reference.as_str());
        account.record(kind, &postings, None, event)?;
        let movement = self.movement(&account);
        command_keys::remember(connection, &account, &self.keyed, &self.target()).await?;
        account.write(connection).await?;
        self.insert(connection, movement.entry_seq).await?;
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

    fn movement(&self, account: &LockedAccount) -> Movement {
        Movement {
            direction: self.direction,
            amount: self.amount,
            reason: self.reason.clone(),
            reference: self.reference.as_str().to_owned(),
            entry_seq: account.entry_seq(),
            available_after: account.balances().available,
            debt_after: account.balances().debt,
            recorded_at: account.now,
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
        fields
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        entry_seq: i64,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"INSERT INTO movements
                (tenant_id, account_id, reference, kind, amount_micropoints, reason, entry_seq)
            VALUES ($1, $2, $3, $4, $5, $6, $7)"#,
            self.tenant.0,
            self.account.0,
            self.reference.as_str(),
            self.direction.as_str(),
            codec::micropoints(self.amount),
            self.reason,
            entry_seq,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn movement(
    connection: &mut PgConnection,
    command: &MoveFunds,
) -> Result<Option<Movement>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT m.kind, m.amount_micropoints, m.reason, m.entry_seq,
            e.available_after_micropoints, e.debt_after_micropoints, e.recorded_at
        FROM movements m
        JOIN entries e ON e.tenant_id = m.tenant_id AND e.account_id = m.account_id
            AND e.seq = m.entry_seq
        WHERE m.tenant_id = $1 AND m.account_id = $2 AND m.reference = $3"#,
        command.tenant.0,
        command.account.0,
        command.reference.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Movement {
            direction: if row.kind == Direction::Credit.as_str() {
                Direction::Credit
            } else {
                Direction::Debit
            },
            amount: codec::points(row.amount_micropoints)?,
            reason: row.reason,
            reference: command.reference.as_str().to_owned(),
            entry_seq: row.entry_seq,
            available_after: codec::points(row.available_after_micropoints)?,
            debt_after: codec::points(row.debt_after_micropoints)?,
            recorded_at: codec::db_time(row.recorded_at)?,
        })
    })
    .transpose()
}

impl Store {
    /// Credits or debits an account, once per reference.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it with the same key.
    pub async fn move_funds(&self, command: &MoveFunds) -> Result<FundsOutcome, StoreError> {
        commit(&self.pool, command).await
    }
}
