//! Writing reservations, grants, keys, movements and marks.

use domain::ledger::buckets::Lot;
use sqlx::PgConnection;
use sqlx::types::BigDecimal;
use time::OffsetDateTime;
use uuid::Uuid;

use super::load::{Logs, columns};
use super::lots::expiry;
use super::rows::Rows;
use super::save::all_rows;
use crate::codec::{checked, column};
use crate::grants::form_name;
use crate::reservations::{SettlementColumns, unsettled_name};
use crate::{StoreError, codec};

impl Rows {
    pub(super) async fn save(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if !self.sponsorships.is_empty() {
            self.save_sponsorships(connection).await?;
        }
        if !self.tccs.is_empty() {
            self.save_tccs(connection).await?;
        }
        if !self.changed_sponsorships.is_empty() {
            self.save_changed_sponsorships(connection).await?;
        }
        if !self.changed_tccs.is_empty() {
            self.save_changed_tccs(connection).await?;
        }
        if !self.grants.is_empty() {
            self.save_grants(connection).await?;
        }
        if !self.keys.is_empty() {
            self.save_keys(connection).await?;
        }
        if !self.movements.is_empty() {
            self.save_movements(connection).await?;
        }
        if !self.marks.is_empty() {
            self.save_marks(connection).await?;
        }
        Ok(())
    }

    async fn save_sponsorships(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.sponsorships;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        sqlx::query!(
            r#"INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
                reserved_micropoints, opened_at, changed_at, app_id, chain_id, entry_point, sender,
                nonce, attempt, paymaster, micropoints_per_e18_wei, markup_bps, price_source,
                price_block, last_valid_until)
            SELECT tenant_id, account_id, reservation_id, 'sponsorship', 'open', reserved, now, now,
                app_id, chain_id, entry_point, sender, nonce, attempt, paymaster, price, markup,
                source, price_block, last_valid_until
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[],
                    $6::uuid[], $7::bigint[], $8::bytea[], $9::bytea[], $10::bytea[], $11::int[],
                    $12::bytea[], $13::bigint[], $14::int[], $15::text[], $16::bigint[],
                    $17::bigint[])
                AS n (tenant_id, account_id, reservation_id, reserved, now, app_id, chain_id,
                    entry_point, sender, nonce, attempt, paymaster, price, markup, source,
                    price_block, last_valid_until)"#,
            &tenants,
            &accounts,
            &column(rows, |row| row.id.0),
            &column(rows, |row| codec::micropoints(row.reservation.reserved)),
            &checked(rows, |row| codec::timestamp(row.now))?,
            &column(rows, |row| row.app.0),
            &checked(rows, |row| codec::chain_id(row.slot.chain_id))?,
            &column(rows, |row| row.slot.entry_point.to_vec()),
            &column(rows, |row| row.slot.sender.to_vec()),
            &column(rows, |row| codec::nonce_bytes(row.slot.nonce).to_vec()),
            &checked(rows, |row| codec::signed32(row.reservation.attempt))?,
            &column(rows, |row| row.paymaster.to_vec()),
            &checked(rows, |row| codec::signed(row.reservation.quote.micropoints_per_e18_wei))?,
            &checked(rows, |row| codec::signed32(row.reservation.quote.markup.0))?,
            &column(rows, |row| row.reservation.quote.source.clone()),
            &checked(rows, |row| codec::signed(row.reservation.quote.block_number))?,
            &checked(rows, |row| codec::signed(row.reservation.last_valid_until().0))?,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_tccs(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.tccs;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        let stored = checked(rows, |row| crate::tcc::Columns::of(&row.reservation))?;
        sqlx::query!(
            r#"INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
                reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints,
                expires_at, settled_micropoints, rejected_available_micropoints)
            SELECT tenant_id, account_id, reservation_id, 'tcc', state, reserved, now, now, biz_id,
                requested, expires_at, settled, rejected
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[],
                    $6::timestamptz[], $7::text[], $8::bigint[], $9::timestamptz[], $10::bigint[],
                    $11::bigint[])
                AS n (tenant_id, account_id, reservation_id, state, reserved, now, biz_id,
                    requested, expires_at, settled, rejected)"#,
            &tenants,
            &accounts,
            &column(rows, |row| row.id.0),
            &column(&stored, |row| row.state.clone()),
            &column(&stored, crate::tcc::Columns::reserved),
            &checked(rows, |row| codec::timestamp(row.now))?,
            &column(rows, |row| row.biz_id.as_str().to_owned()),
            &column(&stored, |row| row.requested) as &[Option<i64>],
            &column(&stored, |row| row.expires_at) as &[Option<OffsetDateTime>],
            &column(&stored, |row| row.settled) as &[Option<i64>],
            &column(&stored, |row| row.rejected_available) as &[Option<i64>],
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// By compare-and-set on the state that was loaded.
    async fn save_changed_sponsorships(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = self.changed_sponsorships.iter().collect();
        let (tenants, accounts) = columns(rows.iter().map(|(_, row)| &row.owner));
        let settled = checked(&rows, |(_, row)| {
            SettlementColumns::of(&row.reservation.state, row.event.as_ref())
        })?;
        let updated = sqlx::query!(
            r#"UPDATE reservations r SET state = n.state, reserved_micropoints = n.reserved,
                closing = n.closing, last_valid_until = n.last_valid_until, changed_at = n.now,
                settled_block_number = n.block_number, settled_block_hash = n.block_hash,
                settled_block_timestamp = n.block_timestamp, settled_log_index = n.log_index,
                settled_visit = n.visit, settled_before = n.before,
                from_reserved_micropoints = n.from_reserved,
                from_available_micropoints = n.from_available, from_debt_micropoints = n.from_debt,
                settled_gas_cost_wei = n.gas_cost, settled_success = n.success,
                settled_user_op_hash = n.user_op_hash,
                settled_transaction_hash = n.transaction_hash
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
                    $7::bool[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::bytea[],
                    $12::bigint[], $13::int[], $14::int[], $15::text[], $16::bigint[],
                    $17::bigint[], $18::bigint[], $19::numeric[], $20::bool[], $21::bytea[],
                    $22::bytea[])
                AS n (tenant_id, account_id, reservation_id, loaded, state, reserved, closing,
                    last_valid_until, now, block_number, block_hash, block_timestamp, log_index,
                    visit, before, from_reserved, from_available, from_debt, gas_cost, success,
                    user_op_hash, transaction_hash)
            WHERE r.tenant_id = n.tenant_id AND r.account_id = n.account_id
                AND r.reservation_id = n.reservation_id AND r.state = n.loaded"#,
            &tenants,
            &accounts,
            &column(&rows, |(id, _)| id.0),
            &column(&rows, |(_, row)| row.from.to_owned()),
            &column(&rows, |(_, row)| crate::reservations::state_name(&row.reservation.state)
                .to_owned()),
            &column(&rows, |(_, row)| codec::micropoints(row.reservation.reserved)),
            &column(&rows, |(_, row)| row.reservation.closing),
            &checked(&rows, |(_, row)| codec::signed(row.reservation.last_valid_until().0))?,
            &checked(&rows, |(_, row)| codec::timestamp(row.now))?,
            &column(&settled, |row| row.block_number) as &[Option<i64>],
            &column(&settled, |row| row.block_hash.clone()) as &[Option<Vec<u8>>],
            &column(&settled, |row| row.block_timestamp) as &[Option<i64>],
            &column(&settled, |row| row.log_index) as &[Option<i32>],
            &column(&settled, |row| row.visit) as &[Option<i32>],
            &column(&settled, |row| row.before.map(|before| unsettled_name(before).to_owned()))
                as &[Option<String>],
            &column(&settled, |row| row.from_reserved) as &[Option<i64>],
            &column(&settled, |row| row.from_available) as &[Option<i64>],
            &column(&settled, |row| row.from_debt) as &[Option<i64>],
            &column(&settled, |row| row.gas_cost.clone()) as &[Option<BigDecimal>],
            &column(&settled, |row| row.success) as &[Option<bool>],
            &column(&settled, |row| row.user_op_hash.clone()) as &[Option<Vec<u8>>],
            &column(&settled, |row| row.transaction_hash.clone()) as &[Option<Vec<u8>>],
        )
        .execute(connection)
        .await?;
        all_rows(updated.rows_affected(), rows.len())
    }

    async fn save_changed_tccs(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows: Vec<_> = self.changed_tccs.iter().collect();
        let (tenants, accounts) = columns(rows.iter().map(|(_, row)| &row.owner));
        let stored = checked(&rows, |(_, row)| crate::tcc::Columns::of(&row.reservation))?;
        let updated = sqlx::query!(
            r#"UPDATE reservations r SET state = n.state, settled_micropoints = n.settled,
                changed_at = n.now
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
                    $7::timestamptz[])
                AS n (tenant_id, account_id, reservation_id, loaded, state, settled, now)
            WHERE r.tenant_id = n.tenant_id AND r.account_id = n.account_id
                AND r.reservation_id = n.reservation_id AND r.state = n.loaded"#,
            &tenants,
            &accounts,
            &column(&rows, |(id, _)| id.0),
            &column(&rows, |(_, row)| row.from.to_owned()),
            &column(&stored, |row| row.state.clone()),
            &column(&stored, |row| row.settled) as &[Option<i64>],
            &checked(&rows, |(_, row)| codec::timestamp(row.now))?,
        )
        .execute(connection)
        .await?;
        all_rows(updated.rows_affected(), rows.len())
    }

    async fn save_grants(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.grants;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        sqlx::query!(
            r#"INSERT INTO grants (tenant_id, account_id, reservation_id, grant_no, request_hash,
                max_cost_wei, max_cost_micropoints, valid_until, digest, signature,
                paymaster_verification_gas_limit, paymaster_post_op_gas_limit, user_op_hash,
                delegate, recorded_at, app_id, form)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::bytea[],
                $6::numeric[], $7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[],
                $11::bigint[], $12::bigint[], $13::bytea[], $14::bytea[], $15::timestamptz[],
                $16::uuid[], $17::text[])"#,
            &tenants,
            &accounts,
            &column(rows, |row| row.grant.reservation.0),
            &column(rows, |row| row.grant.grant_no),
            &column(rows, |row| row.request_hash.to_vec()),
            &checked(rows, |row| codec::numeric(row.grant.max_cost.0))?,
            &column(rows, |row| codec::micropoints(row.grant.points)),
            &checked(rows, |row| codec::signed(row.grant.valid_until.0))?,
            &column(rows, |row| row.grant.digest.to_vec()),
            &column(rows, |row| row.grant.signature.to_vec()),
            &checked(rows, |row| codec::signed(row.grant.paymaster_gas.verification.0))?,
            &checked(rows, |row| codec::signed(row.grant.paymaster_gas.post_op.0))?,
            &column(rows, |row| row.grant.user_op_hash.to_vec()),
            &column(rows, |row| row.grant.delegate.map(|delegate| delegate.to_vec()))
                as &[Option<Vec<u8>>],
            &checked(rows, |row| codec::timestamp(row.now))?,
            &column(rows, |row| row.grant.app.0),
            &column(rows, |row| form_name(row.grant.form).to_owned()),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_keys(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.keys;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        let targets = column(rows, |row| row.target.columns());
        sqlx::query!(
            r#"INSERT INTO command_keys (tenant_id, account_id, command_key, command, request_hash,
                reference, reservation_id, grant_no, recorded_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[],
                $6::text[], $7::uuid[], $8::int[], $9::timestamptz[])"#,
            &tenants,
            &accounts,
            &column(rows, |row| row.key.as_str().to_owned()),
            &column(&targets, |target| target.command.to_owned()),
            &column(rows, |row| row.request_hash.to_vec()),
            &column(&targets, |target| target.reference.clone()) as &[Option<String>],
            &column(&targets, |target| target.reservation) as &[Option<Uuid>],
            &column(&targets, |target| target.grant_no) as &[Option<i32>],
            &checked(rows, |row| codec::timestamp(row.now))?,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_movements(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.movements;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        let lots: Vec<Option<&Lot>> = rows.iter().map(|row| row.lot.as_ref()).collect();
        sqlx::query!(
            r#"INSERT INTO movements
                (tenant_id, account_id, reference, kind, amount_micropoints, reason, entry_seq,
                available_after_micropoints, debt_after_micropoints, recorded_at, bucket,
                bucket_expires_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[],
                $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::timestamptz[],
                $11::text[], $12::timestamptz[])"#,
            &tenants,
            &accounts,
            &column(rows, |row| row.reference.as_str().to_owned()),
            &column(rows, |row| row.kind.to_owned()),
            &column(rows, |row| codec::micropoints(row.amount)),
            &column(rows, |row| row.reason.clone()),
            &column(rows, |row| row.entry_seq),
            &column(rows, |row| codec::micropoints(row.available_after)),
            &column(rows, |row| codec::micropoints(row.debt_after)),
            &checked(rows, |row| codec::timestamp(row.now))?,
            &column(&lots, |lot| lot.map(|lot| lot.bucket.as_str().to_owned()))
                as &[Option<String>],
            &checked(&lots, |lot| expiry(*lot))? as &[Option<OffsetDateTime>],
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn save_marks(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let rows = &self.marks;
        let (tenants, accounts) = columns(rows.iter().map(|row| &row.owner));
        let logs = Logs::of(rows.iter().map(|row| &row.log))?;
        sqlx::query!(
            r#"INSERT INTO fact_marks (tenant_id, account_id, chain_id, block_hash, log_index,
                visit, step, recorded_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::int[],
                $6::int[], $7::text[], $8::timestamptz[])"#,
            &tenants,
            &accounts,
            &logs.chains,
            &logs.hashes,
            &logs.indices,
            &logs.visits,
            &column(rows, |row| row.step.as_str().to_owned()),
            &checked(rows, |row| codec::timestamp(row.now))?,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
