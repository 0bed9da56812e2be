//! When a block will not go away any more, and who says so.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::RpcError;
use crate::node::{BLOCK_BY_NUMBER, Header, Node, read_header};
use crate::rpc::Request;

/// What nodes answer when there is no block under a tag yet
/// ([execution-apis](https://github.com/ethereum/execution-apis), and older Geth in words).
const UNKNOWN_BLOCK_CODE: i64 = -39001;

/// A chain's finality rule. In configuration `"finalized"`, `"safe"` or `{ depth = 12 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finality {
    /// The node's `finalized` block
    /// ([block tags](https://ethereum.org/developers/docs/apis/json-rpc/#block-parameter)).
    Finalized,
    /// The node's `safe` block: sooner, and on some chains all there is.
    Safe,
    /// The block so many below the head, for chains whose node gives no such tags. Zero trusts the head.
    Depth(u64),
}

/// What a chain's endpoints say together of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Enough of them have it at its height.
    Confirmed,
    /// Too few of them have it yet.
    Unconfirmed,
    /// One of them has another block there.
    Contradicted,
}

impl Node {
    /// Whether enough endpoints have this block at its height. One that has none yet, or does not answer, says nothing.
    pub async fn agreement(&self, block: &Header, quorum: usize) -> Agreement {
        let quorum = quorum.min(self.rpc.endpoints());
        if quorum <= 1 {
            return Agreement::Confirmed;
        }
        let tag = format!("{:#x}", block.number);
        let known = self.headers_everywhere(&tag, quorum).await;
        if known.iter().any(|header| !header.is_same(block)) {
            Agreement::Contradicted
        } else if known.len() >= quorum {
            Agreement::Confirmed
        } else {
            Agreement::Unconfirmed
        }
    }

    /// What each endpoint shows under a tag.
    async fn headers_everywhere(&self, tag: &str, quorum: usize) -> Vec<Header> {
        let request = [Request { method: BLOCK_BY_NUMBER, params: json!([tag, false]) }];
        let answers = self.rpc.ask_all(&request, quorum).await;
        let headers = answers.into_iter().map(|[reply]| read_header(&reply?));
        headers.filter_map(|header| header.ok().flatten()).collect()
    }

    /// The newest block that any endpoint knows: for when the one that is asked first seems to stand still.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn newest_head(&self) -> Result<Header, RpcError> {
        let heads = self.headers_everywhere("latest", self.rpc.endpoints()).await;
        let newest = heads.into_iter().max_by_key(|header| header.number);
        newest.ok_or_else(|| RpcError::malformed("there is no latest block"))
    }

    /// The highest block that so many endpoints call final, or `None` while there is none. The block itself is one
    /// endpoint's: whether the others have the same one there is [`Node::agreement`]'s question.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn final_header_of(
        &self,
        finality: &Finality,
        quorum: usize,
    ) -> Result<Option<Header>, RpcError> {
        let quorum = quorum.min(self.rpc.endpoints());
        if quorum <= 1 {
            return self.final_header(finality).await;
        }
        let tag = match finality {
            Finality::Finalized => "finalized",
            Finality::Safe => "safe",
            Finality::Depth(_) => "latest",
        };
        let mut headers = self.headers_everywhere(tag, quorum).await;
        headers.sort_by_key(|header| core::cmp::Reverse(header.number));
        let Some(header) = headers.get(quorum.saturating_sub(1)) else { return Ok(None) };
        match finality {
            Finality::Finalized | Finality::Safe => Ok(Some(*header)),
            Finality::Depth(depth) => match header.number.checked_sub(*depth) {
                Some(number) => self.header_by_number(number).await,
                None => Ok(None),
            },
        }
    }

    /// The highest block that the rule calls final, or `None` while there is none, as on a young chain.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn final_header(&self, finality: &Finality) -> Result<Option<Header>, RpcError> {
        match finality {
            Finality::Finalized => no_block_yet(self.header_by_tag("finalized").await),
            Finality::Safe => no_block_yet(self.header_by_tag("safe").await),
            Finality::Depth(depth) => {
                let head = self.head().await?;
                match head.number.checked_sub(*depth) {
                    Some(number) if number == head.number => Ok(Some(head)),
                    Some(number) => self.header_by_number(number).await,
                    None => Ok(None),
                }
            }
        }
    }
}

/// Some nodes answer with an error instead of null while no block is final.
fn no_block_yet(answer: Result<Option<Header>, RpcError>) -> Result<Option<Header>, RpcError> {
    match answer {
        Err(RpcError::Rpc { code, message, .. })
            if code == UNKNOWN_BLOCK_CODE
                || message == "finalized block not found"
                || message == "safe block not found" =>
        {
            Ok(None)
        }
        Ok(_) | Err(_) => answer,
    }
}
