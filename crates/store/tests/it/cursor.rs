//! Where the ingester stands.

use alloy_primitives::{B256, keccak256};
use domain::chain_fact::{BlockRef, ChainTime};
use store::cursor::CursorMove;

use crate::builder::{CHAIN, HEAD, PRICED_AT};
use crate::chain::{block_after, landing};
use crate::settlement::scene;

#[tokio::test]
async fn the_cursor_never_walks_below_the_final_block() {
    let (company, _ann, mut chain) = scene(0).await;
    chain.mine(&[]).await;
    chain.finalise().await;
    let final_block = chain.head();
    chain.mine(&[]).await;
    chain.reorganise().await;
    let back = company.store.walk_cursor_back(CHAIN, final_block.hash).await.unwrap();
    assert_eq!(back, CursorMove::Lost);
    let cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
    assert_eq!((cursor.head, cursor.final_block), (final_block, final_block));
    company.finish().await;
}

#[tokio::test]
async fn only_an_ingested_canonical_block_becomes_final_and_finality_never_goes_back() {
    let (company, _ann, mut chain) = scene(0).await;
    let first = chain.mine(&[]).await.block;
    chain.finalise().await;
    let second = chain.mine(&[]).await.block;
    let gone = chain.mine(&[]).await.block;
    chain.reorganise().await;
    let final_block = async || company.store.cursor(CHAIN).await.unwrap().unwrap().final_block;
    for hash in [gone.hash, keccak256("never seen"), first.hash] {
        company.store.advance_final(CHAIN, hash).await.unwrap();
        assert_eq!(final_block().await, first);
    }
    company.store.advance_final(CHAIN, second.hash).await.unwrap();
    assert_eq!(final_block().await, second);
    company.finish().await;
}

#[tokio::test]
async fn a_cursor_is_started_once() {
    let (company, _ann, mut chain) = scene(0).await;
    let other = BlockRef {
        number: chain.head().number + 1,
        hash: B256::repeat_byte(0x0f),
        timestamp: ChainTime(HEAD + 1),
    };
    company.store.start_cursor(CHAIN, &other, B256::ZERO).await.unwrap();
    let anchor = chain.head();
    chain.mine(&[]).await;
    // What was never ingested cannot become final, whoever wished to start there.
    company.store.advance_final(CHAIN, other.hash).await.unwrap();
    let cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
    assert_eq!((cursor.head, cursor.final_block), (chain.head(), anchor));
    company.finish().await;
}

#[tokio::test]
async fn a_stretch_of_blocks_is_one_move_and_each_of_its_operations_counts() {
    let (company, ann, mut chain) = scene(200).await;
    ann.operation(1, 60).granted().await;
    ann.operation(2, 60).granted().await;
    let anchor = chain.head();
    let first = block_after(&anchor, &[landing(&ann, 1, 45)]);
    // The blocks between hold nothing of ours, and are left out.
    let mut between = first.block;
    between.number += 7;
    let second = block_after(&between, &[landing(&ann, 2, 15)]);
    let last = block_after(&second.block, &[]);
    let stretch = [first, second, last.clone()];
    let onto = anchor.hash;
    let over = async || company.store.catch_up_cursor(CHAIN, onto, &stretch).await.unwrap();
    assert_eq!(over().await, CursorMove::Moved);
    // The cursor does not stand below them any more.
    assert_eq!(over().await, CursorMove::Lost);
    let cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
    assert_eq!((cursor.head, cursor.final_block), (last.block, last.block));
    chain.follow(&last);
    chain.apply().await;
    assert_eq!(ann.balances().await, [140, 0, 60, 0]);
    company.finish().await;
}

#[tokio::test]
async fn nothing_moves_without_a_block() {
    let (company, _ann, chain) = scene(0).await;
    let moved = company.store.catch_up_cursor(CHAIN, chain.head().hash, &[]).await.unwrap();
    assert_eq!(moved, CursorMove::Lost);
    assert_eq!(company.store.cursor(CHAIN).await.unwrap().unwrap().head, chain.head());
    company.finish().await;
}

#[tokio::test]
async fn operations_are_looked_for_above_the_first_sponsorship_that_is_open() {
    let (company, ann, mut chain) = scene(200).await;
    let opened_from = async || company.store.opened_from(CHAIN).await.unwrap();
    assert_eq!(opened_from().await, None);
    ann.operation(1, 60).granted().await;
    assert_eq!(opened_from().await, Some(PRICED_AT));
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert_eq!(
        opened_from().await,
        Some(PRICED_AT),
        "its block may go away, and it may land again"
    );
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(opened_from().await, None);
    company.finish().await;
}

#[tokio::test]
async fn a_doubt_stays_until_it_is_taken_back() {
    let (company, _ann, _chain) = scene(0).await;
    let doubt = async || company.store.cursor(CHAIN).await.unwrap().unwrap().doubt;
    company.store.set_doubt(CHAIN, Some("nodes_disagree")).await.unwrap();
    company.store.set_doubt(CHAIN, Some("nodes_disagree")).await.unwrap();
    assert_eq!(doubt().await.as_deref(), Some("nodes_disagree"));
    company.store.set_doubt(CHAIN, None).await.unwrap();
    assert_eq!(doubt().await, None);
    company.finish().await;
}
