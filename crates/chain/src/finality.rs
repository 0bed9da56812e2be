//! When a block will not go away any more.

use serde::{Deserialize, Serialize};

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
