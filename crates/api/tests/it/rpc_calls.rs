use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{DEV_KEY, House, PUBLISHABLE, SECRET, entry_point, operation, operation_with};

const STUB: &str = "pm_getPaymasterStubData";
const DATA: &str = "pm_getPaymasterData";

fn without_gas() -> Value {
    let mut operation = operation();
    for limit in ["callGasLimit", "verificationGasLimit", "preVerificationGas"] {
        operation[limit] = json!("0x0");
    }
    operation
}

#[tokio::test]
async fn a_stub_is_as_long_as_the_real_thing_and_never_final() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    for params in [
        json!([without_gas(), entry_point(), "0x7a69", null]),
        json!([without_gas(), entry_point(), "0x7a69", {}]),
        json!([without_gas(), entry_point(), "0x7a69"]),
        json!([without_gas(), entry_point().to_string().to_lowercase(), 31_337]),
        json!([operation_with("signature", Value::Null), entry_point(), "0x7a69"]),
    ] {
        for key in [SECRET, DEV_KEY] {
            let answer = house.call(key, STUB, params.clone()).await;
            let result = &answer["result"];
            assert_eq!(result["isFinal"], false, "{answer}");
            assert_eq!(result["sponsor"], json!({ "name": "Stipend" }));
            assert_eq!(result["paymasterData"].as_str().unwrap().len(), 2 + 2 * 76);
            assert_eq!(result["paymasterVerificationGasLimit"], "0xafd0");
            assert_eq!(result["paymasterPostOpGasLimit"], "0x0");
        }
    }
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn final_data_without_gas_limits_is_a_stub_and_reserves_nothing() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    let params = json!([without_gas(), entry_point(), "0x7a69", null]);
    let stub = house.call(SECRET, STUB, params.clone()).await;
    let data = house.call(SECRET, DATA, params).await;
    for field in
        ["paymaster", "paymasterData", "paymasterVerificationGasLimit", "paymasterPostOpGasLimit"]
    {
        assert_eq!(data["result"][field], stub["result"][field], "{field}");
    }
    assert_eq!(data["result"].as_object().unwrap().len(), 4, "{data}");
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_notifications_not_at_all() {
    let house = House::new().await;
    let body = r#"[
        {"jsonrpc":"2.0","id":"first","method":"eth_chainId"},
        {"jsonrpc":"2.0","method":"eth_chainId"},
        17,
        {"jsonrpc":"2.0","id":0,"method":"eth_supportedEntryPoints","params":[]},
        {"jsonrpc":"2.0","id":null,"method":"pm_supportedEntryPoints","params":null},
        {"jsonrpc":"2.0","id":2.50,"method":"nothing"}
    ]"#;
    let reply = house.rpc(PUBLISHABLE, body).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.text.contains(r#""id":2.50"#), "{}", reply.text);
    let answers = reply.json();
    assert_eq!(answers.as_array().unwrap().len(), 5);
    assert_eq!(answers[0], json!({ "jsonrpc": "2.0", "id": "first", "result": "0x7a69" }));
    assert_eq!(answers[1]["error"]["code"], -32_600);
    assert_eq!(answers[2]["id"], 0);
    assert_eq!(answers[2]["result"], json!([entry_point().to_checksum(None)]));
    assert_eq!(answers[3]["result"], answers[2]["result"]);
    assert_eq!(answers[4]["error"]["code"], -32_601);
    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    for body in [notification.to_owned(), format!("[{notification},{notification}]")] {
        let reply = house.rpc(SECRET, &body).await;
        assert_eq!((reply.status, reply.text.as_str()), (StatusCode::NO_CONTENT, ""));
    }
}

#[tokio::test]
async fn a_batch_of_one_is_answered_by_a_batch_of_one() {
    let house = House::new().await;
    let reply = house.rpc(SECRET, r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}]"#).await;
    assert_eq!(reply.json(), json!([{ "jsonrpc": "2.0", "id": 1, "result": "0x7a69" }]));
}

#[tokio::test]
async fn servers_may_send_the_key_as_a_header() {
    let house = House::new().await;
    let request = Request::post("/rpc").header("authorization", format!("bearer {SECRET}"));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let reply = house.send(request.body(call.into()).unwrap()).await;
    assert_eq!(reply.json()["result"], "0x7a69");
}

#[tokio::test]
async fn a_bundlers_own_error_keeps_its_code_and_message() {
    let house = House::new().await;
    let hash = json!([format!("0x{}", "00".repeat(32))]);
    let answer = house.call(SECRET, "eth_getUserOperationByHash", hash).await;
    assert_eq!(answer["error"]["code"], -32_601, "{answer}");
    // Not ours: ours carry a reason.
    assert!(answer["error"]["data"]["reason"].is_null(), "{answer}");
    assert_ne!(answer["error"]["message"], "this method is not served here");
}

#[tokio::test]
async fn browsers_may_call_rpc_from_any_page_and_rest_from_none() {
    let house = House::new().await;
    let preflight = |path: String| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri(path)
            .header("origin", "https://dapp.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .body(axum::body::Body::empty())
            .unwrap()
    };
    for path in ["/rpc".to_owned(), format!("/rpc/{PUBLISHABLE}")] {
        let reply = house.send(preflight(path)).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(reply.header("access-control-allow-headers"), Some("content-type"));
    }
    let reply = house.send(preflight("/v1/sponsorships".to_owned())).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    // The answers too, errors among them, or the page could not read the reason.
    for body in
        [r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#.to_owned(), "x".repeat(300_000)]
    {
        let request = Request::post(format!("/rpc/{PUBLISHABLE}"))
            .header("origin", "https://dapp.example")
            .body(body.into())
            .unwrap();
        let reply = house.send(request).await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
}
