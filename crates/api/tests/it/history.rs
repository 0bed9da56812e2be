//! Facts about the past: balances as of a time, statements, and the journal's anchors.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use domain::ledger::Balances;
use domain::ledger::buckets::Lot;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, TenantId};
use serde_json::{Value, json};
use service::Service;
use service::anchor::{self, Anchoring};
use store::Store;
use store::journal::{EntryLine, PastHead};
use store::statements::{Format, PartSource, Period, Span, Statement};
use store::verify::Scope;
use tempfile::TempDir;
use uuid::Uuid;

use crate::house::{House, NEIGHBOUR, points};

/// As if everything so far had been recorded some days ago.
async fn move_past(house: &House, days: i32) {
    for table in ["entries", "accounts"] {
        let sql = format!("UPDATE {table} SET recorded_at = recorded_at - interval '{days} days'");
        house.sql(&sql).await;
    }
}

/// So many lines more, in the account's chain, as SQL makes them: one point is credited by each, two
/// days ago.
async fn many_lines(house: &House, name: &str, lines: u32) {
    let sql = format!(
        "DO $$
        DECLARE
            a accounts;
            hash bytea;
            balance bigint;
            at timestamptz := clock_timestamp() - interval '2 days';
            reference bytea;
        BEGIN
            SELECT accounts.* INTO STRICT a FROM accounts
                JOIN account_names USING (tenant_id, account_id) WHERE external_id = '{name}';
            hash := a.entry_hash;
            balance := a.available_micropoints;
            FOR seq IN a.entry_seq + 1 .. a.entry_seq + {lines} LOOP
                balance := balance + 1000000;
                at := at + interval '1 us';
                reference := convert_to('line ' || seq, 'UTF8');
                hash := sha256(hash || int4send(1) || int8send(seq)
                    || int4send(6) || 'credit' || int4send(6) || 'issued'
                    || int4send(9) || 'available' || int8send(1000000)
                    || int8send(balance) || int8send(0) || int8send(0) || int8send(0)
                    || '\\x00' || '\\x01' || int4send(octet_length(reference)) || reference || '\\x00'
                    || int8send((extract(epoch FROM at) * 1000000)::bigint));
                INSERT INTO entries VALUES (a.tenant_id, a.account_id, seq, 'credit', 'issued',
                    'available', 1000000, balance, 0, 0, 0, NULL, 'line ' || seq, 1, at, hash);
            END LOOP;
            UPDATE accounts SET available_micropoints = balance, entry_hash = hash,
                entry_seq = a.entry_seq + {lines}, recorded_at = at
            WHERE tenant_id = a.tenant_id AND account_id = a.account_id;
        END $$"
    );
    house.sql(&sql).await;
}

/// All of time, until a day ago.
fn ever(format: &str) -> Value {
    json!({
        "externalId": "ann", "from": "2000-01-01T00:00:00Z", "until": yesterday(), "format": format
    })
}

fn yesterday() -> String {
    let now = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    format!("{}T{:02}:{:02}:{:02}Z", now.date(), now.hour(), now.minute(), now.second())
}

fn short(format: &str) -> String {
    format!(
        "/v1/accounts/ann/statements?from=2000-01-01T00:00:00Z&until={}&format={format}",
        yesterday()
    )
}

async fn books_agree(house: &House) {
    let mut verification = house.service.store().verification(Scope::default());
    while let Some(found) = verification.step(&|_| {}).await.unwrap() {
        assert_eq!(found, []);
    }
}

#[tokio::test]
async fn a_past_balance_is_that_after_the_last_entry_by_then() {
    let house = House::new().await;
    house.user("ann", "12.5").await;
    let now = house.get("/v1/accounts/ann/entries?asOf=2999-01-01T00:00:00Z").await;
    now.assert_problem(409, "not_yet_closed", "a time that lies ahead");
    assert!(now.header("retry-after").is_some());
    move_past(&house, 2).await;
    let debit = json!({ "amount": "2", "reason": "later", "reference": "later" });
    house.post("/v1/accounts/ann/debits", "later", &debit).await;
    let past = house.get(&format!("/v1/accounts/ann/entries?asOf={}", yesterday())).await;
    assert_eq!(past.status, StatusCode::OK, "{}", past.text);
    let body = past.json();
    assert_eq!((&body["available"], &body["entrySeq"]), (&json!("12.5"), &json!(1)));
    assert!(body["recordedAt"].is_string() && body["asOf"].is_string());
    let before = house.get("/v1/accounts/ann/entries?asOf=2000-01-01T00:00:00Z").await.json();
    assert_eq!((&before["available"], &before["entrySeq"]), (&json!("0"), &json!(0)));
    assert_eq!(before["recordedAt"], Value::Null);
    for (query, what) in [
        ("asOf=yesterday", "no time"),
        ("asOf=2000-01-01T00:00:00Z&limit=5", "a limit"),
        ("asOf=2000-01-01T00:00:00Z&cursor=00", "a cursor"),
    ] {
        let reply = house.get(&format!("/v1/accounts/ann/entries?{query}")).await;
        reply.assert_problem(400, "invalid_request", what);
    }
}

#[tokio::test]
async fn a_short_statement_adds_up_in_both_forms() {
    let house = House::new().await;
    house.user("ann", "12.5").await;
    for (reference, amount) in [("=1+1", "1"), ("with, \"quotes\"", "0.000001"), (" @cmd", "2")] {
        let debit = json!({ "amount": amount, "reason": "test", "reference": reference });
        let reply = house.post("/v1/accounts/ann/debits", reference.trim(), &debit).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    }
    move_past(&house, 2).await;
    let reply = house.get(&short("json")).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["externalId"], "ann");
    assert_eq!((&body["opening"]["seq"], &body["opening"]["available"]), (&json!(0), &json!("0")));
    let lines = body["lines"].as_array().unwrap();
    let entries = house.get("/v1/accounts/ann/entries").await.json();
    let mut entries = entries["entries"].as_array().unwrap().clone();
    entries.reverse();
    assert_eq!(*lines, entries, "the lines are the entries, oldest first");
    assert_eq!(
        (&body["closing"]["seq"], &body["closing"]["available"]),
        (&json!(4), &json!("9.499999"))
    );
    let reply = house.get(&short("csv")).await;
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
    let rows: Vec<_> = csv::Reader::from_reader(reply.text.as_bytes())
        .into_records()
        .map(Result::unwrap)
        .collect();
    let column = |index: usize| rows.iter().map(|row| row[index].to_owned()).collect::<Vec<_>>();
    assert_eq!(column(2), ["opening", "credit", "debit", "debit", "debit", "closing"]);
    assert_eq!(column(6), ["0", "12.5", "11.5", "11.499999", "9.499999", "9.499999"]);
    // What a spreadsheet would carry out is text.
    assert_eq!(column(11), ["", "opening", "'=1+1", "with, \"quotes\"", "' @cmd", ""]);
}

#[tokio::test]
async fn an_empty_period_has_its_balances_and_no_lines() {
    let house = House::new().await;
    house.user("ann", "12.5").await;
    move_past(&house, 9).await;
    let path = "/v1/accounts/ann/statements?from=2000-01-01T00:00:00Z&until=2000-02-01T00:00:00Z";
    let body = house.get(&format!("{path}&format=json")).await.json();
    assert_eq!((&body["lines"], &body["closing"]["available"]), (&json!([]), &json!("0")));
    let rows = house.get(&format!("{path}&format=csv")).await.text;
    assert_eq!(rows.lines().count(), 3, "{rows}");
}

#[tokio::test]
async fn a_statement_of_a_period_that_is_not_over_is_refused() {
    let house = House::new().await;
    house.user("ann", "12.5").await;
    let short =
        |from, until| format!("/v1/accounts/ann/statements?from={from}&until={until}&format=csv");
    let (past, ahead) = ("2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    house.get(&short(past, ahead)).await.assert_problem(409, "not_yet_closed", "ahead");
    house.get(&short(past, past)).await.assert_problem(400, "invalid_request", "no time at all");
    house.get(&short(past, "soon")).await.assert_problem(400, "invalid_request", "no time");
    let mut terms = ever("csv");
    terms["until"] = json!(ahead);
    let reply = house.post("/v1/statements", "-", &terms).await;
    reply.assert_problem(409, "not_yet_closed", "a job of what lies ahead");
    let mut terms = ever("pdf");
    house.post("/v1/statements", "-", &terms).await.assert_problem(400, "invalid_request", "pdf");
    terms = ever("csv");
    terms["externalId"] = json!("nobody");
    house.post("/v1/statements", "-", &terms).await.assert_problem(
        404,
        "account_not_found",
        "nobody",
    );
}

/// A worker in another process.
async fn another_worker(house: &House) -> Service {
    let store = Store::connect_lazy(house.runtime_url(), 4).unwrap();
    Service::new(store, Vec::new(), crate::house::settings())
}

#[tokio::test]
async fn a_long_statement_is_written_in_parts_and_goes_on_after_a_crash() {
    let house = House::new().await;
    house.put("/v1/accounts/ann").await;
    many_lines(&house, "ann", 12_000).await;
    books_agree(&house).await;
    house.get(&short("csv")).await.assert_problem(422, "statement_too_long", "12 000 lines");
    let terms = ever("csv");
    let asked = house.post("/v1/statements", "-", &terms).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
    let again = house.post("/v1/statements", "-", &terms).await.json();
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(again["id"], json!(id), "the same statement is the same job");
    let path = format!("/v1/statements/{id}");
    let content = format!("{path}/content");
    house.get(&content).await.assert_problem(409, "statement_not_ready", "nothing is written");
    // The first worker writes a part, and dies while it writes the next.
    assert!(house.service.statement_pass().await.unwrap());
    let store = house.service.store().clone();
    let killed = tokio::spawn(async move {
        store.write_statement_part(|_| panic!("the worker dies here")).await
    });
    assert!(killed.await.unwrap_err().is_panic());
    let progress = house.get(&path).await.json();
    assert_eq!((&progress["state"], &progress["linesDone"]), (&json!("running"), &json!(5_000)));
    assert_eq!(progress["linesTotal"], 12_000);
    let other = another_worker(&house).await;
    let (here, there) = tokio::join!(house.service.statement_pass(), other.statement_pass());
    assert!(here.unwrap() | there.unwrap());
    while other.statement_pass().await.unwrap() {}
    let progress = house.get(&path).await.json();
    assert_eq!((&progress["state"], &progress["linesDone"]), (&json!("done"), &json!(12_000)));
    assert!(progress["finishedAt"].is_string());
    let reply = house.get(&content).await;
    assert_eq!(reply.status, StatusCode::OK);
    let rows: Vec<_> = csv::Reader::from_reader(reply.text.as_bytes())
        .into_records()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 12_002);
    for (row, seq) in rows[1..12_001].iter().zip(1..) {
        assert_eq!(row[0], seq.to_string());
    }
    assert_eq!((&rows[12_001][2], &rows[12_001][6]), ("closing", "12000"));
    // It is nobody else's.
    let request =
        axum::http::Request::get(&path).header("authorization", format!("Bearer {NEIGHBOUR}"));
    let theirs = house.send(request.body(axum::body::Body::empty()).unwrap()).await;
    theirs.assert_problem(404, "statement_not_found", "another company's");
    let json = house.post("/v1/statements", "-", &ever("json")).await.json();
    while other.statement_pass().await.unwrap() {}
    let content = format!("/v1/statements/{}/content", json["id"].as_str().unwrap());
    let body = house.get(&content).await.json();
    assert_eq!(body["lines"].as_array().unwrap().len(), 12_000);
    assert_eq!(body["lines"][11_999]["available"], body["closing"]["available"]);
}

/// Two lines after an opening balance of ten points.
fn two_lines() -> (Statement, Vec<EntryLine>, PastHead, PastHead) {
    let head = |seq, available: &str| PastHead {
        seq,
        hash: [0; 32].into(),
        balances: Balances { available: points(available), ..Balances::default() },
        recorded_at: None,
    };
    let line = |seq, available: &str| EntryLine {
        seq,
        kind: "credit".to_owned(),
        from: "issued".to_owned(),
        to: "available".to_owned(),
        amount: points("1"),
        balances: head(seq, available).balances,
        reservation: None,
        reference: None,
        lot: None,
        recorded_at: DbTime(seq),
    };
    let (opening, closing) = (head(7, "10"), head(9, "12"));
    let owner = (TenantId(Uuid::nil()), AccountId(Uuid::nil()));
    let period = Period { from: DbTime(0), until: DbTime(10) };
    let statement = Statement::unsaved(owner, period, Format::Csv, &Span { opening, closing });
    (statement, vec![line(8, "11"), line(9, "12")], opening, closing)
}

#[test]
fn a_statement_says_which_points_a_line_is_of() {
    let (statement, mut lines, opening, closing) = two_lines();
    let gift = |at| Lot { bucket: "gift".parse().unwrap(), expires_at: at };
    lines[0].lot = Some(gift(Some(DbTime(4_102_444_800_000_000))));
    let written = |format| {
        let statement = Statement { format, ..statement };
        let (before, closing) = (opening.balances, closing.balances);
        let (statement, lines) = (&statement, &lines[..]);
        let source = PartSource { statement, external_id: None, before, lines, closing };
        String::from_utf8(service::statement::render(&source).unwrap()).unwrap()
    };
    let csv = written(Format::Csv);
    let ends: Vec<_> = csv.lines().map(|line| line.rsplitn(3, ',').collect::<Vec<_>>()).collect();
    assert_eq!(ends[0][..2], ["expiresAt", "bucket"], "{csv}");
    assert_eq!(ends[2][..2], ["2100-01-01T00:00:00Z", "gift"], "{csv}");
    assert_eq!((&ends[1][..2], &ends[3][..2]), (&["", ""][..], &["", ""][..]), "{csv}");
    let json: Value = serde_json::from_str(&written(Format::Json)).unwrap();
    let said = &json["lines"];
    assert_eq!((&said[0]["bucket"], &said[1]["bucket"]), (&json!("gift"), &Value::Null));
    assert_eq!(said[0]["expiresAt"], "2100-01-01T00:00:00Z");
}

#[test]
fn a_part_that_does_not_add_up_is_not_written() {
    let (statement, lines, opening, closing) = two_lines();
    let is_written = |lines: &[EntryLine], closing: &PastHead| {
        let (before, closing) = (opening.balances, closing.balances);
        let statement = &statement;
        let source = PartSource { statement, external_id: None, before, lines, closing };
        service::statement::render(&source).is_some()
    };
    assert!(is_written(&lines, &closing));
    assert!(is_written(&lines[..1], &closing), "more is to come");
    assert!(!is_written(&[], &closing), "no line, though more are to come");
    assert!(!is_written(&lines[1..], &closing), "a line is missing");
    assert!(!is_written(&lines, &opening), "it ends elsewhere");
    let changes: [fn(&mut EntryLine); 4] = [
        |line| line.amount = points("2"),
        |line| line.balances.spent = points("2"),
        |line| line.to = "mine".to_owned(),
        |line| line.seq = 7,
    ];
    for change in changes {
        let mut changed = lines.clone();
        change(&mut changed[0]);
        assert!(!is_written(&changed, &closing), "{:?}", changed[0]);
    }
}

#[tokio::test]
async fn a_statement_of_lines_that_do_not_add_up_fails_and_holds_up_no_other() {
    let house = House::new().await;
    house.user("ann", "1").await;
    house.put("/v1/accounts/bob").await;
    credit(&house, "bob", "first").await;
    move_past(&house, 2).await;
    for (wrong, format) in [("5", "csv"), ("-1", "json")] {
        let set = format!(
            "UPDATE entries e SET available_after_micropoints = {wrong} FROM account_names n
            WHERE n.account_id = e.account_id AND n.external_id = 'ann'"
        );
        house.sql(&set).await;
        let bad = house.post("/v1/statements", "-", &ever(format)).await;
        if bad.status == StatusCode::INTERNAL_SERVER_ERROR {
            continue;
        }
        let mut terms = ever(format);
        terms["externalId"] = json!("bob");
        let good = house.post("/v1/statements", "-", &terms).await.json();
        while house.service.statement_pass().await.unwrap() {}
        let content = |of: &Value| format!("/v1/statements/{}/content", of["id"].as_str().unwrap());
        let reply = house.get(&content(&bad.json())).await;
        reply.assert_problem(500, "statement_failed", "it does not add up");
        assert_eq!(house.get(&content(&good)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_old_statement_is_removed_and_can_be_had_again() {
    let house = House::new().await;
    house.user("ann", "1").await;
    move_past(&house, 2).await;
    let first = house.post("/v1/statements", "-", &ever("csv")).await.json();
    while house.service.statement_pass().await.unwrap() {}
    house.sql("UPDATE statements SET finished_at = finished_at - interval '8 days'").await;
    assert!(house.service.statement_pass().await.unwrap(), "something is removed");
    assert!(!house.service.statement_pass().await.unwrap());
    let path = format!("/v1/statements/{}", first["id"].as_str().unwrap());
    house.get(&path).await.assert_problem(404, "statement_not_found", "it is gone");
    let again = house.post("/v1/statements", "-", &ever("csv")).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
}

async fn anchor(service: &Service) {
    let mut anchoring = Anchoring::default();
    while service.anchor_pass(&mut anchoring).await.unwrap() {}
}

async fn wrong(house: &House, file: &Path) -> Vec<String> {
    let records = anchor::read_file(file).unwrap();
    anchor::check(house.service.store(), &records, |_| {}).await.unwrap().wrong
}

#[tokio::test]
async fn a_day_is_anchored_once_by_several_workers_and_stands_in_each_ones_file() {
    let house = House::new().await;
    house.user("ann", "1").await;
    move_past(&house, 3).await;
    many_lines(&house, "ann", 20).await;
    house.put("/v1/accounts/nobody").await;
    let other = another_worker(&house).await;
    tokio::join!(anchor(&house.service), anchor(&other));
    let folder = TempDir::new().unwrap();
    let [mine, theirs] = ["mine", "theirs"].map(|name| folder.path().join(name));
    // One of them died before it wrote its file.
    assert_eq!(house.service.copy_anchors(&mine).await.unwrap(), 1);
    assert_eq!(house.service.copy_anchors(&mine).await.unwrap(), 0);
    assert_eq!(other.copy_anchors(&theirs).await.unwrap(), 1);
    let records = anchor::read_file(&mine).unwrap();
    assert_eq!(records, anchor::read_file(&theirs).unwrap());
    assert_eq!(house.rows().await["anchors"], 1);
    assert_eq!((records[0].accounts, records[0].entries), (1, 21), "no line, no leaf");
    assert_eq!(wrong(&house, &mine).await, Vec::<String>::new());
}

/// Moves the database's only anchor to an earlier day, so that today can be anchored too.
async fn as_of_days_ago(house: &House, days: i32) {
    house
        .sql(&format!(
            "UPDATE anchors SET day = day - {days} WHERE day = (SELECT max(day) FROM anchors)"
        ))
        .await;
}

async fn credit(house: &House, name: &str, reference: &str) {
    let credit = json!({ "amount": "1", "reason": "test", "reference": reference });
    let reply = house.post(&format!("/v1/accounts/{name}/credits"), reference, &credit).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
}

/// Two users anchored two days ago and today, in a file; the second wrote lines in between and since.
async fn anchored_twice(folder: &TempDir) -> (House, PathBuf, [String; 2]) {
    let house = House::new().await;
    house.user("ann", "5").await;
    house.put("/v1/accounts/bob").await;
    credit(&house, "bob", "first").await;
    move_past(&house, 5).await;
    anchor(&house.service).await;
    as_of_days_ago(&house, 2).await;
    many_lines(&house, "bob", 3).await;
    anchor(&house.service).await;
    let file = folder.path().join("anchors.jsonl");
    assert_eq!(house.service.copy_anchors(&file).await.unwrap(), 2);
    assert_eq!(wrong(&house, &file).await, Vec::<String>::new());
    credit(&house, "bob", "since").await;
    assert_eq!(wrong(&house, &file).await, Vec::<String>::new());
    let records = anchor::read_file(&file).unwrap();
    let counts = records.iter().map(|day| (day.accounts, day.entries));
    assert_eq!(counts.collect::<Vec<_>>(), [(2, 2), (2, 5)]);
    let days = [0, 1].map(|index: usize| records[index].day.clone());
    (house, file, days)
}

const KEPT: [&str; 3] = ["entries", "anchors", "movements"];

#[tokio::test]
async fn a_history_that_is_written_anew_is_found_by_its_first_day() {
    let folder = TempDir::new().unwrap();
    let (house, file, [first, second]) = anchored_twice(&folder).await;
    for (tampering, days) in [
        ("UPDATE entries SET entry_hash = sha256('x') WHERE OF BOB AND seq = 1", vec![&first]),
        ("UPDATE entries SET entry_hash = sha256('x') WHERE OF BOB AND seq = 4", vec![&second]),
        ("DELETE FROM entries WHERE OF BOB AND seq = 4", vec![&second]),
        ("DELETE FROM movements; DELETE FROM entries WHERE OF BOB", vec![&first, &second]),
        ("UPDATE anchors SET root = sha256('x') WHERE entry_count = 5", vec![&second]),
        ("DELETE FROM anchors WHERE entry_count = 2", vec![&first]),
    ] {
        for table in KEPT {
            house.sql(&format!("CREATE TABLE kept_{table} AS TABLE {table}")).await;
        }
        let of_bob = "account_id =
            (SELECT account_id FROM account_names WHERE external_id = 'bob')";
        house.sql(&tampering.replace("OF BOB", of_bob)).await;
        let found = wrong(&house, &file).await;
        assert_eq!(found.len(), days.len(), "{tampering}: {found:#?}");
        let is_named = found.iter().zip(&days).all(|(text, day)| text.starts_with(*day));
        assert!(is_named, "{tampering}: {found:#?}");
        house.sql("DELETE FROM movements; DELETE FROM entries; DELETE FROM anchors").await;
        for table in KEPT {
            let sql = format!("INSERT INTO {table} TABLE kept_{table}; DROP TABLE kept_{table}");
            house.sql(&sql).await;
        }
    }
    assert_eq!(wrong(&house, &file).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_lost_a_day_or_holds_something_else_is_told() {
    let house = House::new().await;
    house.user("ann", "5").await;
    move_past(&house, 9).await;
    for days in [4, 2] {
        anchor(&house.service).await;
        as_of_days_ago(&house, days).await;
    }
    anchor(&house.service).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("anchors.jsonl");
    assert_eq!(house.service.copy_anchors(&file).await.unwrap(), 3);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&file, format!("{}\n{}\n", lines[0], lines[2])).unwrap();
    let found = wrong(&house, &file).await;
    assert!(found.len() == 1 && found[0].ends_with("the file lacks this anchor"), "{found:?}");
    std::fs::write(&file, format!("{}\nrubbish\n", lines[0])).unwrap();
    let refusal = anchor::read_file(&file).unwrap_err().to_string();
    assert_eq!(refusal, "line 2 of the anchor file is no anchor");
}

#[tokio::test]
async fn a_hot_account_is_anchored_as_the_day_began() {
    let house = House::new().await;
    house.user("ann", "5").await;
    move_past(&house, 5).await;
    // Busy since midnight, and on its stroke.
    for round in 0..7 {
        credit(&house, "ann", &format!("{round}")).await;
    }
    house.put("/v1/accounts/bob").await;
    credit(&house, "bob", "first").await;
    let today = "UPDATE entries e SET recorded_at =
            CASE WHEN seq <= 2 THEN today ELSE greatest(recorded_at, today) END
        FROM date_trunc('day', clock_timestamp(), 'UTC') AS today, account_names n
        WHERE n.account_id = e.account_id AND (seq > 1 OR external_id = 'bob')";
    house.sql(today).await;
    anchor(&house.service).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("anchors.jsonl");
    house.service.copy_anchors(&file).await.unwrap();
    let records = anchor::read_file(&file).unwrap();
    assert_eq!((records[0].accounts, records[0].entries), (1, 1));
    assert_eq!(wrong(&house, &file).await, Vec::<String>::new());
}
