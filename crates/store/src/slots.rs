//! Slots of open sponsorships: which can be released, and which the EntryPoint has used up. The only maker of release
//! proofs.
//!
//! **Invariant:** a [`ReleaseProof`] is made here and nowhere else, from rows that the [`cursor`](crate::cursor)'s own
//! transactions committed, and from nonces that were read at an ingested block and counted once it is final.

use alloy_primitives::B256;
use domain::chain_fact::{BlockRef, ReleaseGround, ReleaseProof};
use domain::{AccountId, ChainId, Slot, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Store, StoreError, codec};

/// A reservation that can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releasable {
    /// The company.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// The head at which it was priced: where its operation can have landed lies above.
    pub priced_at: u64,
    /// The proof to release it with.
    pub proof: ReleaseProof,
}

struct ReleasableRow {
    tenant_id: Uuid,
    account_id: Uuid,
    entry_point: Vec<u8>,
    sender: Vec<u8>,
    nonce: Vec<u8>,
    price_block: i64,
    final_number: i64,
    final_hash: Vec<u8>,
    final_timestamp: i64,
}

impl ReleasableRow {
    fn read(&self, chain_id: ChainId, ground: ReleaseGround) -> Result<Releasable, StoreError> {
        let slot = slot(chain_id, &self.entry_point, &self.sender, &self.nonce)?;
        let final_block =
            codec::block_ref(self.final_number, &self.final_hash, self.final_timestamp)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "cursor and events were just read as committed"
        )]
        let proof = ReleaseProof::from_ingested(slot, final_block, ground);
        Ok(Releasable {
            tenant: TenantId(self.tenant_id),
            account: AccountId(self.account_id),
            // A row that is broken must not hold up the others: it is looked for from the start.
            priced_at: codec::unsigned(self.price_block.max(0))?,
            proof,
        })
    }
}

fn slot(
    chain_id: ChainId,
    entry_point: &[u8],
    sender: &[u8],
    nonce: &[u8],
) -> Result<Slot, StoreError> {
    Ok(Slot {
        chain_id,
        entry_point: codec::address(entry_point)?,
        sender: codec::address(sender)?,
        nonce: codec::nonce(nonce)?,
    })
}

/// Withdraws what was seen at a block that went away, in the transaction that moves the cursor off it.
pub(crate) async fn forget_used_slots(
    connection: &mut PgConnection,
    chain: i64,
    block: B256,
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM used_slots WHERE chain_id = $1 AND block_hash = $2",
        chain,
        block.as_slice(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
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
        let rows = sqlx::query_as!(
            ReleasableRow,
            r#"SELECT r.tenant_id, r.account_id, r.entry_point AS "entry_point!",
                r.sender AS "sender!", r.nonce AS "nonce!", r.price_block AS "price_block!",
                c.final_number, c.final_hash, c.final_timestamp
            FROM chain_cursors c
            JOIN reservations r
                ON r.chain_id = c.chain_id AND r.last_valid_until < c.final_timestamp
                AND NOT r.window_swept
            WHERE c.chain_id = $1 AND c.halt_reason IS NULL AND r.state = 'open'
                AND NOT EXISTS (SELECT FROM chain_events e
                    WHERE e.chain_id = r.chain_id AND e.sender = r.sender AND e.nonce = r.nonce
                        AND e.entry_point = r.entry_point AND e.canonical
                        AND NOT EXISTS (SELECT FROM paymasters p WHERE p.chain_id = e.chain_id
                            AND p.paymaster = e.paymaster AND p.tenant_id <> r.tenant_id))
                AND NOT EXISTS (SELECT FROM used_slots u
                    WHERE u.chain_id = r.chain_id AND u.sender = r.sender AND u.nonce = r.nonce
                        AND u.entry_point = r.entry_point)
            ORDER BY r.last_valid_until LIMIT $2"#,
            codec::chain_id(chain)?,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| row.read(chain, ReleaseGround::WindowPassed)).collect()
    }

    /// The same for reservations whose slot something else has used up, as is known from a final block. Nothing of ours
    /// can land there any more, however long its window lasts.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn releasable_by_nonce(
        &self,
        chain: ChainId,
        limit: u16,
    ) -> Result<Vec<Releasable>, StoreError> {
        let rows = sqlx::query_as!(
            ReleasableRow,
            r#"SELECT r.tenant_id, r.account_id, r.entry_point AS "entry_point!",
                r.sender AS "sender!", r.nonce AS "nonce!", r.price_block AS "price_block!",
                c.final_number, c.final_hash, c.final_timestamp
            FROM chain_cursors c
            JOIN used_slots u ON u.chain_id = c.chain_id AND u.block_number <= c.final_number
            JOIN reservations r ON r.chain_id = u.chain_id AND r.sender = u.sender
                AND r.nonce = u.nonce AND r.entry_point = u.entry_point
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
        rows.iter().map(|row| row.read(chain, ReleaseGround::NonceUsed)).collect()
    }

    /// Slots of open sponsorships that are worth a look at the EntryPoint's nonce, at most `limit`: their attempt is
    /// closing, or they were priced more than `patience` blocks ago. Those first whose window ends first.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn watched_slots(
        &self,
        chain: ChainId,
        patience: u32,
        limit: u16,
    ) -> Result<Vec<Slot>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT r.entry_point AS "entry_point!", r.sender AS "sender!", r.nonce AS "nonce!"
            FROM chain_cursors c
            JOIN reservations r
                ON r.chain_id = c.chain_id AND r.last_valid_until >= c.final_timestamp
                AND NOT r.window_swept
            WHERE c.chain_id = $1 AND r.state = 'open'
                AND (r.closing OR r.price_block + $2 < c.block_number)
                AND NOT EXISTS (SELECT FROM chain_events e
                    WHERE e.chain_id = r.chain_id AND e.sender = r.sender AND e.nonce = r.nonce
                        AND e.entry_point = r.entry_point AND e.canonical
                        AND NOT EXISTS (SELECT FROM paymasters p WHERE p.chain_id = e.chain_id
                            AND p.paymaster = e.paymaster AND p.tenant_id <> r.tenant_id))
                AND NOT EXISTS (SELECT FROM used_slots u
                    WHERE u.chain_id = r.chain_id AND u.sender = r.sender AND u.nonce = r.nonce
                        AND u.entry_point = r.entry_point)
            ORDER BY r.last_valid_until LIMIT $3"#,
            codec::chain_id(chain)?,
            i64::from(patience),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| slot(chain, &row.entry_point, &row.sender, &row.nonce)).collect()
    }

    /// Notes that the EntryPoint's nonce was past a slot at an ingested block. Does nothing where that block is not on the
    /// chain, or not above the final one, any more: then it is looked at again.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn note_used_slot(&self, slot: &Slot, block: &BlockRef) -> Result<(), StoreError> {
        // The lock makes a walk back from the block wait, and then it finds the note.
        sqlx::query!(
            r#"INSERT INTO used_slots (chain_id, entry_point, sender, nonce, block_number, block_hash)
            SELECT chain_id, $3, $4, $5, block_number, block_hash FROM chain_blocks
            WHERE chain_id = $1 AND block_hash = $2 AND canonical FOR SHARE
            ON CONFLICT DO NOTHING"#,
            codec::chain_id(slot.chain_id)?,
            block.hash.as_slice(),
            slot.entry_point.as_slice(),
            slot.sender.as_slice(),
            &codec::nonce_bytes(slot.nonce),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The head at which the first sponsorship that is not settled for good or released was priced: an operation of ours that
    /// is not ingested yet lies above it, or one that is to be undone and has landed again. `None` where there is none.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn opened_from(&self, chain: ChainId) -> Result<Option<u64>, StoreError> {
        let block = sqlx::query_scalar!(
            r#"SELECT min(price_block) FROM reservations
            WHERE chain_id = $1 AND NOT window_swept AND state IN ('open', 'settled_provisional')"#,
            codec::chain_id(chain)?,
        )
        .fetch_one(&self.pool)
        .await?;
        // A row that is broken makes all blocks worth a look, and holds up nobody.
        block.map(|block: i64| codec::unsigned(block.max(0))).transpose()
    }

    /// Notes of sponsorships that have closed, and whose last window a final block is past, that the
    /// releaser need not look at them again; at most `limit`, and how many. It is written without the
    /// accounts' locks: no command reads what it changes, and a CHECK keeps it from what is open.
    ///
    /// # Errors
    /// When the database does not carry it out; they are found again.
    pub async fn sweep_windows(&self, chain: ChainId, limit: u16) -> Result<u64, StoreError> {
        let swept = sqlx::query!(
            r#"WITH closed AS (
                SELECT r.tenant_id, r.account_id, r.reservation_id
                FROM chain_cursors c
                JOIN reservations r
                    ON r.chain_id = c.chain_id AND r.last_valid_until < c.final_timestamp
                    AND NOT r.window_swept
                WHERE c.chain_id = $1 AND r.state IN ('released', 'settled_final')
                ORDER BY r.last_valid_until LIMIT $2
                FOR NO KEY UPDATE OF r SKIP LOCKED)
            UPDATE reservations r SET window_swept = true FROM closed
            WHERE r.tenant_id = closed.tenant_id AND r.account_id = closed.account_id
                AND r.reservation_id = closed.reservation_id
                AND r.state IN ('released', 'settled_final')"#,
            codec::chain_id(chain)?,
            i64::from(limit),
        )
        .execute(&self.pool)
        .await?;
        Ok(swept.rows_affected())
    }
}
