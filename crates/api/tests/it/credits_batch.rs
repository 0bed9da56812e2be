use std::time::Duration;

use api::{ApiError, HttpSettings};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::ledger::buckets::BucketRefusal;
use domain::ledger::funds::FundsRefusal;
use serde_json::{Value, json};
use service::Refusal;
use service::bulk::LineRefusal;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::house::{House, PUBLISHABLE, Reply, points};

const PATH: &str = "/v1/credits:batch";

fn line(external_id: &str, amount: &str, reference: &str) -> Value {
    json!({ "externalId": external_id, "amount": amount, "reason": "opening", "reference": reference })
}

/// So many credits of 1.5 points to accounts that are not there yet, ten to each.
fn opening(count: usize) -> Value {
    let lines: Vec<_> = (0..count)
        .map(|number| line(&format!("user-{}", number / 10), "1.5", &format!("opening-{number}")))
        .collect();
    json!({ "createAccounts": true, "lines": lines })
}

impl House {
    async fn batch(&self, key: &str, body: &Value) -> Reply {
        self.post(PATH, key, body).await
    }

    /// Sends a batch as a client does that was told to come back.
    async fn whole_batch(&self, key: &str, body: &Value) -> Reply {
        loop {
            let reply = self.batch(key, body).await;
            match reply.status {
                StatusCode::ACCEPTED => assert_eq!(reply.json()["complete"], false),
                StatusCode::SERVICE_UNAVAILABLE => assert_eq!(reply.json()["retryable"], true),
                _ => return reply,
            }
            assert_eq!(reply.header("retry-after"), Some("1"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn available(&self, name: &str) -> String {
        let account = self.get(&format!("/v1/accounts/{name}")).await.json();
        account["available"].as_str().unwrap().to_owned()
    }

    /// One number from the database.
    async fn number(&self, sql: &'static str) -> i64 {
        let mut superuser = PgConnection::connect(&self.db.superuser_url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut superuser).await.unwrap()
    }
}

fn statuses(reply: &Reply) -> Vec<String> {
    let body = reply.json();
    let lines = body["lines"].as_array().unwrap();
    lines.iter().map(|line| line["status"].as_str().unwrap().to_owned()).collect()
}

/// A line of each kind, with its code or, where it is credited, its status.
fn lines_of_each_kind() -> Vec<(Value, &'static str)> {
    let of_bob = |mut fields: Value| {
        fields["externalId"] = json!("bob");
        (fields, "invalid_request")
    };
    vec![
        (line("bob", "12.500", "first"), "applied"),
        (line("nobody", "1", "a"), "account_not_found"),
        (line("bob", "0", "b"), "zero_amount"),
        of_bob(json!({ "amount": 1.5, "reason": "opening", "reference": "c" })),
        of_bob(line("bob", "-1", "d")),
        of_bob(line("bob", "1.1234567", "e")),
        of_bob(json!({ "amount": "1", "reference": "f" })),
        of_bob(json!({ "amount": "1", "reason": "r", "reference": "g", "note": "x" })),
        of_bob(json!({ "amount": "1", "reason": "", "reference": "h" })),
        of_bob(json!({ "amount": "1", "reason": "r".repeat(501), "reference": "i" })),
        (line("", "1", "j"), "invalid_request"),
        of_bob(line("bob", "1", &"k".repeat(201))),
        (json!("bob"), "invalid_request"),
        (line("bob", "12.5", "first"), "replayed"),
        (line("bob", "13", "first"), "reference_conflict"),
        (line("ann", "1", "debit"), "reference_conflict"),
        (line("ann", "9223372036854.775807", "l"), "balance_too_large"),
        (line("ann", "2", "last"), "applied"),
    ]
}

#[tokio::test]
async fn each_line_has_its_own_outcome() {
    let house = House::new().await;
    house.user("ann", "10").await;
    house.put("/v1/accounts/bob").await;
    let debit = json!({ "amount": "1", "reason": "opening", "reference": "debit" });
    house.post("/v1/accounts/ann/debits", "debit", &debit).await;
    let (lines, expected): (Vec<_>, Vec<_>) = lines_of_each_kind().into_iter().unzip();
    let reply = house.batch("batch-1", &json!({ "lines": lines })).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    let body = reply.json();
    let told: Vec<_> = body["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["code"].as_str().or(line["status"].as_str()).unwrap())
        .collect();
    assert_eq!(told, expected, "{body:#}");
    for (index, line) in body["lines"].as_array().unwrap().iter().enumerate() {
        assert_eq!(line["index"], index);
        assert_eq!(line["detail"].is_string(), line["status"] == "refused", "{line}");
        assert_eq!(line["entrySeq"].is_i64(), line["status"] != "refused", "{line}");
    }
    assert_eq!(
        body["lines"][0],
        json!({ "index": 0, "externalId": "bob", "reference": "first", "status": "applied", "entrySeq": 1 })
    );
    assert_eq!(body["lines"][3]["externalId"], "bob", "as far as it can be read");
    assert_eq!(body["lines"][12]["externalId"], Value::Null);
    assert_eq!(body["lines"][13]["entrySeq"], 1);
    assert!(body["lines"][15]["detail"].as_str().unwrap().contains("direction"), "{body:#}");
    let counts = ["total", "applied", "replayed", "refused"].map(|count| body[count].as_u64());
    assert_eq!(counts, [Some(18), Some(2), Some(1), Some(15)]);
    assert_eq!(house.available("bob").await, "12.5");
    assert_eq!(house.available("ann").await, "11");
    let nobody = house.get("/v1/accounts/nobody").await;
    nobody.assert_problem(404, "account_not_found", "nobody asked for it");
}

#[tokio::test]
async fn a_batch_repeated_under_its_key_hears_the_same_to_the_byte() {
    let house = House::new().await;
    house.put("/v1/accounts/ann").await;
    let lines = json!([line("ann", "1", "a"), line("bob", "1", "b"), "unreadable"]);
    let body = json!({ "lines": lines });
    let first = house.batch("k", &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(statuses(&first), ["applied", "refused", "refused"]);
    // Bob's line could be credited now, and yet the answer was given.
    house.put("/v1/accounts/bob").await;
    let rows = house.rows().await;
    let spelled = r#"{"createAccounts":false, "lines" : [
        {"reference":"a","reason":"opening","amount":"1.000","externalId":"ann"},
        {"reference":"b","reason":"opening","amount":"1","externalId":"bob"}, "unreadable"]}"#;
    for text in [body.to_string(), spelled.to_owned()] {
        let again = house.ask(Method::POST, PATH, Some("k"), text).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.text, first.text);
    }
    for other in [
        json!({ "createAccounts": true, "lines": lines }),
        json!({ "lines": [line("ann", "1", "a")] }),
        json!({ "lines": [line("ann", "2", "a"), line("bob", "1", "b"), "unreadable"] }),
    ] {
        let reply = house.batch("k", &other).await;
        reply.assert_problem(422, "idempotency_key_reused", "another body");
    }
    assert_eq!(house.rows().await, rows);
    // Under another key the references decide.
    let other = house.batch("k2", &body).await;
    assert_eq!(statuses(&other), ["replayed", "applied", "refused"]);
    assert_eq!(house.available("ann").await, "1");
    assert_eq!(house.available("bob").await, "1");
}

#[tokio::test]
async fn keys_and_names_of_a_neighbour_are_its_own() {
    let house = House::new().await;
    let body = json!({ "createAccounts": true, "lines": [line("ann", "1", "a")] });
    assert_eq!(statuses(&house.batch("k", &body).await), ["applied"]);
    let request = Request::post(PATH)
        .header("authorization", format!("Bearer {}", crate::house::NEIGHBOUR))
        .header("idempotency-key", "k");
    let theirs = house.send(request.body(body.to_string().into()).unwrap()).await;
    assert_eq!(theirs.status, StatusCode::CREATED);
    assert_eq!(statuses(&theirs), ["applied"]);
    assert_eq!(house.number("SELECT count(*) FROM accounts").await, 2);
}

#[tokio::test]
async fn one_account_is_made_for_many_lines_and_none_for_a_line_that_is_refused() {
    let house = House::new().await;
    let lines = json!([
        line("ann", "1", "a"),
        line("ann", "2", "b"),
        line("bob", "0", "c"),
        line("ann", "1", "a"),
    ]);
    let reply = house.batch("k", &json!({ "createAccounts": true, "lines": lines })).await;
    assert_eq!(statuses(&reply), ["applied", "applied", "refused", "replayed"], "{}", reply.text);
    assert_eq!(house.number("SELECT count(*) FROM account_names").await, 1);
    assert_eq!(house.available("ann").await, "3");
}

#[tokio::test]
async fn a_batch_out_of_its_bounds_is_refused_as_a_whole() {
    let house = House::new().await;
    let rows = house.rows().await;
    for (body, what) in [
        (json!({ "lines": [] }), "no lines"),
        (opening(10_001), "too many lines"),
        (json!({ "lines": {} }), "no list"),
        (json!([line("ann", "1", "a")]), "no object"),
        (json!({ "lines": [line("ann", "1", "a")], "dryRun": true }), "an unknown field"),
    ] {
        house.batch("k", &body).await.assert_problem(400, "invalid_request", what);
    }
    let reply = house.ask(Method::POST, PATH, Some("k"), "{\"lines\": [}").await;
    reply.assert_problem(400, "malformed_json", "no JSON");
    let body = json!({ "lines": [line("ann", "1", "a")] });
    let reply = house.ask(Method::POST, PATH, None, body.to_string()).await;
    reply.assert_problem(400, "idempotency_key_missing", "no key");
    let request = Request::post(PATH).header("authorization", format!("Bearer {PUBLISHABLE}"));
    let reply = house.send(request.body(body.to_string().into()).unwrap()).await;
    reply.assert_problem(403, "secret_key_required", "a publishable key");
    house.get(PATH).await.assert_problem(405, "method_not_allowed", "GET");
    // Longer than any other body may be, and at its own limit.
    let padded = |length: usize| {
        let body = body.to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let reply = house.ask(Method::POST, PATH, Some("k"), padded((4 << 20) + 1)).await;
    reply.assert_problem(413, "body_too_large", "more than 4 MiB");
    let reply = house.ask(Method::PUT, "/v1/accounts/ann", None, padded(300 << 10)).await;
    reply.assert_problem(413, "body_too_large", "the limit of other routes");
    assert_eq!(house.rows().await, rows);
    let reply = house.ask(Method::POST, PATH, Some("k"), padded(4 << 20)).await;
    assert_eq!(statuses(&reply), ["refused"]);
}

#[tokio::test]
async fn ten_thousand_lines_that_take_several_requests_are_each_credited_once() {
    let http = HttpSettings { request_timeout: Duration::from_secs(3), ..HttpSettings::default() };
    let house = House::with(http).await;
    let body = opening(10_000);
    let whole = house.whole_batch("k", &body).await;
    assert_eq!(whole.status, StatusCode::CREATED, "{}", whole.text);
    assert_eq!(whole.json()["refused"], 0);
    assert_eq!(
        house.number("SELECT sum(available_micropoints)::bigint FROM accounts").await,
        15_000_000_000
    );
    assert_eq!(house.number("SELECT count(*) FROM movements").await, 10_000);
    assert_eq!(house.available("user-999").await, "15");
    let again = house.batch("k", &body).await;
    assert_eq!((again.status, &again.text), (StatusCode::OK, &whole.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_batches_at_once_credit_each_line_once() {
    let house = House::new().await;
    let body = opening(1_000);
    let (one, two, again) = tokio::join!(
        house.whole_batch("one", &body),
        house.whole_batch("two", &body),
        house.whole_batch("one", &body),
    );
    assert_eq!(one.text, again.text);
    let mut created = [one.status, again.status];
    created.sort();
    assert_eq!(created, [StatusCode::OK, StatusCode::CREATED], "one of them was a replay");
    for (ours, theirs) in statuses(&one).iter().zip(statuses(&two)) {
        let mut both = [ours.as_str(), theirs.as_str()];
        both.sort_unstable();
        assert_eq!(both, ["applied", "replayed"]);
    }
    assert_eq!(house.number("SELECT count(*) FROM movements").await, 1_000);
    assert_eq!(house.number("SELECT count(*) FROM entries").await, 1_000);
    assert_eq!(house.number("SELECT count(*) FROM accounts").await, 100);
    assert_eq!(
        house.number("SELECT sum(available_micropoints)::bigint FROM accounts").await,
        1_500_000_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_connections_are_cut_again_and_again_credits_each_line_once() {
    let house = House::new().await;
    let body = opening(2_000);
    let (whole, cut) = tokio::join!(house.whole_batch("k", &body), async {
        let mut cut = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            cut += house
                .number(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'stipend'",
                )
                .await;
        }
        cut
    });
    assert!(cut > 0);
    assert_eq!(whole.json()["refused"], 0, "{}", whole.text);
    assert_eq!(house.number("SELECT count(*) FROM movements").await, 2_000);
    assert_eq!(house.number("SELECT count(*) FROM accounts").await, 200);
    let sum = "SELECT sum(available_micropoints)::bigint FROM accounts";
    assert_eq!(house.number(sum).await, 3_000_000_000);
}

#[tokio::test]
async fn a_line_whose_account_is_held_waits_for_it_alone() {
    let house = House::new().await;
    house.put("/v1/accounts/ann").await;
    house.put("/v1/accounts/bob").await;
    let mut holder = PgConnection::connect(&house.db.superuser_url).await.unwrap();
    let hold = "BEGIN; SELECT FROM accounts WHERE account_id =
        (SELECT account_id FROM account_names WHERE external_id = 'ann') FOR UPDATE";
    sqlx::raw_sql(AssertSqlSafe(hold)).execute(&mut holder).await.unwrap();
    let lines = json!([line("ann", "1", "a"), line("bob", "1", "b"), line("bob", "1", "c")]);
    let body = json!({ "lines": lines });
    let (whole, ()) = tokio::join!(house.whole_batch("k", &body), async {
        // Ann's row is let go only when Bob has his points: if his lines waited for hers, this would not end.
        while house.available("bob").await != "2" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(house.available("ann").await, "0");
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    });
    assert_eq!(whole.json()["refused"], 0, "{}", whole.text);
    assert!(statuses(&whole).iter().all(|status| status != "refused"), "{}", whole.text);
    assert_eq!(house.available("ann").await, "1");
    assert_eq!(house.available("bob").await, "2");
    assert_eq!(house.number("SELECT count(*) FROM movements").await, 3);
}

#[tokio::test]
async fn a_batch_whose_time_is_up_says_how_far_it_is() {
    let house = House::new().await;
    for name in ["ann", "bob"] {
        house.put(&format!("/v1/accounts/{name}")).await;
    }
    let body = json!({ "lines": [line("ann", "1", "a"), line("bob", "1", "b")] });
    house.whole_batch("k", &body).await;
    // As if the request's time had been up when one line was recorded.
    let forget = "DELETE FROM credit_batch_lines WHERE line_index = 1;
        UPDATE credit_batches SET claimed_until = clock_timestamp() + interval '1 hour'";
    let mut superuser = PgConnection::connect(&house.db.superuser_url).await.unwrap();
    sqlx::raw_sql(forget).execute(&mut superuser).await.unwrap();
    let told = house.batch("k", &body).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text);
    assert_eq!(told.json(), json!({ "complete": false, "total": 2, "done": 1 }));
}

#[test]
fn a_lines_code_means_what_it_means_elsewhere() {
    let (available, requested) = (points("1"), points("2"));
    let shortage = FundsRefusal::InsufficientPoints { available, requested };
    for (line, api) in [
        (LineRefusal::Invalid("x".to_owned()), ApiError::InvalidRequest("x".to_owned())),
        (LineRefusal::AccountNotFound, ApiError::AccountNotFound),
        (
            LineRefusal::ReferenceConflict(vec!["amount", "reason"]),
            ApiError::ReferenceConflict(vec!["amount", "reason"]),
        ),
        (shortage.clone().into(), shortage.into()),
        (FundsRefusal::BalanceTooLarge.into(), FundsRefusal::BalanceTooLarge.into()),
        (FundsRefusal::ZeroAmount.into(), FundsRefusal::ZeroAmount.into()),
        (
            FundsRefusal::from(BucketRefusal::Expired).into(),
            FundsRefusal::from(BucketRefusal::Expired).into(),
        ),
        (
            FundsRefusal::from(BucketRefusal::TooMany).into(),
            FundsRefusal::from(BucketRefusal::TooMany).into(),
        ),
        (LineRefusal::KeyReused, Refusal::KeyReused.into()),
    ] {
        assert_eq!(line.code(), api.code());
        let has_own_words = matches!(line, LineRefusal::KeyReused | LineRefusal::Funds(_));
        assert!(has_own_words || line.to_string() == api.to_string());
    }
}

#[tokio::test]
async fn a_claim_that_nobody_gave_back_ends_by_itself() {
    let house = House::new().await;
    let body = json!({ "createAccounts": true, "lines": [line("ann", "1", "a")] });
    let first = house.batch("k", &body).await;
    // As if the process had died before it recorded anything.
    let mut superuser = PgConnection::connect(&house.db.superuser_url).await.unwrap();
    let forget = "DELETE FROM credit_batch_lines;
        UPDATE credit_batches SET claimed_until = clock_timestamp() + interval '1 hour'";
    sqlx::raw_sql(forget).execute(&mut superuser).await.unwrap();
    let told = house.batch("k", &body).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text);
    assert_eq!(told.json(), json!({ "complete": false, "total": 1, "done": 0 }));
    let end = "UPDATE credit_batches SET claimed_until = clock_timestamp()";
    sqlx::raw_sql(end).execute(&mut superuser).await.unwrap();
    let whole = house.batch("k", &body).await;
    assert_eq!((first.status, whole.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(statuses(&whole), ["replayed"]);
    assert_eq!(house.available("ann").await, "1");
    let nothing = house.ask(Method::POST, PATH, Some("k"), Body::empty()).await;
    nothing.assert_problem(400, "malformed_json", "an empty body");
}
