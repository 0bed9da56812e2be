//! Points that expire or are of a kind, over HTTP.

use axum::http::StatusCode;
use serde_json::{Value, json};
use service::expire_points::PointsSweep;

use crate::house::House;

const CREDITS: &str = "/v1/accounts/alice/credits";

fn terms(amount: &str, reference: &str, bucket: &str, expires_at: Value) -> Value {
    json!({ "amount": amount, "reason": "spring", "reference": reference,
        "bucket": bucket, "expiresAt": expires_at })
}

#[tokio::test]
async fn a_credit_names_its_bucket_and_the_account_and_its_entries_show_it() {
    let house = House::new().await;
    let new = house.put("/v1/accounts/alice").await.json();
    assert_eq!(new["buckets"], json!([]));
    let far = json!("2100-01-01T02:00:00+02:00");
    let reply = house.post(CREDITS, "k1", &terms("5", "r1", "spring-2100", far.clone())).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    assert_eq!(reply.json()["bucket"], "spring-2100");
    assert_eq!(reply.json()["expiresAt"], "2100-01-01T00:00:00Z");
    // The same time in another zone is the same request.
    let utc = terms("5", "r1", "spring-2100", json!("2100-01-01T00:00:00.000000Z"));
    let again = house.post(CREDITS, "k1", &utc).await;
    assert_eq!((again.status, again.text), (StatusCode::OK, reply.text));
    house.post(CREDITS, "k2", &terms("3", "r2", "gold", Value::Null)).await;
    let plain = json!({ "amount": "1", "reason": "order", "reference": "r3" });
    house.post(CREDITS, "k3", &plain).await;
    let debit = json!({ "amount": "2", "reason": "order", "reference": "r4" });
    house.post("/v1/accounts/alice/debits", "k4", &debit).await;
    let account = house.get("/v1/accounts/alice").await.json();
    assert_eq!(account["available"], "7");
    let expected = json!([
        { "bucket": "spring-2100", "expiresAt": "2100-01-01T00:00:00Z", "available": "3" },
        { "bucket": "gold", "expiresAt": null, "available": "3" },
    ]);
    assert_eq!(account["buckets"], expected);
    let entries = house.get("/v1/accounts/alice/entries").await.json();
    let said: Vec<_> = entries["entries"].as_array().unwrap().iter().collect();
    let shown = |field: &str| said.iter().map(|entry| entry[field].clone()).collect::<Vec<_>>();
    let (spring, at) = (json!("spring-2100"), json!("2100-01-01T00:00:00Z"));
    assert_eq!(shown("bucket"), [spring.clone(), Value::Null, json!("gold"), spring]);
    assert_eq!(shown("expiresAt"), [at.clone(), Value::Null, Value::Null, at]);
}

#[tokio::test]
async fn what_is_no_bucket_is_refused_by_name_and_moves_nothing() {
    let house = House::new().await;
    house.put("/v1/accounts/alice").await;
    let rows = house.rows().await;
    for (bad, status, code) in [
        (terms("1", "r", "Gold", Value::Null), 400, "invalid_request"),
        (terms("1", "r", "", Value::Null), 400, "invalid_request"),
        (terms("1", "r", "gold", json!("tomorrow")), 400, "invalid_request"),
        (terms("1", "r", "gold", json!("2001-01-01T00:00:00Z")), 409, "bucket_expired"),
        (
            json!({ "amount": "1", "reason": "x", "reference": "r", "expiresAt": "2100-01-01T00:00:00Z" }),
            400,
            "invalid_request",
        ),
    ] {
        house.post(CREDITS, "k", &bad).await.assert_problem(status, code, &bad.to_string());
    }
    let debit = terms("1", "r", "gold", Value::Null);
    let reply = house.post("/v1/accounts/alice/debits", "k", &debit).await;
    reply.assert_problem(400, "invalid_request", "a debit takes what expires soonest");
    assert_eq!(house.rows().await, rows);
    house.post(CREDITS, "k", &terms("1", "r", "gold", Value::Null)).await;
    let other = house.post(CREDITS, "k2", &terms("1", "r", "silver", Value::Null)).await;
    other.assert_problem(409, "reference_conflict", "another bucket");
    assert!(other.json()["detail"].as_str().unwrap().contains("bucket"));
}

#[tokio::test]
async fn lines_of_a_batch_name_buckets_each_for_itself() {
    let house = House::new().await;
    let line = |name: &str, reference: &str, bucket: Value, expires_at: Value| {
        json!({ "externalId": name, "amount": "2", "reason": "x", "reference": reference,
            "bucket": bucket, "expiresAt": expires_at })
    };
    let (far, past) = (json!("2100-01-01T00:00:00Z"), json!("2001-01-01T00:00:00Z"));
    let lines = json!([
        line("alice", "a", json!("gold"), far.clone()),
        line("alice", "b", json!("gold"), past),
        line("alice", "c", Value::Null, far),
        line("alice", "d", Value::Null, Value::Null),
        line("alice", "a", json!("gold"), Value::Null),
    ]);
    let body = json!({ "createAccounts": true, "lines": lines });
    let reply = house.post("/v1/credits:batch", "k", &body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    let told = reply.json();
    let lines = told["lines"].as_array().unwrap();
    let codes: Vec<_> = lines.iter().map(|line| line["code"].as_str()).collect();
    let expected =
        [None, Some("bucket_expired"), Some("invalid_request"), None, Some("reference_conflict")];
    assert_eq!(codes, expected, "{}", reply.text);
    let account = house.get("/v1/accounts/alice").await.json();
    assert_eq!(
        (account["available"].clone(), account["buckets"][0]["available"].clone()),
        (json!("4"), json!("2"))
    );
}

#[tokio::test]
async fn a_sweep_takes_what_is_past_its_time_once_and_leaves_the_rest() {
    let house = House::new().await;
    let far = json!("2100-01-01T00:00:00Z");
    for name in ["alice", "bob", "carol"] {
        house.put(&format!("/v1/accounts/{name}")).await;
        let path = format!("/v1/accounts/{name}/credits");
        house.post(&path, "k1", &terms("5", "r1", "soon", far.clone())).await;
        house.post(&path, "k2", &terms("3", "r2", "late", far.clone())).await;
    }
    let mut sweep = PointsSweep::default();
    let swept = house.service.expire_points_pass(&mut sweep).await.unwrap();
    assert_eq!((swept.lots, swept.is_more_due), (0, false));
    house.sql("UPDATE buckets SET expires_at = now() - interval '1 s' WHERE bucket = 'soon'").await;
    let swept = house.service.expire_points_pass(&mut sweep).await.unwrap();
    assert_eq!((swept.lots, swept.is_more_due), (3, false));
    for name in ["alice", "bob", "carol"] {
        let account = house.get(&format!("/v1/accounts/{name}")).await.json();
        assert_eq!(account["available"], "3");
        assert_eq!(account["buckets"].as_array().unwrap().len(), 1);
        let entries = house.get(&format!("/v1/accounts/{name}/entries?limit=1")).await.json();
        let last = &entries["entries"][0];
        assert_eq!((&last["kind"], &last["to"]), (&json!("expire"), &json!("expired")));
        assert_eq!(last["bucket"], "soon");
    }
    assert_eq!(house.service.expire_points_pass(&mut sweep).await.unwrap().lots, 0);
}
