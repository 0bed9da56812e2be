//! The table of TCC commands over HTTP, cell by cell, and what surrounds it.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use service::expire::Sweep;

use crate::house::{House, NEIGHBOUR, PUBLISHABLE, Reply};

/// When every try here is issued: any time will do that is not a month ago.
const ISSUED: &str = "2999-01-01T00:00:00Z";

/// A command on the biz id `trip`.
#[derive(Clone, Copy, Debug)]
enum Command {
    Try(&'static str),
    Confirm(&'static str),
    ConfirmAll,
    Cancel,
}

use Command::{Cancel, Confirm, ConfirmAll, Try};

impl Command {
    fn path(self) -> &'static str {
        match self {
            Try(_) => "/v1/tcc/try",
            Confirm(_) | ConfirmAll => "/v1/tcc/confirm",
            Cancel => "/v1/tcc/cancel",
        }
    }

    fn body(self, user: &str) -> Value {
        let mut body = json!({ "bizId": "trip", "externalId": user });
        if let Try(amount) | Confirm(amount) = self {
            body["amount"] = json!(amount);
        }
        if let Try(_) = self {
            body["issuedAt"] = json!(ISSUED);
        }
        body
    }
}

async fn post(house: &House, path: &str, body: &Value) -> Reply {
    house.ask(Method::POST, path, None, body.to_string()).await
}

async fn ask(house: &House, user: &str, command: Command) -> Reply {
    post(house, command.path(), &command.body(user)).await
}

/// A user with 100 points, and what happened under the biz id before.
async fn user_after(house: &House, user: &str, before: &[Command]) {
    house.put(&format!("/v1/accounts/{user}")).await;
    let credit = json!({ "amount": "100", "reason": "opening", "reference": "opening" });
    house.post(&format!("/v1/accounts/{user}/credits"), "opening", &credit).await;
    for command in before {
        ask(house, user, *command).await;
    }
}

/// Available, reserved and spent.
async fn balances(house: &House, user: &str) -> [String; 3] {
    let body = house.get(&format!("/v1/accounts/{user}")).await.json();
    ["available", "reserved", "spent"].map(|name| body[name].as_str().unwrap().to_owned())
}

/// What a cell of the table answers: a success with its body apart from the names, or a refusal.
enum Answer {
    Does(Value),
    Repeats(Value),
    Refuses(u16, &'static str),
}

use Answer::{Does, Refuses, Repeats};

async fn holds(house: &House, user: &str, command: Command, answer: Answer, after: [&str; 3]) {
    let what = format!("{user}: {command:?}");
    let reply = ask(house, user, command).await;
    match &answer {
        Does(expected) | Repeats(expected) => {
            let mut expected = expected.clone();
            expected["bizId"] = json!("trip");
            expected["externalId"] = json!(user);
            assert_eq!(reply.status, StatusCode::OK, "{what}: {}", reply.text);
            assert_eq!(reply.json(), expected, "{what}");
            let replayed = matches!(answer, Repeats(_)).then_some("true");
            assert_eq!(reply.header("idempotency-replayed"), replayed, "{what}");
        }
        Refuses(status, code) => {
            reply.assert_problem(*status, code, &what);
            assert_eq!(reply.json()["retryable"], false, "{what}");
        }
    }
    assert_eq!(balances(house, user).await, after, "{what}");
    let again = ask(house, user, command).await;
    assert_eq!(again.status, reply.status, "{what}, again");
    if reply.status == StatusCode::OK {
        assert_eq!(again.text, reply.text, "{what}, again");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{what}, again");
    } else {
        assert_eq!(again.json()["detail"], reply.json()["detail"], "{what}, again");
    }
    assert_eq!(balances(house, user).await, after, "{what}, again");
}

/// Each cell with a user of its own, in the given state.
async fn row(state: &str, before: &[Command], cells: Vec<(Command, Answer, [&str; 3])>) {
    let house = House::new().await;
    for (number, (command, answer, after)) in cells.into_iter().enumerate() {
        let user = format!("{state}-{number}");
        user_after(&house, &user, before).await;
        holds(&house, &user, command, answer, after).await;
    }
}

fn open() -> Value {
    json!({ "state": "open", "reserved": "60" })
}

fn settled(settled: &str, returned: &str) -> Value {
    json!({ "state": "settled", "settled": settled, "returned": returned })
}

fn released(returned: &str) -> Value {
    json!({ "state": "released", "returned": returned })
}

#[tokio::test]
async fn nothing_takes_a_try_or_a_cancel_and_no_confirm() {
    let untouched = ["100", "0", "0"];
    let cells = vec![
        (Try("60"), Does(open()), ["40", "60", "0"]),
        (Try("100.000001"), Refuses(409, "insufficient_points"), untouched),
        (Try("0"), Refuses(422, "zero_amount"), untouched),
        (Confirm("45"), Refuses(404, "not_found"), untouched),
        (ConfirmAll, Refuses(404, "not_found"), untouched),
        (Cancel, Does(released("0")), untouched),
    ];
    row("nothing", &[], cells).await;
}

#[tokio::test]
async fn an_open_reservation_is_confirmed_in_part_or_whole_or_cancelled() {
    let held = ["40", "60", "0"];
    let cells = vec![
        (Try("60"), Repeats(open()), held),
        (Try("61"), Refuses(409, "biz_id_conflict"), held),
        (Confirm("45"), Does(settled("45", "15")), ["55", "0", "45"]),
        (Confirm("60"), Does(settled("60", "0")), ["40", "0", "60"]),
        (Confirm("0"), Does(settled("0", "60")), ["100", "0", "0"]),
        (ConfirmAll, Does(settled("60", "0")), ["40", "0", "60"]),
        (Confirm("60.000001"), Refuses(422, "exceeds_reserved"), held),
        (Cancel, Does(released("60")), ["100", "0", "0"]),
    ];
    row("open", &[Try("60")], cells).await;
}

#[tokio::test]
async fn a_settled_reservation_stays_settled() {
    let spent = ["55", "0", "45"];
    let cells = vec![
        (Try("60"), Repeats(open()), spent),
        (Try("61"), Refuses(409, "biz_id_conflict"), spent),
        (Confirm("45"), Repeats(settled("45", "15")), spent),
        (Confirm("46"), Refuses(409, "biz_id_conflict"), spent),
        (ConfirmAll, Refuses(409, "biz_id_conflict"), spent),
        (Confirm("61"), Refuses(409, "biz_id_conflict"), spent),
        (Cancel, Refuses(409, "already_settled"), spent),
    ];
    row("settled", &[Try("60"), Confirm("45")], cells).await;
}

#[tokio::test]
async fn a_released_reservation_keeps_late_tries_and_confirms_out() {
    let untouched = ["100", "0", "0"];
    let cells = |returned: &str, other_try: &'static str| {
        vec![
            (Try("60"), Refuses(409, "cancelled"), untouched),
            (Try("61"), Refuses(409, other_try), untouched),
            (Confirm("45"), Refuses(409, "cancelled"), untouched),
            (ConfirmAll, Refuses(409, "cancelled"), untouched),
            (Confirm("61"), Refuses(409, "cancelled"), untouched),
            (Cancel, Repeats(released(returned)), untouched),
        ]
    };
    row("released", &[Try("60"), Cancel], cells("60", "biz_id_conflict")).await;
    row("tombstone", &[Cancel], cells("0", "cancelled")).await;
}

#[tokio::test]
async fn a_rejected_try_stays_rejected_and_its_cancel_does_nothing() {
    let untouched = ["100", "0", "0"];
    let cells = vec![
        (Try("160"), Refuses(409, "insufficient_points"), untouched),
        (Try("60"), Refuses(409, "biz_id_conflict"), untouched),
        (Confirm("45"), Refuses(409, "rejected"), untouched),
        (ConfirmAll, Refuses(409, "rejected"), untouched),
        (Confirm("161"), Refuses(409, "rejected"), untouched),
        (Cancel, Repeats(json!({ "state": "rejected", "returned": "0" })), untouched),
    ];
    row("rejected", &[Try("160")], cells).await;
}

#[tokio::test]
async fn a_conflict_names_the_fields_and_a_remembered_refusal_outlives_a_credit() {
    let house = House::new().await;
    user_after(&house, "ann", &[Try("60")]).await;
    let mut other = Try("61").body("ann");
    other["expiresAt"] = json!("2999-01-01T00:00:00Z");
    let reply = post(&house, "/v1/tcc/try", &other).await;
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("amount") && detail.contains("expiresAt"), "{detail}");

    user_after(&house, "bob", &[Try("160")]).await;
    let credit = json!({ "amount": "100", "reason": "more", "reference": "more" });
    house.post("/v1/accounts/bob/credits", "more", &credit).await;
    let reply = ask(&house, "bob", Try("160")).await;
    reply.assert_problem(409, "insufficient_points", "sticky");
    assert!(reply.json()["detail"].as_str().unwrap().contains("100 points"), "{}", reply.text);
}

#[tokio::test]
async fn only_a_try_of_an_unknown_biz_id_is_too_old_and_issued_at_makes_no_other_request() {
    let house = House::new().await;
    user_after(&house, "ann", &[]).await;
    let mut stale = Try("60").body("ann");
    stale["issuedAt"] = json!("2001-01-01T00:00:00Z");
    let rows = house.rows().await;
    post(&house, "/v1/tcc/try", &stale).await.assert_problem(422, "too_old", "stale");
    assert_eq!(house.rows().await, rows, "it is not remembered");
    ask(&house, "ann", Try("60")).await;
    let reply = post(&house, "/v1/tcc/try", &stale).await;
    assert_eq!(reply.header("idempotency-replayed"), Some("true"), "{}", reply.text);
}

#[tokio::test]
async fn a_look_up_tells_what_stands_and_takes_encoded_names() {
    let house = House::new().await;
    assert_eq!(house.put("/v1/accounts/a%20b").await.status, StatusCode::OK);
    let credit = json!({ "amount": "100", "reason": "opening", "reference": "opening" });
    house.post("/v1/accounts/a%20b/credits", "opening", &credit).await;
    let look_up = async |biz_id: &str| house.get(&format!("/v1/tcc/a%20b/{biz_id}")).await;
    look_up("g%2F01").await.assert_problem(404, "not_found", "nothing yet");
    let mut terms = json!({ "bizId": "g/01", "externalId": "a b", "amount": "60" });
    terms["issuedAt"] = json!(ISSUED);
    terms["expiresAt"] = json!("2999-01-01T02:00:00+02:00");
    let tried = post(&house, "/v1/tcc/try", &terms).await.json();
    assert_eq!(tried["expiresAt"], "2999-01-01T00:00:00Z");
    let found = look_up("g%2F01").await.json();
    let mut expected = json!({
        "bizId": "g/01", "externalId": "a b", "state": "open", "amount": "60",
        "expiresAt": "2999-01-01T00:00:00Z", "reserved": "60", "settled": "0", "returned": "0",
        "openedAt": found["openedAt"], "changedAt": found["openedAt"],
    });
    assert_eq!(found, expected);
    let confirm = json!({ "bizId": "g/01", "externalId": "a b", "amount": "45" });
    post(&house, "/v1/tcc/confirm", &confirm).await;
    let found = look_up("g%2F01").await.json();
    expected["state"] = json!("settled");
    expected["reserved"] = json!("0");
    expected["settled"] = json!("45");
    expected["returned"] = json!("15");
    expected["changedAt"] = found["changedAt"].clone();
    assert_eq!(found, expected);
    let cancel = json!({ "bizId": "none", "externalId": "a b" });
    post(&house, "/v1/tcc/cancel", &cancel).await;
    let tombstone = look_up("none").await.json();
    assert_eq!(tombstone["state"], "released");
    assert_eq!(tombstone["amount"], Value::Null);
}

#[tokio::test]
async fn a_sponsorship_cannot_be_named() {
    let house = House::new().await;
    house.user("ann", "100").await;
    let id = house.sponsorship("ann", 1).await;
    let rows = house.rows().await;
    for (path, extra) in [("try", true), ("confirm", false), ("cancel", false)] {
        let mut body = json!({ "bizId": id, "externalId": "ann" });
        if extra {
            body["amount"] = json!("1");
            body["issuedAt"] = json!(ISSUED);
        }
        let reply = post(&house, &format!("/v1/tcc/{path}"), &body).await;
        reply.assert_problem(422, "wrong_kind", path);
    }
    house.get(&format!("/v1/tcc/ann/{id}")).await.assert_problem(422, "wrong_kind", "look-up");
    assert_eq!(house.rows().await, rows);

    let other = id.0.as_u128() ^ 1;
    let body = json!({ "bizId": format!("{other:032x}"), "externalId": "ann" });
    let reply = post(&house, "/v1/tcc/cancel", &body).await;
    assert_eq!(reply.status, StatusCode::OK, "any other UUID is a biz id: {}", reply.text);
}

#[tokio::test]
async fn bad_commands_are_refused_and_leave_nothing() {
    let house = House::new().await;
    user_after(&house, "ann", &[]).await;
    let rows = house.rows().await;
    let with = |command: Command, field: &str, value: Value| {
        let mut body = command.body("ann");
        body[field] = value;
        (command.path(), body)
    };
    let long = "x".repeat(201);
    for (path, body) in [
        with(Try("60"), "amount", json!(60)),
        with(Try("60"), "amount", json!("-60")),
        with(Try("60"), "amount", json!("0.0000001")),
        with(Try("60"), "amount", Value::Null),
        with(Try("60"), "issuedAt", json!("yesterday")),
        with(Try("60"), "issuedAt", Value::Null),
        with(Try("60"), "expiresAt", json!(1_700_000_000)),
        with(Try("60"), "expiresAt", json!("9999-12-31T23:59:59-23:59")),
        with(Try("60"), "bizId", json!("")),
        with(Try("60"), "bizId", json!(long)),
        with(Try("60"), "bizId", json!("a\u{0}b")),
        with(Confirm("60"), "externalId", json!("")),
        with(Confirm("60"), "issuedAt", json!(ISSUED)),
        with(Cancel, "amount", json!("60")),
    ] {
        let what = body.to_string();
        post(&house, path, &body).await.assert_problem(400, "invalid_request", &what);
    }
    for command in [Try("60"), Confirm("60"), Cancel] {
        let reply = ask(&house, "nobody", command).await;
        reply.assert_problem(404, "account_not_found", command.path());
    }
    house.get("/v1/tcc/nobody/trip").await.assert_problem(404, "account_not_found", "look-up");
    assert_eq!(house.rows().await, rows);
}

#[tokio::test]
async fn only_the_companys_own_secret_key_commands() {
    let house = House::new().await;
    user_after(&house, "ann", &[Try("60")]).await;
    let with_key = async |command: Command, key: &str| {
        let request =
            Request::post(command.path()).header("authorization", format!("Bearer {key}"));
        house.send(request.body(Body::from(command.body("ann").to_string())).unwrap()).await
    };
    for command in [Try("60"), Confirm("60"), Cancel] {
        let what = command.path();
        let reply = with_key(command, PUBLISHABLE).await;
        reply.assert_problem(403, "secret_key_required", what);
        with_key(command, "sk_nobody").await.assert_problem(401, "unauthorized", what);
        with_key(command, NEIGHBOUR).await.assert_problem(404, "account_not_found", what);
    }
    assert_eq!(balances(&house, "ann").await, ["40", "60", "0"]);
}

#[tokio::test]
async fn what_nobody_confirmed_in_time_returns_and_what_is_not_due_stays() {
    let house = House::new().await;
    user_after(&house, "ann", &[]).await;
    for (biz_id, expires_at) in
        [("past", "2001-01-01T00:00:00Z"), ("future", "2999-01-01T00:00:00Z")]
    {
        let body = json!({ "bizId": biz_id, "externalId": "ann", "amount": "10",
            "issuedAt": ISSUED, "expiresAt": expires_at });
        assert_eq!(post(&house, "/v1/tcc/try", &body).await.status, StatusCode::OK);
    }
    assert_eq!(balances(&house, "ann").await, ["80", "20", "0"]);
    let swept = house.service.expire_pass(&mut Sweep::default()).await.unwrap();
    assert_eq!((swept.released, swept.is_more_due), (1, false));
    assert_eq!(balances(&house, "ann").await, ["90", "10", "0"]);
    let confirm = json!({ "bizId": "past", "externalId": "ann" });
    let reply = post(&house, "/v1/tcc/confirm", &confirm).await;
    reply.assert_problem(409, "cancelled", "after the expiry");
    let again = house.service.expire_pass(&mut Sweep::default()).await.unwrap();
    assert_eq!(again.released, 0);
}
