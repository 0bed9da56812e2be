//! The memory of a batch of credits: which request works on it, and what became of its lines.
//!
//! A batch is worked on by one request at a time, which holds its claim; a claim ends by itself, because a request may
//! die. Whoever comes too late with an outcome finds the claim gone and writes nothing.

use core::time::Duration;
use std::collections::BTreeMap;

use alloy_primitives::B256;
use domain::TenantId;
use domain::ids::CommandKey;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

/// A batch as a request names it.
#[derive(Clone, Debug)]
pub struct BatchName {
    /// The company.
    pub tenant: TenantId,
    /// The caller's key, unique per company.
    pub key: CommandKey,
    /// Hash of everything that the request asks for.
    pub request_hash: B256,
    /// How many lines it has, 1 to 10 000.
    pub line_count: usize,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineRecord {
    /// Credited by this batch.
    Applied {
        /// Sequence of the credit's last entry.
        entry_seq: i64,
    },
    /// Credited before, under the same reference.
    Replayed {
        /// Sequence of the credit's last entry.
        entry_seq: i64,
    },
    /// Not credited.
    Refused {
        /// The stable name of the reason.
        code: String,
        /// The reason in words.
        detail: String,
    },
}

/// The right to work on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchClaim {
    tenant: TenantId,
    batch: Uuid,
    claim: Uuid,
}

/// What a request finds of its batch. The records are by the lines' index, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchFound {
    /// Every line has its outcome.
    Complete(BTreeMap<usize, LineRecord>),
    /// This request works on it now, and leaves out what is recorded.
    Claimed(BatchClaim, BTreeMap<usize, LineRecord>),
    /// Another request works on it, and has recorded so many lines.
    Busy(usize),
    /// The key was used for another batch.
    KeyReused,
}

struct ClaimBatch<'a> {
    name: &'a BatchName,
    lease: PgInterval,
    /// Of a batch that is not known yet.
    candidate: Uuid,
    claim: Uuid,
}

impl Transaction for ClaimBatch<'_> {
    type Outcome = BatchFound;

    async fn execute(&self, connection: &mut PgConnection) -> Result<BatchFound, StoreError> {
        let name = self.name;
        sqlx::query!(
            r#"INSERT INTO credit_batches (tenant_id, batch_key, batch_id, request_hash, line_count,
                claim_id, claimed_until, recorded_at)
            VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp())
            ON CONFLICT (tenant_id, batch_key) DO NOTHING"#,
            name.tenant.0,
            name.key.as_str(),
            self.candidate,
            name.request_hash.as_slice(),
            codec::signed32(name.line_count)?,
            self.claim,
        )
        .execute(&mut *connection)
        .await?;
        let claimed = sqlx::query!(
            r#"UPDATE credit_batches SET claim_id = $4, claimed_until = clock_timestamp() + $5
            WHERE tenant_id = $1 AND batch_key = $2 AND request_hash = $3
                AND (claim_id = $4 OR claimed_until <= clock_timestamp())"#,
            name.tenant.0,
            name.key.as_str(),
            name.request_hash.as_slice(),
            self.claim,
            self.lease,
        )
        .execute(&mut *connection)
        .await?;
        let batch = sqlx::query!(
            r#"SELECT batch_id, request_hash FROM credit_batches
            WHERE tenant_id = $1 AND batch_key = $2"#,
            name.tenant.0,
            name.key.as_str(),
        )
        .fetch_one(&mut *connection)
        .await?;
        if codec::hash(&batch.request_hash)? != name.request_hash {
            return Ok(BatchFound::KeyReused);
        }
        let lines = recorded_lines(name.tenant, batch.batch_id, connection).await?;
        let claim = BatchClaim { tenant: name.tenant, batch: batch.batch_id, claim: self.claim };
        Ok(if lines.len() >= name.line_count {
            BatchFound::Complete(lines)
        } else if claimed.rows_affected() == 1 {
            BatchFound::Claimed(claim, lines)
        } else {
            BatchFound::Busy(lines.len())
        })
    }
}

async fn recorded_lines(
    tenant: TenantId,
    batch: Uuid,
    connection: &mut PgConnection,
) -> Result<BTreeMap<usize, LineRecord>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT line_index, outcome, entry_seq, code, detail FROM credit_batch_lines
        WHERE tenant_id = $1 AND batch_id = $2"#,
        tenant.0,
        batch,
    )
    .fetch_all(connection)
    .await?;
    let mut lines = BTreeMap::new();
    for row in rows {
        let record = match row.outcome.as_str() {
            APPLIED => LineRecord::Applied { entry_seq: codec::present(row.entry_seq)? },
            REPLAYED => LineRecord::Replayed { entry_seq: codec::present(row.entry_seq)? },
            REFUSED => LineRecord::Refused {
                code: codec::present(row.code)?,
                detail: codec::present(row.detail)?,
            },
            _ => return Err(StoreError::Corrupt("outcome of a batch's line")),
        };
        lines.insert(codec::unsigned(row.line_index)?, record);
    }
    Ok(lines)
}

const APPLIED: &str = "applied";
const REPLAYED: &str = "replayed";
const REFUSED: &str = "refused";

struct RecordLines<'a> {
    claim: BatchClaim,
    lines: &'a BTreeMap<usize, LineRecord>,
}

impl Transaction for RecordLines<'_> {
    type Outcome = bool;

    async fn execute(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        let BatchClaim { tenant, batch, claim } = self.claim;
        let held = sqlx::query!(
            r#"SELECT claim_id FROM credit_batches
            WHERE tenant_id = $1 AND batch_id = $2 AND claim_id = $3 FOR NO KEY UPDATE"#,
            tenant.0,
            batch,
            claim,
        )
        .fetch_optional(&mut *connection)
        .await?;
        if held.is_none() {
            return Ok(false);
        }
        let mut columns = LineColumns::default();
        for (index, record) in self.lines {
            columns.push(codec::signed32(*index)?, record);
        }
        sqlx::query!(
            r#"INSERT INTO credit_batch_lines
                (tenant_id, batch_id, line_index, outcome, entry_seq, code, detail)
            SELECT $1, $2, line_index, outcome, entry_seq, code, detail
            FROM unnest($3::int[], $4::text[], $5::bigint[], $6::text[], $7::text[])
                AS new (line_index, outcome, entry_seq, code, detail)
            ON CONFLICT (tenant_id, batch_id, line_index) DO NOTHING"#,
            tenant.0,
            batch,
            &columns.indexes,
            &columns.outcomes,
            &columns.entry_seqs as &[Option<i64>],
            &columns.codes as &[Option<String>],
            &columns.details as &[Option<String>],
        )
        .execute(connection)
        .await?;
        Ok(true)
    }
}

#[derive(Default)]
struct LineColumns {
    indexes: Vec<i32>,
    outcomes: Vec<String>,
    entry_seqs: Vec<Option<i64>>,
    codes: Vec<Option<String>>,
    details: Vec<Option<String>>,
}

impl LineColumns {
    fn push(&mut self, index: i32, record: &LineRecord) {
        let (outcome, entry_seq, refusal) = match record {
            LineRecord::Applied { entry_seq } => (APPLIED, Some(*entry_seq), None),
            LineRecord::Replayed { entry_seq } => (REPLAYED, Some(*entry_seq), None),
            LineRecord::Refused { code, detail } => (REFUSED, None, Some((code, detail))),
        };
        let (code, detail) = refusal.map(|(code, detail)| (code.clone(), detail.clone())).unzip();
        self.indexes.push(index);
        self.outcomes.push(outcome.to_owned());
        self.entry_seqs.push(entry_seq);
        self.codes.push(code);
        self.details.push(detail);
    }
}

impl Store {
    /// Takes the right to work on a batch, for `lease` at most, unless it is complete or somebody else works on it.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_batch(
        &self,
        name: &BatchName,
        lease: Duration,
    ) -> Result<BatchFound, StoreError> {
        let lease = PgInterval::try_from(lease)
            .map_err(|_| StoreError::Configuration("time limit of a batch"))?;
        let (candidate, claim) = (Uuid::now_v7(), Uuid::now_v7());
        commit(&self.pool, &ClaimBatch { name, lease, candidate, claim }).await
    }

    /// Writes what became of lines; whether the claim still held. If it did not, nothing is written.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn record_batch_lines(
        &self,
        claim: BatchClaim,
        lines: &BTreeMap<usize, LineRecord>,
    ) -> Result<bool, StoreError> {
        commit(&self.pool, &RecordLines { claim, lines }).await
    }

    /// Gives a batch back before the claim ends by itself.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn release_batch(&self, claim: BatchClaim) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE credit_batches SET claimed_until = clock_timestamp()
            WHERE tenant_id = $1 AND batch_id = $2 AND claim_id = $3"#,
            claim.tenant.0,
            claim.batch,
            claim.claim,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
