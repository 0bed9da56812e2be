//! A batch of the API: lines under one key, whose outcomes are kept.
//!
//! One request works on a batch at a time, for as long as it may take; the same request again goes on where it stopped.
//! Once every line has its outcome, every repeat hears the same.

use core::time::Duration;
use std::collections::BTreeMap;

use alloy_primitives::{B256, hex, keccak256};
use domain::TenantId;
use domain::ids::CommandKey;
use store::StoreError;
use store::bulk::{BatchClaim, BatchFound, BatchName, LineRecord};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{
    CreditLine, Credited, Crediting, GRACE, KeyedLine, LineOutcome, LineRefusal, MissingAccounts,
};
use crate::{Refusal, Service, ServiceError};

/// The most lines of one batch.
pub const MAX_LINES: usize = 10_000;

/// Lines whose outcomes are recorded together: what a crash leaves unrecorded.
const CHUNK: usize = 500;
/// Batches that one process works on at once; others wait for their turn.
const RUNNING: usize = 4;
static TURNS: Semaphore = Semaphore::const_new(RUNNING);
/// How much longer than its own time a request may keep others from its batch: for the lines under way, and to record
/// them.
const LEASE_MARGIN: Duration = GRACE.saturating_add(Duration::from_secs(2));

impl From<LineOutcome> for LineRecord {
    fn from(outcome: LineOutcome) -> Self {
        match outcome {
            LineOutcome::Applied { entry_seq } => Self::Applied { entry_seq },
            LineOutcome::Replayed { entry_seq } => Self::Replayed { entry_seq },
            LineOutcome::Refused(refusal) => {
                Self::Refused { code: refusal.code().to_owned(), detail: refusal.to_string() }
            }
        }
    }
}

/// A batch that somebody sent.
#[derive(Clone, Debug)]
pub struct CreditBatch {
    /// The company.
    pub tenant: TenantId,
    /// The caller's key.
    pub key: CommandKey,
    /// Hash of everything that the request asks for.
    pub request_hash: B256,
    /// What is done for a name without an account.
    pub missing: MissingAccounts,
    /// 1 to [`MAX_LINES`]; those that cannot be read with what is wrong with them.
    pub lines: Vec<Result<CreditLine, LineRefusal>>,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    /// Every line has its outcome for good.
    Complete {
        /// In the lines' order.
        records: Vec<LineRecord>,
        /// Whether that was so before this request.
        replayed: bool,
    },
    /// The time is up, or another request works on it: the same request again goes on from there.
    InProgress {
        /// How many lines have their outcome.
        done: usize,
    },
}

impl CreditBatch {
    /// The key of a line's command. It can be made again without any memory of the batch.
    fn line_key(&self, index: usize) -> Result<CommandKey, ServiceError> {
        let batch = hex::encode(keccak256(self.key.as_str()));
        let key = format!("batch:{batch}:{index}").parse();
        key.map_err(|_| StoreError::Configuration("key of a batch's line").into())
    }
}

impl Service {
    /// Carries a batch out, or goes on with it, for `time` at most.
    ///
    /// # Errors
    /// When its key was used for another batch, or the database does not carry it out; the same request again goes on
    /// then.
    pub async fn credit_batch(
        &self,
        batch: &CreditBatch,
        time: Duration,
    ) -> Result<BatchAnswer, ServiceError> {
        let deadline = Instant::now() + time;
        let name = BatchName {
            tenant: batch.tenant,
            key: batch.key.clone(),
            request_hash: batch.request_hash,
            line_count: batch.lines.len(),
        };
        let Ok(turn) = tokio::time::timeout_at(deadline, TURNS.acquire()).await else {
            return Ok(BatchAnswer::InProgress { done: 0 });
        };
        let lease = time.saturating_add(LEASE_MARGIN);
        let (claim, mut records) = match self.store().claim_batch(&name, lease).await? {
            BatchFound::Complete(records) => return Ok(complete(records, true)),
            BatchFound::Busy(done) => return Ok(BatchAnswer::InProgress { done }),
            BatchFound::KeyReused => return Err(Refusal::KeyReused.into()),
            BatchFound::Claimed(claim, records) => (claim, records),
        };
        let worked = self.work(batch, claim, &mut records, deadline).await;
        drop(turn);
        if worked.is_ok() && records.len() >= batch.lines.len() {
            return Ok(complete(records, false));
        }
        // Otherwise the next request would have to wait for the claim's end.
        self.store().release_batch(claim).await?;
        worked?;
        Ok(BatchAnswer::InProgress { done: records.len() })
    }

    /// Works through the lines that have no record, chunk by chunk, and adds theirs.
    async fn work(
        &self,
        batch: &CreditBatch,
        claim: BatchClaim,
        records: &mut BTreeMap<usize, LineRecord>,
        deadline: Instant,
    ) -> Result<(), ServiceError> {
        let open: Vec<_> = batch
            .lines
            .iter()
            .enumerate()
            .filter(|(index, _)| !records.contains_key(index))
            .collect();
        for chunk in open.chunks(CHUNK) {
            let (mut new, mut indexes, mut lines) = (BTreeMap::new(), Vec::new(), Vec::new());
            for &(index, line) in chunk {
                match line {
                    Err(refusal) => {
                        new.insert(index, LineOutcome::Refused(refusal.clone()).into());
                    }
                    Ok(line) => {
                        indexes.push(index);
                        lines.push(KeyedLine { line, key: batch.line_key(index)? });
                    }
                }
            }
            let crediting =
                Crediting { store: self.store(), tenant: batch.tenant, missing: batch.missing };
            let Credited { outcomes, trouble } = crediting.apply(&lines, deadline).await?;
            for (index, outcome) in indexes.into_iter().zip(outcomes) {
                if let Some(outcome) = outcome {
                    new.insert(index, LineRecord::from(outcome));
                }
            }
            // Somebody whose request came after the claim had ended goes on instead.
            if !self.store().record_batch_lines(claim, &new).await? {
                return Ok(());
            }
            let is_behind = new.len() < chunk.len();
            records.append(&mut new);
            match trouble {
                Some(defect) if !defect.is_transient() => return Err(defect.into()),
                _ if is_behind => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn complete(records: BTreeMap<usize, LineRecord>, replayed: bool) -> BatchAnswer {
    BatchAnswer::Complete { records: records.into_values().collect(), replayed }
}
