use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, points};

fn terms(amount: &str, reference: &str) -> Value {
    json!({ "amount": amount, "reason": "order 7", "reference": reference })
}

#[tokio::test]
async fn a_replay_is_the_first_answer_to_the_byte() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    for (command, amount) in [("credits", "12.500000"), ("debits", "2.25")] {
        let path = format!("/v1/accounts/alice/{command}");
        let first = house.post(&path, command, &terms(amount, command)).await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
        assert_eq!(first.header("idempotency-replayed"), None);
        let rows = house.rows().await;
        // Another order of fields and other spaces are the same request.
        let spaced = format!(
            r#" {{ "reference":"{command}", "reason" : "order 7", "amount":"{amount}" }} "#
        );
        let again = house.ask(axum::http::Method::POST, &path, Some(command), spaced).await;
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.text, first.text);
        assert_eq!(house.rows().await, rows);
    }
    let account = house.get("/v1/accounts/alice").await.json();
    assert_eq!(account["available"], "10.25");
}

#[tokio::test]
async fn an_answer_says_what_moved_and_what_is_left() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    let reply = house.post("/v1/accounts/alice/credits", "k", &terms("12.50", "order-7")).await;
    let mut body = reply.json();
    let recorded_at = body["recordedAt"].take();
    assert!(recorded_at.as_str().unwrap().ends_with('Z'), "{recorded_at}");
    let expected = json!({
        "kind": "credit", "amount": "12.5", "reason": "order 7", "reference": "order-7",
        "entrySeq": 1, "available": "12.5", "debt": "0", "recordedAt": null,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_key_is_for_one_request_and_a_reference_for_one_movement() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    let path = "/v1/accounts/alice/credits";
    house.post(path, "k", &terms("1", "a")).await;
    let rows = house.rows().await;
    for other in [terms("2", "a"), terms("1", "b")] {
        let reply = house.post(path, "k", &other).await;
        reply.assert_problem(422, "idempotency_key_reused", "another body");
    }
    let reply = house.post("/v1/accounts/alice/debits", "k", &terms("1", "a")).await;
    reply.assert_problem(422, "idempotency_key_reused", "another command");
    let reply = house.post(path, "other", &terms("2", "a")).await;
    reply.assert_problem(409, "reference_conflict", "another amount");
    assert!(reply.json()["detail"].as_str().unwrap().contains("amount"));
    assert_eq!(house.rows().await, rows);
}

#[tokio::test]
async fn a_debit_of_more_than_there_is_is_refused_and_works_after_a_credit() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    house.post("/v1/accounts/alice/credits", "c1", &terms("1.5", "c1")).await;
    let rows = house.rows().await;
    let debit = terms("3", "d");
    let reply = house.post("/v1/accounts/alice/debits", "d", &debit).await;
    reply.assert_problem(409, "insufficient_points", "too much");
    assert_eq!(
        reply.json()["detail"],
        "insufficient points: the account has 1.5 points available, the debit takes 3"
    );
    assert_eq!(house.rows().await, rows);
    house.post("/v1/accounts/alice/credits", "c2", &terms("1.5", "c2")).await;
    let reply = house.post("/v1/accounts/alice/debits", "d", &debit).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let full = points("9223372036854.775807").to_string();
    let reply = house.post("/v1/accounts/alice/credits", "c3", &terms(&full, "c3")).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let reply = house.post("/v1/accounts/alice/credits", "c4", &terms("1", "c4")).await;
    reply.assert_problem(409, "balance_too_large", "more than there can be");
}

#[tokio::test]
async fn entries_come_newest_first_in_pages_that_meet() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    for number in 1..=5 {
        let reference = format!("r{number}");
        house.post("/v1/accounts/alice/credits", &reference, &terms("1", &reference)).await;
    }
    let mut path = "/v1/accounts/alice/entries?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = house.get(&path).await.json();
        for entry in page["entries"].as_array().unwrap() {
            seen.push(entry["seq"].as_i64().unwrap());
            assert_eq!(entry["kind"], "credit");
            assert_eq!(entry["from"], "issued");
            assert_eq!(entry["to"], "available");
            assert_eq!(entry["available"], entry["seq"].to_string());
        }
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/v1/accounts/alice/entries?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}
