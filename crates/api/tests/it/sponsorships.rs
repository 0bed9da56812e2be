use alloy_primitives::{B256, keccak256};
use api::HttpSettings;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::ChainId;
use domain::chain_fact::{BlockRef, ChainTime};
use erc4337::UserOperation;
use serde_json::{Value, json};
use store::Keyed;
use store::cursor::NewBlock;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::house::{
    CHAIN, House, PAYMASTER, UNREAD_CHAIN, VALID_UNTIL, WALLET, anchor, entry_point, node,
    operation, operation_with, terms,
};

#[tokio::test]
async fn a_sponsorship_is_shown_with_its_grants_and_timeline() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let id = house.sponsorship("alice", 7).await;
    let shown = house.get(&format!("/v1/sponsorships/{id}")).await.json();
    for (field, expected) in [
        ("id", json!(id)),
        ("externalId", json!("alice")),
        ("chainId", json!(CHAIN)),
        ("entryPoint", json!(entry_point().to_checksum(None))),
        ("sender", json!(WALLET.to_checksum(None))),
        ("nonce", json!("0x7")),
        ("attempt", json!(1)),
        ("state", json!("open")),
        ("closing", json!(false)),
        ("reserved", json!("1")),
        ("validUntil", json!(VALID_UNTIL)),
        ("settlement", Value::Null),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    assert!(shown.get("final").is_none(), "only what is settled is final or not");
    assert_eq!(shown["grants"][0]["maxCost"], "1000000");
    assert_eq!(shown["timeline"][0]["kind"], "sponsorship.granted");
    assert!(!shown.to_string().contains(&"07".repeat(64)), "a look-up shows no signature");
}

#[tokio::test]
async fn lists_are_narrowed_and_paged() {
    let house = House::new().await;
    house.user("alice", "10").await;
    house.put("/v1/accounts/bob").await;
    let mut ids = Vec::new();
    for nonce in 1..=3 {
        ids.insert(0, json!(house.sponsorship("alice", nonce).await));
    }
    let listed = async |query: &str| -> Vec<Value> {
        let page = house.get(&format!("/v1/sponsorships?{query}")).await.json();
        let list = page["sponsorships"].as_array().unwrap_or_else(|| panic!("{query}: {page}"));
        list.iter().map(|one| one["id"].clone()).collect()
    };
    for query in ["", "externalId=alice", "state=open", &format!("sender={WALLET}")] {
        assert_eq!(listed(query).await, ids, "{query}");
    }
    let nobody = format!("sender={}", entry_point());
    for query in ["externalId=bob", "state=settled", "state=released", &nobody] {
        assert!(listed(query).await.is_empty(), "{query}");
    }
    let first = house.get("/v1/sponsorships?limit=2").await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    assert_eq!(first["sponsorships"][0]["externalId"], "alice");
    assert_eq!(listed(&format!("limit=2&cursor={cursor}")).await, ids[2..]);
}

#[tokio::test]
async fn a_list_is_narrowed_by_the_time_of_opening() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let mut ids = Vec::new();
    for nonce in 1..=3 {
        ids.insert(0, json!(house.sponsorship("alice", nonce).await));
    }
    let listed = async |query: &str| -> (Vec<Value>, Vec<String>) {
        let page = house.get(&format!("/v1/sponsorships?{query}")).await.json();
        let list = page["sponsorships"].as_array().unwrap_or_else(|| panic!("{query}: {page}"));
        let opened = |one: &Value| one["openedAt"].as_str().unwrap().to_owned();
        list.iter().map(|one| (one["id"].clone(), opened(one))).unzip()
    };
    let (_, opened) = listed("").await;
    let second = &opened[1];
    let a_moment_later = OffsetDateTime::parse(second, &Rfc3339).unwrap() + Duration::NANOSECOND;
    let until = a_moment_later.format(&Rfc3339).unwrap();
    for (query, expected) in [
        (format!("openedAfter={second}"), &ids[..2]),
        (format!("openedBefore={second}"), &ids[2..]),
        (format!("openedAfter={second}&openedBefore={until}"), &ids[1..2]),
        (format!("openedAfter={until}"), &ids[..1]),
        (format!("openedAfter={second}&openedBefore={second}"), &[]),
        (format!("openedAfter={second}&state=open&externalId=alice&limit=1"), &ids[..1]),
        ("openedAfter=1970-01-01T00:00:00%2B02:00".to_owned(), &ids[..]),
        ("openedBefore=1970-01-01T00:00:00-02:00".to_owned(), &[]),
    ] {
        assert_eq!(listed(&query).await.0, expected, "{query}");
    }
}

#[tokio::test]
async fn cancelling_says_when_the_points_come_back() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let id = house.sponsorship("alice", 1).await;
    let path = format!("/v1/sponsorships/{id}/cancel");
    for _ in 0..2 {
        let reply = house.ask(Method::POST, &path, None, Body::empty()).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        let expected =
            json!({ "id": id, "state": "open", "closing": true, "releasedAfter": VALID_UNTIL });
        assert_eq!(reply.json(), expected);
    }
    let shown = house.get(&format!("/v1/sponsorships/{id}")).await.json();
    assert_eq!(shown["closing"], true);
    assert_eq!(shown["reserved"], "1", "nothing returns before the chain has spoken");
}

#[tokio::test]
async fn a_keyed_replay_is_the_same_to_the_byte_and_says_when_it_has_expired() {
    let house = House::new().await;
    house.user("alice", "10").await;
    // What the key's hash covers is part of the contract: a release that changed it would refuse the
    // repeats of requests from before it.
    let signed: UserOperation =
        serde_json::from_value(operation_with("signature", json!("0x"))).unwrap();
    let covered = json!(["sponsor", CHAIN, entry_point(), signed]).to_string();
    let keyed = Keyed { key: "k".parse().unwrap(), request_hash: keccak256(covered) };
    let id = house.keyed_sponsorship("alice", 1, Some(keyed)).await;
    let rows = house.rows().await;
    let first = house.post("/v1/sponsorships", "k", &terms(&operation())).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_eq!(first.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.header("stipend-grant-expired"), None);
    let body = first.json();
    for (field, expected) in [
        ("id", json!(id)),
        ("chainId", json!(CHAIN)),
        ("entryPoint", json!(entry_point().to_checksum(None))),
        ("sender", json!(WALLET.to_checksum(None))),
        ("nonce", json!("0x1")),
        ("paymaster", json!(PAYMASTER.to_checksum(None))),
        ("paymasterVerificationGasLimit", json!("0xafc8")),
        ("paymasterPostOpGasLimit", json!("0x0")),
        ("reserved", json!("1")),
        ("maxCost", json!("1000000")),
        ("validUntil", json!(VALID_UNTIL)),
    ] {
        assert_eq!(body[field], expected, "{field}");
    }
    assert_eq!(body["paymasterData"].as_str().unwrap().len(), 2 + 2 * 76);
    assert_eq!(house.rows().await, rows);
    let reply =
        house.post("/v1/sponsorships", "k", &terms(&operation_with("nonce", json!("0x2")))).await;
    reply.assert_problem(422, "idempotency_key_reused", "another operation");

    let timestamp = ChainTime(VALID_UNTIL + 1);
    let block = BlockRef { number: 1, hash: B256::repeat_byte(1), timestamp };
    let block = NewBlock { block, parent_hash: anchor().hash, operations: Vec::new() };
    house.service.store().extend_cursor(ChainId(CHAIN), &block).await.unwrap();
    let expired = house.post("/v1/sponsorships", "k", &terms(&operation())).await;
    assert_eq!(expired.header("stipend-grant-expired"), Some("true"));
    assert_eq!(expired.text, first.text);
}

#[tokio::test]
async fn a_quote_without_a_bundler_to_simulate_it_is_not_given() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let before = house.rows().await;
    // The node stands in for the bundler and knows no estimates.
    let quote = house.post("/v1/quotes", "k", &terms(&operation())).await;
    quote.assert_problem(503, "bundler_unavailable", "no estimates");
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn a_chain_that_nobody_reads_yet_signs_nothing() {
    let house = House::on(&[(UNREAD_CHAIN, node().await)], HttpSettings::default()).await;
    assert_eq!(house.put("/v1/accounts/alice").await.status, StatusCode::OK);
    let wallet = format!("/v1/accounts/alice/wallets/{UNREAD_CHAIN}/{WALLET}");
    assert_eq!(house.put(&wallet).await.status, StatusCode::OK);
    let before = house.rows().await;
    let terms = json!({
        "chainId": UNREAD_CHAIN, "entryPoint": entry_point(), "userOperation": operation(),
    });
    let refused = house.post("/v1/sponsorships", "k", &terms).await;
    refused.assert_problem(503, "chain_not_ready", "a signature");
    let quote = house.post("/v1/quotes", "k", &terms).await.json();
    assert_eq!(quote["sponsored"], false);
    assert_eq!(quote["refusal"]["code"], "chain_not_ready");
    // (100 000 + 100 000 + 45 000 and 2 for each of 4 bytes + 50 000) gas × 4 gwei
    assert_eq!(quote["maxCost"], "1180032000000000");
    assert_eq!(house.rows().await, before);
}
