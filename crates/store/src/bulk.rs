//! Many credits at once: what they would find, the accounts they need, and the memory of a batch.
//!
//! Nothing here moves points: every line is a credit of its own through [`Store::move_funds`], so that no transaction
//! holds more than names or outcomes.

mod batches;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ids::Reference;
use domain::ledger::buckets::Lot;
use domain::ledger::journal;
use domain::{AccountId, ExternalId, Points, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::funds::Direction;
use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

pub use batches::{BatchClaim, BatchFound, BatchName, LineRecord};

/// What a credit to this name under this reference would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The account, if there is one.
    pub account: Option<AccountId>,
    /// The movement that the reference names already.
    pub earlier: Option<EarlierMovement>,
}

/// A credit or debit that stands in the journal; it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierMovement {
    /// Which way.
    pub direction: Direction,
    /// How many points.
    pub amount: Points,
    /// Which points a credit was of; `None` for the default bucket, and in a debit.
    pub lot: Option<Lot>,
    /// Why.
    pub reason: String,
    /// Sequence of its last entry.
    pub entry_seq: i64,
}

struct EnsureAccounts<'a> {
    tenant: TenantId,
    /// In the order of the names, so that two of these never wait for each other.
    candidates: &'a BTreeMap<&'a str, AccountId>,
}

impl EnsureAccounts<'_> {
    async fn insert(
        &self,
        missing: &BTreeMap<&str, AccountId>,
        connection: &mut PgConnection,
    ) -> Result<BTreeMap<String, AccountId>, StoreError> {
        let ids: Vec<Uuid> = missing.values().map(|account| account.0).collect();
        let names: Vec<String> = missing.keys().map(|&name| name.to_owned()).collect();
        let hashes: Vec<Vec<u8>> = missing
            .values()
            .map(|account| journal::genesis(self.tenant, *account).to_vec())
            .collect();
        sqlx::query!(
            r#"INSERT INTO accounts (tenant_id, account_id, entry_hash)
            SELECT $1, account_id, entry_hash
            FROM unnest($2::uuid[], $3::bytea[]) AS new (account_id, entry_hash)
            ON CONFLICT (tenant_id, account_id) DO NOTHING"#,
            self.tenant.0,
            &ids,
            &hashes,
        )
        .execute(&mut *connection)
        .await?;
        let named = sqlx::query!(
            r#"INSERT INTO account_names (tenant_id, external_id, account_id)
            SELECT $1, external_id, account_id
            FROM unnest($2::text[], $3::uuid[]) AS new (external_id, account_id)
            ON CONFLICT (tenant_id, external_id) DO NOTHING RETURNING external_id, account_id"#,
            self.tenant.0,
            &names,
            &ids,
        )
        .fetch_all(connection)
        .await?;
        Ok(named.into_iter().map(|row| (row.external_id, AccountId(row.account_id))).collect())
    }
}

impl Transaction for EnsureAccounts<'_> {
    type Outcome = BTreeMap<String, AccountId>;

    async fn execute(&self, connection: &mut PgConnection) -> Result<Self::Outcome, StoreError> {
        let names: Vec<String> = self.candidates.keys().map(|&name| name.to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT external_id, account_id FROM account_names
            WHERE tenant_id = $1 AND external_id = ANY($2)"#,
            self.tenant.0,
            &names,
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut found: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.external_id, AccountId(row.account_id))).collect();
        let mut missing = self.candidates.clone();
        missing.retain(|name, _| !found.contains_key(*name));
        if missing.is_empty() {
            return Ok(found);
        }
        let named = self.insert(&missing, connection).await?;
        // A neighbour took one of the names first: its account is the one, and all of ours go with the
        // rollback, because one without a name would stay for ever.
        if named.len() < missing.len() {
            return Err(StoreError::Contention(Arc::new(sqlx::Error::RowNotFound)));
        }
        found.extend(named);
        Ok(found)
    }
}

impl Store {
    /// What credits to these names under these references would find, in their order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn credit_destinations(
        &self,
        tenant: TenantId,
        credits: &[(&ExternalId, &Reference)],
    ) -> Result<Vec<Destination>, StoreError> {
        let (names, references): (Vec<_>, Vec<_>) = credits
            .iter()
            .map(|(name, reference)| (name.as_str().to_owned(), reference.as_str().to_owned()))
            .unzip();
        let rows = sqlx::query!(
            r#"SELECT n.account_id AS "account_id?", m.kind AS "kind?",
                m.amount_micropoints AS "amount?", m.reason AS "reason?", m.entry_seq AS "entry_seq?",
                m.bucket AS "bucket?", m.bucket_expires_at AS "bucket_expires_at?"
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY
                AS line (external_id, reference, position)
            LEFT JOIN account_names n ON n.tenant_id = $1 AND n.external_id = line.external_id
            LEFT JOIN movements m ON m.tenant_id = $1 AND m.account_id = n.account_id
                AND m.reference = line.reference
            ORDER BY line.position"#,
            tenant.0,
            &names,
            &references,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let earlier = row.kind.map(|kind| -> Result<_, StoreError> {
                    let direction = Direction::named(&kind)?;
                    Ok(EarlierMovement {
                        direction,
                        lot: row
                            .bucket
                            .map(|bucket| crate::book::lot(&bucket, row.bucket_expires_at))
                            .transpose()?,
                        amount: codec::points(codec::present(row.amount)?)?,
                        reason: codec::present(row.reason)?,
                        entry_seq: codec::present(row.entry_seq)?,
                    })
                });
                let account = row.account_id.map(AccountId);
                Ok(Destination { account, earlier: earlier.transpose()? })
            })
            .collect()
    }

    /// The accounts of these names; those that do not exist are made, all or none.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn ensure_accounts(
        &self,
        tenant: TenantId,
        names: &[&ExternalId],
    ) -> Result<BTreeMap<String, AccountId>, StoreError> {
        let candidates: BTreeMap<&str, AccountId> =
            names.iter().map(|name| (name.as_str(), AccountId(Uuid::now_v7()))).collect();
        commit(&self.pool, &EnsureAccounts { tenant, candidates: &candidates }).await
    }
}
