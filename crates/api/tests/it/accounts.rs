use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::house::{CHAIN, House, WALLET};

#[tokio::test]
async fn an_account_is_made_once_and_shown() {
    let house = House::new().await;
    let made = house.put("/v1/accounts/user%2F42").await;
    assert_eq!(made.status, StatusCode::OK);
    let expected = json!({
        "externalId": "user/42", "available": "0", "reserved": "0", "pending": "0", "spent": "0",
        "debt": "0", "buckets": [], "wallets": [],
    });
    assert_eq!(made.json(), expected);
    let before = house.rows().await;
    let again = house.ask(Method::PUT, "/v1/accounts/user%2F42", None, "{}").await;
    assert_eq!(again.json(), expected);
    assert_eq!(house.get("/v1/accounts/user%2F42").await.json(), expected);
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn a_wallet_is_linked_to_one_account_at_a_time() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    house.put("/v1/accounts/bob").await;
    let lower = WALLET.to_string().to_lowercase();
    let of = |name: &str| format!("/v1/accounts/{name}/wallets/{CHAIN}/{lower}");
    let linked = house.put(&of("alice")).await;
    let wallet = json!({ "chainId": CHAIN, "address": WALLET.to_checksum(None) });
    assert_eq!(linked.json()["address"], wallet["address"]);
    assert_eq!(house.put(&of("alice")).await.status, StatusCode::OK);
    assert_eq!(house.get("/v1/accounts/alice").await.json()["wallets"], json!([wallet]));
    house.put(&of("bob")).await.assert_problem(409, "wallet_linked_elsewhere", "bob");
    for _ in 0..2 {
        let reply = house.ask(Method::DELETE, &of("alice"), None, Body::empty()).await;
        assert_eq!((reply.status, reply.text.as_str()), (StatusCode::NO_CONTENT, ""));
    }
    assert_eq!(house.put(&of("bob")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wallet_with_an_open_operation_stays() {
    let house = House::new().await;
    house.user("alice", "10").await;
    house.sponsorship("alice", 1).await;
    let path = format!("/v1/accounts/alice/wallets/{CHAIN}/{WALLET}");
    let reply = house.ask(Method::DELETE, &path, None, Body::empty()).await;
    reply.assert_problem(409, "wallet_in_use", "open");
}
