//! Reading the chain: one block at a time, events and cursor in one commit.
//!
//! What is final is asked before the next block is read, so that a block at or below it is final when
//! it is stored. A block whose parent is not where the cursor stands moves the cursor back by one,
//! and the events of the block that went are withdrawn; never below what was final, which is a named
//! halt instead.

use chain::RpcError;
use chain::logs::{LogsError, OperationLog};
use chain::node::Header;
use domain::ChainId;
use domain::follow::{Step, step};
use store::cursor::{Cursor, CursorMove, NewBlock, NewOperation};

use crate::chains::Chain;
use crate::{Service, ServiceError};

/// The reason of a halt after the chain contradicted what it had called final.
pub const HALT_PAST_FINALITY: &str = "reorganisation_past_finality";

/// What one step of the ingester did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// It stored this block.
    Block(u64),
    /// It moved back from this block.
    WalkedBack(u64),
    /// There is nothing new.
    UpToDate,
    /// The chain is halted.
    Halted,
}

impl Service {
    /// Reads at most one block of a chain.
    ///
    /// # Errors
    /// When the node or the database does not answer; the step is safe to repeat.
    pub async fn ingest_step(&self, chain_id: ChainId) -> Result<Ingested, ServiceError> {
        let chain = self.chain(chain_id)?;
        let final_header =
            chain.node.final_header(&chain.finality).await.map_err(ServiceError::Node)?;
        let Some(cursor) = self.store.cursor(chain.id).await? else {
            return self.start(chain, final_header).await;
        };
        if cursor.halt_reason.is_some() {
            return Ok(Ingested::Halted);
        }
        let next = cursor.head.number.saturating_add(1);
        let next = chain.node.header_by_number(next).await.map_err(ServiceError::Node)?;
        let ingested = match next {
            Some(header) => self.follow(chain, &cursor, &header).await?,
            None => self.check_tip(chain, &cursor).await?,
        };
        if let Some(final_header) = final_header {
            self.settle_finality(chain, &final_header, ingested).await?;
        }
        Ok(ingested)
    }

    /// Puts the first cursor on the block before the first that can hold an operation of ours, or on
    /// the final block where that is earlier: what a cursor stands on at first must not go away.
    async fn start(
        &self,
        chain: &Chain,
        final_header: Option<Header>,
    ) -> Result<Ingested, ServiceError> {
        let Some(final_header) = final_header else { return Ok(Ingested::UpToDate) };
        let anchor = chain.start_block.saturating_sub(1).min(final_header.number);
        let header = chain.node.header_by_number(anchor).await.map_err(ServiceError::Node)?;
        let Some(header) = header else { return Ok(Ingested::UpToDate) };
        self.store.start_cursor(chain.id, &header.block(), header.parent_hash).await?;
        tracing::info!(chain = chain.id.0, block = header.number, "ingestion starts");
        Ok(Ingested::Block(header.number))
    }

    async fn follow(
        &self,
        chain: &Chain,
        cursor: &Cursor,
        header: &Header,
    ) -> Result<Ingested, ServiceError> {
        match step(&cursor.head, cursor.final_block.number, header.parent_hash) {
            Step::Extend => self.extend(chain, header).await,
            Step::WalkBack => self.walk_back(chain, cursor).await,
            Step::PastFinality => self.halt(chain, cursor).await,
        }
    }

    async fn extend(&self, chain: &Chain, header: &Header) -> Result<Ingested, ServiceError> {
        // From the database, and after the header: a paymaster is registered there before its first
        // signature, so that a block which holds an operation of it is never read without it.
        let registered = self.store.paymasters(chain.id).await?;
        let paymasters: Vec<_> = registered.iter().map(|paymaster| paymaster.address).collect();
        let mut entry_points: Vec<_> =
            registered.iter().map(|paymaster| paymaster.entry_point).collect();
        entry_points.sort_unstable();
        entry_points.dedup();
        let logs = match chain.node.operation_logs(header.hash, &entry_points, &paymasters).await {
            Ok(logs) => logs,
            // It was replaced since its header was read, or the node behind the URL lags: look again.
            Err(LogsError::UnknownBlock(_)) => return Ok(Ingested::UpToDate),
            Err(LogsError::Rpc(error)) => return Err(ServiceError::Node(error)),
        };
        let block = NewBlock {
            block: header.block(),
            parent_hash: header.parent_hash,
            operations: logs.into_iter().map(operation).collect::<Result<_, _>>()?,
        };
        match self.store.extend_cursor(chain.id, &block).await? {
            CursorMove::Moved => Ok(Ingested::Block(header.number)),
            // Another ingester was faster, or walked back: look again.
            CursorMove::Lost => Ok(Ingested::UpToDate),
        }
    }

    /// With nothing above the cursor, its own block may still have been replaced.
    async fn check_tip(&self, chain: &Chain, cursor: &Cursor) -> Result<Ingested, ServiceError> {
        let number = cursor.head.number;
        let header = chain.node.header_by_number(number).await.map_err(ServiceError::Node)?;
        match header {
            Some(header) if header.hash != cursor.head.hash => {
                if number <= cursor.final_block.number {
                    self.halt(chain, cursor).await
                } else {
                    self.walk_back(chain, cursor).await
                }
            }
            // A node that does not know our block lags: it may catch up.
            Some(_) | None => Ok(Ingested::UpToDate),
        }
    }

    async fn walk_back(&self, chain: &Chain, cursor: &Cursor) -> Result<Ingested, ServiceError> {
        if self.store.walk_cursor_back(chain.id, cursor.head.hash).await? == CursorMove::Lost {
            return Ok(Ingested::UpToDate);
        }
        tracing::warn!(
            chain = chain.id.0,
            block = cursor.head.number,
            hash = %cursor.head.hash,
            "block was reorganised away"
        );
        Ok(Ingested::WalkedBack(cursor.head.number))
    }

    async fn halt(&self, chain: &Chain, cursor: &Cursor) -> Result<Ingested, ServiceError> {
        tracing::error!(
            chain = chain.id.0,
            final_block = cursor.final_block.number,
            reason = HALT_PAST_FINALITY,
            "chain is halted: nothing is signed or released on it until an operator decides"
        );
        self.store.halt_chain(chain.id, HALT_PAST_FINALITY).await?;
        Ok(Ingested::Halted)
    }

    /// Takes over what the node called final before the step: the cursor's own block while that is
    /// below it, or else the final block itself, if it was ingested.
    async fn settle_finality(
        &self,
        chain: &Chain,
        final_header: &Header,
        ingested: Ingested,
    ) -> Result<(), ServiceError> {
        let Some(cursor) = self.store.cursor(chain.id).await? else { return Ok(()) };
        let own = matches!(ingested, Ingested::Block(number) if number == cursor.head.number
            && number <= final_header.number);
        let hash = if own { cursor.head.hash } else { final_header.hash };
        Ok(self.store.advance_final(chain.id, hash).await?)
    }
}

fn operation(log: OperationLog) -> Result<NewOperation, ServiceError> {
    let event = log.event;
    let actual_gas_used = u128::try_from(event.actual_gas_used).map_err(|_| {
        ServiceError::Node(RpcError::Malformed { what: "actualGasUsed above 2^128".to_owned() })
    })?;
    Ok(NewOperation {
        log_index: log.log_index,
        transaction_hash: log.transaction_hash,
        entry_point: log.entry_point,
        user_op_hash: event.user_op_hash,
        sender: event.sender,
        paymaster: event.paymaster,
        nonce: event.nonce,
        success: event.success,
        actual_gas_cost: event.actual_gas_cost,
        actual_gas_used,
    })
}
