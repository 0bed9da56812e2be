//! Opening a book: locking and loading are different statements, because one would join the balance of now with what it
//! saw before it waited.

use std::collections::BTreeSet;

use domain::ids::{BizId, CommandKey, Reference};
use domain::{AccountId, ChainId, ReservationId, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::lots::lot;
use super::pages::Patience;
use super::{Book, LogKey, Needs, Owner, Tried};
use crate::command_keys::{KeyTarget, UsedKey};
use crate::facts::FactStep;
use crate::funds::{Direction, Movement};
use crate::grants::load_grants;
use crate::wallets::Wallet;
use crate::{StoreError, codec};

/// A TCC reservation as its table, or the archive, has it.
pub(super) struct TriedRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) biz_id: String,
    pub(super) reservation_id: Uuid,
    pub(super) state: String,
    pub(super) requested_micropoints: Option<i64>,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) settled_micropoints: Option<i64>,
    pub(super) rejected_available_micropoints: Option<i64>,
}

/// Owners as two arrays.
pub(super) fn columns<'a>(owners: impl Iterator<Item = &'a Owner>) -> (Vec<Uuid>, Vec<Uuid>) {
    owners.map(|owner| (owner.tenant.0, owner.account.0)).unzip()
}

impl Book {
    /// Locks the accounts that a batch needs, in their order, and loads what its commands may read. Answers as well
    /// which accounts somebody else holds, so that their commands must wait.
    pub(crate) async fn open(
        connection: &mut PgConnection,
        needs: &Needs,
        patience: Patience,
    ) -> Result<(Self, BTreeSet<Owner>), StoreError> {
        let (mut book, held) = Self::lock_pages(connection, needs, patience).await?;
        book.load(connection, needs).await?;
        book.load_purses(connection).await?;
        Ok((book, held))
    }

    /// Loads the same without a lock and without accounts, to spare work: whoever decides looks again.
    pub(crate) async fn look(
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<Self, StoreError> {
        let mut book = Self::default();
        book.load(connection, needs).await?;
        Ok(book)
    }

    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        if !needs.slots.is_empty() {
            self.load_attempts(connection, needs).await?;
            self.load_closed_slots(connection, needs).await?;
        }
        if !needs.biz_ids.is_empty() {
            self.load_tried(connection, needs).await?;
            self.load_archived_tried(connection, needs).await?;
        }
        if !needs.keys.is_empty() {
            self.load_keys(connection, needs).await?;
        }
        if !needs.references.is_empty() {
            self.load_movements(connection, needs).await?;
        }
        if !needs.links.is_empty() {
            self.load_links(connection, needs).await?;
        }
        if !needs.logs.is_empty() {
            self.load_logs(connection, needs).await?;
        }
        Ok(())
    }
}

impl Book {
    async fn load_tried(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.biz_ids.iter().map(|(owner, _)| owner));
        let biz_ids: Vec<String> =
            needs.biz_ids.iter().map(|(_, biz_id)| biz_id.as_str().to_owned()).collect();
        let rows = sqlx::query_as!(
            TriedRow,
            r#"SELECT r.tenant_id, r.account_id, r.biz_id AS "biz_id!", r.reservation_id, r.state,
                r.requested_micropoints, r.expires_at, r.settled_micropoints,
                r.rejected_available_micropoints
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, account_id, biz_id)
            CROSS JOIN LATERAL (
                SELECT * FROM reservations r
                WHERE r.tenant_id = n.tenant_id AND r.account_id = n.account_id
                    AND r.biz_id = n.biz_id AND r.kind = 'tcc' LIMIT 1) r"#,
            &tenants,
            &accounts,
            &biz_ids,
        )
        .fetch_all(connection)
        .await?;
        self.insert_tried(rows)
    }

    /// Of several with the same biz id the last counts.
    pub(super) fn insert_tried(&mut self, rows: Vec<TriedRow>) -> Result<(), StoreError> {
        for row in rows {
            let columns = crate::tcc::Columns {
                state: row.state,
                requested: row.requested_micropoints,
                expires_at: row.expires_at,
                settled: row.settled_micropoints,
                rejected_available: row.rejected_available_micropoints,
            };
            let id = ReservationId(row.reservation_id);
            let tried = Tried { id, reservation: columns.reservation()? };
            let biz_id: BizId = row.biz_id.parse().map_err(|_| StoreError::Corrupt("biz id"))?;
            self.tried.insert((owner(row.tenant_id, row.account_id), biz_id), tried);
        }
        Ok(())
    }

    async fn load_keys(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.keys.iter().map(|(owner, _)| owner));
        let keys: Vec<String> = needs.keys.iter().map(|(_, key)| key.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT k.tenant_id, k.account_id, k.command_key, k.command, k.request_hash,
                k.reference, k.reservation_id, k.grant_no
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, account_id, command_key)
            JOIN command_keys k ON k.tenant_id = n.tenant_id AND k.account_id = n.account_id
                AND k.command_key = n.command_key"#,
            &tenants,
            &accounts,
            &keys,
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut named = Vec::new();
        for row in rows {
            let owner = owner(row.tenant_id, row.account_id);
            let target = KeyTarget::read(
                &row.command,
                row.reference,
                row.reservation_id.map(ReservationId),
                row.grant_no,
            )?;
            if let KeyTarget::Grant { reservation, .. } = &target {
                named.push((owner, *reservation));
            }
            let key: CommandKey =
                row.command_key.parse().map_err(|_| StoreError::Corrupt("command key"))?;
            let used = UsedKey { request_hash: codec::hash(&row.request_hash)?, target };
            self.keys.insert((owner, key), used);
        }
        if !named.is_empty() {
            let grants = load_grants(connection, &named).await?.into_values().flatten();
            self.keyed_grants =
                grants.map(|(_, grant)| ((grant.reservation, grant.grant_no), grant)).collect();
        }
        Ok(())
    }

    async fn load_movements(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.references.iter().map(|(owner, _)| owner));
        let references: Vec<String> =
            needs.references.iter().map(|(_, name)| name.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT m.tenant_id, m.account_id, m.reference, m.kind, m.amount_micropoints,
                m.reason, m.entry_seq, m.available_after_micropoints, m.debt_after_micropoints,
                m.recorded_at, m.bucket, m.bucket_expires_at
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, account_id, reference)
            JOIN movements m ON m.tenant_id = n.tenant_id AND m.account_id = n.account_id
                AND m.reference = n.reference"#,
            &tenants,
            &accounts,
            &references,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let reference: Reference =
                row.reference.parse().map_err(|_| StoreError::Corrupt("reference"))?;
            let direction = Direction::named(&row.kind)?;
            let movement = Movement {
                direction,
                lot: row.bucket.map(|bucket| lot(&bucket, row.bucket_expires_at)).transpose()?,
                amount: codec::points(row.amount_micropoints)?,
                reason: row.reason,
                reference: row.reference,
                entry_seq: row.entry_seq,
                available_after: codec::points(row.available_after_micropoints)?,
                debt_after: codec::points(row.debt_after_micropoints)?,
                recorded_at: codec::db_time(row.recorded_at)?,
            };
            self.movements.insert((owner(row.tenant_id, row.account_id), reference), movement);
        }
        Ok(())
    }

    async fn load_links(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.links.iter().map(|(owner, _)| owner));
        let chains: Vec<i64> = needs
            .links
            .iter()
            .map(|(_, wallet)| codec::chain_id(wallet.chain))
            .collect::<Result<_, _>>()?;
        let addresses: Vec<Vec<u8>> =
            needs.links.iter().map(|(_, wallet)| wallet.address.to_vec()).collect();
        let rows = sqlx::query!(
            r#"SELECT w.tenant_id, w.account_id, w.chain_id, w.wallet
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[])
                AS n (tenant_id, account_id, chain_id, wallet)
            JOIN wallets w ON w.tenant_id = n.tenant_id AND w.chain_id = n.chain_id
                AND w.wallet = n.wallet AND w.account_id = n.account_id"#,
            &tenants,
            &accounts,
            &chains,
            &addresses,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let wallet = Wallet {
                chain: ChainId(codec::unsigned(row.chain_id)?),
                address: codec::address(&row.wallet)?,
            };
            self.links.insert((owner(row.tenant_id, row.account_id), wallet));
        }
        Ok(())
    }
}

pub(super) fn owner(tenant: Uuid, account: Uuid) -> Owner {
    Owner { tenant: TenantId(tenant), account: AccountId(account) }
}

impl Book {
    async fn load_logs(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.logs.iter().map(|(owner, _)| owner));
        let logs = Logs::of(needs.logs.iter().map(|(_, log)| log))?;
        let rows = sqlx::query!(
            r#"SELECT m.tenant_id, m.account_id, m.chain_id, m.block_hash, m.log_index, m.visit, m.step
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::int[], $6::int[])
                AS n (tenant_id, account_id, chain_id, block_hash, log_index, visit)
            JOIN fact_marks m ON m.tenant_id = n.tenant_id AND m.account_id = n.account_id
                AND m.chain_id = n.chain_id AND m.block_hash = n.block_hash
                AND m.log_index = n.log_index AND m.visit = n.visit"#,
            &tenants,
            &accounts,
            &logs.chains,
            &logs.hashes,
            &logs.indices,
            &logs.visits,
        )
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let log = log_key(row.chain_id, &row.block_hash, row.log_index, row.visit)?;
            let owner = owner(row.tenant_id, row.account_id);
            self.marks.insert((owner, log, FactStep::named(&row.step)?));
        }
        let rows = sqlx::query!(
            r#"SELECT e.chain_id, e.block_hash, e.log_index, e.visit
            FROM unnest($1::bigint[], $2::bytea[], $3::int[], $4::int[])
                AS n (chain_id, block_hash, log_index, visit)
            JOIN chain_events e ON e.chain_id = n.chain_id AND e.block_hash = n.block_hash
                AND e.log_index = n.log_index AND e.visit = n.visit AND e.canonical"#,
            &logs.chains,
            &logs.hashes,
            &logs.indices,
            &logs.visits,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let log = log_key(row.chain_id, &row.block_hash, row.log_index, row.visit)?;
            self.canonical.insert(log);
        }
        Ok(())
    }
}

/// Logs as arrays.
pub(super) struct Logs {
    pub(super) chains: Vec<i64>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) indices: Vec<i32>,
    pub(super) visits: Vec<i32>,
}

impl Logs {
    pub(super) fn of<'a>(
        logs: impl Iterator<Item = &'a LogKey> + Clone,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            chains: logs.clone().map(|log| codec::chain_id(log.chain)).collect::<Result<_, _>>()?,
            hashes: logs.clone().map(|log| log.block_hash.to_vec()).collect(),
            indices: logs
                .clone()
                .map(|log| codec::signed32(log.log_index))
                .collect::<Result<_, _>>()?,
            visits: logs.map(|log| codec::signed32(log.visit)).collect::<Result<_, _>>()?,
        })
    }
}

fn log_key(chain: i64, hash: &[u8], log_index: i32, visit: i32) -> Result<LogKey, StoreError> {
    Ok(LogKey {
        chain: ChainId(codec::unsigned(chain)?),
        block_hash: codec::hash(hash)?,
        log_index: codec::unsigned(log_index)?,
        visit: codec::unsigned(visit)?,
    })
}
