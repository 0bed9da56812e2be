//! What the ingester read of each chain: cursors, headers, events. The only maker of proofs.
//!
//! The cursor is the chain as Stipend knows it. It moves by compare-and-set on the hash it stands on,
//! in the same transaction that stores or withdraws events, so that two ingesters cannot both move it
//! and a crash leaves either both or neither. Events are then applied to accounts one by one
//! (`settlement`), outside that transaction and never under a lock of the cursor.
//!
//! **Invariant:** [`ChainFact`] and [`ReleaseProof`] are made here and nowhere else, from rows that
//! this module's own transactions committed.

use alloy_primitives::{Address, B256, U256};
use domain::chain_fact::{BlockRef, ChainFact, ChainTime, OperationEvent, ReleaseProof, Sighting};
use domain::{AccountId, ChainId, Slot, TenantId};
use sqlx::PgConnection;

use crate::command::{Command, commit};
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

impl Command for Extend<'_> {
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

impl Command for WalkBack {
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

/// One step that an event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactStep {
    /// Its block is canonical: settle.
    Confirm,
    /// Its block went away: take the settlement back.
    Undo,
    /// Its block is final: return the rest.
    Finalise,
}

impl FactStep {
    /// The step's name in SQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Undo => "undo",
            Self::Finalise => "finalise",
        }
    }

    /// The event's progress while it waits for the step, and after it.
    const fn progress(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Confirm => (&["pending"], "confirmed"),
            Self::Undo => (&["pending", "confirmed"], "undone"),
            Self::Finalise => (&["confirmed"], "finalised"),
        }
    }

    /// [`FactStep::progress`] as SQL takes it.
    fn waits_in(self) -> Vec<String> {
        let (waiting, _) = self.progress();
        waiting.iter().map(|&progress| progress.to_owned()).collect()
    }
}

/// An event that waits for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is to be done.
    pub step: FactStep,
    /// The proof to do it with.
    pub fact: ChainFact,
}

/// A reservation that can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releasable {
    /// The company.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// The proof to release it with.
    pub proof: ReleaseProof,
}

fn block_ref(number: i64, hash: &[u8], timestamp: i64) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: codec::unsigned(number)?,
        hash: codec::hash(hash)?,
        timestamp: codec::chain_time(timestamp)?,
    })
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
                head: block_ref(row.block_number, &row.block_hash, row.block_timestamp)?,
                final_block: block_ref(row.final_number, &row.final_hash, row.final_timestamp)?,
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

    /// The events that wait for a step, at most `limit`: first what must be undone, latest block
    /// first, then what is to be confirmed or finalised, in chain order. One statement, so that a
    /// block is never confirmed over one whose undo it does not see.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn fact_work(&self, chain: ChainId, limit: u16) -> Result<Vec<Work>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT e.block_hash, e.log_index, e.visit, e.canonical, e.progress, e.block_number,
                e.block_timestamp, e.transaction_hash, e.entry_point, e.user_op_hash, e.sender,
                e.paymaster, e.nonce, e.success, e.actual_gas_cost_wei, e.actual_gas_used
            FROM chain_events e JOIN chain_cursors c ON c.chain_id = e.chain_id
            WHERE e.chain_id = $1 AND e.progress IN ('pending', 'confirmed')
                AND (NOT e.canonical OR e.progress = 'pending' OR e.block_number <= c.final_number)
            ORDER BY e.canonical,
                CASE WHEN e.canonical THEN e.block_number ELSE -e.block_number END,
                e.log_index, e.visit
            LIMIT $2"#,
            codec::chain_id(chain)?,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let step = match (row.canonical, row.progress.as_str()) {
                    (false, _) => FactStep::Undo,
                    (true, "pending") => FactStep::Confirm,
                    (true, _) => FactStep::Finalise,
                };
                let event = OperationEvent {
                    sighting: Sighting {
                        block: block_ref(row.block_number, &row.block_hash, row.block_timestamp)?,
                        log_index: codec::unsigned(row.log_index)?,
                        visit: codec::unsigned(row.visit)?,
                    },
                    slot: Slot {
                        chain_id: chain,
                        entry_point: codec::address(&row.entry_point)?,
                        sender: codec::address(&row.sender)?,
                        nonce: codec::nonce(&row.nonce)?,
                    },
                    paymaster: codec::address(&row.paymaster)?,
                    user_op_hash: codec::hash(&row.user_op_hash)?,
                    transaction_hash: codec::hash(&row.transaction_hash)?,
                    success: row.success,
                    actual_gas_cost: codec::wei(&row.actual_gas_cost_wei)?,
                    actual_gas_used: codec::unsigned(codec::uint(&row.actual_gas_used)?)?,
                };
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the event was just read as committed"
                )]
                let fact = ChainFact::from_ingested(event);
                Ok(Work { step, fact })
            })
            .collect()
    }

    /// Notes that a step of an event is done, so that it is not offered again. Losing this note costs
    /// one more look: the account's own mark decides. It stands above the note of an applier that set
    /// the event aside meanwhile, which looked before there was anybody to charge.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn finish_work(&self, work: &Work) -> Result<(), StoreError> {
        let (_, done) = work.step.progress();
        let mut from = work.step.waits_in();
        from.push("set_aside".to_owned());
        let event = work.fact.event();
        sqlx::query!(
            r#"UPDATE chain_events SET progress = $5, set_aside_reason = NULL
            WHERE chain_id = $1 AND block_hash = $2 AND log_index = $3 AND visit = $4
                AND progress = ANY($6)"#,
            codec::chain_id(event.slot.chain_id)?,
            event.sighting.block.hash.as_slice(),
            codec::signed32(event.sighting.log_index)?,
            codec::signed32(event.sighting.visit)?,
            done,
            &from,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Sets an event aside with its reason, for people; its slot is not released. Only while it waits
    /// for the step that could not be taken: another applier may have found more since.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_aside(&self, work: &Work, reason: &str) -> Result<(), StoreError> {
        let event = work.fact.event();
        sqlx::query!(
            r#"UPDATE chain_events SET progress = 'set_aside', set_aside_reason = $5
            WHERE chain_id = $1 AND block_hash = $2 AND log_index = $3 AND visit = $4
                AND progress = ANY($6)"#,
            codec::chain_id(event.slot.chain_id)?,
            event.sighting.block.hash.as_slice(),
            codec::signed32(event.sighting.log_index)?,
            codec::signed32(event.sighting.visit)?,
            reason,
            &work.step.waits_in(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Reservations whose last window a final block is past and in whose slot nothing of ours landed,
    /// at most `limit`. One statement, so that the final block and the events are of one moment. A
    /// halted chain releases nothing. An operation that another company's paymaster paid used the slot
    /// up without landing there for us; an unregistered paymaster's may be ours, and holds the slot.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn releasable(
        &self,
        chain: ChainId,
        limit: u16,
    ) -> Result<Vec<Releasable>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT r.tenant_id, r.account_id, r.entry_point AS "entry_point!",
                r.sender AS "sender!", r.nonce AS "nonce!", c.final_number, c.final_hash,
                c.final_timestamp
            FROM chain_cursors c
            JOIN reservations r
                ON r.chain_id = c.chain_id AND r.last_valid_until < c.final_timestamp
            WHERE c.chain_id = $1 AND c.halt_reason IS NULL AND r.state = 'open'
                AND NOT EXISTS (SELECT FROM chain_events e
                    WHERE e.chain_id = r.chain_id AND e.sender = r.sender AND e.nonce = r.nonce
                        AND e.entry_point = r.entry_point AND e.canonical
                        AND NOT EXISTS (SELECT FROM paymasters p WHERE p.chain_id = e.chain_id
                            AND p.paymaster = e.paymaster AND p.tenant_id <> r.tenant_id))
            ORDER BY r.last_valid_until LIMIT $2"#,
            codec::chain_id(chain)?,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let slot = Slot {
                    chain_id: chain,
                    entry_point: codec::address(&row.entry_point)?,
                    sender: codec::address(&row.sender)?,
                    nonce: codec::nonce(&row.nonce)?,
                };
                let final_block =
                    block_ref(row.final_number, &row.final_hash, row.final_timestamp)?;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "cursor and events were just read as committed"
                )]
                let proof = ReleaseProof::from_ingested(slot, final_block);
                let (tenant, account) = (TenantId(row.tenant_id), AccountId(row.account_id));
                Ok(Releasable { tenant, account, proof })
            })
            .collect()
    }

    /// Chain time of the last final block, for answers that say when something can happen.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn final_time(&self, chain: ChainId) -> Result<Option<ChainTime>, StoreError> {
        Ok(self.cursor(chain).await?.map(|cursor| cursor.final_block.timestamp))
    }
}
