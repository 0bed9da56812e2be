//! Safe to repeat: identical deliveries give one reservation and the identical answer.

use e2e::{
    Wallet,
    api::Answer,
    on_own_stack, on_shared_stack,
    user::{max_cost_of, nonce_of, on_next_key},
};
use futures::future::join_all;
use serde_json::json;

use crate::cancel::window_passes;

/// As often as viem repeats a request whose answer was lost.
const DELIVERIES: usize = 4;

#[test]
fn four_identical_deliveries_over_erc7677_give_one_reservation_and_one_answer() {
    on_shared_stack(async |env| {
        let user = env.user("erc7677-repeats", Wallet::SIMPLE_07).await;
        let op = user.estimates().await;
        let params = user.paymaster_params(&op);
        let ask = async || env.api.call("pm_getPaymasterData", params.clone()).await.unwrap();
        let answers = join_all((0..DELIVERIES).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
        assert_eq!(ask().await, answers[0], "and so is one that comes later");

        let reserved: Vec<_> = user.reservations().await;
        let mine: Vec<_> = reserved.iter().filter(|r| r.nonce == nonce_of(&op)).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].grants, 1);
        assert_eq!(mine[0].reserved, env.micropoints(max_cost_of(&op)));
        user.books_agree(env).await;
    });
}

#[test]
fn four_identical_deliveries_over_rest_are_identical_to_the_byte() {
    on_shared_stack(async |env| {
        let user = env.user("rest-repeats", Wallet::SIMPLE_08).await;
        let op = user.estimates().await;
        let body = user.sponsorship_body(&op);
        let ask = async || env.api.post_keyed("v1/sponsorships", "rest-repeats", &body).await;
        let answers = join_all((0..DELIVERIES).map(|_| ask())).await;
        let later = ask().await;
        for answer in &answers {
            answer.success();
            assert_eq!(answer.text, later.text);
        }
        let replayed = |answer: &&Answer| answer.headers.contains_key("idempotency-replayed");
        assert_eq!(answers.iter().filter(replayed).count(), DELIVERIES - 1, "one was the first");
        assert!(replayed(&&later));

        let told = later.json();
        let mine = user.reservations().await.into_iter().find(|r| r.nonce == nonce_of(&op));
        let mine = mine.unwrap();
        assert_eq!(told["id"], mine.id.as_str());
        assert_eq!(told["reserved"], e2e::books::points(mine.reserved));
        assert_eq!(mine.grants, 1);
        user.books_agree(env).await;
    });
}

#[test]
fn a_key_that_was_used_for_another_body_is_refused() {
    on_shared_stack(async |env| {
        let user = env.user("other-body", Wallet::SIMPLE_08).await;
        let op = user.estimates().await;
        let body = user.sponsorship_body(&op);
        env.api.post_keyed("v1/sponsorships", "other-body", &body).await.success();
        let before = user.balances().await;

        let other = user.sponsorship_body(&on_next_key(&op));
        let refused = env.api.post_keyed("v1/sponsorships", "other-body", &other).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "idempotency_key_reused"));
        assert_eq!(user.balances().await, before);

        let credits = format!("v1/accounts/{}/credits", user.external_id);
        let credit = |amount| json!({"amount": amount, "reason": "gift", "reference": "gift-1"});
        let first = env.api.post_keyed(&credits, "gift", &credit("5")).await;
        let again = env.api.post_keyed(&credits, "gift", &credit("5")).await;
        assert_eq!((first.status, again.status), (201, 200));
        assert_eq!(first.text, again.text);
        let refused = env.api.post_keyed(&credits, "gift", &credit("6")).await;
        assert_eq!(refused.status, 422);
        assert_eq!(user.balances().await.available, before.available + 5_000_000);
        user.books_agree(env).await;
    });
}

#[test]
fn a_replay_is_identical_to_the_byte_after_the_wallet_moved_to_another_account() {
    on_own_stack(async |env| {
        let user = env.user("moves-away", Wallet::SIMPLE_07).await;
        let op = user.estimates().await;
        let body = user.sponsorship_body(&op);
        let ask = async |key| env.api.post_keyed("v1/sponsorships", key, &body).await;
        let first = ask("before-the-move").await;
        first.success();
        window_passes(env, &user, &op).await;

        let link = format!("wallets/{}/{}", env.endpoints.chain_id, user.address);
        let unlinked = env.api.delete(&format!("v1/accounts/{}/{link}", user.external_id)).await;
        assert!((200..300).contains(&unlinked.status), "{unlinked:?}");
        let refused = ask("after-the-move").await;
        assert_eq!(refused.code(), "wallet_not_linked", "a new request has no account");
        let again = ask("before-the-move").await;

        let heir = env.user("takes-over", Wallet::SIMPLE_08).await;
        let held = heir.balances().await;
        env.api.put(&format!("v1/accounts/{}/{link}", heir.external_id)).await.success();
        for again in [again, ask("before-the-move").await] {
            assert_eq!((again.status, &again.text), (200, &first.text));
            assert_eq!(again.headers["idempotency-replayed"], "true");
            assert_eq!(again.headers["stipend-grant-expired"], "true");
        }
        assert_eq!(heir.balances().await, held);
        user.books_agree(env).await;
        heir.books_agree(env).await;
    });
}
