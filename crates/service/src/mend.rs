//! What an operator does about a chain that is halted.

use domain::ChainId;
use store::cursor::NewBlock;
use store::mend::Mended;

use crate::ingest::{HALT_PAST_FINALITY, operation};
use crate::release::HALT_MISSED_EVENT;
use crate::{Service, ServiceError};

/// How many blocks are read before they are held against the database.
const BATCH: usize = 100;

/// What an order of an operator did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// So many events.
    Events(u64),
    /// Nothing: the chain is not halted for what this mends, or was never read so far.
    NotHalted,
    /// Nothing: the chain has no such block.
    NoBlock(u64),
}

impl From<Mended> for Order {
    fn from(mended: Mended) -> Self {
        match mended {
            Mended::Events(count) => Self::Events(count),
            Mended::NotHalted => Self::NotHalted,
        }
    }
}

impl Service {
    /// Reads blocks again, both ends included, and adds the events that were left out when they were read. Each block is
    /// held against its header. Takes the halt away at the end. With `is_applied` false nothing is changed.
    ///
    /// # Errors
    /// When the node or the database does not answer; what was added stays, and the order may be given again.
    pub async fn reread(
        &self,
        chain_id: ChainId,
        blocks: core::ops::RangeInclusive<u64>,
        is_applied: bool,
    ) -> Result<Order, ServiceError> {
        let chain = self.chain(chain_id)?;
        let payers = self.payers(chain).await?;
        let (mut found, mut batch) = (0_u64, Vec::new());
        let last = *blocks.end();
        for number in blocks {
            let header = chain.node.header_by_number(number).await.map_err(ServiceError::Node)?;
            let Some(header) = header else { return Ok(Order::NoBlock(number)) };
            let logs = chain.node.operation_logs(&header, payers.borrow()).await;
            let logs = logs.map_err(|error| ServiceError::Node(error.into()))?;
            batch.push(NewBlock {
                block: header.block(),
                parent_hash: header.parent_hash,
                operations: logs.into_iter().map(operation).collect::<Result<_, _>>()?,
            });
            if batch.len() < BATCH && number < last {
                continue;
            }
            let added =
                self.store.add_missed(chain_id, HALT_MISSED_EVENT, &batch, is_applied).await?;
            let Mended::Events(added) = added else { return Ok(Order::NotHalted) };
            found = found.saturating_add(added);
            tracing::info!(chain = chain_id.0, block = number, missed = found, "blocks read again");
            batch.clear();
        }
        if is_applied {
            self.store.end_halt(chain_id, HALT_MISSED_EVENT).await?;
        }
        Ok(Order::Events(found))
    }

    /// Goes on behind a reorganisation past finality, from a block of the branch that stands and that was read before.
    /// With `is_applied` false nothing is changed.
    ///
    /// # Errors
    /// When the node or the database does not answer; the order may be given again.
    pub async fn resume(
        &self,
        chain_id: ChainId,
        number: u64,
        is_applied: bool,
    ) -> Result<Order, ServiceError> {
        let chain = self.chain(chain_id)?;
        let header = chain.node.header_by_number(number).await.map_err(ServiceError::Node)?;
        let Some(header) = header else { return Ok(Order::NoBlock(number)) };
        let anchor = NewBlock {
            block: header.block(),
            parent_hash: header.parent_hash,
            operations: Vec::new(),
        };
        let resumed = self.store.resume_at(chain_id, HALT_PAST_FINALITY, &anchor, is_applied);
        Ok(resumed.await?.into())
    }
}
