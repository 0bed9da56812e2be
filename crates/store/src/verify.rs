//! Recomputing the books from the journal, beside the ledger at work.
//!
//! # What must agree
//! Of each account: its lines are numbered without a gap, each line's balances follow from the line
//! before and its own posting, times never fall, each hash is that of the line behind its predecessor;
//! the account's row is its last line; each reservation has the shape of its kind and state, holds and has spent what its entries say, and
//! together they hold what the account has reserved; each lot has what its entries say, and each leg. What a line says is never trusted: rows are read
//! raw, so that one which breaks the rules of its type is named like any other.
//!
//! # No false alarm, no long transaction
//! Accounts are taken in groups of at most [`GROUP_LINES`] lines; what a group's rows say is read in
//! one repeatable-read snapshot, some tenths of a second long. A longer journal is read apart, page by
//! page without a snapshot, up to where it stood when it was begun: what is written there does not
//! change. Its reservations do, so that each page of them is read in one snapshot with the entries
//! written since, and what those did is taken off again.
//!
//! # What left the database
//! Months of old entries may be in the archive. Each account then begins at the checkpoint that was written
//! before its last archived line went, whatever was asked, and its reservations are compared by their sums.
//! A month that leaves while it is read looks like a gap: what was found is looked at once more then.
//!
//! # Memory
//! One group, or one page and a few numbers for each reservation of one long account, up to a million
//! of them; above it that account's reservations are compared by their sums.

mod long;
mod lot_rows;
mod lots;
mod month;
mod rows;
mod walk;

use core::fmt;

use domain::{AccountId, ReservationId, TenantId};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError, partitions};
use long::{long_lots, long_reservations};
use lot_rows::{LegRow, LotRow};
use rows::{AccountRow, EntryRow, Keys, Listed, ReservationRow};
use walk::{Effects, Walk};

pub use month::Checkpointed;

/// Lines that are read in one snapshot, and lines or reservations of one page.
const GROUP_LINES: i64 = 20_000;
/// Accounts of one group.
const GROUP_ACCOUNTS: i64 = 500;
/// Before the first leg.
const NO_LEG: (Uuid, i32) = (Uuid::nil(), 0);
/// The locks come before the snapshot, and a month is not taken away under them: so that a snapshot never
/// counts a month as still there that its queries do not find any more.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    LOCK TABLE ONLY entries, ONLY archived_reservations IN ACCESS SHARE MODE";

/// What to verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this company.
    pub tenant: Option<TenantId>,
    /// Only this account.
    pub account: Option<AccountId>,
    /// Begin where each account agreed before, and trust what was found then.
    pub from_checkpoint: bool,
    /// Remember where each account agrees now.
    pub write_checkpoints: bool,
}

/// Something that is not as the journal says: the first of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The company.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// The line; `None` where it is the account's row or a reservation.
    pub seq: Option<i64>,
    /// The reservation, where it is one.
    pub reservation: Option<ReservationId>,
    /// The bucket with its expiry, where it is one or a leg of one.
    pub lot: Option<String>,
    /// What differs.
    pub field: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant {} account {}", self.tenant, self.account)?;
        match (self.seq, self.reservation) {
            (Some(seq), _) => write!(f, " entry {seq}")?,
            (None, Some(reservation)) => write!(f, " reservation {reservation}")?,
            (None, None) => {}
        }
        if let Some(lot) = &self.lot {
            write!(f, " bucket {lot}")?;
        }
        write!(f, ": {} is {}, must be {}", self.field, self.found, self.expected)
    }
}

/// What agrees, or the first thing that does not.
type Checked<T> = Result<T, Box<Disagreement>>;

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Accounts that were looked at.
    pub accounts: u64,
    /// Lines that were recomputed.
    pub entries: u64,
    /// Accounts that began at a checkpoint, because earlier lines are in the archive or because so much was
    /// asked for.
    pub from_checkpoint: u64,
}

/// A verification under way.
#[derive(Debug)]
pub struct Verification<'a> {
    store: &'a Store,
    scope: Scope,
    /// The key from which on the next accounts are; `None` at the end.
    next: Option<(Uuid, Uuid)>,
    group_lines: i64,
    progress: Progress,
}

impl Store {
    /// Begins to verify; nothing is read yet.
    #[must_use]
    pub const fn verification(&self, scope: Scope) -> Verification<'_> {
        Verification {
            store: self,
            scope,
            next: Some((Uuid::nil(), Uuid::nil())),
            group_lines: GROUP_LINES,
            progress: Progress { accounts: 0, entries: 0, from_checkpoint: 0 },
        }
    }
}

impl Verification<'_> {
    /// The same with snapshots of at most so many lines, at least 1: fewer take less memory and time
    /// each. The default is 20 000.
    #[must_use]
    pub fn in_groups_of(self, lines: u32) -> Self {
        Self { group_lines: i64::from(lines.max(1)), ..self }
    }

    /// How far it is.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Verifies the next accounts: at most some hundreds, or one with a long journal. `on_page` hears
    /// of every page. The first disagreement of each account; `None` once all are done.
    ///
    /// # Errors
    /// When the database does not carry it out; the step may be repeated.
    pub async fn step(
        &mut self,
        on_page: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<Vec<Disagreement>>, StoreError> {
        loop {
            let mut connection = self.store.pool.acquire().await?;
            let before = partitions::left(&mut connection).await?;
            let progress = self.progress;
            let (found, after) = self.look(&mut connection, before.entries_until, on_page).await?;
            let is_moved = found.as_ref().is_some_and(|found| !found.is_empty())
                && partitions::left(&mut connection).await? != before;
            if !is_moved {
                self.next = after;
                return Ok(found);
            }
            self.progress = progress;
        }
    }

    /// One step, and where the next begins.
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        archived_until: Option<OffsetDateTime>,
        on_page: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Option<Vec<Disagreement>>, Option<(Uuid, Uuid)>), StoreError> {
        let Some(next) = self.next else { return Ok((None, None)) };
        let listed =
            rows::list(connection, &self.scope, next, archived_until, GROUP_ACCOUNTS).await?;
        let group = first_group(&listed, self.group_lines);
        let (found, after) = match group {
            [] => (None, None),
            [long] if long.lines() > self.group_lines => {
                let found = self.long_account(connection, long, on_page).await?;
                (Some(found.into_iter().collect()), following(long))
            }
            [.., last] => {
                let found = self.group(connection, group).await?;
                on_page(self.progress);
                (Some(found), following(last))
            }
        };
        let begun_later = group.iter().filter(|listed| listed.base > 0).count();
        let begun_later = u64::try_from(begun_later).unwrap_or(u64::MAX);
        self.progress.from_checkpoint = self.progress.from_checkpoint.saturating_add(begun_later);
        Ok((found, after))
    }

    /// Several accounts, read in one snapshot.
    async fn group(
        &mut self,
        connection: &mut PgConnection,
        group: &[Listed],
    ) -> Result<Vec<Disagreement>, StoreError> {
        let keys = Keys::of(group);
        let mut snapshot = connection.begin_with(SNAPSHOT).await?;
        let walks = begin(&mut snapshot, group, &keys).await?;
        let accounts = rows::accounts(&mut snapshot, &keys).await?;
        let entries = rows::entries(&mut snapshot, &keys, i64::MAX).await?;
        let reservations = rows::reservations(&mut snapshot, &keys, Uuid::nil(), i64::MAX).await?;
        let lots = lot_rows::lots(&mut snapshot, &keys).await?;
        let legs = lot_rows::legs(&mut snapshot, &keys, NO_LEG, i64::MAX).await?;
        snapshot.commit().await?;
        let mut found = Vec::new();
        let mut agreed = Vec::new();
        for (walk, account) in walks.into_iter().zip(&accounts) {
            let key = (account.tenant_id, account.account_id);
            let lines = slice_of(&entries, key, |row| (row.tenant_id, row.account_id));
            let held = slice_of(&reservations, key, |row| (row.tenant_id, row.account_id));
            self.progress.accounts = self.progress.accounts.saturating_add(1);
            self.progress.entries = self.progress.entries.saturating_add(len(lines));
            let (lots, legs) = (
                slice_of(&lots, key, |row| (row.tenant_id, row.account_id)),
                slice_of(&legs, key, |row| (row.tenant_id, row.account_id)),
            );
            let walk = walk.and_then(|walk| whole(walk, account, lines, held));
            match walk.and_then(|walk| with_lots(walk, lots, legs)) {
                Ok(walk) => agreed.push(walk),
                Err(disagreement) => found.push(*disagreement),
            }
        }
        self.remember(connection, &agreed).await?;
        Ok(found)
    }

    /// One account with a long journal.
    async fn long_account(
        &mut self,
        connection: &mut PgConnection,
        listed: &Listed,
        on_page: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<Disagreement>, StoreError> {
        let mut keys = Keys::of(&[*listed]);
        let started = begin(connection, &[*listed], &keys).await?;
        let account = rows::accounts(connection, &keys).await?;
        let (Some(walk), Some(account)) = (started.into_iter().next(), account.first()) else {
            return Ok(None);
        };
        self.progress.accounts = self.progress.accounts.saturating_add(1);
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(disagreement) => return Ok(Some(*disagreement)),
        };
        while walk.seq() < account.entry_seq {
            keys.bases = vec![walk.seq()];
            let limit = account.entry_seq.saturating_sub(walk.seq()).min(self.group_lines);
            let lines = rows::entries(connection, &keys, limit).await?;
            if lines.is_empty() {
                let (next, nothing) = (walk.seq().saturating_add(1), "no such line".to_owned());
                // Where it is the last, the account's row says more than there is.
                if next == account.entry_seq {
                    break;
                }
                let missing = walk.disagreement("seq", next.to_string(), nothing);
                return Ok(Some(Disagreement { seq: Some(next), ..*missing }));
            }
            if let Err(disagreement) = lines.iter().try_for_each(|line| walk.line(line)) {
                return Ok(Some(*disagreement));
            }
            self.progress.entries = self.progress.entries.saturating_add(len(&lines));
            on_page(self.progress);
        }
        if let Err(disagreement) = walk.account_row(account) {
            return Ok(Some(*disagreement));
        }
        if let Err(disagreement) =
            long_reservations(connection, &mut walk, keys, self.group_lines).await?
        {
            return Ok(Some(*disagreement));
        }
        let keys = Keys::of(&[*listed]);
        if let Err(disagreement) = long_lots(connection, &mut walk, keys, self.group_lines).await? {
            return Ok(Some(*disagreement));
        }
        self.remember(connection, &[walk]).await?;
        Ok(None)
    }

    async fn remember(
        &self,
        connection: &mut PgConnection,
        agreed: &[Walk],
    ) -> Result<(), StoreError> {
        if !self.scope.write_checkpoints {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        for walk in agreed {
            if let Some(time) = walk.time() {
                rows::remember(&mut transaction, walk.key(), walk.head(), time).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// A walk for each account: from its first line, or from its checkpoint where that is still the line
/// that it was.
async fn begin(
    connection: &mut PgConnection,
    group: &[Listed],
    keys: &Keys,
) -> Result<Vec<Checked<Walk>>, StoreError> {
    let checkpoints = rows::checkpoints(connection, keys).await?;
    let spent_away = rows::spent_away(connection, keys).await?;
    let walks = group.iter().map(|listed| {
        let (tenant, account) = (TenantId(listed.tenant), AccountId(listed.account));
        let found = checkpoints.iter().find(|(checkpoint, _)| {
            (checkpoint.tenant_id, checkpoint.account_id) == (listed.tenant, listed.account)
        });
        let walk = match found {
            None => Ok(Walk::from_the_start(tenant, account)),
            Some((checkpoint, line)) => {
                Walk::from_checkpoint(tenant, account, checkpoint.head, checkpoint.recorded_at)
                    .checked_against(line.as_deref())
            }
        };
        let away = spent_away
            .iter()
            .find(|(tenant, account, _)| (*tenant, *account) == (listed.tenant, listed.account));
        match away {
            Some((.., spent)) => walk.map(|walk| walk.with_spent_away(*spent)),
            None => walk,
        }
    });
    Ok(walks.collect())
}

/// One account whose rows are all at hand.
fn whole(
    mut walk: Walk,
    account: &AccountRow,
    lines: &[EntryRow],
    reservations: &[ReservationRow],
) -> Checked<Walk> {
    lines.iter().try_for_each(|line| walk.line(line))?;
    walk.account_row(account)?;
    let none_since = Effects::new();
    reservations.iter().try_for_each(|row| walk.reservation(row, &none_since))?;
    walk.reservations_end()?;
    Ok(walk)
}

/// The same for its lots and legs.
fn with_lots(mut walk: Walk, lots: &[LotRow], legs: &[LegRow]) -> Checked<Walk> {
    walk.lots(lots)?;
    legs.iter().try_for_each(|row| walk.leg(row))?;
    walk.legs_end()?;
    Ok(walk)
}

/// The first accounts that together have no more than so many lines, and at least one.
fn first_group(listed: &[Listed], most: i64) -> &[Listed] {
    let mut lines = 0_i64;
    let fits = listed.iter().position(|account| {
        lines = lines.saturating_add(account.lines());
        lines > most
    });
    listed.get(..fits.unwrap_or(listed.len()).max(1)).unwrap_or_default()
}

/// The least key above an account's.
fn following(listed: &Listed) -> Option<(Uuid, Uuid)> {
    match listed.account.as_u128().checked_add(1) {
        Some(account) => Some((listed.tenant, Uuid::from_u128(account))),
        None => {
            let tenant = listed.tenant.as_u128().checked_add(1)?;
            Some((Uuid::from_u128(tenant), Uuid::nil()))
        }
    }
}

/// The rows of one key among rows that are sorted by it.
fn slice_of<R>(rows: &[R], key: (Uuid, Uuid), key_of: impl Fn(&R) -> (Uuid, Uuid)) -> &[R] {
    let start = rows.partition_point(|row| key_of(row) < key);
    let end = rows.partition_point(|row| key_of(row) <= key);
    rows.get(start..end).unwrap_or_default()
}

fn len<R>(rows: &[R]) -> u64 {
    u64::try_from(rows.len()).unwrap_or(u64::MAX)
}
