//! Reading final blocks in stretches: while one is stored, the next is read.

use alloy_primitives::B256;
use chain::logs::{LogsError, Stretch};
use store::cursor::{Cursor, CursorMove, NewBlock};

use super::span::Span;
use super::{Ingested, Registered, operation};
use crate::chains::Chain;
use crate::{Service, ServiceError};

/// How many stretches one step reads, so that what they brought is applied meanwhile.
const STRETCHES: u32 = 20;

impl Service {
    /// Reads the blocks from the cursor up to `until`, which is final, as many at once as the node gives.
    pub(super) async fn catch_up(
        &self,
        chain: &Chain,
        cursor: &Cursor,
        until: u64,
        span: &mut Span,
    ) -> Result<Ingested, ServiceError> {
        let payers = self.payers(chain).await?;
        let begin = cursor.head.number.saturating_add(1);
        let Some(mut read) = read_on(chain, &payers, begin, until, span).await? else {
            return Ok(Ingested::Narrowed);
        };
        if read.onto != cursor.head.hash {
            return self.part_with_head(chain, cursor).await;
        }
        for left in (0..STRETCHES).rev() {
            let last = read.last;
            if !self.is_agreed(chain, &last).await? {
                break;
            }
            let (onto, blocks) = blocks_of(read)?;
            let store = self.store.catch_up_cursor(chain.id, onto, &blocks);
            let next = last.number.saturating_add(1);
            if left == 0 || next > until {
                return Ok(moved_to(last.number, store.await?));
            }
            let (stored, ahead) = tokio::join!(store, read_on(chain, &payers, next, until, span));
            let Some(ahead) = ahead? else { return Ok(moved_to(last.number, stored?)) };
            // The parent of a final block is final: a node that shows another one is asked again by the next step.
            if stored? == CursorMove::Lost || ahead.onto != last.hash {
                break;
            }
            read = ahead;
        }
        Ok(Ingested::UpToDate)
    }
}

const fn moved_to(number: u64, stored: CursorMove) -> Ingested {
    match stored {
        CursorMove::Moved => Ingested::Block(number),
        CursorMove::Lost => Ingested::UpToDate,
    }
}

/// The next stretch; `None` where the node gives none so long.
async fn read_on(
    chain: &Chain,
    payers: &Registered,
    from: u64,
    until: u64,
    span: &mut Span,
) -> Result<Option<Stretch>, ServiceError> {
    let to = until.min(from.saturating_add(span.blocks().saturating_sub(1)));
    let read = chain.node.operation_logs_between(from, to, payers.borrow(), chain.final_quorum);
    match read.await {
        Ok(stretch) => {
            span.widen();
            Ok(Some(stretch))
        }
        Err(LogsError::TooWide(error)) => {
            span.narrow();
            tracing::info!(
                chain = chain.id.0,
                blocks = span.blocks(),
                %error,
                "the node gives no such stretch of blocks, a shorter one is asked for"
            );
            Ok(None)
        }
        Err(error) => Err(ServiceError::Node(error.into())),
    }
}

/// What the store takes of a stretch: where the cursor must stand, the blocks with operations, and the last one.
fn blocks_of(stretch: Stretch) -> Result<(B256, Vec<NewBlock>), ServiceError> {
    let Stretch { onto, last, blocks: found } = stretch;
    let mut blocks = Vec::with_capacity(found.len().saturating_add(1));
    for (block, logs) in found {
        let operations = logs.into_iter().map(operation).collect::<Result<_, _>>()?;
        // Nobody walks back from a block in between: all are final.
        let parent_hash = if block.hash == last.hash { last.parent_hash } else { B256::ZERO };
        blocks.push(NewBlock { block, parent_hash, operations });
    }
    if blocks.last().is_none_or(|found| found.block.hash != last.hash) {
        let (block, parent_hash) = (last.block(), last.parent_hash);
        blocks.push(NewBlock { block, parent_hash, operations: Vec::new() });
    }
    Ok((onto, blocks))
}
