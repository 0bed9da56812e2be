//! The way on after a halt.

use domain::chain_fact::BlockRef;
use store::cursor::NewBlock;
use store::mend::Mended;

use crate::Company;
use crate::builder::CHAIN;
use crate::chain::{block_after, landing};
use crate::settlement::scene;

const MISSED: &str = "missed_event";
const PAST_FINALITY: &str = "reorganisation_past_finality";

async fn head_and_final(company: &Company) -> (BlockRef, BlockRef) {
    let cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
    (cursor.head, cursor.final_block)
}

#[tokio::test]
async fn events_that_were_left_out_are_added_once_and_applied() {
    let (company, ann, mut chain) = scene(200).await;
    ann.operation(1, 60).granted().await;
    ann.operation(2, 60).granted().await;
    let known = landing(&ann, 1, 45);
    let mut left_out = landing(&ann, 2, 15);
    left_out.log_index = 3;
    let read = chain.mine(&[known]).await;
    chain.mine(&[]).await;
    chain.finalise().await;
    chain.apply().await;
    let whole = [NewBlock { operations: vec![known, left_out], ..read }];
    let add = async |is_applied| {
        company.store.add_missed(CHAIN, MISSED, &whole, is_applied).await.unwrap()
    };
    assert_eq!(add(true).await, Mended::NotHalted);
    company.store.halt_chain(CHAIN, PAST_FINALITY).await.unwrap();
    assert_eq!(add(true).await, Mended::NotHalted, "it is halted for something else");
    assert!(company.store.end_halt(CHAIN, PAST_FINALITY).await.unwrap());
    company.store.halt_chain(CHAIN, MISSED).await.unwrap();

    assert_eq!(add(false).await, Mended::Events(1));
    assert_eq!(chain.apply().await, [], "nothing was added");
    assert_eq!(add(true).await, Mended::Events(1));
    assert_eq!(add(true).await, Mended::Events(0));
    chain.apply().await;
    assert_eq!(ann.balances().await, [140, 0, 60, 0]);
    assert!(company.store.end_halt(CHAIN, MISSED).await.unwrap());
    assert!(!company.store.end_halt(CHAIN, MISSED).await.unwrap());
    company.finish().await;
}

#[tokio::test]
async fn a_block_that_was_never_read_gains_nothing() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[]).await;
    company.store.halt_chain(CHAIN, MISSED).await.unwrap();
    let ahead = [block_after(&chain.head(), &[landing(&ann, 1, 45)])];
    let added = company.store.add_missed(CHAIN, MISSED, &ahead, true).await.unwrap();
    assert_eq!(added, Mended::NotHalted);
    company.finish().await;
}

#[tokio::test]
async fn behind_a_reorganisation_past_finality_the_branch_that_stands_is_read_from_where_it_parted()
{
    let (company, ann, mut chain) = scene(200).await;
    ann.operation(1, 60).granted().await;
    ann.operation(2, 60).granted().await;
    let shared = chain.mine(&[]).await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.finalise().await;
    chain.apply().await;
    chain.mine(&[landing(&ann, 2, 15)]).await;
    chain.apply().await;
    let before = head_and_final(&company).await;
    let resume = async |is_applied| {
        company.store.resume_at(CHAIN, PAST_FINALITY, &shared, is_applied).await.unwrap()
    };
    assert_eq!(resume(true).await, Mended::NotHalted);
    company.store.halt_chain(CHAIN, PAST_FINALITY).await.unwrap();
    assert_eq!(resume(false).await, Mended::Events(2));
    assert_eq!(head_and_final(&company).await, before);
    assert_eq!(resume(true).await, Mended::Events(2));
    assert_eq!(head_and_final(&company).await, (shared.block, shared.block));

    // What was provisional is undone, what was final stays, and the branch that stands brings both again.
    chain.apply().await;
    assert_eq!(ann.balances().await, [95, 60, 45, 0]);
    let next = block_after(&shared.block, &[landing(&ann, 1, 45)]);
    chain.ingest(&next).await;
    chain.mine(&[landing(&ann, 2, 20)]).await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [135, 0, 65, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_block_that_is_read_again_after_a_resumption_further_down_counts_once() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    let low = chain.mine(&[]).await;
    let landed = chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.mine(&[]).await;
    chain.finalise().await;
    chain.apply().await;
    company.store.halt_chain(CHAIN, PAST_FINALITY).await.unwrap();
    let resumed = company.store.resume_at(CHAIN, PAST_FINALITY, &low, true).await.unwrap();
    assert_eq!(resumed, Mended::Events(1));
    chain.ingest(&landed).await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}
