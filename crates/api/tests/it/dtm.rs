//! A DTM coordinator's calls, and what it makes of the answers.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, Reply, SECRET};

/// What a coordinator makes of an answer: it looks at the body first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Success,
    Failure,
    NotYet,
    AskedAgain,
}

use Verdict::{AskedAgain, Failure, NotYet, Success};

fn verdict(reply: &Reply) -> Verdict {
    assert!(!reply.text.contains("ONGOING") && !reply.text.contains("FAILURE"), "{}", reply.text);
    match reply.status.as_u16() {
        200 => Success,
        409 => Failure,
        425 => NotYet,
        _ => AskedAgain,
    }
}

fn body(user: &str) -> Value {
    json!({ "externalId": user, "amount": "60", "issuedAt": "2999-01-01T00:00:00Z" })
}

/// Calls as the coordinator does, with a parameter more than are read.
async fn call(house: &House, op: &str, gid: &str, body: &Value) -> Reply {
    let path = format!(
        "/v1/dtm/{op}?dtm=http%3A%2F%2Fdtm.example&gid={gid}&trans_type=tcc&branch_id=01&op={op}"
    );
    house.ask(Method::POST, &path, None, body.to_string()).await
}

async fn house_with(users: &[&str]) -> House {
    let house = House::new().await;
    for user in users {
        house.put(&format!("/v1/accounts/{user}")).await;
        let credit = json!({ "amount": "100", "reason": "opening", "reference": "opening" });
        house.post(&format!("/v1/accounts/{user}/credits"), "opening", &credit).await;
    }
    house
}

async fn balances(house: &House, user: &str) -> [String; 3] {
    let body = house.get(&format!("/v1/accounts/{user}")).await.json();
    ["available", "reserved", "spent"].map(|name| body[name].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_transaction_is_tried_and_confirmed_however_often_each_call_comes() {
    let house = house_with(&["ann"]).await;
    for op in ["try", "confirm"] {
        for _time in 0..3 {
            assert_eq!(verdict(&call(&house, op, "g1", &body("ann")).await), Success, "{op}");
        }
    }
    assert_eq!(verdict(&call(&house, "try", "g1", &body("ann")).await), Success, "late repeat");
    assert_eq!(balances(&house, "ann").await, ["40", "0", "60"]);
    let found = house.get("/v1/tcc/ann/g1%2F01").await.json();
    assert_eq!(found["state"], "settled", "the biz id is gid/branch_id");
}

#[tokio::test]
async fn a_transaction_is_tried_and_cancelled_however_often_each_call_comes() {
    let house = house_with(&["ann"]).await;
    assert_eq!(verdict(&call(&house, "try", "g1", &body("ann")).await), Success);
    for _time in 0..3 {
        assert_eq!(verdict(&call(&house, "cancel", "g1", &body("ann")).await), Success);
    }
    assert_eq!(balances(&house, "ann").await, ["100", "0", "0"]);
}

#[tokio::test]
async fn a_cancel_of_an_unknown_gid_succeeds_and_its_late_try_fails() {
    let house = house_with(&["ann"]).await;
    assert_eq!(verdict(&call(&house, "cancel", "g1", &body("ann")).await), Success);
    let late = call(&house, "try", "g1", &body("ann")).await;
    late.assert_problem(409, "cancelled", "late");
    assert_eq!(verdict(&late), Failure);
    assert_eq!(balances(&house, "ann").await, ["100", "0", "0"]);
}

#[tokio::test]
async fn a_try_that_cannot_be_fails_and_its_cancel_succeeds() {
    let house = house_with(&["ann"]).await;
    let mut too_much = body("ann");
    too_much["amount"] = json!("101");
    let mut nothing = body("ann");
    nothing["amount"] = json!("0");
    let mut too_old = body("ann");
    too_old["issuedAt"] = json!("2001-01-01T00:00:00Z");
    let nobody = body("nobody");
    for (gid, terms, code) in [
        ("g1", too_much, "insufficient_points"),
        ("g2", nothing, "zero_amount"),
        ("g3", too_old, "too_old"),
        ("g4", nobody, "account_not_found"),
    ] {
        let tried = call(&house, "try", gid, &terms).await;
        tried.assert_problem(409, code, gid);
        assert_eq!(verdict(&call(&house, "cancel", gid, &terms).await), Success, "{gid}");
        let late = call(&house, "try", gid, &terms).await;
        assert_eq!(verdict(&late), Failure, "{gid}");
    }
    let made = house.get("/v1/tcc/nobody/g4%2F01").await.json();
    assert_eq!(made["state"], "released", "the account was made for the tombstone");
}

#[tokio::test]
async fn a_try_with_other_values_fails_and_changes_nothing() {
    let house = house_with(&["ann"]).await;
    call(&house, "try", "g1", &body("ann")).await;
    let mut other = body("ann");
    other["amount"] = json!("61");
    let reply = call(&house, "try", "g1", &other).await;
    reply.assert_problem(409, "biz_id_conflict", "other");
    assert_eq!(balances(&house, "ann").await, ["40", "60", "0"]);
}

#[tokio::test]
async fn confirm_and_cancel_are_never_told_that_they_failed() {
    let house = house_with(&["ann", "bob"]).await;
    call(&house, "try", "settled", &body("ann")).await;
    call(&house, "confirm", "settled", &body("ann")).await;
    call(&house, "try", "released", &body("bob")).await;
    call(&house, "cancel", "released", &body("bob")).await;
    let mut too_much = body("bob");
    too_much["amount"] = json!("101");
    call(&house, "try", "rejected", &too_much).await;
    call(&house, "try", "open", &body("bob")).await;
    let before = (balances(&house, "ann").await, balances(&house, "bob").await);
    for (op, gid, terms, code) in [
        ("cancel", "settled", body("ann"), "already_settled"),
        ("confirm", "released", body("bob"), "cancelled"),
        ("confirm", "rejected", too_much.clone(), "rejected"),
        ("confirm", "unknown", body("bob"), "not_found"),
        ("confirm", "open", too_much, "exceeds_reserved"),
        ("confirm", "unknown", body("nobody"), "account_not_found"),
    ] {
        let reply = call(&house, op, gid, &terms).await;
        reply.assert_problem(500, code, gid);
        assert_eq!(verdict(&reply), AskedAgain, "{op} {gid}");
    }
    let after = (balances(&house, "ann").await, balances(&house, "bob").await);
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_amount_that_is_known_later_is_waited_for() {
    let house = house_with(&["ann"]).await;
    let mut terms = body("ann");
    terms["confirmAmount"] = json!("told");
    call(&house, "try", "g1", &terms).await;
    let waits = call(&house, "confirm", "g1", &terms).await;
    waits.assert_problem(425, "amount_not_told", "nobody told it");
    assert_eq!(verdict(&waits), NotYet);
    let told = json!({ "bizId": "g1/01", "externalId": "ann", "amount": "45" });
    house.ask(Method::POST, "/v1/tcc/confirm", None, told.to_string()).await;
    for _time in 0..2 {
        let confirmed = call(&house, "confirm", "g1", &terms).await;
        assert_eq!(verdict(&confirmed), Success);
        assert_eq!(confirmed.json()["settled"], "45");
    }
    assert_eq!(balances(&house, "ann").await, ["55", "0", "45"]);

    terms["amount"] = json!("55");
    assert_eq!(verdict(&call(&house, "try", "g2", &terms).await), Success);
    assert_eq!(verdict(&call(&house, "cancel", "g2", &terms).await), Success);
    for (gid, code) in [("g2", "cancelled"), ("unknown", "not_found")] {
        call(&house, "confirm", gid, &terms).await.assert_problem(500, code, gid);
    }
}

#[tokio::test]
async fn the_coordinators_words_never_come_back_in_a_body() {
    let house = house_with(&["FAILURE"]).await;
    for op in ["try", "confirm", "cancel"] {
        for gid in ["ONGOING", "FAILURE"] {
            let mut strange = body("FAILURE");
            for terms in [body("FAILURE"), {
                strange["FAILURE ONGOING"] = json!(1);
                strange
            }] {
                verdict(&call(&house, op, gid, &terms).await);
            }
        }
        let path = format!("/v1/dtm/{op}?gid=FAILURE&trans_type=ONGOING&branch_id=01&op={op}");
        let request = Request::post(path).header("x-request-id", "FAILURE-ONGOING");
        let request = request.header("authorization", format!("Bearer {SECRET}"));
        let reply = house.send(request.body(Body::from("FAILURE")).unwrap()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        verdict(&reply);
        let request = Request::get(format!("/v1/dtm/{op}")).header("x-request-id", "FAILURE");
        verdict(&house.send(request.body(Body::empty()).unwrap()).await);
    }
}

#[tokio::test]
async fn a_call_that_is_not_of_a_tcc_branch_is_refused_and_leaves_nothing() {
    let house = house_with(&["ann"]).await;
    let rows = house.rows().await;
    let long = format!("gid={}&trans_type=tcc&branch_id=01&op=try", "x".repeat(198));
    for query in [
        "",
        "gid=g1&trans_type=tcc&branch_id=01",
        "gid=g1&trans_type=saga&branch_id=01&op=try",
        "gid=g1&trans_type=tcc&branch_id=01&op=confirm",
        "gid=&trans_type=tcc&branch_id=01&op=try",
        "gid=g1&trans_type=tcc&branch_id=&op=try",
        "gid=g1&trans_type=tcc&branch_id=0%2F1&op=try",
        "gid=g1&gid=g2&trans_type=tcc&branch_id=01&op=try",
        &long,
    ] {
        let path = format!("/v1/dtm/try?{query}");
        let reply = house.ask(Method::POST, &path, None, body("ann").to_string()).await;
        reply.assert_problem(400, "invalid_request", query);
    }
    for field in ["amount", "issuedAt"] {
        let mut terms = body("ann");
        terms[field] = Value::Null;
        call(&house, "try", "g1", &terms).await.assert_problem(400, "invalid_request", field);
    }
    assert_eq!(house.rows().await, rows);
}
