//! When points come back: on proof from a final block, and not before.

use alloy_primitives::Address;
use domain::chain_fact::ChainTime;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, GrantRefusal, SetAside};
use store::cursor::{CursorMove, NewOperation};
use store::facts::FactStep;
use store::views::ViewState;

use crate::builder::{CHAIN, HEAD, VALIDITY, micro};
use crate::chain::{block_after, landing};
use crate::settlement::{scene, state};

use FactOutcome::{Applied, AppliedWithShortage};
use FactStep::{Confirm, Finalise, Undo};

const RIVAL_PAYMASTER: Address = Address::repeat_byte(0xbb);
const UNKNOWN: FactOutcome = FactOutcome::SetAside(SetAside::UnknownOperation);

#[tokio::test]
async fn points_are_released_when_a_final_block_is_past_the_window_and_not_before() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine_past(HEAD + VALIDITY - 1).await;
    chain.finalise().await;
    assert_eq!(chain.head().timestamp, ChainTime(HEAD + VALIDITY));
    assert_eq!(chain.release().await, [], "the operation can land in a block of this time");
    chain.mine_past(HEAD + VALIDITY).await;
    assert_eq!(chain.release().await, [], "the block is not final");
    chain.finalise().await;
    assert_eq!(chain.release().await, [CancelOutcome::Released]);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    assert_eq!(state(&company, id).await, ViewState::Released);
    assert_eq!(chain.release().await, []);
    company.finish().await;
}

#[tokio::test]
async fn a_bump_after_the_proof_makes_the_proof_void() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
    ann.operation(1, 66).at(chain.head().timestamp.0).granted().await;
    assert_eq!(company.store.release(&proof).await.unwrap(), CancelOutcome::NotYet);
    assert_eq!(ann.balances().await, [34, 66, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_release_that_is_carried_out_twice_returns_the_points_once() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
    assert_eq!(company.store.release(&proof).await.unwrap(), CancelOutcome::Released);
    assert_eq!(company.store.release(&proof).await.unwrap(), CancelOutcome::Replayed);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_slot_in_which_an_event_stands_is_not_released_although_nobody_applied_it() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await, []);
    assert_eq!(chain.apply().await, [(Confirm, Applied), (Finalise, Applied)]);
    assert_eq!(chain.release().await, []);
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_event_that_went_away_does_not_hold_its_slot() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    chain.apply().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await, [CancelOutcome::Released]);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_neighbours_landing_in_the_same_slot_does_not_hold_ours() {
    // A wallet may be linked at two companies. Only one operation lands, and only its company pays.
    let (company, ann, mut chain) = scene(100).await;
    let rival = company.neighbour("rival", RIVAL_PAYMASTER).await;
    let same_ann = rival.user("ann", 100).await;
    ann.operation(1, 60).granted().await;
    same_ann.operation(1, 60).by(RIVAL_PAYMASTER).granted().await;
    let landed = NewOperation { paymaster: RIVAL_PAYMASTER, ..landing(&ann, 1, 45) };
    chain.mine(&[landed]).await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(same_ann.balances().await, [55, 0, 45, 0]);
    assert_eq!(chain.release().await, [CancelOutcome::Released]);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_event_of_a_paymaster_that_nobody_registered_holds_the_slot() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[NewOperation { paymaster: RIVAL_PAYMASTER, ..landing(&ann, 1, 45) }]).await;
    assert_eq!(chain.apply().await, [(Confirm, UNKNOWN)]);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await, []);
    company.finish().await;
}

#[tokio::test]
async fn a_released_slot_may_be_tried_again_and_a_used_one_not() {
    let (company, ann, mut chain) = scene(100).await;
    let first = ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    let second = ann.operation(1, 60).at(chain.head().timestamp.0).granted().await;
    assert_ne!(second.reservation, first.reservation);
    let (view, ..) =
        company.store.sponsorship(ann.tenant, second.reservation).await.unwrap().unwrap();
    assert_eq!(view.attempt, 2);
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert_eq!(ann.operation(1, 60).refused().await, GrantRefusal::NonceUsed);
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.operation(1, 60).refused().await, GrantRefusal::NonceUsed);
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_late_landing_after_the_release_is_charged_once() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    ann.debit(80, "mug").await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let shortage = AppliedWithShortage { from_available: micro(20), from_debt: micro(25) };
    assert_eq!(chain.apply().await, [(Confirm, shortage)]);
    assert_eq!(ann.balances().await, [0, 0, 45, 25]);
    chain.finalise().await;
    assert_eq!(chain.apply().await, [(Finalise, Applied)]);
    assert_eq!(chain.release().await, []);
    assert_eq!(ann.balances().await, [0, 0, 45, 25]);
    assert_eq!(state(&company, id).await, ViewState::SettledFinal);
    company.finish().await;
}

#[tokio::test]
async fn a_late_landing_that_goes_away_is_given_back_after_its_debt_was_repaid() {
    let (company, ann, mut chain) = scene(60).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    ann.debit(50, "mug").await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [0, 0, 45, 35]);
    ann.credit(20, "gift").await;
    assert_eq!(ann.balances().await, [0, 0, 45, 15]);
    chain.reorganise().await;
    assert_eq!(chain.apply().await, [(Undo, Applied)]);
    assert_eq!(ann.balances().await, [30, 0, 0, 0]);
    assert_eq!(state(&company, id).await, ViewState::Released);
    company.finish().await;
}

#[tokio::test]
async fn a_halted_chain_releases_nothing_and_its_cursor_stands_still() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    company.store.halt_chain(CHAIN, "reorganised past finality").await.unwrap();
    company.store.halt_chain(CHAIN, "a later reason").await.unwrap();
    assert_eq!(chain.release().await, []);
    let next = block_after(&chain.head(), &[]);
    assert_eq!(company.store.extend_cursor(CHAIN, &next).await.unwrap(), CursorMove::Lost);
    let back = company.store.walk_cursor_back(CHAIN, chain.head().hash).await.unwrap();
    assert_eq!(back, CursorMove::Lost);
    let cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
    assert_eq!(cursor.head, chain.head());
    assert_eq!(cursor.halt_reason.as_deref(), Some("reorganised past finality"));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}
