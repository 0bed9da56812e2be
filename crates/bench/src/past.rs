//! An account's past, as rows: decided by the domain's own machines, so that every balance and every hash is as if the
//! commands had been carried out; and kept where the maintenance worker would have it by now: what closed longer ago than
//! biz ids are remembered is in the archive, and months have their partitions.

use domain::ledger::journal::{self, Entry, EntryKind, Head, Incarnation, Line};
use domain::ledger::tcc::{self, DbTime, TccCommand, TccReservation, TccTerms};
use domain::ledger::{Posting, funds};
use domain::{AccountId, Points, ReservationId};
use sqlx::PgConnection;
use store::tcc::BIZ_ID_RETENTION;
use uuid::Uuid;

use crate::Failure;
use crate::copy::Copy;
use crate::fixture::TENANT;

/// Rows of every table that an account's past is kept in.
#[derive(Debug)]
pub(crate) struct Rows {
    accounts: Copy,
    entries: Copy,
    reservations: Copy,
    archived: Copy,
    movements: Copy,
}

impl Rows {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            accounts: Copy::into_table(
                "accounts (tenant_id, account_id, available_micropoints, reserved_micropoints, \
                 spent_micropoints, debt_micropoints, entry_seq, entry_hash, event_seq, recorded_at)",
            )?,
            entries: Copy::into_table(
                "entries (tenant_id, account_id, seq, kind, from_column, to_column, \
                 amount_micropoints, available_after_micropoints, reserved_after_micropoints, \
                 spent_after_micropoints, debt_after_micropoints, reservation_id, reference, \
                 incarnation, recorded_at, entry_hash)",
            )?,
            reservations: Copy::into_table(
                "reservations (tenant_id, account_id, reservation_id, kind, state, \
                 reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints, \
                 settled_micropoints)",
            )?,
            archived: Copy::into_table(
                "archived_reservations (archived_at, tenant_id, account_id, reservation_id, kind, \
                 state, reserved_micropoints, opened_at, changed_at, biz_id, \
                 requested_micropoints, settled_micropoints, expiry_swept, closing, window_swept)",
            )?,
            movements: Copy::into_table(
                "movements (tenant_id, account_id, reference, kind, amount_micropoints, reason, \
                 entry_seq, available_after_micropoints, debt_after_micropoints, recorded_at)",
            )?,
        })
    }

    /// Sends all rows, and forgets them. The connection must not check foreign keys.
    pub(crate) async fn send(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        self.accounts.send(connection).await?;
        self.entries.send(connection).await?;
        self.reservations.send(connection).await?;
        self.archived.send(connection).await?;
        self.movements.send(connection).await
    }
}

/// One account while its past is written.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    rows: &'a mut Rows,
    account: AccountId,
    head: Head,
    events: i64,
    now: DbTime,
    /// What closed before is in the archive.
    archived_before: DbTime,
}

impl<'a> Past<'a> {
    /// A new account at a time in the past, as it is kept today.
    pub(crate) fn new(
        rows: &'a mut Rows,
        account: AccountId,
        born: DbTime,
        today: DbTime,
    ) -> Result<Self, Failure> {
        let archived_before = DbTime(today.0 - i64::try_from(BIZ_ID_RETENTION.as_micros())?);
        let head = Head::new(TENANT, account);
        Ok(Self { rows, account, head, events: 0, now: born, archived_before })
    }

    /// Lets time go by.
    pub(crate) fn wait(&mut self, micros: i64) {
        self.now.0 += micros;
    }

    /// A credit under a reference.
    pub(crate) fn credit(&mut self, amount: Points, reference: &str) -> Result<(), Failure> {
        let postings = funds::credit(&self.head.balances, amount)?;
        self.record(EntryKind::Credit, &postings, None, Some(reference))?;
        self.rows
            .movements
            .row()
            .uuid(TENANT.0)
            .uuid(self.account.0)
            .text(reference)
            .text("credit")
            .bigint(micropoints(amount)?)
            .text("benchmark")
            .bigint(self.head.seq)
            .bigint(micropoints(self.head.balances.available)?)
            .bigint(micropoints(self.head.balances.debt)?)
            .time(self.now);
        Ok(())
    }

    /// A try, and a second later the confirm of a part of it.
    pub(crate) fn spend(
        &mut self,
        id: ReservationId,
        biz_id: &str,
        reserved: Points,
        spent: Points,
    ) -> Result<(), Failure> {
        let (opened_at, terms) = (self.now, TccTerms { amount: reserved, expires_at: None });
        let command = TccCommand::Try { terms, issued_at: opened_at, oldest: opened_at };
        let open = self.command(id, None, &command, EntryKind::Reserve)?;
        self.wait(1_000_000);
        let command = TccCommand::Confirm { amount: Some(spent) };
        self.command(id, Some(&open), &command, EntryKind::Confirm)?;
        let is_archived = self.now < self.archived_before;
        let row = if is_archived {
            let kept = DbTime(self.now.0 + i64::try_from(BIZ_ID_RETENTION.as_micros())?);
            self.rows.archived.row().time(kept)
        } else {
            self.rows.reservations.row()
        };
        row.uuid(TENANT.0)
            .uuid(self.account.0)
            .uuid(id.0)
            .text("tcc")
            .text("settled_final")
            .bigint(micropoints(reserved)?)
            .time(opened_at)
            .time(self.now)
            .text(biz_id)
            .bigint(micropoints(reserved)?)
            .bigint(micropoints(spent)?);
        if is_archived {
            // The archive's columns have no defaults.
            row.boolean(false).boolean(false).boolean(false);
        }
        Ok(())
    }

    fn command(
        &mut self,
        id: ReservationId,
        found: Option<&TccReservation>,
        command: &TccCommand,
        kind: EntryKind,
    ) -> Result<TccReservation, Failure> {
        let (outcome, step) = tcc::apply(&self.head.balances, found, command);
        let after = step.reservation.ok_or_else(|| format!("refused: {outcome:?}"))?;
        self.record(kind, &step.postings, Some(id), None)?;
        Ok(after)
    }

    fn record(
        &mut self,
        kind: EntryKind,
        postings: &[Posting],
        reservation: Option<ReservationId>,
        reference: Option<&str>,
    ) -> Result<(), Failure> {
        let line = Line {
            kind,
            reservation,
            reference: reference.map(str::to_owned),
            incarnation: Incarnation(1),
            recorded_at: self.now,
        };
        self.events += 1;
        for entry in journal::append(&mut self.head, &line, postings)? {
            self.entry(&entry)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        let Entry { seq, line, posting, lot: _, balances, hash } = entry;
        let row = self.rows.entries.row();
        row.uuid(TENANT.0).uuid(self.account.0).bigint(*seq).text(line.kind.as_str());
        row.text(posting.from.as_str()).text(posting.to.as_str());
        for points in
            [posting.amount, balances.available, balances.reserved, balances.spent, balances.debt]
        {
            row.bigint(micropoints(points)?);
        }
        match line.reservation {
            Some(id) => row.uuid(id.0),
            None => row.null(),
        };
        match &line.reference {
            Some(reference) => row.text(reference),
            None => row.null(),
        };
        row.integer(line.incarnation.0).time(line.recorded_at).bytes(hash.as_slice());
        Ok(())
    }

    /// Writes the account's own row.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { rows, account, head, events, now, archived_before: _ } = self;
        let row = rows.accounts.row().uuid(TENANT.0).uuid(account.0);
        let balances = head.balances;
        for points in [balances.available, balances.reserved, balances.spent, balances.debt] {
            row.bigint(micropoints(points)?);
        }
        row.bigint(head.seq).bytes(head.hash.as_slice()).bigint(events).time(now);
        Ok(())
    }
}

fn micropoints(points: Points) -> Result<i64, Failure> {
    Ok(i64::try_from(points.micropoints())?)
}

/// An id as the store makes them, but always the same for the same number.
pub(crate) const fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
}
