//! One hash over the heads of all accounts: a Merkle tree in the form of
//! [RFC 6962, section 2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1), over SHA-256.
//!
//! Whoever keeps the root can tell later whether the journals up to it are still the same: changing
//! one line changes its account's head, and with it the root. Leaves and nodes are hashed apart, so
//! that no node can be passed for a leaf.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

use crate::{AccountId, TenantId};

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// Where one account's journal stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The company.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// Sequence of its last entry, at least 1.
    pub seq: i64,
    /// That entry's hash.
    pub hash: B256,
}

impl Leaf {
    /// SHA-256 of a zero byte, the ids (16 bytes each), the sequence (8, big-endian) and the hash.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let mut hasher = Sha256::new();
        hasher.update(LEAF);
        hasher.update(self.tenant.0.as_bytes());
        hasher.update(self.account.0.as_bytes());
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.hash);
        B256::from_slice(&hasher.finalize())
    }
}

/// A tree that leaves are added to from left to right. It keeps one hash per level, however many
/// leaves there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Complete subtrees from left to right, each lower than the one before.
    subtrees: Vec<(u32, B256)>,
    leaves: u64,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { subtrees: Vec::new(), leaves: 0 }
    }

    /// Adds the next leaf. The caller keeps an order that can be found again; anchors sort by tenant,
    /// then account.
    pub fn push(&mut self, leaf: &Leaf) {
        let mut subtree = (0, leaf.digest());
        while let Some((level, left)) = self.subtrees.pop_if(|(level, _)| *level == subtree.0) {
            subtree = (level.saturating_add(1), node(&left, &subtree.1));
        }
        self.subtrees.push(subtree);
        self.leaves = self.leaves.saturating_add(1);
    }

    /// How many leaves were added.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root over all leaves so far; that of no leaves is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> B256 {
        let hashes = self.subtrees.iter().rev().map(|(_, hash)| *hash);
        hashes
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| B256::from_slice(&Sha256::digest([])))
    }
}

/// SHA-256 of a byte 1 and both children.
fn node(left: &B256, right: &B256) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(NODE);
    hasher.update(left);
    hasher.update(right);
    B256::from_slice(&hasher.finalize())
}
