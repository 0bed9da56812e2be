//! Gas that is asked for bytes which nobody will send is not sponsored: the bundler who collects it may be the user.

use alloy::primitives::U64;
use devstack::driver::Account;
use e2e::{Env, User, Wallet, on_shared_stack};
use serde_json::{Value, json};

/// The longest signature that is counted, in bytes.
const LONGEST: usize = 1024;
/// What one more byte raises the bound by at most: the price of a byte of calldata, and half as much again.
const GAS_PER_BYTE: u64 = 24;
/// What fills a signature's last word, in bytes.
const WORD: usize = 32;
/// A Safe takes a signature of any length for a wrong one, where other accounts revert.
const SAFE: Wallet = Wallet::viem(Account::Safe, "0.7");

/// The operation with more bytes behind its dummy signature, up to this length.
fn padded(op: &Value, bytes: usize) -> Value {
    let mut padded = op.clone();
    let signature = op["signature"].as_str().unwrap();
    padded["signature"] = json!(format!("{signature:f<width$}", width = 2 + 2 * bytes));
    padded
}

fn signature_bytes(op: &Value) -> usize {
    op["signature"].as_str().unwrap().len() / 2 - 1
}

/// The most preVerificationGas that is sponsored for an operation, as a refusal tells it.
async fn most_gas(env: &Env, user: &User, op: &Value) -> u64 {
    let mut greedy = op.clone();
    greedy["preVerificationGas"] = json!("0x10000000");
    let quote = env.api.post("v1/quotes", &user.sponsorship_body(&greedy)).await.success();
    let refusal = &quote["refusal"];
    assert_eq!(refusal["code"], "gas_out_of_bounds", "{quote:#}");
    let words = refusal["detail"].as_str().unwrap();
    assert!(words.starts_with("preVerificationGas"), "{words}");
    let (_, bound) = words.split_once("at most ").unwrap();
    bound.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_dummy_signature_beyond_1024_bytes_is_refused() {
    on_shared_stack(async |env| {
        let user = env.user("too-long", SAFE).await;
        let op = user.estimates().await;
        let before = user.balances().await;
        let long = padded(&op, LONGEST + 1);
        let body = user.sponsorship_body(&long);
        let refused = env.api.post_keyed("v1/sponsorships", "too-long", &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "signature_too_long"));
        let refused = env.api.call("pm_getPaymasterData", user.paymaster_params(&long)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused["data"]["reason"], "signature_too_long", "{refused}");
        assert_eq!(user.balances().await, before);
    });
}

#[test]
fn a_padded_dummy_signature_buys_no_more_gas_than_its_bytes() {
    on_shared_stack(async |env| {
        let user = env.user("pads", SAFE).await;
        let op = user.estimates().await;
        let most = most_gas(env, &user, &op).await;
        for bytes in [1000, LONGEST] {
            let more = bytes.checked_sub(signature_bytes(&op)).unwrap();
            let bought = most_gas(env, &user, &padded(&op, bytes)).await - most;
            let worth = GAS_PER_BYTE * u64::try_from(more + WORD).unwrap();
            assert!((1..=worth).contains(&bought), "{bought} gas for {more} bytes");
        }
        let quote = env.api.post("v1/quotes", &user.sponsorship_body(&padded(&op, 1000))).await;
        assert_eq!(quote.success()["sponsored"], true, "an honest limit passes: {}", quote.text);
    });
}

#[test]
fn an_authorization_that_changes_nothing_buys_no_gas() {
    on_shared_stack(async |env| {
        let delegating = Wallet::viem(Account::Simple7702, "0.8");
        let fresh = env.user("fresh-delegation", delegating).await;
        let op = fresh.estimates().await;
        let authorization = op["eip7702Auth"].clone();
        assert!(authorization.is_object(), "{op:#}");
        let most_fresh = most_gas(env, &fresh, &op).await;

        // Its code is a contract's, and stays so.
        let contract = env.user("idle-authorization", Wallet::SIMPLE_08).await;
        // Its code names the delegate already.
        let delegated = env.user("idle-again", delegating).await;
        for user in [&contract, &delegated] {
            user.settles(&user.sends(&user.increment()).await).await;
            let op = user.estimates().await;
            assert_eq!(op.get("eip7702Auth"), None, "{op:#}");
            let most = most_gas(env, user, &op).await;
            assert!(most < most_fresh, "one that is needed is paid for");
            let mut idle = op.clone();
            idle["eip7702Auth"] = authorization.clone();
            let nonce = env.transaction_count(user.address).await;
            idle["eip7702Auth"]["nonce"] = json!(U64::from(nonce));
            assert_eq!(most_gas(env, user, &idle).await, most);
        }
    });
}
