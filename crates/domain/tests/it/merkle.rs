//! The tree over the heads of all accounts.

use alloy_primitives::{B256, b256};
use domain::merkle::{Leaf, Tree};
use domain::{AccountId, TenantId};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

fn leaf(account: u128, seq: i64) -> Leaf {
    let hash = B256::repeat_byte(u8::try_from(account % 251).unwrap());
    Leaf {
        tenant: TenantId(Uuid::from_u128(1)),
        account: AccountId(account_id(account)),
        seq,
        hash,
    }
}

fn account_id(account: u128) -> Uuid {
    Uuid::from_u128(account << 64 | 7)
}

fn leaves(count: u128) -> Vec<Leaf> {
    (0..count).map(|account| leaf(account, 1)).collect()
}

fn root(leaves: &[Leaf]) -> B256 {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(leaf));
    assert_eq!(tree.leaves(), u64::try_from(leaves.len()).unwrap());
    tree.root()
}

/// The definition of RFC 6962 as it stands there: split at the largest power of two below the number
/// of leaves.
fn root_by_definition(leaves: &[Leaf]) -> B256 {
    let sha = |parts: &[&[u8]]| B256::from_slice(&Sha256::digest(parts.concat()));
    match leaves {
        [] => sha(&[]),
        [leaf] => {
            let Leaf { tenant, account, seq, hash } = leaf;
            let (tenant, account) = (tenant.0.as_bytes(), account.0.as_bytes());
            sha(&[&[0], tenant, account, &seq.to_be_bytes(), hash.as_slice()])
        }
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let (left, right) = (root_by_definition(left), root_by_definition(right));
            sha(&[&[1], left.as_slice(), right.as_slice()])
        }
    }
}

#[test]
fn the_root_is_that_of_the_definition_for_every_number_of_leaves() {
    for count in 0..70 {
        let leaves = leaves(count);
        assert_eq!(root(&leaves), root_by_definition(&leaves), "{count} leaves");
    }
}

/// Roots are kept for years: SHA-256 of nothing, and one computed apart.
#[test]
fn the_form_that_is_hashed_does_not_change() {
    let of_nothing = b256!("0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(root(&[]), of_nothing);
    let of_three = b256!("0x89086fa04d205b8b3a98ed5a5959765d0a9021c4bff3bede81903719bf4c5b97");
    assert_eq!(root(&leaves(3)), of_three);
}

#[test]
fn a_node_does_not_pass_for_a_leaf() {
    let two = leaves(2);
    let nodes = [two[0].digest(), two[1].digest()].concat();
    assert_ne!(root(&two), B256::from_slice(&Sha256::digest(nodes)));
}

#[test]
fn a_leaf_less_a_leaf_more_and_two_in_another_order_change_the_root() {
    let all = leaves(6);
    let mut swapped = all.clone();
    swapped.swap(2, 3);
    let mut doubled = all.clone();
    doubled.push(all[5]);
    for other in [&all[1..], &all[..5], &swapped, &doubled] {
        assert_ne!(root(&all), root(other));
    }
}

proptest! {
    #[test]
    fn any_field_of_any_leaf_changes_the_root(count in 1_u128..40, which: prop::sample::Index) {
        let all = leaves(count);
        let index = which.index(all.len());
        let changes: [fn(&mut Leaf); 4] = [
            |leaf| leaf.tenant = TenantId(Uuid::from_u128(2)),
            |leaf| leaf.account = AccountId(Uuid::nil()),
            |leaf| leaf.seq += 1,
            |leaf| leaf.hash.0[31] ^= 1,
        ];
        for change in changes {
            let mut changed = all.clone();
            change(&mut changed[index]);
            prop_assert_ne!(root(&all), root(&changed));
        }
    }
}
