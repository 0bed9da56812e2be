//! What an operator does about a chain that is halted: events that were left out, and a branch that was called final
//! and went away.
//!
//! **Invariant:** a chain is mended only while it is halted, so that its cursor stands still, and with the cursor's row
//! locked.

use std::collections::{HashMap, HashSet};

use domain::ChainId;
use domain::chain_fact::BlockRef;
use sqlx::PgConnection;

use crate::cursor::{NewBlock, insert_operations};
use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

/// What mending a chain did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// So many events.
    Events(u64),
    /// Nothing: the chain is not halted for this reason, or the cursor never came so far.
    NotHalted,
}

/// Adds the events of ingested blocks that are not stored.
struct AddMissed<'a> {
    chain: ChainId,
    reason: &'a str,
    blocks: &'a [NewBlock],
    /// Otherwise they are only counted.
    is_applied: bool,
}

impl Transaction for AddMissed<'_> {
    type Outcome = Mended;

    async fn execute(&self, connection: &mut PgConnection) -> Result<Mended, StoreError> {
        let chain = codec::chain_id(self.chain)?;
        let Some(last) = self.blocks.last() else { return Ok(Mended::Events(0)) };
        let halted = lock(connection, chain, self.reason).await?;
        if halted.is_none_or(|head| head < last.block.number) {
            return Ok(Mended::NotHalted);
        }
        let hashes: Vec<_> = self.blocks.iter().map(|new| new.block.hash.to_vec()).collect();
        let known = sqlx::query!(
            r#"SELECT block_hash, log_index, visit FROM chain_events
            WHERE chain_id = $1 AND block_hash = ANY($2) AND canonical"#,
            chain,
            &hashes,
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut visits: HashMap<_, _> = self.blocks.iter().map(|new| (new.block.hash, 1)).collect();
        let mut logs = HashSet::new();
        for row in known {
            let hash = codec::hash(&row.block_hash)?;
            visits.insert(hash, row.visit);
            logs.insert((hash, codec::unsigned(row.log_index)?));
        }
        let mut missed = self.blocks.to_vec();
        for new in &mut missed {
            let hash = new.block.hash;
            new.operations.retain(|operation| !logs.contains(&(hash, operation.log_index)));
        }
        let count = missed.iter().map(|new| new.operations.len()).sum::<usize>();
        if self.is_applied {
            insert_operations(connection, chain, &missed, &visits).await?;
        }
        Ok(Mended::Events(u64::try_from(count).unwrap_or(u64::MAX)))
    }
}

/// Puts the cursor on a block below the final one, from which the chain is read anew.
struct ResumeAt<'a> {
    chain: ChainId,
    reason: &'a str,
    anchor: &'a NewBlock,
    /// Otherwise what would be withdrawn is only counted.
    is_applied: bool,
}

impl Transaction for ResumeAt<'_> {
    type Outcome = Mended;

    async fn execute(&self, connection: &mut PgConnection) -> Result<Mended, StoreError> {
        let chain = codec::chain_id(self.chain)?;
        let BlockRef { number, hash, timestamp } = self.anchor.block;
        let halted = lock(connection, chain, self.reason).await?;
        if halted.is_none_or(|head| head < number) {
            return Ok(Mended::NotHalted);
        }
        let (number, timestamp) = (codec::signed(number)?, codec::signed(timestamp.0)?);
        if !self.is_applied {
            let above = sqlx::query_scalar!(
                r#"SELECT count(*) AS "count!" FROM chain_events
                WHERE chain_id = $1 AND block_number > $2 AND canonical"#,
                chain,
                number,
            )
            .fetch_one(connection)
            .await?;
            return Ok(Mended::Events(u64::try_from(above).unwrap_or_default()));
        }
        sqlx::query!(
            r#"UPDATE chain_cursors SET block_number = $2, block_hash = $3, block_timestamp = $4,
                final_number = $2, final_hash = $3, final_timestamp = $4, halt_reason = NULL
            WHERE chain_id = $1"#,
            chain,
            number,
            hash.as_slice(),
            timestamp,
        )
        .execute(&mut *connection)
        .await?;
        let withdrawn = sqlx::query!(
            r#"UPDATE chain_events SET canonical = false
            WHERE chain_id = $1 AND block_number > $2 AND canonical"#,
            chain,
            number,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "DELETE FROM used_slots WHERE chain_id = $1 AND block_number > $2",
            chain,
            number,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            r#"UPDATE chain_blocks SET canonical = false
            WHERE chain_id = $1 AND block_number > $2"#,
            chain,
            number,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            r#"INSERT INTO chain_blocks
                (chain_id, block_hash, block_number, parent_hash, block_timestamp, visit, canonical)
            VALUES ($1, $2, $3, $4, $5, 1, true)
            ON CONFLICT (chain_id, block_hash) DO UPDATE SET canonical = true"#,
            chain,
            hash.as_slice(),
            number,
            self.anchor.parent_hash.as_slice(),
            timestamp,
        )
        .execute(connection)
        .await?;
        Ok(Mended::Events(withdrawn.rows_affected()))
    }
}

/// Locks the cursor of a chain that is halted for a reason: the height of the last block that was ingested.
async fn lock(
    connection: &mut PgConnection,
    chain: i64,
    reason: &str,
) -> Result<Option<u64>, StoreError> {
    let head = sqlx::query_scalar!(
        r#"SELECT block_number FROM chain_cursors
        WHERE chain_id = $1 AND halt_reason = $2 FOR UPDATE"#,
        chain,
        reason,
    )
    .fetch_optional(connection)
    .await?;
    head.map(codec::unsigned).transpose()
}

impl Store {
    /// Adds the events of blocks that were ingested without them, on a chain that is halted for `reason`; how many there
    /// are. They are applied like any other. With `is_applied` false they are only counted.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_missed(
        &self,
        chain: ChainId,
        reason: &str,
        blocks: &[NewBlock],
        is_applied: bool,
    ) -> Result<Mended, StoreError> {
        commit(&self.pool, &AddMissed { chain, reason, blocks, is_applied }).await
    }

    /// Puts the cursor of a chain that is halted for `reason` on a block of the branch that stands, from which it is read
    /// anew, and takes the halt away; how many events above it are withdrawn. What was settled provisionally in them is
    /// undone; what was settled for good stays settled. With `is_applied` false they are only counted.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn resume_at(
        &self,
        chain: ChainId,
        reason: &str,
        anchor: &NewBlock,
        is_applied: bool,
    ) -> Result<Mended, StoreError> {
        commit(&self.pool, &ResumeAt { chain, reason, anchor, is_applied }).await
    }

    /// Takes a halt away, if it is for this reason; whether it was.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn end_halt(&self, chain: ChainId, reason: &str) -> Result<bool, StoreError> {
        let ended = sqlx::query!(
            "UPDATE chain_cursors SET halt_reason = NULL WHERE chain_id = $1 AND halt_reason = $2",
            codec::chain_id(chain)?,
            reason,
        )
        .execute(&self.pool)
        .await?;
        Ok(ended.rows_affected() > 0)
    }
}
