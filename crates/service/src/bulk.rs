//! Many credits at once: the lines of a batch, or of a file.
//!
//! Each line is a credit of its own, by [`Store::move_funds`], and its reference makes it safe to repeat. So a line that
//! is refused leaves its neighbours alone, no transaction grows with the batch, and what was interrupted is simply sent
//! again. Lines are independent of each other and are carried out side by side; only those that name the same reference
//! of the same account wait for one another, in their order.
//!
//! A line that is found in the journal as it is asked for is answered from there, without a command: journals do not
//! change, and a file that is imported again goes by as fast as it can be read.

mod batch;

use core::time::Duration;
use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};
use domain::ids::{CommandKey, Reference};
use domain::ledger::buckets::{BucketRefusal, Lot};
use domain::ledger::funds::FundsRefusal;
use domain::{AccountId, ExternalId, Points, TenantId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use store::bulk::{Destination, EarlierMovement};
use store::funds::{Direction, FundsOutcome, MoveFunds, lot_differences};
use store::{Keyed, Store, StoreError};
use tokio::time::Instant;

use crate::lot;

pub use batch::{BatchAnswer, CreditBatch, MAX_LINES};

/// The longest reason, in characters: a sentence for a statement.
pub const MAX_REASON: usize = 500;

/// Lines under way at once, of one batch: enough to fill the writer's commits, too few to fill its queue.
const IN_FLIGHT: usize = 16;
/// How long after the deadline the answer to a line under way is waited for, so that it need not be asked for again.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// The pause before a line is tried again that the database did not carry out; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One credit, as somebody wrote it into a batch or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditLine {
    /// The user, by the company's own id.
    pub external_id: ExternalId,
    /// How many points, more than none.
    pub amount: Points,
    /// Which points; `None` for the default bucket.
    pub lot: Option<Lot>,
    /// Why, for people; 1 to [`MAX_REASON`] characters.
    pub reason: String,
    /// The company's own name of it, unique per account.
    pub reference: Reference,
}

/// A line as somebody wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineText<'a> {
    /// The user, by the company's own id.
    pub external_id: &'a str,
    /// How many points.
    pub amount: &'a str,
    /// Why, for people.
    pub reason: &'a str,
    /// The company's own name of it.
    pub reference: &'a str,
    /// Its bucket; `None` for the default one.
    pub bucket: Option<&'a str>,
    /// When the points expire; only with a bucket.
    pub expires_at: Option<&'a str>,
}

/// Why a line is not credited. The codes are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineRefusal {
    /// A field is missing or not what it must be.
    #[error("{0}")]
    Invalid(String),
    /// The company has no account of this name, and none was to be made.
    #[error("there is no account of this name")]
    AccountNotFound,
    /// The reference names another movement.
    #[error("the reference was used before with another {}", .0.join(" and another "))]
    ReferenceConflict(Vec<&'static str>),
    /// The ledger's rules.
    #[error(transparent)]
    Funds(#[from] FundsRefusal),
    /// The line's own key was used by a batch that is forgotten.
    #[error("the batch's Idempotency-Key was used for another line here")]
    KeyReused,
}

impl LineRefusal {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::AccountNotFound => "account_not_found",
            Self::ReferenceConflict(_) => "reference_conflict",
            Self::Funds(FundsRefusal::InsufficientPoints { .. }) => "insufficient_points",
            Self::Funds(FundsRefusal::BalanceTooLarge) => "balance_too_large",
            Self::Funds(FundsRefusal::ZeroAmount) => "zero_amount",
            Self::Funds(FundsRefusal::Bucket(BucketRefusal::Expired)) => "bucket_expired",
            Self::Funds(FundsRefusal::Bucket(BucketRefusal::TooMany)) => "too_many_buckets",
            Self::KeyReused => "idempotency_key_reused",
        }
    }
}

impl CreditLine {
    /// Reads the fields of a line.
    ///
    /// # Errors
    /// When one of them is not what it must be; the words name it.
    pub fn read(text: &LineText<'_>) -> Result<Self, LineRefusal> {
        let LineText { external_id, amount, reason, reference, bucket, expires_at } = *text;
        let length = reason.chars().count();
        if !(1..=MAX_REASON).contains(&length) || reason.chars().any(char::is_control) {
            return Err(LineRefusal::Invalid(format!(
                "reason must be 1 to {MAX_REASON} characters without control characters, got {length}"
            )));
        }
        let line = Self {
            external_id: external_id.parse().map_err(|error| invalid(&error))?,
            amount: amount
                .parse()
                .map_err(|error| LineRefusal::Invalid(format!("amount: {error}")))?,
            lot: lot::read(bucket, expires_at).map_err(LineRefusal::Invalid)?,
            reason: reason.to_owned(),
            reference: reference.parse().map_err(|error| invalid(&error))?,
        };
        if line.amount.is_zero() {
            return Err(FundsRefusal::ZeroAmount.into());
        }
        Ok(line)
    }

    /// The fields in which a movement under this line's reference is another than this line.
    #[must_use]
    pub fn differences(&self, earlier: &EarlierMovement) -> Vec<&'static str> {
        [
            ("direction", earlier.direction != Direction::Credit),
            ("amount", earlier.amount != self.amount),
            ("reason", earlier.reason != self.reason),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .chain(lot_differences(earlier.lot.as_ref(), self.lot.as_ref()))
        .collect()
    }
}

fn invalid(error: &domain::ids::InvalidName) -> LineRefusal {
    LineRefusal::Invalid(error.to_string())
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// Credited now.
    Applied {
        /// Sequence of the credit's last entry.
        entry_seq: i64,
    },
    /// Credited before, under this reference.
    Replayed {
        /// Sequence of the credit's last entry.
        entry_seq: i64,
    },
    /// Not credited; nothing changed.
    Refused(LineRefusal),
}

/// What is done for a name without an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingAccounts {
    /// Its lines are refused.
    Refuse,
    /// It gets one.
    Create,
}

/// A line with the key of its command.
#[derive(Clone, Debug)]
pub struct KeyedLine<'a> {
    /// What is credited.
    pub line: &'a CreditLine,
    /// The command's key; the same for every repeat of the line.
    pub key: CommandKey,
}

/// How far a number of lines came.
#[derive(Debug)]
pub struct Credited {
    /// In the lines' order; `None` where the time was up or the database did not carry the line out. It may have been
    /// credited all the same: sent again, it is a replay then.
    pub outcomes: Vec<Option<LineOutcome>>,
    /// The last thing that went wrong with the database.
    pub trouble: Option<StoreError>,
}

/// Where credits go.
#[derive(Clone, Copy, Debug)]
pub struct Crediting<'a> {
    /// The database.
    pub store: &'a Store,
    /// The company.
    pub tenant: TenantId,
    /// What is done for a name without an account.
    pub missing: MissingAccounts,
}

/// Lines of one reference of one account, by their position, in their order.
type Unit = Vec<usize>;

impl Crediting<'_> {
    /// What the lines would find, in their order. Nothing changes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn look(&self, lines: &[&CreditLine]) -> Result<Vec<Destination>, StoreError> {
        let wanted: Vec<_> =
            lines.iter().map(|line| (&line.external_id, &line.reference)).collect();
        self.store.credit_destinations(self.tenant, &wanted).await
    }

    /// Credits lines, each by itself. None is begun after the deadline, nor tried again that the database did not carry
    /// out; those under way then are given a moment longer.
    ///
    /// # Errors
    /// When the database does not answer until then, before the first credit.
    pub async fn apply(
        &self,
        lines: &[KeyedLine<'_>],
        deadline: Instant,
    ) -> Result<Credited, StoreError> {
        let plain: Vec<_> = lines.iter().map(|keyed| keyed.line).collect();
        let found = persist(deadline, || self.look(&plain)).await?;
        let made = persist(deadline, || self.missing_accounts(&plain, &found)).await?;
        let mut outcomes: Vec<Option<LineOutcome>> = vec![None; lines.len()];
        let mut units: BTreeMap<(AccountId, &str), Unit> = BTreeMap::new();
        for (position, ((slot, keyed), destination)) in
            outcomes.iter_mut().zip(lines).zip(&found).enumerate()
        {
            let line = keyed.line;
            let account =
                destination.account.or_else(|| made.get(line.external_id.as_str()).copied());
            let Some(account) = account else {
                *slot = Some(LineOutcome::Refused(LineRefusal::AccountNotFound));
                continue;
            };
            match &destination.earlier {
                Some(earlier) if line.differences(earlier).is_empty() => {
                    *slot = Some(LineOutcome::Replayed { entry_seq: earlier.entry_seq });
                }
                _ => units.entry((account, line.reference.as_str())).or_default().push(position),
            }
        }
        let mut trouble = None;
        let mut waiting = in_order(units).into_iter();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < IN_FLIGHT
                && let Some((account, unit)) = waiting.next()
            {
                running.push(self.credit_unit(account, unit, lines, deadline));
            }
            let Some((done, failure)) = running.next().await else { break };
            for (position, outcome) in done {
                if let Some(slot) = outcomes.get_mut(position) {
                    *slot = Some(outcome);
                }
            }
            trouble = failure.or(trouble);
        }
        Ok(Credited { outcomes, trouble })
    }

    async fn missing_accounts(
        &self,
        lines: &[&CreditLine],
        found: &[Destination],
    ) -> Result<BTreeMap<String, AccountId>, StoreError> {
        let names: Vec<_> = lines
            .iter()
            .zip(found)
            .filter(|(_, destination)| destination.account.is_none())
            .map(|(line, _)| &line.external_id)
            .collect();
        match self.missing {
            MissingAccounts::Create if !names.is_empty() => {
                self.store.ensure_accounts(self.tenant, &names).await
            }
            MissingAccounts::Create | MissingAccounts::Refuse => Ok(BTreeMap::new()),
        }
    }

    /// Credits lines of one reference, one after the other, up to the first without an outcome.
    async fn credit_unit(
        &self,
        account: AccountId,
        unit: Unit,
        lines: &[KeyedLine<'_>],
        deadline: Instant,
    ) -> (Vec<(usize, LineOutcome)>, Option<StoreError>) {
        let mut done = Vec::with_capacity(unit.len());
        for position in unit {
            let Some(keyed) = lines.get(position) else { break };
            match self.credit(account, keyed, deadline).await {
                Ok(Some(outcome)) => done.push((position, outcome)),
                Ok(None) => break,
                Err(trouble) => return (done, Some(trouble)),
            }
        }
        (done, None)
    }

    /// Credits one line; `None` when the time is up.
    async fn credit(
        &self,
        account: AccountId,
        KeyedLine { line, key }: &KeyedLine<'_>,
        deadline: Instant,
    ) -> Result<Option<LineOutcome>, StoreError> {
        let command = MoveFunds {
            tenant: self.tenant,
            account,
            direction: Direction::Credit,
            amount: line.amount,
            lot: line.lot.clone(),
            reason: line.reason.clone(),
            reference: line.reference.clone(),
            keyed: Keyed { key: key.clone(), request_hash: line_hash(line) },
        };
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let crediting = persist(deadline, || self.store.move_funds(&command));
        match tokio::time::timeout_at(deadline + GRACE, crediting).await {
            Ok(outcome) => Ok(Some(outcome?.into())),
            Err(_) => Ok(None),
        }
    }
}

/// Runs what may be repeated until the database carries it out, or the deadline leaves no time for another try.
async fn persist<T, Running>(deadline: Instant, run: impl Fn() -> Running) -> Result<T, StoreError>
where
    Running: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match run().await {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                tracing::debug!(%error, "tried again");
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause.saturating_mul(2));
            }
            outcome => return outcome,
        }
    }
}

/// The units by their first line, so that an account's journal reads like the file wherever it can.
fn in_order(units: BTreeMap<(AccountId, &str), Unit>) -> Vec<(AccountId, Unit)> {
    let mut units: Vec<_> = units.into_iter().map(|((account, _), unit)| (account, unit)).collect();
    units.sort_by_key(|(_, unit)| unit.first().copied());
    units
}

impl From<FundsOutcome> for LineOutcome {
    fn from(outcome: FundsOutcome) -> Self {
        match outcome {
            FundsOutcome::Applied(movement) => Self::Applied { entry_seq: movement.entry_seq },
            FundsOutcome::Replayed(movement) => Self::Replayed { entry_seq: movement.entry_seq },
            FundsOutcome::Refused(refusal) => Self::Refused(refusal.into()),
            FundsOutcome::Conflict(fields) => Self::Refused(LineRefusal::ReferenceConflict(fields)),
            FundsOutcome::KeyReused => Self::Refused(LineRefusal::KeyReused),
            FundsOutcome::NoAccount => Self::Refused(LineRefusal::AccountNotFound),
        }
    }
}

/// What a line's command asks for, apart from whose account.
fn line_hash(line: &CreditLine) -> B256 {
    let micropoints = line.amount.micropoints().to_be_bytes();
    let reason_length = u64::try_from(line.reason.len()).unwrap_or(u64::MAX).to_be_bytes();
    let (reason, reference) = (line.reason.as_bytes(), line.reference.as_str().as_bytes());
    let mut text = [b"credit line", &micropoints[..], &reason_length, reason, reference].concat();
    if let Some(lot) = &line.lot {
        // No name and no reference has a byte like this one.
        text.push(0);
        text.extend_from_slice(lot.bucket.as_str().as_bytes());
        text.extend(lot.expires_at.iter().flat_map(|expires_at| expires_at.0.to_be_bytes()));
    }
    keccak256(text)
}
