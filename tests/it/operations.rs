//! Operations that are unlike the plain one, each settled at exactly what the chain charged.

use alloy::{primitives::U256, sol_types::SolCall};
use devstack::keys;
use e2e::{
    Env, User, Wallet, on_own_stack, on_shared_stack,
    user::{ICounter, IFlaky, Sent, fees_raised_by, max_cost_of, nonce_of, on_next_key},
};
use futures::future::join_all;
use serde_json::json;

#[test]
fn a_reverted_operation_is_charged() {
    on_own_stack(async |env| {
        let mut prepared = Vec::new();
        for wallet in Wallet::EACH_VERSION {
            let user = env.user("reverts", wallet).await;
            let request = user.poke();
            let op = user.prepares(&request).await;
            prepared.push((user, request, op));
        }
        break_flaky(env, true).await;
        let sent = join_all(prepared.iter().map(async |(user, request, op)| {
            let sent = user.signs_and_submits(request, op).await;
            assert!(!user.lands(request, &sent).await.success);
            sent
        }))
        .await;
        break_flaky(env, false).await;
        env.make_final().await;
        for ((user, ..), sent) in prepared.iter().zip(&sent) {
            let (_, spent) = user.settled_exactly(env, sent).await;
            assert!(spent > 0);
            assert!(!user.reservation().await.settlement.unwrap().success);
        }
    });
}

async fn break_flaky(env: &Env, broken: bool) {
    let call = IFlaky::setBrokenCall { broken };
    env.stack.node().send(keys::DEPLOYER, env.stack.chain.flaky, &call, U256::ZERO).await.unwrap();
}

#[test]
fn two_operations_of_one_sender_are_in_flight_at_once() {
    on_shared_stack(async |env| {
        for wallet in Wallet::EACH_VERSION {
            let user = env.user("two-in-flight", wallet).await;
            let request = user.increment();
            let first = user.sends(&request).await;
            user.settled_exactly(env, &first).await;

            let ops = [user.prepares(&request).await, user.prepares(&request).await];
            assert_ne!(nonce_of(&ops[0]), nonce_of(&ops[1]));
            let held: i64 = ops.iter().map(|op| env.micropoints(max_cost_of(op))).sum();
            assert_eq!(user.balances().await.reserved, held, "both are reserved, side by side");

            let sent =
                join_all(ops.iter().map(async |op| user.signs_and_submits(&request, op).await));
            let sent = sent.await;
            // The books are read when nothing of the user's is under way any more.
            for sent in &sent {
                user.settles(sent).await;
            }
            for sent in &sent {
                user.settled_exactly(env, sent).await;
            }
            assert_eq!(user.count().await, 3);
        }
    });
}

#[test]
fn a_fee_bump_extends_to_the_larger_amount_and_settles_once() {
    on_own_stack(async |env| {
        for wallet in [Wallet::SIMPLE_07, Wallet::SIMPLE_08] {
            let user = env.user("bumps", wallet).await;
            // The node keeps its own base fee; the account must exist, or the bundler would estimate its deployment twice.
            let request = user.increment();
            settles_quickly(env, &user, &user.sends(&request).await).await;

            env.stack.bundler.hold().await.unwrap();
            let cheap = user.sends(&request).await;
            let mut raised = user.increment();
            raised.nonce = Some(nonce_of(&cheap.op));
            raised.fees = Some(fees_raised_by(10));
            let dear = user.sends(&raised).await;
            let held = user.reaches("open", &dear.op).await;
            assert_eq!(held.grants, 2);
            assert!(max_cost_of(&dear.op) > max_cost_of(&cheap.op));
            assert_eq!(held.reserved, env.micropoints(max_cost_of(&dear.op)), "the larger");
            assert_eq!(user.balances().await.reserved, held.reserved, "and not the sum");

            env.stack.bundler.bundle_now().await.unwrap();
            assert!(user.lands(&raised, &dear).await.success);
            env.stack.bundler.release().await.unwrap();
            settles_quickly(env, &user, &dear).await;
            assert_eq!(user.reservations().await.len(), 2, "one for each nonce");
            assert_eq!(user.count().await, 2);
        }
    });
}

async fn settles_quickly(env: &Env, user: &User, sent: &Sent) {
    assert!(user.lands(&user.request, sent).await.success);
    env.make_final().await;
    user.settled_exactly(env, sent).await;
}

#[test]
fn ten_senders_at_once_are_settled_apart() {
    on_shared_stack(async |env| {
        let versions = Wallet::EACH_VERSION.into_iter().cycle();
        let users =
            join_all(versions.take(10).enumerate().map(async |(number, wallet)| {
                env.user(&format!("parallel-{number}"), wallet).await
            }))
            .await;
        let sent =
            join_all(users.iter().map(async |user| user.sends(&user.increment()).await)).await;
        for (user, sent) in users.iter().zip(&sent) {
            user.settled_exactly(env, sent).await;
            assert_eq!(user.count().await, 1);
        }
    });
}

#[test]
fn a_wallet_that_nobody_linked_gets_points_of_its_own_in_development() {
    on_shared_stack(async |env| {
        let mut user = env.stranger("provisioned", Wallet::SIMPLE_08).await;
        user.external_id = format!("dev:{}:{}", env.endpoints.chain_id, user.address);
        // Two first sights at once end in one account.
        let request = user.increment();
        let (one, two) = futures::join!(user.prepares(&request), user.prepares(&request));
        assert_eq!(user.reservations().await.len(), 2);
        let provisioned: Vec<_> = env.ledger.entries(&user.external_id).await;
        assert_eq!(provisioned.iter().filter(|entry| entry.kind == "credit").count(), 1);
        let sent = user.signs_and_submits(&request, &one).await;
        user.settled_exactly(env, &sent).await;
        assert_ne!(nonce_of(&one), nonce_of(&two));
    });
}

#[test]
fn one_url_serves_the_paymaster_and_the_bundler() {
    on_shared_stack(async |env| {
        let user = env.user("one-url", Wallet::SIMPLE_07).await;
        let mut request = user.increment();
        request.bundler_url = env.endpoints.paymaster_url.to_string();
        // What viem sends when it is told `paymaster: true`.
        request.paymaster_url = Some(json!(true));
        let sent = user.sends(&request).await;
        assert!(
            sent.wire.iter().all(|call| call.starts_with("bundler ")),
            "every call went to the one URL: {:?}",
            sent.wire
        );
        assert!(sent.wire.iter().any(|call| call == "bundler pm_getPaymasterData"));
        assert!(user.lands(&request, &sent).await.success);
        user.settled_exactly(env, &sent).await;
    });
}

/// Bytes of calldata that the paymaster has to hash.
const MUCH_CALLDATA: usize = 6_000;

#[test]
fn an_operation_with_much_calldata_lands_with_the_least_gas_that_is_sponsored() {
    on_shared_stack(async |env| {
        // The second is a first operation, which carries the EIP-7702 marker and is encoded anew.
        for wallet in [Wallet::SIMPLE_07, Wallet::EIP7702_09] {
            let user = env.user("verbose", wallet).await;
            let mut call = ICounter::incrementCall {}.abi_encode();
            call.resize(MUCH_CALLDATA, 0x5a);
            let request = user.request.clone().call(env.stack.chain.counter, call);
            let mut op = on_next_key(&user.prepares(&request).await);
            op["paymasterVerificationGasLimit"] = json!("0x1");
            let refused = env.api.call("pm_getPaymasterData", user.paymaster_params(&op)).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused["data"]["reason"], "paymaster_gas_out_of_bounds", "{refused}");
            let words = refused["message"].as_str().unwrap();
            let (_, least) = words.split_once("between ").unwrap();
            let least: u64 = least.split(' ').next().unwrap().parse().unwrap();
            op["paymasterVerificationGasLimit"] = json!(format!("{least:#x}"));
            let sponsored = env.api.call("pm_getPaymasterData", user.paymaster_params(&op)).await;
            op["paymasterData"] = sponsored.unwrap()["paymasterData"].clone();
            let sent = user.signs_and_submits(&request, &op).await;
            assert!(user.lands(&request, &sent).await.success, "{wallet:?}");
            user.settled_exactly(env, &sent).await;
        }
    });
}
