//! Slots that something else has used up: noted at a block, counted once it is final, forgotten when it goes.

use domain::chain_fact::ReleaseGround;
use domain::ledger::sponsorship::CancelOutcome;

use crate::builder::{CHAIN, HEAD, User};
use crate::chain::{Chain, landing};
use crate::settlement::scene;
use crate::{Company, builder::VALIDITY};

/// A look at a user's slot showed that it is used up at the head.
async fn seen_used(company: &Company, user: &User, nonce: u64, chain: &Chain) {
    company.store.note_used_slot(&user.slot(nonce), &chain.head()).await.unwrap();
}

/// Releases by the nonce whatever can be.
async fn release(company: &Company) -> Vec<CancelOutcome> {
    let mut outcomes = Vec::new();
    for releasable in company.store.releasable_by_nonce(CHAIN, 10).await.unwrap() {
        assert_eq!(releasable.proof.ground(), ReleaseGround::NonceUsed);
        outcomes.push(company.store.release(&releasable).await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn a_used_nonce_frees_the_points_within_the_window_once_its_block_is_final() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[]).await;
    seen_used(&company, &ann, 1, &chain).await;
    assert_eq!(release(&company).await, [], "the block is not final");
    chain.finalise().await;
    assert!(chain.head().timestamp.0 < HEAD + VALIDITY);
    assert_eq!(release(&company).await, [CancelOutcome::Released]);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    assert_eq!(release(&company).await, []);
    assert!(company.store.is_used_up(company.tenant, &ann.slot(1)).await.unwrap());
    assert!(!company.store.is_used_up(company.tenant, &ann.slot(2)).await.unwrap());
    company.finish().await;
}

#[tokio::test]
async fn a_bump_after_the_proof_does_not_make_a_used_nonce_usable() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[]).await;
    seen_used(&company, &ann, 1, &chain).await;
    chain.finalise().await;
    let proof = company.store.releasable_by_nonce(CHAIN, 10).await.unwrap()[0];
    ann.operation(1, 66).at(chain.head().timestamp.0).granted().await;
    assert_eq!(company.store.release(&proof).await.unwrap(), CancelOutcome::Released);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn what_was_seen_at_a_block_goes_with_it_and_is_not_noted_afterwards() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[]).await;
    seen_used(&company, &ann, 1, &chain).await;
    let gone = chain.reorganise().await;
    assert!(!company.store.is_used_up(company.tenant, &ann.slot(1)).await.unwrap());
    // A look that took longer than the block lived.
    company.store.note_used_slot(&ann.slot(1), &gone.block).await.unwrap();
    chain.mine(&[]).await;
    chain.mine(&[]).await;
    chain.finalise().await;
    assert_eq!(release(&company).await, []);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_note_that_meets_the_walk_back_waits_for_it_and_is_not_taken() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[]).await;
    let head = chain.head();
    let mut walking = company.superuser().await;
    sqlx::raw_sql("BEGIN").execute(&mut walking).await.unwrap();
    sqlx::query("UPDATE chain_blocks SET canonical = false WHERE block_hash = $1")
        .bind(head.hash.as_slice())
        .execute(&mut walking)
        .await
        .unwrap();
    let (store, slot) = (company.store.clone(), ann.slot(1));
    let noting = tokio::spawn(async move { store.note_used_slot(&slot, &head).await.unwrap() });
    company.blocked(1).await;
    sqlx::raw_sql("COMMIT").execute(&mut walking).await.unwrap();
    noting.await.unwrap();
    assert_eq!(company.count("SELECT count(*) FROM used_slots").await, 0);
    company.finish().await;
}

#[tokio::test]
async fn a_slot_in_which_an_operation_of_ours_stands_is_settled_and_not_released() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    seen_used(&company, &ann, 1, &chain).await;
    chain.finalise().await;
    assert_eq!(release(&company).await, []);
    chain.apply().await;
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_noted_slot_is_not_released_by_its_window() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.mine(&[]).await;
    seen_used(&company, &ann, 1, &chain).await;
    assert_eq!(chain.release().await, [], "what used it up is to be known first");
    chain.finalise().await;
    assert_eq!(release(&company).await, [CancelOutcome::Released]);
    company.finish().await;
}

#[tokio::test]
async fn a_look_is_for_slots_that_are_closing_or_took_long_until_something_is_known() {
    let (company, ann, mut chain) = scene(200).await;
    let closing = ann.operation(1, 60).granted().await.reservation;
    ann.operation(2, 60).granted().await;
    let watched = async |patience| company.store.watched_slots(CHAIN, patience, 10).await.unwrap();
    // The anchor of these chains is block 100, and everything is priced at block 1.
    assert_eq!(watched(1_000).await, []);
    company.store.close_sponsorship(company.tenant, closing).await.unwrap();
    assert_eq!(watched(1_000).await, [ann.slot(1)]);
    assert_eq!(watched(10).await.len(), 2);
    chain.mine(&[landing(&ann, 2, 45)]).await;
    assert_eq!(watched(10).await, [ann.slot(1)], "the other has landed");
    seen_used(&company, &ann, 1, &chain).await;
    assert_eq!(watched(10).await, []);
    company.finish().await;
}

#[tokio::test]
async fn a_row_that_is_broken_holds_up_neither_the_reader_nor_the_releases_of_others() {
    let (company, ann, mut chain) = scene(200).await;
    ann.operation(1, 60).granted().await;
    let broken = ann.operation(2, 60).granted().await.reservation;
    let price = "UPDATE reservations SET price_block = -1 - price_block WHERE reservation_id = $1";
    let mut owner = company.superuser().await;
    sqlx::query(price).bind(broken.0).execute(&mut owner).await.unwrap();
    assert_eq!(company.store.opened_from(CHAIN).await.unwrap(), Some(0));
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    let releasable = company.store.releasable(CHAIN, 10).await.unwrap();
    assert_eq!(releasable.iter().map(|one| one.priced_at).min(), Some(0));
    let whole = releasable.iter().find(|one| *one.proof.slot() == ann.slot(1)).unwrap();
    assert_eq!(company.store.release(whole).await.unwrap(), CancelOutcome::Released);
    sqlx::query(price).bind(broken.0).execute(&mut owner).await.unwrap();
    company.finish().await;
}
