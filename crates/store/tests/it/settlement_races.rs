//! Ingesters and appliers that meet: every process may run its own.

use domain::ledger::sponsorship::{CancelOutcome, FactOutcome};
use store::cursor::CursorMove;
use store::facts::FactStep;
use store::sponsorships::GrantAnswer;
use tokio::task::JoinSet;

use crate::Company;
use crate::builder::{CHAIN, HEAD, VALIDITY};
use crate::chain::{Chain, block_after, landing};
use crate::tcc_races::{hold, let_go};

#[tokio::test]
async fn two_ingesters_that_extend_to_rival_blocks_leave_one_cursor() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let chain = Chain::start(&company.store).await;
    ann.operation(1, 60).granted().await;
    let mut parent = chain.head();
    for _round in 0..6 {
        let mut tasks = JoinSet::new();
        for cost in [40, 45] {
            let block = block_after(&parent, &[landing(&ann, 1, cost)]);
            let store = company.store.clone();
            tasks.spawn(
                async move { (store.extend_cursor(CHAIN, &block).await.unwrap(), block.block) },
            );
        }
        let (moved, lost): (Vec<_>, Vec<_>) =
            tasks.join_all().await.into_iter().partition(|(moved, _)| *moved == CursorMove::Moved);
        assert_eq!((moved.len(), lost.len()), (1, 1));
        parent = moved[0].1;
        assert_eq!(company.store.cursor(CHAIN).await.unwrap().unwrap().head, parent);
    }
    // Each round stored the events of the block that won, and none of the one that lost.
    assert_eq!(company.count("SELECT count(*) FROM chain_events").await, 6);
    company.finish().await;
}

#[tokio::test]
async fn two_ingesters_that_read_the_same_block_store_its_events_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let chain = Chain::start(&company.store).await;
    let block = block_after(&chain.head(), &[landing(&ann, 1, 45)]);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (store, block) = (company.store.clone(), block.clone());
        tasks.spawn(async move { store.extend_cursor(CHAIN, &block).await.unwrap() });
    }
    let moves = tasks.join_all().await;
    assert_eq!(moves.iter().filter(|moved| **moved == CursorMove::Moved).count(), 1);
    assert_eq!(company.count("SELECT count(*) FROM chain_events").await, 1);
    company.finish().await;
}

#[tokio::test]
async fn an_extension_that_meets_a_walk_back_leaves_one_winner() {
    let company = Company::new().await;
    let mut chain = Chain::start(&company.store).await;
    for _round in 0..6 {
        let head = chain.mine(&[]).await;
        let next = block_after(&head.block, &[]);
        let (ingester, other) = (company.store.clone(), company.replica(1));
        let extending =
            tokio::spawn(async move { ingester.extend_cursor(CHAIN, &next).await.unwrap() });
        let walking =
            tokio::spawn(
                async move { other.walk_cursor_back(CHAIN, head.block.hash).await.unwrap() },
            );
        let moves = [extending.await.unwrap(), walking.await.unwrap()];
        assert!(
            matches!(
                moves,
                [CursorMove::Moved, CursorMove::Lost] | [CursorMove::Lost, CursorMove::Moved]
            ),
            "{moves:?}"
        );
        // Walk to the anchor again, whichever it was.
        let mut cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
        while cursor.head != cursor.final_block {
            company.store.walk_cursor_back(CHAIN, cursor.head.hash).await.unwrap();
            cursor = company.store.cursor(CHAIN).await.unwrap().unwrap();
        }
        chain = Chain::start(&company.store).await;
    }
    company.finish().await;
}

#[tokio::test]
async fn two_appliers_of_the_same_step_apply_it_once() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    let rival = company.replica(1);
    for nonce in 1..=6 {
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let work = chain.work().await[0];
        let owner = company.store.owner_of(&work.fact).await.unwrap().unwrap();
        let mut holder = company.superuser().await;
        hold(&mut holder, &ann).await;
        let mut tasks = JoinSet::new();
        for store in [company.store.clone(), rival.clone()] {
            tasks.spawn(async move { store.apply_fact(owner, &work).await.unwrap() });
        }
        company.blocked(2).await;
        let_go(&mut holder).await;
        let outcomes = tasks.join_all().await;
        assert!(
            matches!(
                outcomes[..],
                [FactOutcome::Applied, FactOutcome::Replayed]
                    | [FactOutcome::Replayed, FactOutcome::Applied]
            ),
            "{outcomes:?}"
        );
        company.store.finish_work(&work).await.unwrap();
    }
    assert_eq!(ann.balances().await, [640, 90, 270, 0]);
    rival.close().await;
    company.finish().await;
}

#[tokio::test]
async fn a_bump_that_meets_the_landing_is_before_it_or_hears_that_the_nonce_is_used() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    let rival = company.replica(1);
    let mut reserved = 0;
    for nonce in 1..=6 {
        ann.operation(nonce, 60).granted().await;
        chain.mine(&[landing(&ann, nonce, 45)]).await;
        let work = chain.work().await[0];
        let owner = company.store.owner_of(&work.fact).await.unwrap().unwrap();
        let mut holder = company.superuser().await;
        hold(&mut holder, &ann).await;
        let (bump, store) = (ann.operation(nonce, 66), rival.clone());
        let bumping = tokio::spawn(async move { bump.sponsor().await });
        let applying = tokio::spawn(async move { store.apply_fact(owner, &work).await.unwrap() });
        company.blocked(2).await;
        let_go(&mut holder).await;
        reserved += match bumping.await.unwrap() {
            GrantAnswer::Granted(_) => 66 - 45,
            GrantAnswer::Refused(_) => 60 - 45,
            GrantAnswer::Replayed(_)
            | GrantAnswer::WalletMoved
            | GrantAnswer::PaymasterChanged
            | GrantAnswer::KeyReused => panic!("neither granted nor refused"),
        };
        assert_eq!(applying.await.unwrap(), FactOutcome::Applied);
        company.store.finish_work(&work).await.unwrap();
        assert_eq!(ann.balances().await[1], reserved);
    }
    rival.close().await;
    company.finish().await;
}

#[tokio::test]
async fn a_release_that_meets_a_bump_never_leaves_a_grant_without_points() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    let mut chain = Chain::start(&company.store).await;
    let rival = company.replica(1);
    let mut reserved = 0;
    for nonce in 1..=6 {
        let head = chain.head().timestamp.0;
        ann.operation(nonce, 60).at(head).granted().await;
        chain.mine_past(head + VALIDITY).await;
        chain.finalise().await;
        let slot = ann.slot(nonce);
        let all = company.store.releasable(CHAIN, 100).await.unwrap();
        let proof = *all.iter().find(|found| *found.proof.slot() == slot).unwrap();
        let mut holder = company.superuser().await;
        hold(&mut holder, &ann).await;
        let late = chain.head().timestamp.0;
        let (bump, store) = (ann.operation(nonce, 66).at(late), rival.clone());
        let bumping = tokio::spawn(async move { bump.granted().await });
        let releasing = tokio::spawn(async move { store.release(&proof).await.unwrap() });
        company.blocked(2).await;
        let_go(&mut holder).await;
        // Either the bump joined and the proof is void, or it opened the next attempt.
        let grant = bumping.await.unwrap();
        match releasing.await.unwrap() {
            CancelOutcome::NotYet => assert_eq!(grant.grant_no, 2),
            CancelOutcome::Released => assert_eq!(grant.grant_no, 1),
            CancelOutcome::Replayed | CancelOutcome::AlreadySettled => {
                panic!("nothing was released or settled before")
            }
        }
        reserved += 66;
        assert_eq!(ann.balances().await, [1_000 - reserved, reserved, 0, 0]);
        assert!(late > HEAD);
    }
    rival.close().await;
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_that_was_read_before_its_block_went_settles_nothing_for_a_later_owner() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let slept = chain.work().await;
    chain.reorganise().await;
    // Nobody owns the event yet, so that its undo leaves no mark.
    chain.apply().await;
    ann.operation(1, 60).granted().await;

    let owner = company.store.owner_of(&slept[0].fact).await.unwrap().unwrap();
    let outcome = company.store.apply_fact(owner, &slept[0]).await.unwrap();
    assert_eq!(outcome, FactOutcome::Replayed);
    chain.mine(&[landing(&ann, 1, 40)]).await;
    assert_eq!(chain.apply().await, [(FactStep::Confirm, FactOutcome::Applied)]);
    company.finish().await;
}

#[tokio::test]
async fn what_one_applier_set_aside_and_another_settled_is_undone_when_its_block_goes() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 1, 45)]).await;
    let work = chain.work().await;
    // The one looked before the grant, and found nobody. The other settles, and dies before it says so.
    ann.operation(1, 60).granted().await;
    let owner = company.store.owner_of(&work[0].fact).await.unwrap().unwrap();
    let settled = company.store.apply_fact(owner, &work[0]).await.unwrap();
    assert_eq!(settled, FactOutcome::Applied);
    company.store.set_aside(&work[0], "an unknown operation").await.unwrap();

    chain.reorganise().await;
    assert_eq!(chain.apply().await, [(FactStep::Undo, FactOutcome::Applied)]);
    company.finish().await;
}
