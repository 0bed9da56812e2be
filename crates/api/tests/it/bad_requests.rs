//! Bad input on every REST endpoint gets a clear problem and changes nothing.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{
    CHAIN, House, NEIGHBOUR, PUBLISHABLE, SECRET, WALLET, entry_point, operation, operation_with,
    terms,
};

const GOOD_CREDIT: &str = r#"{"amount":"1","reason":"r","reference":"x"}"#;

/// One bad request and what it must hear.
struct Bad {
    what: &'static str,
    method: Method,
    path: String,
    key: Option<&'static str>,
    body: String,
    status: u16,
    code: &'static str,
}

/// Method, path and `Idempotency-Key`.
type Ask<'a> = (Method, &'a str, Option<&'static str>);

fn get(path: &str) -> Ask<'_> {
    (Method::GET, path, None)
}

fn put(path: &str) -> Ask<'_> {
    (Method::PUT, path, None)
}

fn bad(
    what: &'static str,
    request: Ask<'_>,
    body: impl ToString,
    (status, code): (u16, &'static str),
) -> Bad {
    let (method, path, key) = request;
    Bad { what, method, path: path.to_owned(), key, body: body.to_string(), status, code }
}

async fn assert_all_refused(house: &House, cases: Vec<Bad>) {
    let before = house.rows().await;
    for case in cases {
        let reply = house.ask(case.method, &case.path, case.key, case.body).await;
        reply.assert_problem(case.status, case.code, case.what);
    }
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn bad_accounts_and_wallets_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let invalid = (400, "invalid_request");
    let long = format!("/v1/accounts/{}", "x".repeat(129));
    let wallet =
        |chain: &str, address: &str| format!("/v1/accounts/alice/wallets/{chain}/{address}");
    let address = WALLET.to_string();
    let unknown_chain = wallet("1", &address);
    let hex_chain = wallet("0x7a69", &address);
    let large_chain = wallet("9223372036854775808", &address);
    let short = wallet("31337", "0x11");
    let no_prefix = wallet("31337", &address[2..]);
    let not_hex = wallet("31337", "0xzz11111111111111111111111111111111111111");
    let nobody = format!("/v1/accounts/nobody/wallets/{CHAIN}/{WALLET}");
    let cases = vec![
        bad("a long name", put(&long), "", invalid),
        bad("a control character", put("/v1/accounts/a%00b"), "", invalid),
        bad("a name that is no UTF-8", put("/v1/accounts/%ff"), "", invalid),
        bad("a body with a field", put("/v1/accounts/bob"), r#"{"name":"Bob"}"#, invalid),
        bad("a body that is a list", put("/v1/accounts/bob"), "[]", invalid),
        bad("malformed", put("/v1/accounts/bob"), "{", (400, "malformed_json")),
        bad("nobody", (Method::GET, "/v1/accounts/nobody", None), "", (404, "account_not_found")),
        bad("an unknown chain", put(&unknown_chain), "", (422, "unknown_chain")),
        bad("a chain in hex", put(&hex_chain), "", invalid),
        bad("a chain that cannot be kept", put(&large_chain), "", invalid),
        bad("a short address", put(&short), "", invalid),
        bad("an address without 0x", put(&no_prefix), "", invalid),
        bad("an address that is not hex", put(&not_hex), "", invalid),
        bad("nobody's wallet", put(&nobody), "", (404, "account_not_found")),
        bad("unlinking nobody's", (Method::DELETE, &nobody, None), "", (404, "account_not_found")),
        bad("unlinking a bad address", (Method::DELETE, &short, None), "", invalid),
    ];
    assert_all_refused(&house, cases).await;
}

#[tokio::test]
async fn bad_credits_and_debits_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    for command in ["credits", "debits"] {
        let path = format!("/v1/accounts/alice/{command}");
        let nobody = format!("/v1/accounts/nobody/{command}");
        let post: Ask<'_> = (Method::POST, &path, Some("k"));
        let with = |field: &str, value: Value| {
            let mut body: Value = serde_json::from_str(GOOD_CREDIT).unwrap();
            body[field] = value;
            body.to_string()
        };
        let invalid = (400, "invalid_request");
        let long_key: &'static str = "0123456789".repeat(21).leak();
        let twice = r#"{"amount":"1","amount":"2","reason":"r","reference":"x"}"#;
        let oversized = "x".repeat(300_000);
        let no_key: Ask<'_> = (Method::POST, &path, None);
        let missing = (400, "idempotency_key_missing");
        let invalid_key = (400, "idempotency_key_invalid");
        let cases = vec![
            bad("no key", no_key.clone(), GOOD_CREDIT, missing),
            bad("an empty key", (Method::POST, &path, Some("")), GOOD_CREDIT, invalid_key),
            bad("a long key", (Method::POST, &path, Some(long_key)), GOOD_CREDIT, invalid_key),
            bad("no body", post.clone(), "", (400, "malformed_json")),
            bad("half a body", post.clone(), r#"{"amount":"#, (400, "malformed_json")),
            bad(
                "more than a body",
                post.clone(),
                format!("{GOOD_CREDIT}{{}}"),
                (400, "malformed_json"),
            ),
            bad("a list", post.clone(), "[]", invalid),
            bad("an amount as a number", post.clone(), with("amount", json!(1)), invalid),
            bad("an amount as a float", post.clone(), with("amount", json!(0.1)), invalid),
            bad("a negative amount", post.clone(), with("amount", json!("-1")), invalid),
            bad("seven places", post.clone(), with("amount", json!("0.0000001")), invalid),
            bad("too much", post.clone(), with("amount", json!("9223372036855")), invalid),
            bad("nothing", post.clone(), with("amount", json!("0")), (422, "zero_amount")),
            bad("no reason", post.clone(), with("reason", json!("")), invalid),
            bad("a NUL in the reason", post.clone(), with("reason", json!("a\0b")), invalid),
            bad("a long reason", post.clone(), with("reason", json!("x".repeat(501))), invalid),
            bad("no reference", post.clone(), with("reference", json!("")), invalid),
            bad("an unknown field", post.clone(), with("Amount", json!("2")), invalid),
            bad("a field twice", post.clone(), twice, invalid),
            bad("an oversized body", post.clone(), oversized, (413, "body_too_large")),
            bad(
                "nobody",
                (Method::POST, &nobody, Some("k")),
                GOOD_CREDIT,
                (404, "account_not_found"),
            ),
            bad(
                "another method",
                (Method::PUT, &path, Some("k")),
                GOOD_CREDIT,
                (405, "method_not_allowed"),
            ),
        ];
        assert_all_refused(&house, cases).await;
    }
}

/// The two routes that take an operation.
const OPERATION_PATHS: [&str; 2] = ["/v1/quotes", "/v1/sponsorships"];

#[tokio::test]
async fn bad_terms_of_an_operation_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let mut cases = Vec::new();
    for path in OPERATION_PATHS {
        let post = || (Method::POST, path, Some("k"));
        let with = |field: &str, value: Value| {
            let mut body = terms(&operation());
            body[field] = value;
            body.to_string()
        };
        let invalid = (400, "invalid_request");
        let unknown_chain = (422, "unknown_chain");
        let unknown_entry_point = (422, "unknown_entry_point");
        let v06 = with("entryPoint", json!(erc4337::entry_point::V06_ADDRESS));
        let policy = with("context", json!({ "policy": "p" }));
        let incomplete = json!({ "chainId": CHAIN, "entryPoint": entry_point() });
        let oversized = with("context", json!("x".repeat(300_000)));
        cases.extend([
            bad("malformed", post(), "{\"chainId\":", (400, "malformed_json")),
            bad("an unknown field", post(), with("chainID", json!(CHAIN)), invalid),
            bad("a chain as text", post(), with("chainId", json!("31337")), invalid),
            bad("an unknown chain", post(), with("chainId", json!(1)), unknown_chain),
            bad("a huge chain", post(), with("chainId", json!(u64::MAX)), unknown_chain),
            bad("wrong hex", post(), with("entryPoint", json!("0x12")), invalid),
            bad("no such", post(), with("entryPoint", json!(WALLET)), unknown_entry_point),
            bad("v0.6", post(), v06, (422, "entry_point_v06")),
            bad("a context with a field", post(), policy, invalid),
            bad("a context that is text", post(), with("context", json!("p")), invalid),
            bad("text for an operation", post(), with("userOperation", json!("0x")), invalid),
            bad("no operation", post(), incomplete, invalid),
            bad("oversized", post(), oversized, (413, "body_too_large")),
        ]);
    }
    let no_key = (Method::POST, "/v1/sponsorships", None);
    let missing = (400, "idempotency_key_missing");
    cases.push(bad("no key", no_key, terms(&operation()), missing));
    assert_all_refused(&house, cases).await;
}

#[tokio::test]
async fn bad_operations_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let mut cases = Vec::new();
    for path in OPERATION_PATHS {
        let post = || (Method::POST, path, Some("k"));
        let op = |field, value| terms(&operation_with(field, value));
        let invalid = (400, "invalid_user_operation");
        let twice = terms(&operation()).to_string().replacen(
            r#""callGasLimit":"#,
            r#""callGasLimit":"0x1","callGasLimit":"#,
            1,
        );
        let mut without_gas = operation();
        for limit in ["callGasLimit", "verificationGasLimit", "preVerificationGas"] {
            without_gas[limit] = json!("0x0");
        }
        let not_estimated = (422, "gas_not_estimated");
        cases.extend([
            bad("a v0.6 shape", post(), op("initCode", json!("0x1234")), invalid),
            bad("no sender", post(), op("sender", Value::Null), invalid),
            bad("odd hex", post(), op("callData", json!("0x123")), invalid),
            bad("no hex", post(), op("nonce", json!("one")), invalid),
            bad("a number", post(), op("callGasLimit", json!(1)), invalid),
            bad("a misspelt limit", post(), op("call_gas_limit", json!("0x1")), invalid),
            bad("a field twice", post(), twice, (400, "invalid_request")),
            bad("no gas limits", post(), terms(&without_gas), not_estimated),
        ]);
    }
    let stranger = operation_with("sender", json!("0x2222222222222222222222222222222222222222"));
    let mut greedy = operation_with("paymaster", json!(WALLET));
    greedy["paymasterVerificationGasLimit"] = json!("0xffffff");
    let post = || (Method::POST, "/v1/sponsorships", Some("k"));
    cases.extend([
        bad("an unlinked wallet", post(), terms(&stranger), (422, "wallet_not_linked")),
        bad("greedy gas", post(), terms(&greedy), (422, "paymaster_gas_out_of_bounds")),
        // The node stands in for the bundler and knows no estimates.
        bad("no simulation", post(), terms(&operation()), (503, "bundler_unavailable")),
    ]);
    assert_all_refused(&house, cases).await;
}

#[tokio::test]
async fn gas_that_costs_more_than_points_can_say_is_no_matter_of_the_balance() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let operation = operation_with("maxFeePerGas", json!("0xffffffffffffffffffffffff"));
    let reply = house.post("/v1/quotes", "k", &terms(&operation)).await;
    reply.assert_problem(422, "cost_out_of_range", &reply.text);
}

#[tokio::test]
async fn bad_lists_and_look_ups_are_refused() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let invalid = (400, "invalid_request");
    let entries = "/v1/accounts/alice/entries";
    let list = "/v1/sponsorships";
    let of = |path: &str, query: &str| format!("{path}?{query}");
    let nowhere = "/v1/sponsorships/00000000-0000-7000-8000-000000000000";
    let cancel_nowhere = format!("{nowhere}/cancel");
    let foreign_cursor = of(list, "cursor=010000000000000001");
    let nobody = of(list, "externalId=nobody");
    let queries: Vec<_> =
        ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "page=2", "asOf=1"]
            .iter()
            .map(|query| of(entries, query))
            .chain(
                [
                    "limit=101",
                    "state=final",
                    "state=Open",
                    "sender=0x1",
                    "status=open",
                    "externalId=",
                    "openedAfter=yesterday",
                    "openedAfter=2025-01-01",
                    "openedAfter=2025-01-01T00:00:00",
                    "openedAfter=1970-01-01T00:00:00+02:00",
                    "openedBefore=1735732800",
                    "openedBefore=",
                ]
                .iter()
                .map(|query| of(list, query)),
            )
            .collect();
    let mut cases: Vec<_> =
        queries.iter().map(|path| bad("a query", get(path), "", invalid)).collect();
    cases.extend([
        bad("a cursor", get(&of(entries, "cursor=xyz")), "", (400, "cursor_invalid")),
        bad("another list's cursor", get(&foreign_cursor), "", (400, "cursor_invalid")),
        bad("nobody's entries", get("/v1/accounts/nobody/entries"), "", (404, "account_not_found")),
        bad("nobody's sponsorships", get(&nobody), "", (404, "account_not_found")),
        bad("no id", get("/v1/sponsorships/7"), "", invalid),
        bad("no such sponsorship", get(nowhere), "", (404, "sponsorship_not_found")),
        bad(
            "cancelling nothing",
            (Method::POST, &cancel_nowhere, None),
            "",
            (404, "sponsorship_not_found"),
        ),
        bad("cancelling with a body", (Method::POST, &cancel_nowhere, None), r#"{"a":1}"#, invalid),
        bad("cancelling by GET", get(&cancel_nowhere), "", (405, "method_not_allowed")),
        bad("no path", get("/v2/accounts"), "", (404, "not_found")),
        bad("the root", get("/"), "", (404, "not_found")),
        bad(
            "a method",
            (Method::PATCH, "/v1/accounts/alice", None),
            "",
            (405, "method_not_allowed"),
        ),
    ]);
    assert_all_refused(&house, cases).await;
}

#[tokio::test]
async fn every_route_needs_a_secret_key() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let wallet = format!("/v1/accounts/alice/wallets/{CHAIN}/{WALLET}");
    let routes = [
        (Method::PUT, "/v1/accounts/bob"),
        (Method::GET, "/v1/accounts/alice"),
        (Method::PUT, &wallet),
        (Method::DELETE, &wallet),
        (Method::POST, "/v1/accounts/alice/credits"),
        (Method::POST, "/v1/accounts/alice/debits"),
        (Method::GET, "/v1/accounts/alice/entries"),
        (Method::POST, "/v1/quotes"),
        (Method::POST, "/v1/sponsorships"),
        (Method::GET, "/v1/sponsorships"),
        (Method::GET, "/v1/sponsorships/00000000-0000-7000-8000-000000000000"),
        (Method::POST, "/v1/sponsorships/00000000-0000-7000-8000-000000000000/cancel"),
        (Method::POST, "/v1/tcc/try"),
        (Method::POST, "/v1/tcc/confirm"),
        (Method::POST, "/v1/tcc/cancel"),
        (Method::GET, "/v1/tcc/alice/trip"),
        (Method::POST, "/v1/dtm/try"),
        (Method::POST, "/v1/dtm/confirm"),
        (Method::POST, "/v1/dtm/cancel"),
    ];
    let publishable = format!("Bearer {PUBLISHABLE}");
    let basic = format!("Basic {SECRET}");
    let before = house.rows().await;
    for (method, path) in routes {
        for (authorization, status, code) in [
            (None, 401, "unauthorized"),
            (Some("Bearer"), 401, "unauthorized"),
            (Some("Bearer "), 401, "unauthorized"),
            (Some("Bearer sk_unknown"), 401, "unauthorized"),
            (Some(SECRET), 401, "unauthorized"),
            (Some(basic.as_str()), 401, "unauthorized"),
            (Some(publishable.as_str()), 403, "secret_key_required"),
        ] {
            let mut request = Request::builder().method(method.clone()).uri(path);
            request = request.header("idempotency-key", "k");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let reply = house.send(request.body(GOOD_CREDIT.into()).unwrap()).await;
            reply.assert_problem(status, code, &format!("{method} {path} {authorization:?}"));
            let asks_for_key = reply.status == StatusCode::UNAUTHORIZED;
            assert_eq!(reply.header("www-authenticate").is_some(), asks_for_key);
        }
    }
    assert_eq!(house.rows().await, before);
}

#[tokio::test]
async fn a_neighbours_key_sees_nothing_of_ours() {
    let house = House::new().await;
    house.user("alice", "10").await;
    let id = house.sponsorship("alice", 1).await;
    for (method, path, code) in [
        (Method::GET, "/v1/accounts/alice".to_owned(), "account_not_found"),
        (Method::GET, "/v1/accounts/alice/entries".to_owned(), "account_not_found"),
        (Method::GET, format!("/v1/sponsorships/{id}"), "sponsorship_not_found"),
        (Method::POST, format!("/v1/sponsorships/{id}/cancel"), "sponsorship_not_found"),
    ] {
        let request = Request::builder().method(method).uri(&path);
        let request = request.header("authorization", format!("Bearer {NEIGHBOUR}"));
        let reply = house.send(request.body(Body::empty()).unwrap()).await;
        reply.assert_problem(404, code, &path);
    }
    let request = Request::get("/v1/sponsorships");
    let request = request.header("authorization", format!("Bearer {NEIGHBOUR}"));
    let reply = house.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.json(), json!({ "sponsorships": [], "nextCursor": null }));
}
