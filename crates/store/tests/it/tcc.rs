//! The table of TCC commands, cell by cell, through the store.

use domain::ledger::tcc::{DbTime, TccOutcome, TccRefusal, TccState, TccTerms};
use store::tcc::{BIZ_ID_RETENTION, TccAnswer, TccRequest};

use crate::Company;
use crate::builder::{User, micro, try_for};

use TccOutcome::{Applied, Refused, Replayed};

async fn ann_with(points: u64) -> (Company, User) {
    let company = Company::new().await;
    let ann = company.user("ann", points).await;
    (company, ann)
}

fn insufficient(available: u64, requested: u64) -> TccOutcome {
    let (available, requested) = (micro(available), micro(requested));
    Refused(TccRefusal::InsufficientPoints { available, requested })
}

fn conflict(field: &'static str) -> TccOutcome {
    Refused(TccRefusal::Conflict { fields: vec![field] })
}

async fn state(ann: &User, biz_id: &str) -> TccState {
    // A confirm of far too much changes nothing in any state, and shows the reservation.
    let request = TccRequest::Confirm { amount: Some(micro(1_000_000)) };
    let answer = ann.store.tcc(&ann.tcc_call(biz_id, request)).await.unwrap();
    let TccAnswer::Decided(Refused(_), Some(reservation)) = answer else { panic!("{answer:?}") };
    reservation.state
}

#[tokio::test]
async fn nothing_then_try_reserves() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.tries("trip", 60).await, Applied);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    assert_eq!(state(&ann, "trip").await, TccState::Open);
    company.finish().await;
}

#[tokio::test]
async fn nothing_then_a_try_of_too_much_is_refused_and_remembered() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.tries("trip", 101).await, insufficient(100, 101));
    ann.credit(100, "more").await;
    assert_eq!(ann.tries("trip", 101).await, insufficient(100, 101));
    assert_eq!(ann.balances().await, [200, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn nothing_then_confirm_is_not_found_and_leaves_nothing() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.confirms("trip", 10).await, Refused(TccRefusal::NotFound));
    assert_eq!(ann.tries("trip", 10).await, Applied);
    company.finish().await;
}

#[tokio::test]
async fn nothing_then_cancel_is_a_tombstone_that_keeps_the_late_try_out() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.cancels("trip").await, Applied);
    assert_eq!(ann.tries("trip", 10).await, Refused(TccRefusal::Cancelled));
    assert_eq!(ann.cancels("trip").await, Replayed);
    assert_eq!(ann.confirms("trip", 10).await, Refused(TccRefusal::Cancelled));
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn open_then_the_same_try_is_a_replay() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    assert_eq!(ann.tries("trip", 60).await, Replayed);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn open_then_another_try_is_a_conflict_that_names_the_fields() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    assert_eq!(ann.tries("trip", 61).await, conflict("amount"));
    let terms = TccTerms { amount: micro(60), expires_at: Some(DbTime(5_000_000)) };
    let dated = TccRequest::Try { terms, issued_at: DbTime(i64::MAX) };
    assert_eq!(ann.tcc("trip", dated).await, conflict("expiresAt"));
    company.finish().await;
}

#[tokio::test]
async fn open_then_confirm_spends_its_amount_and_returns_the_rest() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    assert_eq!(ann.confirms("trip", 45).await, Applied);
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn open_then_confirm_without_an_amount_spends_all_and_of_nothing_returns_all() {
    let (company, ann) = ann_with(100).await;
    ann.tries("all", 60).await;
    assert_eq!(ann.tcc("all", TccRequest::Confirm { amount: None }).await, Applied);
    assert_eq!(ann.balances().await, [40, 0, 60, 0]);
    ann.tries("nothing", 40).await;
    assert_eq!(ann.confirms("nothing", 0).await, Applied);
    assert_eq!(ann.balances().await, [40, 0, 60, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_above_the_reserve_is_refused_and_changes_nothing() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    let refusal = TccRefusal::ExceedsReserved { reserved: micro(60), requested: micro(61) };
    assert_eq!(ann.confirms("trip", 61).await, Refused(refusal));
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn open_then_cancel_returns_everything() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    assert_eq!(ann.cancels("trip").await, Applied);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    assert_eq!(state(&ann, "trip").await, TccState::Released);
    company.finish().await;
}

#[tokio::test]
async fn settled_then_the_same_commands_are_replays() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    ann.confirms("trip", 45).await;
    assert_eq!(ann.tries("trip", 60).await, Replayed);
    assert_eq!(ann.confirms("trip", 45).await, Replayed);
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn settled_then_another_amount_is_a_conflict() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    ann.confirms("trip", 45).await;
    assert_eq!(ann.confirms("trip", 46).await, conflict("amount"));
    assert_eq!(ann.tries("trip", 61).await, conflict("amount"));
    company.finish().await;
}

#[tokio::test]
async fn cancel_after_confirm_is_refused_and_returns_nothing() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    ann.confirms("trip", 45).await;
    let refusal = TccRefusal::AlreadySettled { settled: micro(45) };
    assert_eq!(ann.cancels("trip").await, Refused(refusal));
    assert_eq!(ann.balances().await, [55, 0, 45, 0]);
    company.finish().await;
}

#[tokio::test]
async fn released_then_try_and_confirm_are_refused_as_cancelled() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    ann.cancels("trip").await;
    assert_eq!(ann.tries("trip", 60).await, Refused(TccRefusal::Cancelled));
    assert_eq!(ann.confirms("trip", 60).await, Refused(TccRefusal::Cancelled));
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_reservation_cancelled_twice_returns_its_points_once() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 60).await;
    assert_eq!(ann.cancels("trip").await, Applied);
    assert_eq!(ann.cancels("trip").await, Replayed);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn rejected_then_every_command_leaves_it_rejected() {
    let (company, ann) = ann_with(100).await;
    ann.tries("trip", 101).await;
    assert_eq!(ann.confirms("trip", 101).await, Refused(TccRefusal::Rejected));
    assert_eq!(ann.cancels("trip").await, Replayed);
    assert_eq!(ann.tries("trip", 101).await, insufficient(100, 101));
    assert_eq!(ann.tries("trip", 100).await, conflict("amount"));
    assert_eq!(state(&ann, "trip").await, TccState::Rejected { available: micro(100) });
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_reservation_leaves_only_the_rest_to_the_next() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.tries("first", 60).await, Applied);
    assert_eq!(ann.tries("second", 60).await, insufficient(40, 60));
    assert_eq!(ann.tries("third", 40).await, Applied);
    company.finish().await;
}

#[tokio::test]
async fn a_try_of_nothing_is_refused_and_forgotten() {
    let (company, ann) = ann_with(100).await;
    assert_eq!(ann.tries("trip", 0).await, Refused(TccRefusal::ZeroAmount));
    assert_eq!(ann.tries("trip", 1).await, Applied);
    company.finish().await;
}

#[tokio::test]
async fn only_a_try_of_an_unknown_biz_id_can_be_too_old() {
    let (company, ann) = ann_with(100).await;
    ann.tries("known", 10).await;
    let retention = i64::try_from(BIZ_ID_RETENTION.as_micros()).unwrap();
    let now =
        company.count("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await;
    let issued = |issued_at| {
        let terms = TccTerms { amount: micro(10), expires_at: None };
        TccRequest::Try { terms, issued_at: DbTime(issued_at) }
    };
    let minute = 60_000_000;
    let too_old = now - retention - minute;
    assert_eq!(ann.tcc("unknown", issued(too_old)).await, Refused(TccRefusal::TooOld));
    assert_eq!(ann.tcc("unknown", issued(now - retention + minute)).await, Applied);
    assert_eq!(ann.tcc("known", issued(too_old)).await, Replayed);
    company.finish().await;
}

#[tokio::test]
async fn a_biz_id_belongs_to_its_account_alone() {
    let (company, ann) = ann_with(100).await;
    let bob = company.user("bob", 100).await;
    assert_eq!(ann.tries("trip", 60).await, Applied);
    assert_eq!(bob.tries("trip", 70).await, Applied);
    assert_eq!(bob.cancels("trip").await, Applied);
    assert_eq!(ann.confirms("trip", 60).await, Applied);
    company.finish().await;
}

#[tokio::test]
async fn an_unknown_account_is_named_as_such() {
    let (company, mut ann) = ann_with(0).await;
    ann.account = domain::AccountId(sqlx::types::Uuid::now_v7());
    let answer = ann.store.tcc(&ann.tcc_call("trip", try_for(1))).await.unwrap();
    assert_eq!(answer, TccAnswer::NoAccount);
    company.finish().await;
}

fn try_until(expires_at: i64) -> TccRequest {
    let terms = TccTerms { amount: micro(60), expires_at: Some(DbTime(expires_at)) };
    TccRequest::Try { terms, issued_at: DbTime(i64::MAX) }
}

/// Year 2100, in microseconds.
const FAR: i64 = 4_102_444_800_000_000;

#[tokio::test]
async fn an_expiry_takes_effect_when_its_time_is_past_by_the_database() {
    let (company, ann) = ann_with(100).await;
    ann.tcc("past", try_until(1_000_000)).await;
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    assert_eq!(ann.tcc("past", TccRequest::Expire).await, Applied);
    ann.tcc("future", try_until(FAR)).await;
    assert_eq!(ann.tcc("future", TccRequest::Expire).await, Replayed);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_of_an_expired_reservation_leaves_no_half_state() {
    let (company, ann) = ann_with(100).await;
    ann.tcc("trip", try_until(1_000_000)).await;
    ann.tcc("trip", TccRequest::Expire).await;
    let entries = company.count("SELECT count(*) FROM entries").await;
    assert_eq!(ann.confirms("trip", 60).await, Refused(TccRefusal::Cancelled));
    assert_eq!(state(&ann, "trip").await, TccState::Released);
    assert_eq!(company.count("SELECT count(*) FROM entries").await, entries);
    assert_eq!(ann.balances().await, [100, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_confirm_before_the_sweeper_wins_although_its_time_is_past() {
    let (company, ann) = ann_with(100).await;
    ann.tcc("trip", try_until(1_000_000)).await;
    assert_eq!(ann.confirms("trip", 60).await, Applied);
    assert_eq!(ann.tcc("trip", TccRequest::Expire).await, Replayed);
    assert_eq!(ann.balances().await, [40, 0, 60, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_biz_id_never_touches_a_sponsorship() {
    let (company, ann) = ann_with(100).await;
    let grant = ann.operation(1, 60).granted().await;
    let biz_id = grant.reservation.to_string();
    assert_eq!(ann.confirms(&biz_id, 60).await, Refused(TccRefusal::NotFound));
    assert_eq!(ann.cancels(&biz_id).await, Applied);
    assert_eq!(ann.balances().await, [40, 60, 0, 0]);
    company.finish().await;
}
