//! Two commands that meet on one account, each on a connection of another process: the pairs of both machines' tables
//! that no other file runs. A connection of the test's holds the account until both wait for it; each race is run
//! several times, because either may come first.

use core::fmt::Debug;
use core::pin::Pin;

use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, GrantRefusal};
use domain::ledger::tcc::{DbTime, TccOutcome, TccRefusal, TccTerms};
use store::Store;
use store::facts::{FactStep, Work};
use store::funds::{Direction, FundsOutcome};
use store::settlement::Owner;
use store::slots::Releasable;
use store::sponsorships::{CloseOutcome, GrantAnswer};
use store::tcc::TccRequest;

use crate::Company;
use crate::builder::{CHAIN, Operation, User, VALIDITY, micro, try_for};
use crate::chain::{Chain, landing};
use crate::tcc_races::{hold, let_go};

/// How often each race is run.
const ROUNDS: u64 = 4;

type Racer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs two commands so that both are under way before either has the account.
async fn meet<A: Send + 'static, B: Send + 'static>(
    company: &Company,
    user: &User,
    one: impl FnOnce(Store) -> Racer<A>,
    other: impl FnOnce(Store) -> Racer<B>,
) -> (A, B) {
    let mut holder = company.superuser().await;
    hold(&mut holder, user).await;
    let rival = company.replica(2);
    let (one, other) =
        (tokio::spawn(one(company.store.clone())), tokio::spawn(other(rival.clone())));
    company.blocked(2).await;
    let_go(&mut holder).await;
    let outcomes = (one.await.unwrap(), other.await.unwrap());
    rival.close().await;
    outcomes
}

/// Whichever came first.
fn one_each<T: Debug + PartialEq>((one, other): (T, T), first: T, second: T) {
    assert!(
        (one == first && other == second) || (one == second && other == first),
        "{one:?}, {other:?}"
    );
}

fn tcc(user: &User, biz_id: &str, request: TccRequest) -> impl FnOnce(Store) -> Racer<TccOutcome> {
    let (user, biz_id) = (user.clone(), biz_id.to_owned());
    move |store| Box::pin(async move { user.through(&store).tcc(&biz_id, request).await })
}

fn sponsor(operation: Operation) -> impl FnOnce(Store) -> Racer<GrantAnswer> {
    move |store| Box::pin(async move { operation.through(&store).sponsor().await })
}

fn moves(
    user: &User,
    direction: Direction,
    amount: u64,
    reference: &str,
) -> impl FnOnce(Store) -> Racer<FundsOutcome> {
    let command = user.movement(direction, amount, reference);
    move |store| Box::pin(async move { store.move_funds(&command).await.unwrap() })
}

fn closes(user: &User, id: domain::ReservationId) -> impl FnOnce(Store) -> Racer<CloseOutcome> {
    let tenant = user.tenant;
    move |store| Box::pin(async move { store.close_sponsorship(tenant, id).await.unwrap() })
}

fn applies(user: &User, work: Work) -> impl FnOnce(Store) -> Racer<FactOutcome> {
    let owner = Owner { tenant: user.tenant, account: user.account };
    move |store| Box::pin(async move { store.apply_fact(owner, &work).await.unwrap() })
}

fn releases(proof: Releasable) -> impl FnOnce(Store) -> Racer<CancelOutcome> {
    move |store| Box::pin(async move { store.release(&proof).await.unwrap() })
}

const ALL: TccRequest = TccRequest::Confirm { amount: None };

fn expiring() -> TccRequest {
    let terms = TccTerms { amount: micro(60), expires_at: Some(DbTime(1_000_000)) };
    TccRequest::Try { terms, issued_at: DbTime(i64::MAX) }
}

#[tokio::test]
async fn a_confirm_that_meets_its_try_finds_it_or_nothing() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        let before = ann.balances().await;
        let (tried, confirmed) =
            meet(&company, &ann, tcc(&ann, &biz_id, try_for(60)), tcc(&ann, &biz_id, ALL)).await;
        assert_eq!(tried, TccOutcome::Applied);
        match &confirmed {
            TccOutcome::Applied => assert_eq!(ann.balances().await[2], before[2] + 60),
            TccOutcome::Refused(TccRefusal::NotFound) => {
                assert_eq!(ann.balances().await[1], before[1] + 60);
            }
            TccOutcome::Replayed | TccOutcome::Refused(_) => panic!("{confirmed:?}"),
        }
    }
    company.finish().await;
}

#[tokio::test]
async fn the_same_confirm_twice_at_once_spends_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        ann.tries(&biz_id, 60).await;
        let outcomes = meet(&company, &ann, tcc(&ann, &biz_id, ALL), tcc(&ann, &biz_id, ALL)).await;
        one_each(outcomes, TccOutcome::Applied, TccOutcome::Replayed);
        assert_eq!(ann.balances().await, [940 - 60 * round, 0, 60 * (round + 1), 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_cancel_or_a_sweeper_that_meets_the_sweeper_returns_the_points_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    for round in 0..ROUNDS {
        for first in [TccRequest::Cancel, TccRequest::Expire] {
            let biz_id = format!("trip {round} {first:?}");
            ann.tcc(&biz_id, expiring()).await;
            let second = tcc(&ann, &biz_id, TccRequest::Expire);
            let outcomes = meet(&company, &ann, tcc(&ann, &biz_id, first), second).await;
            one_each(outcomes, TccOutcome::Applied, TccOutcome::Replayed);
            assert_eq!(ann.balances().await, [100, 0, 0, 0]);
        }
    }
    company.finish().await;
}

#[tokio::test]
async fn a_try_that_meets_the_sweeper_is_there_before_it_or_stays() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut held = 0;
    for round in 0..ROUNDS {
        let biz_id = format!("trip {round}");
        let sweeping = tcc(&ann, &biz_id, TccRequest::Expire);
        let (tried, swept) = meet(&company, &ann, tcc(&ann, &biz_id, expiring()), sweeping).await;
        assert_eq!(tried, TccOutcome::Applied);
        held += if swept == TccOutcome::Replayed { 60 } else { 0 };
        assert_eq!(ann.balances().await, [1_000 - held, held, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_try_a_debit_and_a_grant_that_need_the_same_points_leave_one_winner() {
    let company = Company::new().await;
    for round in 0..ROUNDS {
        let ann = company.user(&format!("ann {round}"), 100).await;
        let granting = sponsor(ann.operation(1, 60));
        let (tried, granted) = meet(&company, &ann, tcc(&ann, "trip", try_for(60)), granting).await;
        match (&tried, &granted) {
            (
                TccOutcome::Applied,
                GrantAnswer::Refused(GrantRefusal::InsufficientPoints { .. }),
            )
            | (
                TccOutcome::Refused(TccRefusal::InsufficientPoints { .. }),
                GrantAnswer::Granted(_),
            ) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(ann.balances().await, [40, 60, 0, 0]);

        let bob = company.user(&format!("bob {round}"), 100).await;
        let debiting = moves(&bob, Direction::Debit, 60, "shoes");
        let (tried, debited) = meet(&company, &bob, tcc(&bob, "trip", try_for(60)), debiting).await;
        match (&tried, &debited) {
            (
                TccOutcome::Applied,
                FundsOutcome::Refused(FundsRefusal::InsufficientPoints { .. }),
            )
            | (
                TccOutcome::Refused(TccRefusal::InsufficientPoints { .. }),
                FundsOutcome::Applied(_),
            ) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bob.balances().await[0], 40);
    }
    company.finish().await;
}

#[tokio::test]
async fn one_credit_sent_to_two_processes_at_once_counts_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 0).await;
    for round in 0..ROUNDS {
        let reference = format!("gift {round}");
        let [one, other] = [0, 1].map(|_| moves(&ann, Direction::Credit, 10, &reference));
        let outcomes = meet(&company, &ann, one, other).await;
        assert!(
            matches!(
                outcomes,
                (FundsOutcome::Applied(_), FundsOutcome::Replayed(_))
                    | (FundsOutcome::Replayed(_), FundsOutcome::Applied(_))
            ),
            "{outcomes:?}"
        );
        assert_eq!(ann.balances().await, [10 * (round + 1), 0, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn one_request_sent_to_two_processes_at_once_has_one_grant_and_one_signature() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for nonce in 0..ROUNDS {
        let [one, other] = [0, 1].map(|_| sponsor(ann.operation(nonce, 60)));
        match meet(&company, &ann, one, other).await {
            (GrantAnswer::Granted(new), GrantAnswer::Replayed(again))
            | (GrantAnswer::Replayed(again), GrantAnswer::Granted(new)) => assert_eq!(new, again),
            other => panic!("{other:?}"),
        }
        assert_eq!(ann.balances().await[1], 60 * (nonce + 1));
    }
    company.finish().await;
}

#[tokio::test]
async fn two_bumps_at_once_hold_the_dearest_and_never_the_sum() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for nonce in 0..ROUNDS {
        ann.operation(nonce, 60).granted().await;
        let (one, other) = (sponsor(ann.operation(nonce, 66)), sponsor(ann.operation(nonce, 72)));
        let outcomes = meet(&company, &ann, one, other).await;
        let (GrantAnswer::Granted(one), GrantAnswer::Granted(other)) = outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!(one.grant_no + other.grant_no, 5);
        assert_eq!(ann.balances().await[1], 72 * (nonce + 1));
    }
    company.finish().await;
}

#[tokio::test]
async fn a_bump_that_meets_the_wish_to_cancel_joins_before_it_or_is_refused() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut reserved = 0;
    for nonce in 0..ROUNDS {
        let id = ann.operation(nonce, 60).granted().await.reservation;
        let bump = sponsor(ann.operation(nonce, 66));
        let (bumped, closed) = meet(&company, &ann, bump, closes(&ann, id)).await;
        assert!(matches!(closed, CloseOutcome::Closing(_)), "{closed:?}");
        reserved += match &bumped {
            GrantAnswer::Granted(_) => 66,
            GrantAnswer::Refused(GrantRefusal::Closing) => 60,
            GrantAnswer::Replayed(_)
            | GrantAnswer::Refused(_)
            | GrantAnswer::WalletMoved
            | GrantAnswer::PaymasterChanged
            | GrantAnswer::KeyReused => panic!("{bumped:?}"),
        };
        assert_eq!(ann.balances().await[1], reserved);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_wish_to_cancel_that_meets_the_landing_never_stops_it() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        let id = ann.operation(nonce, 60).granted().await.reservation;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let work = chain.work().await[0];
        let (closed, settled) = meet(&company, &ann, closes(&ann, id), applies(&ann, work)).await;
        assert!(matches!(closed, CloseOutcome::Closing(_) | CloseOutcome::Settled), "{closed:?}");
        assert_eq!(settled, FactOutcome::Applied);
        company.store.finish_work(&work).await.unwrap();
        assert_eq!(ann.balances().await[2], 45 * (nonce + 1));
    }
    company.finish().await;
}

#[tokio::test]
async fn a_wish_to_cancel_that_meets_the_release_returns_the_points_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        let head = chain.head().timestamp.0;
        let id = ann.operation(nonce, 60).at(head).granted().await.reservation;
        chain.mine_past(head + VALIDITY).await;
        chain.finalise().await;
        let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
        let (closed, released) = meet(&company, &ann, closes(&ann, id), releases(proof)).await;
        assert!(matches!(closed, CloseOutcome::Closing(_) | CloseOutcome::Released), "{closed:?}");
        assert_eq!(released, CancelOutcome::Released);
        assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn two_releasers_with_one_proof_return_the_points_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        let head = chain.head().timestamp.0;
        ann.operation(nonce, 60).at(head).granted().await;
        chain.mine_past(head + VALIDITY).await;
        chain.finalise().await;
        let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
        let outcomes = meet(&company, &ann, releases(proof), releases(proof)).await;
        one_each(outcomes, CancelOutcome::Released, CancelOutcome::Replayed);
        assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_release_that_meets_a_late_landing_never_refunds_what_was_charged() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        let head = chain.head().timestamp.0;
        ann.operation(nonce, 60).at(head).granted().await;
        chain.mine_past(head + VALIDITY).await;
        chain.finalise().await;
        let proof = company.store.releasable(CHAIN, 10).await.unwrap()[0];
        // Against all rules the chain includes it behind its window, while the proof is on its way.
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let work = chain.work().await[0];
        match meet(&company, &ann, releases(proof), applies(&ann, work)).await {
            (CancelOutcome::AlreadySettled, FactOutcome::Applied)
            | (CancelOutcome::Released, FactOutcome::AppliedWithShortage { .. }) => {}
            other => panic!("{other:?}"),
        }
        company.store.finish_work(&work).await.unwrap();
        chain.finalise().await;
        chain.apply().await;
        let spent = 45 * (nonce + 1);
        assert_eq!(ann.balances().await, [1_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn two_appliers_of_an_undo_or_of_finality_take_the_step_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        chain.apply().await;
        chain.reorganise().await;
        chain.mine(&[landing(&ann, nonce, 40)]).await;
        for (step, confirms) in [(FactStep::Undo, true), (FactStep::Finalise, false)] {
            let work = chain.work().await[0];
            assert_eq!(work.step, step);
            let outcomes = meet(&company, &ann, applies(&ann, work), applies(&ann, work)).await;
            one_each(outcomes, FactOutcome::Applied, FactOutcome::Replayed);
            company.store.finish_work(&work).await.unwrap();
            if confirms {
                chain.apply().await;
                chain.finalise().await;
            }
        }
        let spent = 40 * (nonce + 1);
        assert_eq!(ann.balances().await, [1_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_meets_the_undo_of_its_block_leaves_nothing_settled() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    for nonce in 0..ROUNDS {
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let confirm = chain.work().await[0];
        chain.reorganise().await;
        let undo = chain.work().await[0];
        assert_eq!((confirm.step, undo.step), (FactStep::Confirm, FactStep::Undo));
        let outcomes = meet(&company, &ann, applies(&ann, confirm), applies(&ann, undo)).await;
        assert_eq!(outcomes, (FactOutcome::Replayed, FactOutcome::Replayed));
        company.store.finish_work(&undo).await.unwrap();
        assert_eq!(ann.balances().await, [1_000 - 60 * (nonce + 1), 60 * (nonce + 1), 0, 0]);
    }
    company.finish().await;
}

#[tokio::test]
async fn a_grant_that_meets_an_undo_or_finality_is_never_a_second_operation_in_a_used_slot() {
    let company = Company::new().await;
    let ann = company.user("ann", 10_000).await;
    let mut chain = Chain::start(&company.store).await;
    let mut spent = 0;
    for nonce in 0..ROUNDS {
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        chain.apply().await;
        chain.finalise().await;
        let work = chain.work().await[0];
        let asking = sponsor(ann.operation(nonce, 66));
        let (asked, made_final) = meet(&company, &ann, asking, applies(&ann, work)).await;
        assert_eq!(asked, GrantAnswer::Refused(GrantRefusal::NonceUsed));
        assert_eq!(made_final, FactOutcome::Applied);
        company.store.finish_work(&work).await.unwrap();
        spent += 45;

        let nonce = nonce + 100;
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        chain.apply().await;
        chain.reorganise().await;
        let work = chain.work().await[0];
        let asking = sponsor(ann.operation(nonce, 66));
        let (asked, undone) = meet(&company, &ann, asking, applies(&ann, work)).await;
        assert_eq!(undone, FactOutcome::Applied);
        let held = match &asked {
            GrantAnswer::Granted(_) => 66,
            GrantAnswer::Refused(GrantRefusal::NonceUsed) => 60,
            GrantAnswer::Replayed(_)
            | GrantAnswer::Refused(_)
            | GrantAnswer::WalletMoved
            | GrantAnswer::PaymasterChanged
            | GrantAnswer::KeyReused => panic!("{asked:?}"),
        };
        company.store.finish_work(&work).await.unwrap();
        assert_eq!(ann.balances().await, [10_000 - spent - held, held, spent, 0]);
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        chain.finalise().await;
        chain.apply().await;
        spent += 45;
        assert_eq!(ann.balances().await, [10_000 - spent, 0, spent, 0]);
    }
    company.finish().await;
}
