//! Points come back when nothing can land any more, by the chain's time and finality alone.

use alloy::{
    primitives::{U256, aliases::U192},
    sol,
    sol_types::SolCall,
};
use e2e::{
    Env, User, Wallet, on_own_stack,
    user::{max_cost_of, nonce_of},
    wait,
};
use serde_json::Value;

sol! {
    /// Uses a nonce of the caller's up (ERC-4337).
    function incrementNonce(uint192 key) external;
}

/// Brings the chain past a window, first at the head and then for good, and looks that only the second frees the points.
pub(crate) async fn window_passes(env: &Env, user: &User, op: &Value) {
    let open = user.reaches("open", op).await;
    let left = open.last_valid_until.saturating_sub(env.chain_time().await);
    env.pass_seconds(left + 1).await;
    let head = env.head().await;
    wait::until("the service has read the head", 30, async || {
        let read = env.ledger.head_block().await;
        if read >= Some(head) { Ok(()) } else { Err(format!("it is at {read:?} of {head}")) }
    })
    .await;
    if env.ledger.final_block().await < Some(head) {
        let held = user.reaches("open", op).await;
        assert_eq!(held.reserved, open.reserved, "the window is past, but not in a final block");
    }
    env.make_final().await;
    user.reaches("released", op).await;
    user.books_agree(env).await;
}

/// Sponsors the operation's slot again, and lets it land.
async fn nonce_serves_again(env: &Env, user: &User, op: &Value) {
    let mut request = user.increment();
    request.nonce = Some(nonce_of(op));
    let sent = user.sends(&request).await;
    assert!(user.lands(&request, &sent).await.success);
    env.make_final().await;
    user.settled_exactly(env, &sent).await;
    let attempts: Vec<_> = user.reservations().await.iter().map(|r| r.attempt).collect();
    assert_eq!(attempts, [1, 2]);
}

#[test]
fn an_abandoned_operation_frees_its_points_and_its_nonce_serves_again() {
    on_own_stack(async |env| {
        let user = env.user("abandons", Wallet::SIMPLE_07).await;
        let before = user.balances().await;
        let op = user.prepares(&user.increment()).await;
        assert_eq!(user.balances().await.reserved, env.micropoints(max_cost_of(&op)));
        window_passes(env, &user, &op).await;
        assert_eq!(user.balances().await, before);
        nonce_serves_again(env, &user, &op).await;
    });
}

#[test]
fn a_cancelled_operation_is_closed_at_once_and_released_when_it_can_no_longer_land() {
    on_own_stack(async |env| {
        let user = env.user("cancels", Wallet::SIMPLE_08).await;
        let before = user.balances().await;
        let mut request = user.increment();
        let op = user.prepares(&request).await;
        let open = user.reservation().await;

        let cancel = format!("v1/sponsorships/{}/cancel", open.id);
        let answer = env.api.post_nothing(&cancel).await.success();
        assert_eq!(answer["releasedAfter"], open.last_valid_until, "it says when");
        assert!(user.reservation().await.closing);
        assert_eq!(user.balances().await.reserved, open.reserved, "a grant can still land");

        request.nonce = Some(nonce_of(&op));
        let repeated = user.is_refused(&request).await;
        assert_eq!(repeated.reason, "closing", "{repeated:?}");
        assert_eq!(repeated.code, Some(-32501));

        window_passes(env, &user, &op).await;
        assert_eq!(user.balances().await, before);
        nonce_serves_again(env, &user, &op).await;
    });
}

/// Waits until the points of an operation are back, which its window is still too long for.
async fn is_freed_before_its_window(env: &Env, user: &User, op: &Value) {
    user.reaches("open", op).await;
    // Something else may land first, and is given some blocks for it.
    env.mine(12).await;
    env.make_final().await;
    let freed = user.reaches("released", op).await;
    assert!(env.chain_time().await <= freed.last_valid_until, "its window is over");
    user.books_agree(env).await;
    let refused =
        env.api.post_keyed("v1/sponsorships", "used-up", &user.sponsorship_body(op)).await;
    assert_eq!(refused.code(), "nonce_used");
}

#[test]
fn an_operation_whose_nonce_the_account_uses_up_itself_frees_its_points_at_once() {
    on_own_stack(async |env| {
        let user = env.user("increments", Wallet::SIMPLE_08).await;
        let op = user.prepares(&user.increment()).await;
        let key = U192::wrapping_from(nonce_of(&op) >> 64);
        let call = incrementNonceCall { key }.abi_encode();
        let sent = user.sends(&user.request.clone().call(user.entry_point(), call)).await;
        user.reaches("settled_provisional", &sent.op).await;
        is_freed_before_its_window(env, &user, &op).await;
    });
}

#[test]
fn an_operation_whose_slot_another_payer_uses_frees_its_points_at_once() {
    on_own_stack(async |env| {
        let user = env.user("pays-itself", Wallet::SIMPLE_07).await;
        let op = user.prepares(&user.increment()).await;
        env.stack.node().set_balance(user.address, U256::from(10_u64.pow(18))).await.unwrap();
        let mut request = user.increment();
        request.paymaster_url = None;
        request.nonce = Some(nonce_of(&op));
        let sent = user.sends(&request).await;
        assert!(user.lands(&request, &sent).await.success);
        is_freed_before_its_window(env, &user, &op).await;
        assert_eq!(user.balances().await.spent, 0);
    });
}

#[test]
fn a_nonce_that_was_used_in_a_block_that_went_away_frees_nothing() {
    on_own_stack(async |env| {
        let user = env.user("undecided", Wallet::SIMPLE_07).await;
        let op = user.prepares(&user.increment()).await;
        env.stack.node().set_balance(user.address, U256::from(10_u64.pow(18))).await.unwrap();
        let mut request = user.increment();
        request.paymaster_url = None;
        request.nonce = Some(nonce_of(&op));
        let cancel = format!("v1/sponsorships/{}/cancel", user.reservation().await.id);
        env.api.post_nothing(&cancel).await.success();
        let sent = user.sends(&request).await;
        let receipt = user.lands(&request, &sent).await;
        wait::until("the used nonce is noticed", 30, async || {
            env.ledger.is_used_up(nonce_of(&op)).await.then_some(()).ok_or_else(|| "not yet".into())
        })
        .await;
        env.reorganise_from(receipt.block_number, receipt.block_hash).await;
        wait::until("the note is taken back", 30, async || {
            let used = env.ledger.is_used_up(nonce_of(&op)).await;
            (!used).then_some(()).ok_or_else(|| "it stands".into())
        })
        .await;
        env.make_final().await;
        user.reaches("open", &op).await;
    });
}

#[test]
fn a_cancelled_operation_that_lands_all_the_same_is_settled() {
    on_own_stack(async |env| {
        let user = env.user("cancels-late", Wallet::EIP7702_09).await;
        let request = user.increment();
        let op = user.prepares(&request).await;
        let cancel = format!("v1/sponsorships/{}/cancel", user.reservation().await.id);
        env.api.post_nothing(&cancel).await.success();
        let sent = user.signs_and_submits(&request, &op).await;
        assert!(user.lands(&request, &sent).await.success);
        env.make_final().await;
        user.settled_exactly(env, &sent).await;
    });
}
