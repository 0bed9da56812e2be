//! Reading the chain: final blocks in stretches, the others one by one; events and cursor in one commit.
//!
//! What is final is asked before the next block is read, so that a block at or below it is final when
//! it is stored. While the cursor stands below that, it takes as many blocks in one question as the node
//! answers ([`Span`]), up to the first that can hold an operation of a sponsorship that is open. From there on each block's logs are asked for by the block's hash, so that a head that
//! changes cannot mix two branches. A block whose parent is not where the cursor stands moves the cursor
//! back by one, and the events of the block that went are withdrawn; never below what was final, which
//! is a named halt instead.
//!
//! No block becomes final here that the chain's other nodes show otherwise, and no chain is halted for one
//! that they do not show: while they disagree, nothing more becomes final and nothing is signed.

mod catch_up;
mod span;

use alloy_primitives::{Address, B256};
use chain::logs::{LogsError, OperationLog, Payers};
use chain::node::Header;
use chain::{Agreement, RpcError};
use domain::follow::{Step, step};
use domain::{ChainId, TenantId};
use store::cursor::{Cursor, CursorMove, NewBlock, NewOperation};

use crate::chains::Chain;
use crate::{Service, ServiceError};
use span::Span;

/// The reason of a halt after the chain contradicted what it had called final.
pub const HALT_PAST_FINALITY: &str = "reorganisation_past_finality";
/// Why nothing is signed while two nodes of a chain show different blocks as final.
pub const NODES_DISAGREE: &str = "nodes_disagree";

/// How far below the head at which it was priced an operation is still looked for: the head may have been replaced since.
pub(crate) const REPLACEABLE: u64 = 256;

/// What an ingester remembers of a chain from one step to the next. Losing it costs a few questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    span: Span,
    /// The last final block that the nodes agreed on.
    agreed: Option<B256>,
}

/// What one step of the ingester did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// It stored this block, or a stretch of blocks up to it.
    Block(u64),
    /// The node does not give so many blocks at once: fewer are asked for next.
    Narrowed,
    /// It moved back from this block.
    WalkedBack(u64),
    /// There is nothing new.
    UpToDate,
    /// The chain is halted.
    Halted,
}

impl Service {
    /// Reads a stretch of final blocks, or at most one other block of a chain.
    ///
    /// # Errors
    /// When the node or the database does not answer; the step is safe to repeat.
    pub async fn ingest_step(
        &self,
        chain_id: ChainId,
        reading: &mut Reading,
    ) -> Result<Ingested, ServiceError> {
        let chain = self.chain(chain_id)?;
        let final_header = self.final_header(chain, reading).await?;
        let Some(cursor) = self.store.cursor(chain.id).await? else {
            return self.start(chain, final_header).await;
        };
        if cursor.halt_reason.is_some() {
            return Ok(Ingested::Halted);
        }
        let next = cursor.head.number.saturating_add(1);
        let behind = final_header.filter(|last| next < last.number);
        if let Some(last) = behind {
            // What a node leaves out of a stretch is not missed. Where an operation of ours can lie, each block is held
            // against its header.
            let opened_from = self.store.opened_from(chain.id).await?;
            let until = opened_from.map_or(u64::MAX, |head| head.saturating_sub(REPLACEABLE));
            let until = until.min(last.number);
            if until > next && reading.span.blocks() > 1 {
                return self.catch_up(chain, &cursor, until, &mut reading.span).await;
            }
        }
        let next = chain.node.header_by_number(next).await.map_err(ServiceError::Node)?;
        let ingested = match &next {
            Some(header) => self.follow(chain, &cursor, header).await?,
            None => self.check_tip(chain, &cursor).await?,
        };
        if behind.is_some() {
            reading.span.widen();
        }
        if let Some(final_header) = final_header {
            let stored = next.filter(|_| matches!(ingested, Ingested::Block(_)));
            self.settle_finality(chain, &final_header, stored.as_ref()).await?;
        }
        Ok(ingested)
    }

    /// The highest block that enough of the chain's nodes call final, and that all who have it show alike; `None` while
    /// there is none.
    async fn final_header(
        &self,
        chain: &Chain,
        reading: &mut Reading,
    ) -> Result<Option<Header>, ServiceError> {
        let header = chain.node.final_header_of(&chain.finality, chain.final_quorum).await;
        let Some(header) = header.map_err(ServiceError::Node)? else { return Ok(None) };
        if reading.agreed != Some(header.hash) {
            if !self.is_agreed(chain, &header).await? {
                return Ok(None);
            }
            self.store.set_doubt(chain.id, None).await?;
            reading.agreed = Some(header.hash);
        }
        Ok(Some(header))
    }

    /// Whether enough nodes show this block at its height. That two show different ones is noted where the signing
    /// processes see it.
    async fn is_agreed(&self, chain: &Chain, header: &Header) -> Result<bool, ServiceError> {
        match chain.node.agreement(header, chain.final_quorum).await {
            Agreement::Confirmed => Ok(true),
            Agreement::Unconfirmed => {
                tracing::warn!(
                    chain = chain.id.0,
                    block = header.number,
                    quorum = chain.final_quorum,
                    "too few nodes show this block: nothing more becomes final until they do"
                );
                Ok(false)
            }
            Agreement::Contradicted => {
                tracing::error!(
                    chain = chain.id.0,
                    block = header.number,
                    hash = %header.hash,
                    reason = NODES_DISAGREE,
                    "the chain's nodes show different blocks: nothing is signed or becomes final on it until they agree"
                );
                self.store.set_doubt(chain.id, Some(NODES_DISAGREE)).await?;
                Ok(false)
            }
        }
    }

    /// Whose operations count. From the database, and asked behind the header of the block that is read: a paymaster is
    /// registered there before its first signature, so that a block which holds an operation of it is never read without
    /// it.
    pub(crate) async fn payers(&self, chain: &Chain) -> Result<Registered, ServiceError> {
        self.payers_of(chain, None).await
    }

    /// The same of one company.
    pub(crate) async fn payers_of(
        &self,
        chain: &Chain,
        tenant: Option<TenantId>,
    ) -> Result<Registered, ServiceError> {
        let mut registered = self.store.paymasters(chain.id).await?;
        registered.retain(|paymaster| tenant.is_none_or(|tenant| paymaster.tenant == tenant));
        let paymasters = registered.iter().map(|paymaster| paymaster.address).collect();
        let mut entry_points: Vec<_> =
            registered.iter().map(|paymaster| paymaster.entry_point).collect();
        entry_points.sort_unstable();
        entry_points.dedup();
        Ok(Registered { entry_points, paymasters })
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
            Step::PastFinality => self.part_with_head(chain, cursor).await,
        }
    }

    async fn extend(&self, chain: &Chain, header: &Header) -> Result<Ingested, ServiceError> {
        let payers = self.payers(chain).await?;
        let logs = match chain.node.operation_logs(header, payers.borrow()).await {
            Ok(logs) => logs,
            // It was replaced since its header was read, or the node behind the URL lags: look again.
            Err(LogsError::UnknownBlock(_)) => return Ok(Ingested::UpToDate),
            Err(error) => return Err(ServiceError::Node(error.into())),
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
                self.part_with_head(chain, cursor).await
            }
            // A node that does not know our block lags: it may catch up.
            Some(_) | None => Ok(Ingested::UpToDate),
        }
    }

    /// The cursor's block is not on the chain any more, as it seems.
    async fn part_with_head(
        &self,
        chain: &Chain,
        cursor: &Cursor,
    ) -> Result<Ingested, ServiceError> {
        if cursor.head.number > cursor.final_block.number {
            return self.walk_back(chain, cursor).await;
        }
        // One node's word is not enough to halt a chain for good.
        let number = cursor.head.number;
        let header = chain.node.header_by_number(number).await.map_err(ServiceError::Node)?;
        match header.filter(|header| header.hash != cursor.head.hash) {
            Some(header) if self.is_agreed(chain, &header).await? => self.halt(chain, cursor).await,
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

    /// Takes over what the nodes called final before the step: the cursor's own block while that is
    /// below it and they show it alike, or else the final block itself, if it was ingested.
    async fn settle_finality(
        &self,
        chain: &Chain,
        final_header: &Header,
        stored: Option<&Header>,
    ) -> Result<(), ServiceError> {
        let hash = match stored {
            Some(own) if own.number < final_header.number => {
                if !self.is_agreed(chain, own).await? {
                    return Ok(());
                }
                own.hash
            }
            Some(_) | None => final_header.hash,
        };
        Ok(self.store.advance_final(chain.id, hash).await?)
    }
}

/// Whose operations count on a chain.
pub(crate) struct Registered {
    entry_points: Vec<Address>,
    paymasters: Vec<Address>,
}

impl Registered {
    pub(crate) fn borrow(&self) -> Payers<'_> {
        Payers { entry_points: &self.entry_points, paymasters: &self.paymasters }
    }
}

/// A log as the store takes it.
pub(crate) fn operation(log: OperationLog) -> Result<NewOperation, ServiceError> {
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
