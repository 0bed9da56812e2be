//! Grants: the only door through which a signature leaves the database.

use alloy_primitives::Address;
use domain::chain_fact::ChainTime;
use domain::ledger::sponsorship::{GrantRefusal, MAX_GRANTS, SponsorshipState};
use domain::window::MIN_REMAINING_SECONDS;
use store::sponsorships::{CloseOutcome, GrantAnswer};
use store::views::ViewState;
use store::wallets::{LinkOutcome, UnlinkOutcome};
use tokio::task::JoinSet;

use crate::Company;
use crate::builder::{HEAD, PAYMASTER, VALIDITY, micro};
use crate::chain::Chain;
use crate::tcc_races::{hold, let_go};

const OTHER_PAYMASTER: Address = Address::repeat_byte(0xbb);

fn insufficient(available: u64, needed: u64) -> GrantRefusal {
    GrantRefusal::InsufficientPoints { available: micro(available), needed: micro(needed) }
}

#[tokio::test]
async fn a_grant_opens_a_reservation_of_its_greatest_cost() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).granted().await;
    assert_eq!((grant.grant_no, grant.points, grant.slot), (1, micro(60), ann.slot(1)));
    assert_eq!(grant.valid_until, ChainTime(HEAD + VALIDITY));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    let (view, grants, timeline) =
        company.store.sponsorship(ann.tenant, grant.reservation).await.unwrap().unwrap();
    assert_eq!((view.state, view.reserved, view.attempt), (ViewState::Open, micro(60), 1));
    assert_eq!(grants, [grant]);
    let kinds: Vec<_> = timeline.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["sponsorship.granted"]);
    company.finish().await;
}

#[tokio::test]
async fn a_repeat_gives_the_same_grant_with_the_same_signature() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).granted().await;
    let remaining = HEAD + VALIDITY - MIN_REMAINING_SECONDS;
    assert_eq!(ann.operation(1, 60).at(remaining).replayed().await, grant);
    assert_eq!(company.count("SELECT count(*) FROM grants").await, 1);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_repeat_near_the_end_of_its_window_is_a_new_grant_under_the_same_reservation() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let first = ann.operation(1, 60).granted().await;
    let late = HEAD + VALIDITY - MIN_REMAINING_SECONDS + 1;
    let second = ann.operation(1, 60).at(late).granted().await;
    assert_eq!((second.reservation, second.grant_no), (first.reservation, 2));
    assert_ne!(second.signature, first.signature);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_bump_extends_to_the_larger_and_never_shrinks() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let first = ann.operation(1, 60).granted().await;
    let dearer = ann.operation(1, 66).granted().await;
    let cheaper = ann.operation(1, 50).granted().await;
    assert_eq!(dearer.reservation, first.reservation);
    assert_eq!((dearer.grant_no, cheaper.grant_no), (2, 3));
    assert_eq!(ann.balances().await, [34, 66, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_bump_inherits_the_price_of_its_reservation() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.operation(1, 20).priced(2).granted().await;
    let bump = ann.operation(1, 30).priced(3).granted().await;
    assert_eq!(bump.points, micro(60));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_bump_that_is_refused_leaves_everything_as_it_was() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).granted().await;
    assert_eq!(ann.operation(1, 101).refused().await, insufficient(40, 41));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    assert_eq!(ann.operation(1, 60).replayed().await, grant);
    company.finish().await;
}

#[tokio::test]
async fn a_refusal_remembers_nothing_so_that_a_credit_lets_the_same_nonce_through() {
    let company = Company::new().await;
    let ann = company.user("ann", 50).await;
    let operation = ann.operation(1, 60).keyed("key");
    assert_eq!(operation.refused().await, insufficient(50, 60));
    for table in [
        "SELECT count(*) FROM reservations",
        "SELECT count(*) FROM grants",
        "SELECT count(*) FROM command_keys WHERE command = 'sponsor'",
    ] {
        assert_eq!(company.count(table).await, 0, "{table}");
    }
    ann.credit(10, "more").await;
    assert_eq!(operation.granted().await.points, micro(60));
    assert_eq!(ann.balances().await, [0, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_keyed_replay_gives_the_same_grant_even_when_it_is_expired() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).keyed("key").granted().await;
    let expired = ann.operation(1, 60).at(HEAD + 2 * VALIDITY).keyed("key");
    assert_eq!(expired.replayed().await, grant);
    let keyed = store::Keyed { key: "key".parse().unwrap(), request_hash: grant.user_op_hash };
    let answer = company.store.keyed_grant(ann.tenant, &keyed).await.unwrap();
    assert_eq!(answer, Some(grant));
    company.finish().await;
}

#[tokio::test]
async fn a_key_is_remembered_for_a_repeat_of_an_unkeyed_grant() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).granted().await;
    assert_eq!(ann.operation(1, 60).keyed("key").replayed().await, grant);
    assert_eq!(ann.operation(2, 10).keyed("key").sponsor().await, GrantAnswer::KeyReused);
    company.finish().await;
}

#[tokio::test]
async fn a_key_with_another_body_or_of_another_command_is_refused() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    ann.operation(1, 60).keyed("key").granted().await;
    assert_eq!(ann.operation(1, 61).keyed("key").sponsor().await, GrantAnswer::KeyReused);
    let credit = ann.operation(2, 10).keyed("key of opening");
    assert_eq!(credit.sponsor().await, GrantAnswer::KeyReused);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_wallet_that_moved_gets_no_grant() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 100).await, company.user("bob", 100).await);
    let unlinked = company.store.unlink_wallet(ann.tenant, ann.account, ann.wallet).await.unwrap();
    assert_eq!(unlinked, UnlinkOutcome::Unlinked);
    let linked = company.store.link_wallet(bob.tenant, bob.account, ann.wallet).await.unwrap();
    assert_eq!(linked, LinkOutcome::Linked);
    assert_eq!(ann.operation(1, 60).sponsor().await, GrantAnswer::WalletMoved);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_wallet_belongs_to_one_account_of_a_company() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 0).await, company.user("bob", 0).await);
    let link = async |user: &crate::builder::User| {
        company.store.link_wallet(user.tenant, user.account, ann.wallet).await.unwrap()
    };
    assert_eq!(link(&bob).await, LinkOutcome::LinkedElsewhere);
    assert_eq!(link(&ann).await, LinkOutcome::AlreadyLinked);
    let unlinked = company.store.unlink_wallet(bob.tenant, bob.account, ann.wallet).await.unwrap();
    assert_eq!(unlinked, UnlinkOutcome::NotLinked);
    company.finish().await;
}

#[tokio::test]
async fn a_wallet_is_not_unlinked_while_a_reservation_of_it_is_open() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    ann.operation(1, 60).granted().await;
    let unlink = || company.store.unlink_wallet(ann.tenant, ann.account, ann.wallet);
    assert_eq!(unlink().await.unwrap(), UnlinkOutcome::InUse);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    assert_eq!(unlink().await.unwrap(), UnlinkOutcome::Unlinked);
    company.finish().await;
}

#[tokio::test]
async fn a_grant_that_meets_an_unlinking_has_one_winner() {
    let company = Company::new().await;
    for round in 0..6 {
        let ann = company.user(&format!("ann {round}"), 100).await;
        let mut holder = company.superuser().await;
        hold(&mut holder, &ann).await;
        let operation = ann.operation(1, 60);
        let granting = tokio::spawn(async move { operation.sponsor().await });
        let user = ann.clone();
        let unlinking = tokio::spawn(async move {
            user.store.unlink_wallet(user.tenant, user.account, user.wallet).await.unwrap()
        });
        company.blocked(2).await;
        let_go(&mut holder).await;
        match (granting.await.unwrap(), unlinking.await.unwrap()) {
            (GrantAnswer::Granted(_), UnlinkOutcome::InUse)
            | (GrantAnswer::WalletMoved, UnlinkOutcome::Unlinked) => {}
            other => panic!("{other:?}"),
        }
    }
    company.finish().await;
}

#[tokio::test]
async fn a_bump_by_another_paymaster_cannot_join_but_the_next_attempt_can() {
    let company = Company::new().await;
    company.register(OTHER_PAYMASTER).await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    ann.operation(1, 60).granted().await;
    let changed = ann.operation(1, 66).by(OTHER_PAYMASTER);
    assert_eq!(changed.sponsor().await, GrantAnswer::PaymasterChanged);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    assert_eq!(changed.granted().await.paymaster, OTHER_PAYMASTER);
    assert_eq!(ann.operation(1, 70).by(PAYMASTER).sponsor().await, GrantAnswer::PaymasterChanged);
    company.finish().await;
}

#[tokio::test]
async fn a_closing_sponsorship_refuses_repeats_and_bumps_and_keeps_its_points() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).keyed("key").granted().await;
    let close = || company.store.close_sponsorship(ann.tenant, grant.reservation);
    let closing = CloseOutcome::Closing(ChainTime(HEAD + VALIDITY));
    assert_eq!(close().await.unwrap(), closing);
    assert_eq!(close().await.unwrap(), closing);
    assert_eq!(ann.operation(1, 60).refused().await, GrantRefusal::Closing);
    assert_eq!(ann.operation(1, 66).refused().await, GrantRefusal::Closing);
    assert_eq!(ann.operation(1, 60).keyed("key").replayed().await, grant);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    let closings = "SELECT count(*) FROM outbox WHERE kind = 'sponsorship.closing'";
    assert_eq!(company.count(closings).await, 1);
    company.finish().await;
}

#[tokio::test]
async fn closing_tells_where_a_sponsorship_ended() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut chain = Chain::start(&company.store).await;
    let released = ann.operation(1, 60).granted().await.reservation;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    let next = ann.operation(1, 60).at(chain.head().timestamp.0).granted().await.reservation;
    let settled = ann.operation(2, 10).granted().await.reservation;
    chain.mine(&[crate::chain::landing(&ann, 2, 10)]).await;
    chain.apply().await;
    let close = |id| company.store.close_sponsorship(ann.tenant, id);
    assert_eq!(close(released).await.unwrap(), CloseOutcome::Released);
    assert_eq!(close(settled).await.unwrap(), CloseOutcome::Settled);
    assert!(matches!(close(next).await.unwrap(), CloseOutcome::Closing(_)));
    let unknown = domain::ReservationId(sqlx::types::Uuid::now_v7());
    assert_eq!(close(unknown).await.unwrap(), CloseOutcome::NotFound);
    company.finish().await;
}

#[tokio::test]
async fn a_reservation_takes_only_so_many_grants() {
    let company = Company::new().await;
    let ann = company.user("ann", 1_000).await;
    for bump in 0..u64::try_from(MAX_GRANTS).unwrap() {
        ann.operation(1, 100 + bump).granted().await;
    }
    assert_eq!(ann.operation(1, 500).refused().await, GrantRefusal::TooManyGrants);
    assert_eq!(ann.balances().await, [869, 131, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn four_identical_requests_at_once_are_one_reservation_with_one_grant() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let operation = ann.operation(1, 60);
        tasks.spawn(async move { operation.sponsor().await });
    }
    let mut signatures = Vec::new();
    let mut granted = 0;
    for answer in tasks.join_all().await {
        granted += i32::from(matches!(answer, GrantAnswer::Granted(_)));
        let (GrantAnswer::Granted(grant) | GrantAnswer::Replayed(grant)) = answer else {
            panic!("{answer:?}")
        };
        signatures.push(grant.signature);
    }
    signatures.dedup();
    assert_eq!((granted, signatures.len()), (1, 1));
    assert_eq!(company.count("SELECT count(*) FROM grants").await, 1);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn ten_nonces_at_once_never_overdraw() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let mut tasks = JoinSet::new();
    for nonce in 0..10 {
        let operation = ann.operation(nonce, 30);
        tasks.spawn(async move { operation.sponsor().await });
    }
    let answers = tasks.join_all().await;
    let granted = answers.iter().filter(|answer| matches!(answer, GrantAnswer::Granted(_))).count();
    let short = GrantAnswer::Refused(insufficient(10, 30));
    let refused = answers.iter().filter(|answer| **answer == short).count();
    assert_eq!((granted, refused), (3, 7));
    assert_eq!(ann.balances().await, [10, 90, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn open_grants_are_those_of_the_open_attempt() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let slot = ann.slot(1);
    let open = || company.store.open_sponsorship(ann.tenant, ann.account, &slot);
    let mut chain = Chain::start(&company.store).await;
    assert!(open().await.unwrap().is_none());
    let first = ann.operation(1, 60).granted().await;
    let bump = ann.operation(1, 66).granted().await;
    let found = open().await.unwrap().unwrap();
    assert_eq!(found.reservation.state, SponsorshipState::Open);
    assert_eq!(first.app, ann.app);
    assert_eq!(found.grants, [first, bump]);
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    assert!(open().await.unwrap().is_none());
    company.finish().await;
}

#[tokio::test]
async fn another_company_sees_nothing_of_it() {
    let company = Company::new().await;
    let ann = company.user("ann", 100).await;
    let grant = ann.operation(1, 60).granted().await;
    let rival = company.neighbour("rival", OTHER_PAYMASTER).await;
    assert!(rival.store.sponsorship(rival.tenant, grant.reservation).await.unwrap().is_none());
    let closed = rival.store.close_sponsorship(rival.tenant, grant.reservation).await.unwrap();
    assert_eq!(closed, CloseOutcome::NotFound);
    assert!(rival.store.balances(rival.tenant, ann.account).await.unwrap().is_none());
    let mut thief = ann.clone();
    thief.tenant = rival.tenant;
    assert_eq!(thief.operation(1, 60).sponsor().await, GrantAnswer::WalletMoved);
    company.finish().await;
}
