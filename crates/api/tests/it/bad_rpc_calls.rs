//! Bad JSON-RPC gets an error that clients understand, under status 200, and changes nothing.

use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{
    CHAIN, DEV_KEY, House, NEIGHBOUR, PUBLISHABLE, SECRET, WALLET, entry_point, node, operation,
    operation_with,
};

const STUB: &str = "pm_getPaymasterStubData";
const DATA: &str = "pm_getPaymasterData";

fn assert_error(answer: &Value, code: i64, reason: &str, what: &str) {
    assert_eq!(answer["error"]["code"], code, "{what}: {answer}");
    assert_eq!(answer["error"]["data"]["reason"], reason, "{what}: {answer}");
    assert!(answer["error"]["data"]["retryable"].is_boolean(), "{what}");
    assert_eq!(answer["jsonrpc"], "2.0", "{what}");
    assert!(answer.get("result").is_none(), "{what}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(!message.is_empty() && !api::rpc::error::has_class_code(message), "{what}: {message}");
}

#[tokio::test]
async fn bodies_that_are_no_calls_are_refused() {
    let house = House::new().await;
    let before = house.rows().await;
    let many = format!("[{}]", vec!["1"; 21].join(","));
    for (body, code, reason) in [
        ("", -32_700, "malformed_json"),
        ("{\"jsonrpc\":\"2.0\"", -32_700, "malformed_json"),
        ("[]", -32_600, "not_a_request"),
        (many.as_str(), -32_600, "batch_too_large"),
        ("{}", -32_600, "not_a_request"),
        ("7", -32_600, "not_a_request"),
        (r#"{"id":null,"method":"eth_chainId"}"#, -32_600, "not_a_request"),
    ] {
        let reply = house.rpc(SECRET, body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let answer = reply.json();
        assert_error(&answer, code, reason, body);
        assert_eq!(answer["id"], Value::Null, "{body}");
    }
    let request = Request::post(format!("/rpc/{SECRET}")).body(vec![0xff, 0xfe].into()).unwrap();
    let reply = house.send(request).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_error(&reply.json(), -32_700, "malformed_json", "not UTF-8");
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn calls_that_mean_nothing_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    let entry_point = json!(entry_point());
    let chain = json!("0x7a69");
    let full = |operation: Value| json!([operation, entry_point, chain, null]);
    let invalid = "invalid_request";
    let bad_operation = "invalid_user_operation";
    let v06 = json!(erc4337::entry_point::V06_ADDRESS);
    let v06_operation = json!({ "sender": WALLET, "nonce": "0x0", "initCode": "0x1234" });
    let wide = json!([operation(), entry_point, chain, null, 1]);
    for method in [STUB, DATA] {
        for (params, reason) in [
            (json!({ "userOp": operation() }), invalid),
            (json!([]), invalid),
            (json!([operation()]), invalid),
            (json!([operation(), entry_point]), invalid),
            (wide.clone(), invalid),
            (json!([operation(), "0x12", chain]), invalid),
            (json!([operation(), 7, chain]), invalid),
            (json!([operation(), entry_point, "31337"]), invalid),
            (json!([operation(), entry_point, "0x"]), invalid),
            (json!([operation(), entry_point, "0x+1"]), invalid),
            (json!([operation(), entry_point, -1]), invalid),
            (json!([operation(), entry_point, "0xffffffffffffffff"]), invalid),
            (json!([operation(), entry_point, chain, { "policyId": "p" }]), invalid),
            (json!([operation(), entry_point, chain, "p"]), invalid),
            (json!([operation(), entry_point, "0x1"]), "unknown_chain"),
            (json!([operation(), WALLET, chain]), "unknown_entry_point"),
            (json!([operation(), v06, chain]), "entry_point_v06"),
            (json!([v06_operation, v06, chain]), "entry_point_v06"),
            (full(v06_operation.clone()), bad_operation),
            (full(json!("0x")), invalid),
            (full(operation_with("sender", Value::Null)), bad_operation),
            (full(operation_with("nonce", json!("0xzz"))), bad_operation),
            (full(operation_with("paymasterSignature", json!("0x12"))), bad_operation),
        ] {
            let answer = house.call(SECRET, method, params.clone()).await;
            assert_error(&answer, -32_602, reason, &format!("{method} {params}"));
        }
    }
    let twice = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{DATA}","params":[{},{entry_point},"0x7a69"]}}"#,
        operation().to_string().replacen("\"nonce\":", "\"nonce\":\"0x2\",\"nonce\":", 1),
    );
    assert_error(&house.rpc(SECRET, &twice).await.json(), -32_602, invalid, "a nonce twice");
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn refusals_are_of_the_32500_family() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    let params = |operation| json!([operation, entry_point(), "0x7a69", null]);
    let stranger = operation_with("sender", json!("0xaa31aA31aA31aA31aA31aA31aA31aA31aA31aA31"));
    for method in [STUB, DATA] {
        let answer = house.call(SECRET, method, params(stranger.clone())).await;
        assert_error(&answer, -32_501, "wallet_not_linked", method);
        let paymaster = answer["error"]["data"]["paymaster"].as_str().unwrap();
        assert_eq!(paymaster.to_lowercase(), format!("0x{}", "9a".repeat(20)));
        let answer = house.call(PUBLISHABLE, method, params(operation())).await;
        assert_error(&answer, -32_501, "user_proof_required", method);
        let answer = house.call(NEIGHBOUR, method, params(operation())).await;
        assert_error(&answer, -32_602, "no_paymaster", method);
    }
    // The node stands in for the bundler and knows no estimates.
    let answer = house.call(SECRET, DATA, params(operation())).await;
    assert_error(&answer, -32_500, "bundler_unavailable", DATA);
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn a_key_that_is_unknown_is_4100_for_every_call() {
    let house = House::new().await;
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"eth_chainId"}"#;
    for key in ["sk_unknown", "%ff", &"x".repeat(500)] {
        let reply = house.rpc(key, call).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_error(&reply.json(), 4_100, "unauthorized", key);
        assert_eq!(reply.json()["id"], "a");
    }
    let reply = house.rpc("sk_unknown", &format!("[{call},{call}]")).await;
    let answers = reply.json();
    assert_eq!(answers.as_array().unwrap().len(), 2);
    assert_error(&answers[1], 4_100, "unauthorized", "batch");
    for request in [
        Request::post("/rpc"),
        Request::post("/rpc").header("authorization", "Bearer sk_unknown"),
        Request::post("/rpc").header("authorization", SECRET),
    ] {
        let reply = house.send(request.body(call.into()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_error(&reply.json(), 4_100, "unauthorized", "/rpc");
    }
}

#[tokio::test]
async fn methods_that_are_not_served_are_refused_by_code() {
    let house = House::new().await;
    for method in [
        "pm_sponsorUserOperation",
        "pm_validateSponsorshipPolicies",
        "eth_sendTransaction",
        "debug_bundler_clearState",
        "ETH_CHAINID",
        "aa31",
        "",
    ] {
        let answer = house.call(SECRET, method, json!([])).await;
        assert_error(&answer, -32_601, "unknown_method", method);
    }
}

#[tokio::test]
async fn the_pass_through_is_no_open_relay() {
    let house = House::new().await;
    house.user("alice", "10").await;
    house.sponsorship("alice", 1).await;
    let before = house.rows().await;
    let send = "eth_sendUserOperation";
    for (method, params, code, reason) in [
        (send, json!([operation()]), -32_602, "invalid_request"),
        (send, json!([operation(), entry_point(), 1]), -32_602, "invalid_request"),
        (send, json!([operation(), WALLET]), -32_602, "unknown_entry_point"),
        (send, json!([json!({}), entry_point()]), -32_602, "invalid_user_operation"),
        (send, json!([operation(), entry_point()]), -32_501, "not_sponsored"),
        (
            send,
            json!([operation_with("nonce", json!("0x9")), entry_point()]),
            -32_501,
            "not_sponsored",
        ),
        (
            "eth_estimateUserOperationGas",
            json!([operation(), WALLET]),
            -32_602,
            "unknown_entry_point",
        ),
        ("eth_getUserOperationReceipt", json!(["0x12"]), -32_602, "invalid_request"),
        ("eth_getUserOperationByHash", json!([]), -32_602, "invalid_request"),
        ("eth_chainId", json!([1]), -32_602, "invalid_request"),
        ("pimlico_getUserOperationGasPrice", json!([1]), -32_602, "invalid_request"),
    ] {
        let answer = house.call(SECRET, method, params.clone()).await;
        assert_error(&answer, code, reason, &format!("{method} {params}"));
    }
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn the_chain_is_named_where_there_are_several() {
    let url = node().await;
    let house = House::on(&[(CHAIN, url.clone()), (5, url)], api::HttpSettings::default()).await;
    let call = |query: &str, method: &str, params: Value| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = Request::post(format!("/rpc/{SECRET}{query}"));
        house.send(request.body(call.to_string().into()).unwrap())
    };
    let answer = call("", "eth_chainId", json!([])).await.json();
    assert_error(&answer, -32_602, "chain_not_named", "no chain");
    let answer = call("?chainId=6", "eth_chainId", json!([])).await.json();
    assert_error(&answer, -32_602, "unknown_chain", "another chain");
    for query in ["?chainId=five", "?chainId=5&chainId=5", "?chainId="] {
        let answer = call(query, "eth_chainId", json!([])).await.json();
        assert_error(&answer, -32_602, "invalid_request", query);
    }
    for query in ["?chainId=5", "?chainId=0x5&utm=1"] {
        assert_eq!(call(query, "eth_chainId", json!([])).await.json()["result"], "0x5");
    }
    let params = json!([operation(), entry_point(), "0x7a69"]);
    let answer = call("?chainId=5", STUB, params).await.json();
    assert_error(&answer, -32_602, "invalid_request", "two different chains");
}

#[tokio::test]
async fn a_part_that_is_down_is_said_without_making_clients_repeat() {
    let nowhere = "http://127.0.0.1:9/".parse().unwrap();
    let house = House::on(&[(CHAIN, nowhere)], api::HttpSettings::default()).await;
    house.user("alice", "10").await;
    let params = json!([operation(), entry_point(), "0x7a69"]);
    let answer = house.call(SECRET, DATA, params).await;
    assert_error(&answer, -32_500, "node_unavailable", DATA);
    assert_eq!(answer["error"]["data"]["retryable"], true);
    assert_eq!(answer["error"]["data"]["retryAfter"], 1);
    let hash = json!([format!("0x{}", "00".repeat(32))]);
    let answer = house.call(SECRET, "eth_getUserOperationReceipt", hash).await;
    assert_error(&answer, -32_500, "bundler_unavailable", "receipt");
}

#[tokio::test]
async fn a_development_key_has_no_power_in_production() {
    let house = House::in_production().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    for method in [STUB, DATA] {
        let call = json!([operation(), entry_point(), "0x7a69", null]);
        let answer = house.call(DEV_KEY, method, call).await;
        assert_error(&answer, -32_501, "user_proof_required", method);
    }
    assert_eq!(house.rows().await, before);
}
