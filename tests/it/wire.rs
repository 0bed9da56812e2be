//! ERC-7677 as clients speak it, where the client libraries leave out a case.

use alloy::primitives::U256;
use e2e::{
    Wallet,
    api::{result_of, rpc_request},
    on_own_stack, on_shared_stack,
    user::{on_next_key, quantity},
};
use serde_json::{Value, json};

#[test]
fn an_operation_without_gas_limits_gets_a_stub_and_no_reservation() {
    on_shared_stack(async |env| {
        let user = env.user("zero-gas", Wallet::SIMPLE_07).await;
        let mut op = user.estimates().await;
        for field in ["callGasLimit", "verificationGasLimit", "preVerificationGas"] {
            op[field] = json!("0x0");
        }
        let held = user.balances().await;
        let params = user.paymaster_params(&op);
        let data = env.api.call("pm_getPaymasterData", params.clone()).await.unwrap();
        let stub = env.api.call("pm_getPaymasterStubData", params).await.unwrap();
        assert_eq!(data["paymasterData"], stub["paymasterData"]);
        assert_eq!(data["paymaster"], env.endpoints.paymasters["0.7"].to_string());
        assert_ne!(stub["isFinal"], true);
        assert_eq!(user.balances().await, held);
        assert_eq!(user.reservations().await.len(), 1, "the one that estimating took");
    });
}

#[test]
fn the_context_may_be_null_empty_or_absent() {
    on_shared_stack(async |env| {
        let user = env.user("contexts", Wallet::SIMPLE_08).await;
        let op = user.estimates().await;
        let entry_point = user.entry_point();
        let chain = format!("{:#x}", env.endpoints.chain_id);
        let mut answers = Vec::new();
        for params in [
            json!([op, entry_point, chain, null]),
            json!([op, entry_point, chain, {}]),
            json!([op, entry_point, chain]),
        ] {
            answers.push(env.api.call("pm_getPaymasterData", params).await.unwrap());
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
        user.books_agree(env).await;
    });
}

#[test]
fn a_batch_is_answered_in_order_and_a_refusal_in_it_is_its_own() {
    on_shared_stack(async |env| {
        let user = env.user("batches", Wallet::SIMPLE_07).await;
        let op = user.estimates().await;
        let chain = format!("{:#x}", env.endpoints.chain_id);
        let entry_point = user.entry_point();
        let mut calls = vec![
            rpc_request("eth_chainId", json!([])),
            rpc_request("pm_getPaymasterStubData", json!([op, entry_point, chain, null])),
            rpc_request("pm_getPaymasterData", json!([op, entry_point, "0x1", null])),
            rpc_request("pm_getPaymasterData", json!([op, entry_point, chain, null])),
            rpc_request("pm_inventedJustNow", json!([])),
        ];
        for (call, id) in calls.iter_mut().zip([json!(0), json!("a"), json!(2), json!(3), json!(4)])
        {
            call["id"] = id;
        }
        let answers = env.api.rpc(&Value::Array(calls)).await.success();
        let answers = answers.as_array().unwrap();
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
        assert_eq!(ids, [json!(0), json!("a"), json!(2), json!(3), json!(4)]);
        assert_eq!(result_of(answers[0].clone()), Ok(json!(chain)));
        assert!(result_of(answers[1].clone()).unwrap()["paymasterData"].is_string());
        assert_eq!(result_of(answers[2].clone()).unwrap_err()["code"], -32602);
        assert!(result_of(answers[3].clone()).unwrap()["paymasterData"].is_string());
        assert_eq!(result_of(answers[4].clone()).unwrap_err()["code"], -32601);
    });
}

#[test]
fn a_browser_may_ask() {
    on_shared_stack(async |env| {
        let preflight = reqwest::Client::new()
            .request(reqwest::Method::OPTIONS, env.endpoints.paymaster_url.clone())
            .header("origin", "https://dapp.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
        assert!(preflight.status().is_success());
        let allowed = |name: &str| preflight.headers()[name].to_str().unwrap().to_lowercase();
        assert!(
            ["*", "https://dapp.example"]
                .contains(&allowed("access-control-allow-origin").as_str())
        );
        assert!(allowed("access-control-allow-methods").contains("post"));
        assert!(allowed("access-control-allow-headers").contains("content-type"));
    });
}

/// Alto never asks for less than this while another operation of the sender waits in its pool.
const FLOOR_BEHIND_ANOTHER: u64 = 50_000;

#[test]
fn limits_that_the_bundler_gave_while_another_operation_waited_are_sponsored_after_it_landed() {
    on_own_stack(async |env| {
        let user = env.user("queued", Wallet::SIMPLE_07).await;
        let first = user.sends(&user.increment()).await;
        user.lands(&user.request, &first).await;

        env.stack.bundler.hold().await.unwrap();
        let second = user.sends(&user.increment()).await;
        let third = user.prepares(&user.increment()).await;
        assert!(quantity(&third, "callGasLimit") >= U256::from(FLOOR_BEHIND_ANOTHER));
        env.stack.bundler.bundle_now().await.unwrap();
        user.lands(&user.request, &second).await;
        env.stack.bundler.release().await.unwrap();

        // The same limits on another nonce: a request that the service has not judged yet.
        let params = user.paymaster_params(&on_next_key(&third));
        let answer = env.api.call("pm_getPaymasterData", params).await;
        assert!(answer.is_ok(), "{answer:?}");
        user.books_agree(env).await;
    });
}
