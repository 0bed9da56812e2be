//! Where the ingester stands on each chain: the chain as Stipend knows it.
//!
//! The cursor moves by compare-and-set on the hash it stands on, in the same transaction that stores
//! or withdraws events, so that two ingesters cannot both move it and a crash leaves either both or
//! neither. What the events mean for accounts is taken from [`facts`](crate::facts) and applied one by
//! one (`settlement`), outside that transaction and never under a lock of the cursor.

use alloy_primitives::{Address, B256, U256};
use domain::ChainId;
use domain::chain_fact::BlockRef;
use sqlx::PgConnection;

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

struct Extend<'a> {
    chain: ChainId,
    block: &'a NewBlock,
}

impl Transaction for Extend<'_> {
    type Outcome = CursorMove;

    async fn execute(&self, connection: &mut PgConnection) -> Result<CursorMove, StoreError> {
        let chain = codec::chain_id(self.chain)?;
        let NewBlock { block, parent_hash, operations } = self.block;
        let number = codec::signed(block.number)?;
        let timestamp = codec::signed(block.timestamp.0)?;
        let moved = sqlx::query!(
            r#"UPDATE chain_cursors SET block_number = $2, block_hash = $3, block_timestamp = $4
            WHERE chain_id = $1 AND block_hash = $5 AND halt_reason IS NULL"#,
            chain,
            number,
            block.hash.as_slice(),
            timestamp,
            parent_hash.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(CursorMove::Lost);
        }
        let visit = sqlx::query_scalar!(
            r#"INSERT INTO chain_blocks
                (chain_id, block_hash, block_number, parent_hash, block_timestamp, visit, canonical)
            VALUES ($1, $2, $3, $4, $5, 1, true)
            ON CONFLICT (chain_id, block_hash)
                DO UPDATE SET visit = chain_blocks.visit + 1, canonical = true
            RETURNING visit"#,
            chain,
            block.hash.as_slice(),
            number,
            parent_hash.as_slice(),
            timestamp,
        )
        .fetch_one(&mut *connection)
        .await?;
        for operation in operations {
            insert_operation(&mut *connection, chain, block, visit, operation).await?;
        }
        Ok(CursorMove::Moved)
    }
}

async fn insert_operation(
    connection: &mut PgConnection,
    chain: i64,
    block: &BlockRef,
    visit: i32,
    operation: &NewOperation,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"INSERT INTO chain_events (chain_id, block_hash, log_index, visit, canonical, progress,
            block_number, block_timestamp, transaction_hash, entry_point, user_op_hash, sender,
            paymaster, nonce, success, actual_gas_cost_wei, actual_gas_used)
        VALUES ($1, $2, $3, $4, true, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
        chain,
        block.hash.as_slice(),
        codec::signed32(operation.log_index)?,
        visit,
        codec::signed(block.number)?,
        codec::signed(block.timestamp.0)?,
        operation.transaction_hash.as_slice(),
        operation.entry_point.as_slice(),
        operation.user_op_hash.as_slice(),
        operation.sender.as_slice(),
        operation.paymaster.as_slice(),
        &codec::nonce_bytes(operation.nonce),
        operation.success,
        codec::numeric(operation.actual_gas_cost)?,
        codec::numeric(U256::from(operation.actual_gas_used))?,
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
        .execute(connection)
        .await?;
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
                final_timestamp, halt_reason
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
        commit(&self.pool, &Extend { chain, block }).await
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
}
