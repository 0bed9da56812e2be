//! Where the ingester stands on each chain: the chain as Stipend knows it.
//!
//! The cursor moves by compare-and-set on the hash it stands on, in the same transaction that stores
//! or withdraws events, so that two ingesters cannot both move it and a crash leaves either both or
//! neither. What the events mean for accounts is taken from [`facts`](crate::facts) and applied one by
//! one (`settlement`), outside that transaction and never under a lock of the cursor.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, U256};
use domain::ChainId;
use domain::chain_fact::BlockRef;
use sqlx::PgConnection;

use crate::codec::{checked, column};
use crate::slots::forget_used_slots;
use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

/// Where the ingester stands on a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last ingested block.
    pub head: BlockRef,
    /// The last block that is known to be final.
    pub final_block: BlockRef,
    /// Why signing on this chain is halted, if it is.
    pub halt_reason: Option<String>,
    /// Why signing rests until the ingester takes it back, if it does.
    pub doubt: Option<String>,
}

/// A block to ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// The block.
    pub block: BlockRef,
    /// Its parent: where the cursor must stand.
    pub parent_hash: B256,
    /// The operations in it that name a paymaster of ours.
    pub operations: Vec<NewOperation>,
}

/// A `UserOperationEvent` of a block to ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// Index of the log within the block.
    pub log_index: u32,
    /// The transaction.
    pub transaction_hash: B256,
    /// The EntryPoint that emitted it.
    pub entry_point: Address,
    /// The operation's hash.
    pub user_op_hash: B256,
    /// The smart account.
    pub sender: Address,
    /// The paymaster.
    pub paymaster: Address,
    /// The nonce it used up.
    pub nonce: U256,
    /// Whether its call succeeded.
    pub success: bool,
    /// What the paymaster was charged, in wei.
    pub actual_gas_cost: U256,
    /// Gas that the cost was computed from.
    pub actual_gas_used: u128,
}

/// Whether the cursor moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorMove {
    /// It moved.
    Moved,
    /// It stands elsewhere by now, or the chain is halted: read it again.
    Lost,
}

/// Blocks that follow each other, and where the cursor must stand for them.
struct Extend<'a> {
    chain: ChainId,
    onto: B256,
    blocks: &'a [NewBlock],
    /// Whether all of them are final.
    are_final: bool,
}

impl Transaction for Extend<'_> {
    type Outcome = CursorMove;

    async fn execute(&self, connection: &mut PgConnection) -> Result<CursorMove, StoreError> {
        let chain = codec::chain_id(self.chain)?;
        let Some(NewBlock { block: last, .. }) = self.blocks.last() else {
            return Ok(CursorMove::Lost);
        };
        let moved = sqlx::query!(
            r#"UPDATE chain_cursors SET block_number = $2, block_hash = $3, block_timestamp = $4,
                final_number = CASE WHEN $6 THEN $2 ELSE final_number END,
                final_hash = CASE WHEN $6 THEN $3 ELSE final_hash END,
                final_timestamp = CASE WHEN $6 THEN $4 ELSE final_timestamp END
            WHERE chain_id = $1 AND block_hash = $5 AND halt_reason IS NULL"#,
            chain,
            codec::signed(last.number)?,
            last.hash.as_slice(),
            codec::signed(last.timestamp.0)?,
            self.onto.as_slice(),
            self.are_final,
        )
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(CursorMove::Lost);
        }
        let visits = self.insert_blocks(&mut *connection, chain).await?;
        insert_operations(connection, chain, self.blocks, &visits).await?;
        Ok(CursorMove::Moved)
    }
}

impl Extend<'_> {
    /// How often each block has been ingested, this time included.
    async fn insert_blocks(
        &self,
        connection: &mut PgConnection,
        chain: i64,
    ) -> Result<HashMap<B256, i32>, StoreError> {
        let rows = sqlx::query!(
            r#"INSERT INTO chain_blocks
                (chain_id, block_hash, block_number, parent_hash, block_timestamp, visit, canonical)
            SELECT $1, hash, number, parent, timestamp,
                1 + coalesce((SELECT max(visit) FROM chain_events e
                    WHERE e.chain_id = $1 AND e.block_hash = hash), 0),
                true
            FROM unnest($2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[])
                AS n (hash, number, parent, timestamp)
            ON CONFLICT (chain_id, block_hash)
                DO UPDATE SET visit = chain_blocks.visit + 1, canonical = true
            RETURNING block_hash, visit"#,
            chain,
            &column(self.blocks, |new| new.block.hash.to_vec()),
            &checked(self.blocks, |new| codec::signed(new.block.number))?,
            &column(self.blocks, |new| new.parent_hash.to_vec()),
            &checked(self.blocks, |new| codec::signed(new.block.timestamp.0))?,
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter().map(|row| Ok((codec::hash(&row.block_hash)?, row.visit))).collect()
    }
}

/// Stores the operations of blocks as events that wait to be applied.
pub(crate) async fn insert_operations(
    connection: &mut PgConnection,
    chain: i64,
    blocks: &[NewBlock],
    visits: &HashMap<B256, i32>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = blocks
        .iter()
        .flat_map(|new| new.operations.iter().map(|operation| (&new.block, operation)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let visit = |block: &BlockRef| {
        visits.get(&block.hash).copied().ok_or(StoreError::Corrupt("a block without its row"))
    };
    sqlx::query!(
            r#"INSERT INTO chain_events (chain_id, block_hash, log_index, visit, canonical, progress,
                block_number, block_timestamp, transaction_hash, entry_point, user_op_hash, sender,
                paymaster, nonce, success, actual_gas_cost_wei, actual_gas_used)
            SELECT $1, block_hash, log_index, visit, true, 'pending', block_number, block_timestamp,
                transaction_hash, entry_point, user_op_hash, sender, paymaster, nonce, success, cost,
                used
            FROM unnest($2::bytea[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::bytea[],
                    $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bool[],
                    $14::numeric[], $15::numeric[])
                AS n (block_hash, log_index, visit, block_number, block_timestamp, transaction_hash,
                    entry_point, user_op_hash, sender, paymaster, nonce, success, cost, used)"#,
            chain,
            &column(&rows, |(block, _)| block.hash.to_vec()),
            &checked(&rows, |(_, operation)| codec::signed32(operation.log_index))?,
            &checked(&rows, |(block, _)| visit(block))?,
            &checked(&rows, |(block, _)| codec::signed(block.number))?,
            &checked(&rows, |(block, _)| codec::signed(block.timestamp.0))?,
            &column(&rows, |(_, operation)| operation.transaction_hash.to_vec()),
            &column(&rows, |(_, operation)| operation.entry_point.to_vec()),
            &column(&rows, |(_, operation)| operation.user_op_hash.to_vec()),
            &column(&rows, |(_, operation)| operation.sender.to_vec()),
            &column(&rows, |(_, operation)| operation.paymaster.to_vec()),
            &column(&rows, |(_, operation)| codec::nonce_bytes(operation.nonce).to_vec()),
            &column(&rows, |(_, operation)| operation.success),
            &checked(&rows, |(_, operation)| codec::numeric(operation.actual_gas_cost))?,
            &checked(&rows, |(_, operation)| codec::numeric(U256::from(operation.actual_gas_used)))?,
        )
        .execute(connection)
        .await?;
    Ok(())
}

struct WalkBack {
    chain: ChainId,
    from: B256,
}

impl Transaction for WalkBack {
    type Outcome = CursorMove;

    async fn execute(&self, connection: &mut PgConnection) -> Result<CursorMove, StoreError> {
        let chain = codec::chain_id(self.chain)?;
        let moved = sqlx::query!(
            r#"UPDATE chain_cursors c SET block_number = parent.block_number,
                block_hash = parent.block_hash, block_timestamp = parent.block_timestamp
            FROM chain_blocks gone
            JOIN chain_blocks parent
                ON parent.chain_id = gone.chain_id AND parent.block_hash = gone.parent_hash
            WHERE c.chain_id = $1 AND c.block_hash = $2 AND c.halt_reason IS NULL
                AND gone.chain_id = c.chain_id AND gone.block_hash = c.block_hash
                AND gone.block_number > c.final_number"#,
            chain,
            self.from.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(CursorMove::Lost);
        }
        sqlx::query!(
            r#"UPDATE chain_blocks SET canonical = false WHERE chain_id = $1 AND block_hash = $2"#,
            chain,
            self.from.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            r#"UPDATE chain_events SET canonical = false
            WHERE chain_id = $1 AND block_hash = $2 AND canonical"#,
            chain,
            self.from.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        forget_used_slots(connection, chain, self.from).await?;
        Ok(CursorMove::Moved)
    }
}
impl Store {
    /// Where the ingester stands; `None` before its first block.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn cursor(&self, chain: ChainId) -> Result<Option<Cursor>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT block_number, block_hash, block_timestamp, final_number, final_hash,
                final_timestamp, halt_reason, doubt
            FROM chain_cursors WHERE chain_id = $1"#,
            codec::chain_id(chain)?,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(Cursor {
                head: codec::block_ref(row.block_number, &row.block_hash, row.block_timestamp)?,
                final_block: codec::block_ref(
                    row.final_number,
                    &row.final_hash,
                    row.final_timestamp,
                )?,
                halt_reason: row.halt_reason,
                doubt: row.doubt,
            })
        })
        .transpose()
    }

    /// Puts the first cursor on a final block from which on the chain is read. Does nothing where
    /// there is one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn start_cursor(
        &self,
        chain: ChainId,
        anchor: &BlockRef,
        parent_hash: B256,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"WITH started AS (
                INSERT INTO chain_cursors (chain_id, block_number, block_hash, block_timestamp,
                    final_number, final_hash, final_timestamp)
                VALUES ($1, $3, $2, $4, $3, $2, $4) ON CONFLICT (chain_id) DO NOTHING
                RETURNING chain_id)
            INSERT INTO chain_blocks (chain_id, block_hash, block_number, parent_hash,
                block_timestamp, visit, canonical)
            SELECT chain_id, $2, $3, $5, $4, 1, true FROM started"#,
            codec::chain_id(chain)?,
            anchor.hash.as_slice(),
            codec::signed(anchor.number)?,
            codec::signed(anchor.timestamp.0)?,
            parent_hash.as_slice(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Stores a block's events and moves the cursor onto it, in one commit.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn extend_cursor(
        &self,
        chain: ChainId,
        block: &NewBlock,
    ) -> Result<CursorMove, StoreError> {
        let (onto, blocks) = (block.parent_hash, core::slice::from_ref(block));
        commit(&self.pool, &Extend { chain, onto, blocks, are_final: false }).await
    }

    /// The same for many blocks that are all final, from the one that the cursor stands on to the last of them. Those in
    /// between that hold no operation of ours may be left out, because nobody walks back over them.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn catch_up_cursor(
        &self,
        chain: ChainId,
        onto: B256,
        blocks: &[NewBlock],
    ) -> Result<CursorMove, StoreError> {
        commit(&self.pool, &Extend { chain, onto, blocks, are_final: true }).await
    }

    /// Moves the cursor from a block that is no longer canonical to its parent, and withdraws the
    /// block's events. Never below the final block.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn walk_cursor_back(
        &self,
        chain: ChainId,
        from: B256,
    ) -> Result<CursorMove, StoreError> {
        commit(&self.pool, &WalkBack { chain, from }).await
    }

    /// Takes an ingested, canonical block as final, and forgets the headers before it. A block that
    /// was not ingested, or is not later than the last, changes nothing.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn advance_final(&self, chain: ChainId, hash: B256) -> Result<(), StoreError> {
        let chain = codec::chain_id(chain)?;
        sqlx::query!(
            r#"UPDATE chain_cursors c SET final_number = b.block_number, final_hash = b.block_hash,
                final_timestamp = b.block_timestamp
            FROM chain_blocks b
            WHERE c.chain_id = $1 AND b.chain_id = $1 AND b.block_hash = $2 AND b.canonical
                AND b.block_number > c.final_number AND b.block_number <= c.block_number
                AND c.halt_reason IS NULL"#,
            chain,
            hash.as_slice(),
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!(
            r#"DELETE FROM chain_blocks USING chain_cursors c
            WHERE chain_blocks.chain_id = $1 AND c.chain_id = $1
                AND chain_blocks.block_number < c.final_number"#,
            chain,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Halts a chain: its cursor stands still, nothing is signed or released on it, until an operator
    /// clears the reason.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn halt_chain(&self, chain: ChainId, reason: &str) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE chain_cursors SET halt_reason = $2
            WHERE chain_id = $1 AND halt_reason IS NULL"#,
            codec::chain_id(chain)?,
            reason,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Lets signing on a chain rest for a reason, or go on.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_doubt(&self, chain: ChainId, doubt: Option<&str>) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE chain_cursors SET doubt = $2
            WHERE chain_id = $1 AND doubt IS DISTINCT FROM $2"#,
            codec::chain_id(chain)?,
            doubt,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
