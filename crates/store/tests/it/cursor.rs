//! Where the ingester stands.

use alloy_primitives::{B256, keccak256};
use domain::chain_fact::{BlockRef, ChainTime};
use store::cursor::CursorMove;

use crate::builder::{CHAIN, HEAD};
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
