//! What the chain said, from the ingester's cursor to the account.

use alloy_primitives::U256;
use domain::ReservationId;
use domain::ledger::sponsorship::{FactOutcome, GrantRefusal, SetAside};
use store::cursor::NewOperation;
use store::facts::FactStep;
use store::funds::FundsOutcome;
use store::views::{SponsorshipFilter, ViewState};

use crate::Company;
use crate::builder::{HEAD, User, VALIDITY, micro};
use crate::chain::{Chain, landing};

use FactOutcome::{Applied, AppliedWithShortage};
use FactStep::{Confirm, Finalise, Undo};

const UNKNOWN: FactOutcome = FactOutcome::SetAside(SetAside::UnknownOperation);

pub(crate) async fn scene(points: u64) -> (Company, User, Chain) {
    let company = Company::new().await;
    let ann = company.user("ann", points).await;
    let chain = Chain::start(&company.store).await;
    (company, ann, chain)
}

pub(crate) async fn state(company: &Company, id: ReservationId) -> ViewState {
    company.store.sponsorship(company.tenant, id).await.unwrap().unwrap().0.state
}

#[tokio::test]
async fn a_landing_settles_its_cost_and_the_rest_returns_when_it_is_final() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    assert_eq!(chain.apply().await, [(Confirm, Applied)]);
    assert_eq!((ann.balances().await, ann.pending().await), ([40, 15, 45, 0], 15));
    assert_eq!(state(&company, id).await, ViewState::SettledProvisional);
    chain.finalise().await;
    assert_eq!(chain.apply().await, [(Finalise, Applied)]);
    assert_eq!((ann.balances().await, ann.pending().await), ([55, 0, 45, 0], 0));
    assert_eq!(state(&company, id).await, ViewState::SettledFinal);
    assert_eq!(chain.apply().await, []);
    company.finish().await;
}

#[tokio::test]
async fn a_list_of_states_shows_those_and_no_other() {
    use ViewState::{Open, Released, SettledFinal, SettledProvisional};
    let (company, ann, mut chain) = scene(100).await;
    let landed = ann.operation(1, 60).granted().await.reservation;
    let waiting = ann.operation(2, 10).granted().await.reservation;
    let listed = async |states: &[ViewState]| -> Vec<ReservationId> {
        let filter = SponsorshipFilter { states: Some(states), ..SponsorshipFilter::default() };
        let views = company.store.sponsorships(company.tenant, &filter, 10).await.unwrap();
        views.into_iter().map(|view| view.id).collect()
    };
    assert_eq!(listed(&[Open]).await, [waiting, landed]);
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert_eq!(listed(&[SettledProvisional]).await, [landed]);
    assert_eq!(listed(&[SettledFinal]).await, []);
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(listed(&[SettledProvisional, SettledFinal]).await, [landed]);
    assert_eq!(listed(&[Open]).await, [waiting]);
    assert_eq!(listed(&[Released]).await, []);
    assert_eq!(listed(&[Open, SettledFinal]).await, [waiting, landed]);
    company.finish().await;
}

#[tokio::test]
async fn a_reverted_operation_is_charged_like_any_other() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine(&[NewOperation { success: false, ..landing(&ann, 1, 45) }]).await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    let (view, ..) = company.store.sponsorship(ann.tenant, id).await.unwrap().unwrap();
    let settlement = view.settlement.unwrap();
    assert_eq!((settlement.success, settlement.cost), (false, micro(45)));
    company.finish().await;
}

#[tokio::test]
async fn each_step_of_an_event_is_taken_once() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    for _step in [Confirm, Finalise] {
        let work = chain.work().await[0];
        let owner = company.store.owner_of(&work.fact).await.unwrap().unwrap();
        let apply = || company.store.apply_fact(owner, &work);
        assert_eq!(apply().await.unwrap(), Applied);
        let after = ann.balances().await;
        assert_eq!(apply().await.unwrap(), FactOutcome::Replayed);
        // The note of progress was lost: the event is offered again, and the mark decides.
        assert_eq!(chain.apply().await.first(), Some(&(work.step, FactOutcome::Replayed)));
        assert_eq!(ann.balances().await, after);
        chain.finalise().await;
    }
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_block_that_goes_takes_its_settlement_with_it() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    assert_eq!(chain.apply().await, [(Undo, Applied)]);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    assert_eq!(state(&company, id).await, ViewState::Open);
    let (view, ..) = company.store.sponsorship(ann.tenant, id).await.unwrap().unwrap();
    assert_eq!(view.settlement, None);
    company.finish().await;
}

#[tokio::test]
async fn what_a_provisional_settlement_will_return_cannot_be_spent_before_it_is_final() {
    let (company, ann, mut chain) = scene(60).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    assert!(matches!(ann.debit(1, "mug").await, FundsOutcome::Refused(_)));
    assert!(matches!(ann.operation(2, 1).refused().await, GrantRefusal::InsufficientPoints { .. }));
    chain.reorganise().await;
    assert_eq!(chain.apply().await, [(Undo, Applied)]);
    assert_eq!(ann.balances().await, [0, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_operation_that_lands_elsewhere_after_a_reorganisation_is_settled_there() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    chain.mine(&[landing(&ann, 1, 50)]).await;
    assert_eq!(chain.apply().await, [(Undo, Applied), (Confirm, Applied)]);
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [50, 0, 50, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_block_that_comes_back_settles_again_on_its_second_visit() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    let block = chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    chain.apply().await;
    chain.ingest(&block).await;
    let work = chain.work().await;
    assert_eq!(work[0].fact.event().sighting.visit, 2);
    assert_eq!(chain.apply().await, [(Confirm, Applied)]);
    chain.finalise().await;
    assert_eq!(chain.apply().await, [(Finalise, Applied)]);
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_block_that_goes_and_comes_back_before_anybody_looks_settles_once() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    let block = chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    chain.ingest(&block).await;
    assert_eq!(chain.apply().await, [(Undo, Applied), (Confirm, Applied)]);
    assert_eq!(ann.balances().await, [40, 15, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn the_second_visit_confirmed_before_the_undo_of_the_first_stands() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    let block = chain.mine(&[landing(&ann, 1, 45)]).await;
    chain.apply().await;
    chain.reorganise().await;
    chain.ingest(&block).await;
    let [undo, confirm] = chain.work().await[..] else { panic!("two steps wait") };
    assert_eq!((undo.step, confirm.step), (Undo, Confirm));
    let owner = company.store.owner_of(&confirm.fact).await.unwrap().unwrap();
    for (work, outcome) in [(confirm, Applied), (undo, FactOutcome::Replayed)] {
        assert_eq!(company.store.apply_fact(owner, &work).await.unwrap(), outcome);
        assert_eq!(ann.balances().await, [40, 15, 45, 0]);
    }
    chain.apply().await;
    assert_eq!(ann.balances().await, [40, 15, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_slept_past_its_undo_is_kept_out_by_the_mark() {
    let (company, ann, mut chain) = scene(100).await;
    let id = ann.operation(1, 60).granted().await.reservation;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let slept = chain.work().await[0];
    let owner = company.store.owner_of(&slept.fact).await.unwrap().unwrap();
    chain.reorganise().await;
    assert_eq!(chain.apply().await, [(Undo, FactOutcome::Replayed)]);
    let woken = company.store.apply_fact(owner, &slept).await.unwrap();
    assert_eq!(woken, FactOutcome::Replayed);
    company.store.finish_work(&slept).await.unwrap();
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    assert_eq!(state(&company, id).await, ViewState::Open);
    assert_eq!(chain.apply().await, []);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_wakes_when_its_block_is_gone_settles_nothing() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let slept = chain.work().await[0];
    let owner = company.store.owner_of(&slept.fact).await.unwrap().unwrap();
    chain.reorganise().await;
    let woken = company.store.apply_fact(owner, &slept).await.unwrap();
    assert_eq!(woken, FactOutcome::Replayed);
    company.store.finish_work(&slept).await.unwrap();
    assert_eq!(chain.apply().await, [(Undo, FactOutcome::Replayed)]);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_operation_that_nobody_reserved_for_is_set_aside_and_its_slot_is_not_released() {
    let (company, ann, mut chain) = scene(100).await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    assert_eq!(chain.apply().await, [(Confirm, UNKNOWN)]);
    assert_eq!(chain.work().await, []);
    let set_aside = "SELECT count(*) FROM chain_events
        WHERE progress = 'set_aside' AND set_aside_reason = 'unknown_operation'";
    assert_eq!(company.count(set_aside).await, 1);
    ann.operation(1, 60).granted().await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await, []);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn an_applier_that_found_nobody_cannot_set_aside_what_another_has_confirmed() {
    let (company, ann, mut chain) = scene(100).await;
    for (nonce, note) in [(1, "before"), (2, "after")] {
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let work = chain.work().await[0];
        // One applier finds nobody and sleeps; then the slot is reserved, and another one confirms.
        assert_eq!(company.store.owner_of(&work.fact).await.unwrap(), None);
        ann.operation(nonce, 45).granted().await;
        let owner = company.store.owner_of(&work.fact).await.unwrap().unwrap();
        assert_eq!(company.store.apply_fact(owner, &work).await.unwrap(), Applied);
        if note == "before" {
            company.store.set_aside(&work, "unknown_operation").await.unwrap();
            company.store.finish_work(&work).await.unwrap();
        } else {
            company.store.finish_work(&work).await.unwrap();
            company.store.set_aside(&work, "unknown_operation").await.unwrap();
        }
        chain.finalise().await;
        assert_eq!(chain.apply().await, [(Finalise, Applied)], "set aside {note} the note");
    }
    assert_eq!(ann.balances().await, [10, 0, 90, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_cost_above_the_reserve_is_taken_and_never_refused() {
    let (company, ann, mut chain) = scene(70).await;
    ann.operation(1, 60).granted().await;
    chain.mine(&[landing(&ann, 1, 90)]).await;
    let shortage = AppliedWithShortage { from_available: micro(10), from_debt: micro(20) };
    assert_eq!(chain.apply().await, [(Confirm, shortage)]);
    assert_eq!(ann.balances().await, [0, 0, 90, 20]);
    company.finish().await;
}

#[tokio::test]
async fn a_cost_beyond_what_points_express_is_set_aside_and_the_cursor_goes_on() {
    let (company, ann, mut chain) = scene(100).await;
    ann.operation(1, 60).granted().await;
    ann.operation(2, 10).granted().await;
    let absurd = NewOperation { actual_gas_cost: U256::MAX, ..landing(&ann, 1, 0) };
    let normal = NewOperation { log_index: 1, ..landing(&ann, 2, 10) };
    chain.mine(&[absurd, normal]).await;
    let set_aside = FactOutcome::SetAside(SetAside::CostOutOfRange);
    assert_eq!(chain.apply().await, [(Confirm, set_aside), (Confirm, Applied)]);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await, []);
    assert_eq!(chain.apply().await, [(Finalise, Applied)]);
    assert_eq!(ann.balances().await, [30, 60, 10, 0]);
    company.finish().await;
}
