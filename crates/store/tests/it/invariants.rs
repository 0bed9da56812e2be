//! The books, recomputed from rows by rules written apart from the store and the domain, and proof
//! that each rule sees a row that breaks it.

use std::collections::HashMap;

use devstack::postgres::TestDatabase;
use sha2::{Digest, Sha256};
use sqlx::types::Uuid;
use sqlx::types::time::OffsetDateTime;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};

use crate::Company;
use crate::buckets::FAR;
use crate::chain::{Chain, landing};

/// Fails with every row that breaks a rule of the books.
pub(crate) async fn hold(db: &TestDatabase) {
    let mut superuser = PgConnection::connect(&db.superuser_url).await.unwrap();
    let broken = violations(&mut superuser).await;
    assert!(broken.is_empty(), "{broken:#?}");
}

pub(crate) async fn violations(connection: &mut PgConnection) -> Vec<String> {
    let mut broken = Vec::new();
    for (rule, sql) in RULES {
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        broken.extend(rows.into_iter().map(|row| format!("{rule}: {row}")));
    }
    broken.extend(journals(connection).await);
    broken
}

/// Each statement answers the rows that break its rule.
const RULES: [(&str, &str); 13] = [
    (
        "a balance equals the sum of its entries",
        "SELECT a.account_id::text || ' ' || c.name FROM accounts a
        CROSS JOIN LATERAL (VALUES ('available', a.available_micropoints, 1),
            ('reserved', a.reserved_micropoints, 1), ('spent', a.spent_micropoints, 1),
            ('debt', a.debt_micropoints, -1)) AS c (name, balance, sign)
        WHERE c.balance <> c.sign * (SELECT coalesce(sum(CASE
                WHEN e.to_column = c.name THEN e.amount_micropoints
                WHEN e.from_column = c.name THEN -e.amount_micropoints ELSE 0 END), 0)
            FROM entries e
            WHERE (e.tenant_id, e.account_id) = (a.tenant_id, a.account_id))",
    ),
    (
        "reserved equals what open and provisional reservations hold",
        "SELECT a.account_id::text FROM accounts a
        WHERE a.reserved_micropoints <> (SELECT coalesce(sum(CASE
                WHEN r.state = 'open' THEN r.reserved_micropoints
                WHEN r.state = 'settled_provisional' AND r.settled_before = 'open'
                    THEN r.reserved_micropoints - r.from_reserved_micropoints
                ELSE 0 END), 0)
            FROM every_reservation r
            WHERE (r.tenant_id, r.account_id) = (a.tenant_id, a.account_id))",
    ),
    (
        "spent equals what settled reservations cost",
        "SELECT a.account_id::text FROM accounts a
        WHERE a.spent_micropoints <> (SELECT coalesce(sum(coalesce(r.settled_micropoints, 0)
                + coalesce(r.from_reserved_micropoints + r.from_available_micropoints
                    + r.from_debt_micropoints, 0)), 0)
            FROM every_reservation r
            WHERE (r.tenant_id, r.account_id) = (a.tenant_id, a.account_id)
                AND r.state IN ('settled_provisional', 'settled_final'))",
    ),
    (
        "nothing is negative",
        "SELECT account_id::text FROM accounts WHERE least(available_micropoints,
            reserved_micropoints, spent_micropoints, debt_micropoints) < 0
        UNION ALL
        SELECT account_id::text || ' entry ' || seq FROM entries
        WHERE least(available_after_micropoints, reserved_after_micropoints,
            spent_after_micropoints, debt_after_micropoints) < 0",
    ),
    (
        "a reservation has the shape of its kind and state",
        "SELECT reservation_id::text FROM every_reservation WHERE is_misshapen",
    ),
    (
        "a slot has one attempt after another",
        "SELECT min(account_id::text) || ' nonce ' || encode(nonce, 'hex') FROM every_reservation
        WHERE kind = 'sponsorship'
        GROUP BY tenant_id, account_id, chain_id, entry_point, sender, nonce
        HAVING count(*) FILTER (WHERE state <> 'released') > 1 OR max(attempt) <> count(*)",
    ),
    (
        "a reservation holds its dearest grant until its last one ends",
        "SELECT r.reservation_id::text FROM reservations r
        WHERE r.kind = 'sponsorship' AND (r.reserved_micropoints::bigint, r.last_valid_until)
            IS DISTINCT FROM (SELECT (max(g.max_cost_micropoints), max(g.valid_until))
                FROM grants g WHERE (g.tenant_id, g.account_id, g.reservation_id)
                    = (r.tenant_id, r.account_id, r.reservation_id))",
    ),
    (
        "an account's events have no gap",
        "SELECT a.account_id::text FROM accounts a
        WHERE (a.event_seq, a.event_seq) IS DISTINCT FROM
            (SELECT (count(*), coalesce(max(o.event_seq), 0)) FROM outbox o
            WHERE (o.tenant_id, o.account_id) = (a.tenant_id, a.account_id))",
    ),
    (
        "a settlement is the charge of an ingested event",
        "SELECT r.reservation_id::text FROM every_reservation r
        WHERE r.kind = 'sponsorship' AND r.state IN ('settled_provisional', 'settled_final')
            AND NOT EXISTS (SELECT FROM chain_events e
                WHERE (e.chain_id, e.block_hash, e.log_index, e.visit) = (r.chain_id,
                    r.settled_block_hash, r.settled_log_index, r.settled_visit)
                AND (e.entry_point, e.sender, e.nonce) = (r.entry_point, r.sender, r.nonce)
                AND e.actual_gas_cost_wei = r.settled_gas_cost_wei
                AND ceil(e.actual_gas_cost_wei * r.micropoints_per_e18_wei
                        * (10000 + r.markup_bps) / 1e22)
                    = r.from_reserved_micropoints + r.from_available_micropoints
                        + r.from_debt_micropoints)",
    ),
    (
        "a lot holds the sum of its entries",
        "SELECT coalesce(b.account_id, e.account_id)::text || ' ' || coalesce(b.bucket, e.bucket)
        FROM buckets b
        FULL JOIN (SELECT tenant_id, account_id, bucket, bucket_expires_at,
                sum(CASE WHEN to_column = 'available' THEN amount_micropoints
                    WHEN from_column = 'available' THEN -amount_micropoints ELSE 0 END) AS held
            FROM entries WHERE bucket IS NOT NULL GROUP BY 1, 2, 3, 4) e
        ON (e.tenant_id, e.account_id, e.bucket) = (b.tenant_id, b.account_id, b.bucket)
            AND coalesce(e.bucket_expires_at, 'infinity') = coalesce(b.expires_at, 'infinity')
        WHERE coalesce(b.available_micropoints, 0) <> coalesce(e.held, 0)
            OR b.lot IS NULL OR e.bucket IS NULL",
    ),
    (
        "lots are numbered and hold no more than is available",
        "SELECT a.account_id::text FROM accounts a
        CROSS JOIN LATERAL (SELECT count(*) AS lots, coalesce(max(b.lot), 0) AS last,
                coalesce(sum(b.available_micropoints), 0) AS held
            FROM buckets b WHERE (b.tenant_id, b.account_id) = (a.tenant_id, a.account_id)) b
        WHERE (a.lot_seq, a.lot_seq) <> (b.lots, b.last) OR b.held > a.available_micropoints",
    ),
    (
        "a leg is what its entries moved",
        "SELECT coalesce(l.reservation_id, e.reservation_id)::text FROM
        (SELECT l.*, b.bucket, coalesce(b.expires_at, 'infinity') AS expires_at
            FROM reservation_legs l JOIN buckets b USING (tenant_id, account_id, lot)) l
        FULL JOIN (SELECT reservation_id, bucket, coalesce(bucket_expires_at, 'infinity') AS expires_at,
                sum(CASE WHEN (from_column, to_column) = ('available', 'reserved')
                    THEN amount_micropoints ELSE 0 END) AS reserved,
                sum(CASE WHEN (from_column, to_column) = ('reserved', 'spent') THEN amount_micropoints
                    WHEN (from_column, to_column) = ('spent', 'reserved') THEN -amount_micropoints
                    ELSE 0 END) AS settled
            FROM entries WHERE bucket IS NOT NULL AND reservation_id IS NOT NULL
            GROUP BY 1, 2, 3) e USING (reservation_id, bucket, expires_at)
        WHERE (coalesce(l.reserved_micropoints, 0), coalesce(l.settled_micropoints, 0))
            <> (coalesce(e.reserved, 0), coalesce(e.settled, 0))",
    ),
    (
        "legs hold and have spent no more than their reservation",
        "SELECT r.reservation_id::text FROM reservations r
        JOIN LATERAL (SELECT sum(reserved_micropoints - settled_micropoints
                    - returned_micropoints) AS held, sum(settled_micropoints) AS settled,
                sum(taken_micropoints) AS taken
            FROM reservation_legs l WHERE (l.tenant_id, l.account_id, l.reservation_id)
                = (r.tenant_id, r.account_id, r.reservation_id)) l ON true
        WHERE l.held > CASE WHEN r.state = 'open' THEN r.reserved_micropoints
                WHEN r.state = 'settled_provisional' AND r.settled_before = 'open'
                    THEN r.reserved_micropoints - r.from_reserved_micropoints ELSE 0 END
            OR l.settled > CASE WHEN r.state LIKE 'settled%'
                THEN coalesce(r.settled_micropoints, r.from_reserved_micropoints) ELSE 0 END
            OR l.taken > CASE WHEN r.state LIKE 'settled%'
                THEN coalesce(r.from_available_micropoints, 0) ELSE 0 END",
    ),
];

#[derive(FromRow)]
struct Head {
    tenant_id: Uuid,
    account_id: Uuid,
    entry_seq: i64,
    entry_hash: Vec<u8>,
}

#[derive(FromRow)]
struct Line {
    seq: i64,
    kind: String,
    from_column: String,
    to_column: String,
    amount_micropoints: i64,
    available_after_micropoints: i64,
    reserved_after_micropoints: i64,
    spent_after_micropoints: i64,
    debt_after_micropoints: i64,
    reservation_id: Option<Uuid>,
    reference: Option<String>,
    bucket: Option<String>,
    bucket_expires_at: Option<OffsetDateTime>,
    incarnation: i32,
    recorded_at: OffsetDateTime,
    entry_hash: Vec<u8>,
}

/// Walks every journal from its first line: sequence, balances after, time and hash chain.
async fn journals(connection: &mut PgConnection) -> Vec<String> {
    let heads: Vec<Head> =
        sqlx::query_as("SELECT tenant_id, account_id, entry_seq, entry_hash FROM accounts")
            .fetch_all(&mut *connection)
            .await
            .unwrap();
    let mut broken = Vec::new();
    for head in heads {
        let lines: Vec<Line> = sqlx::query_as(
            "SELECT * FROM entries WHERE tenant_id = $1 AND account_id = $2 ORDER BY seq",
        )
        .bind(head.tenant_id)
        .bind(head.account_id)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        let account = head.account_id;
        broken.extend(walk(&head, &lines).map(|what| format!("journal of {account}: {what}")));
    }
    broken
}

/// The first thing wrong with a journal.
fn walk(head: &Head, lines: &[Line]) -> Option<String> {
    let mut balances: HashMap<&str, i64> = HashMap::new();
    let genesis =
        [b"stipend journal 1", &head.tenant_id.as_bytes()[..], head.account_id.as_bytes()];
    let mut hash = Sha256::digest(genesis.concat()).to_vec();
    let mut time = OffsetDateTime::UNIX_EPOCH;
    for (line, seq) in lines.iter().zip(1..) {
        if line.seq != seq {
            return Some(format!("a gap before entry {}", line.seq));
        }
        *balances.entry(&line.from_column).or_default() -= line.amount_micropoints;
        *balances.entry(&line.to_column).or_default() += line.amount_micropoints;
        let balance = |column: &str| balances.get(column).copied().unwrap_or(0);
        let after = [
            line.available_after_micropoints,
            line.reserved_after_micropoints,
            line.spent_after_micropoints,
            line.debt_after_micropoints,
        ];
        if after != [balance("available"), balance("reserved"), balance("spent"), -balance("debt")]
        {
            return Some(format!("wrong balances after entry {seq}"));
        }
        if line.recorded_at < time {
            return Some(format!("entry {seq} is older than the one before"));
        }
        time = line.recorded_at;
        hash = line_hash(&hash, line);
        if line.entry_hash != hash {
            return Some(format!("the hash chain breaks at entry {seq}"));
        }
    }
    let last = lines.last().map_or(0, |line| line.seq);
    (head.entry_seq != last || head.entry_hash != hash).then(|| "the head is elsewhere".to_owned())
}

fn line_hash(previous: &[u8], line: &Line) -> Vec<u8> {
    let mut text = previous.to_vec();
    text.extend(line.incarnation.to_be_bytes());
    text.extend(line.seq.to_be_bytes());
    for name in [&line.kind, &line.from_column, &line.to_column] {
        text.extend(with_length(name));
    }
    for number in [
        line.amount_micropoints,
        line.available_after_micropoints,
        line.reserved_after_micropoints,
        line.spent_after_micropoints,
        line.debt_after_micropoints,
    ] {
        text.extend(number.to_be_bytes());
    }
    match line.reservation_id {
        Some(id) => text.extend([&[1], &id.as_bytes()[..]].concat()),
        None => text.push(0),
    }
    match &line.reference {
        Some(reference) => text.extend([vec![1], with_length(reference)].concat()),
        None => text.push(0),
    }
    match (&line.bucket, line.bucket_expires_at) {
        (None, _) => text.push(0),
        (Some(bucket), None) => text.extend([vec![1], with_length(bucket), vec![0]].concat()),
        (Some(bucket), Some(at)) => {
            text.extend([vec![1], with_length(bucket), vec![1], microseconds(at)].concat());
        }
    }
    text.extend(microseconds(line.recorded_at));
    Sha256::digest(&text).to_vec()
}

fn microseconds(time: OffsetDateTime) -> Vec<u8> {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap().to_be_bytes().to_vec()
}

fn with_length(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Books with a reservation in every state, so that every rule has rows to look at.
async fn lively_books() -> Company {
    let company = Company::new().await;
    company.month(2001, 1).await;
    let ann = company.user("ann", 1_000).await;
    ann.tries("kept", 50).await;
    ann.tries("spent", 50).await;
    ann.confirms("spent", 20).await;
    ann.operation(1, 100).granted().await;
    ann.operation(2, 100).granted().await;
    ann.operation(2, 120).granted().await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 2, 70)]).await;
    let bob = company.user("bob", 10).await;
    bob.credit_to("gift", None, 30).await;
    bob.credit_to("gift", Some(FAR), 30).await;
    bob.tries("bobs", 50).await;
    bob.confirms("bobs", 35).await;
    bob.tries("open", 25).await;
    chain.apply().await;
    company
}

#[tokio::test]
async fn each_rule_of_the_books_sees_the_row_that_breaks_it() {
    let company = lively_books().await;
    let mut superuser = company.superuser().await;
    assert_eq!(violations(&mut superuser).await, Vec::<String>::new());
    let breakages = [
        (
            "a balance equals",
            "UPDATE accounts SET available_micropoints = available_micropoints + 1",
        ),
        ("reserved equals", "UPDATE reservations SET state = 'released' WHERE biz_id = 'kept'"),
        ("spent equals", "UPDATE reservations SET settled_micropoints = 21 WHERE biz_id = 'spent'"),
        (
            "nothing is negative",
            "ALTER DOMAIN micropoints DROP CONSTRAINT micropoints_not_negative;
            UPDATE accounts SET debt_micropoints = -1",
        ),
        ("a reservation has", "UPDATE reservations SET price_block = NULL WHERE nonce IS NOT NULL"),
        (
            "a reservation has",
            "UPDATE reservations SET settled_block_hash = '' WHERE settled_block_hash IS NOT NULL",
        ),
        (
            "a reservation has",
            "UPDATE reservations SET requested_micropoints = NULL WHERE biz_id = 'kept'",
        ),
        ("a slot has one", "UPDATE reservations SET attempt = 2 WHERE nonce IS NOT NULL"),
        ("its dearest grant", "DELETE FROM grants WHERE grant_no = 2"),
        ("events have no gap", "DELETE FROM outbox WHERE event_seq = 2"),
        ("the charge of", "UPDATE chain_events SET actual_gas_cost_wei = 71"),
        ("a lot holds", "UPDATE buckets SET available_micropoints = 9 WHERE lot = 1"),
        ("a lot holds", "UPDATE buckets SET bucket = 'other' WHERE lot = 2"),
        ("lots are numbered", "UPDATE accounts SET lot_seq = lot_seq + 1"),
        ("lots are numbered", "UPDATE buckets SET available_micropoints = 99 WHERE lot = 2"),
        ("a leg is what", "UPDATE reservation_legs SET reserved_micropoints = 90"),
        ("a leg is what", "DELETE FROM reservation_legs"),
        ("no more than their", "UPDATE reservation_legs SET returned_micropoints = 0"),
        ("no more than their", "UPDATE reservation_legs SET taken_micropoints = 1"),
        ("the hash chain breaks", "UPDATE entries SET bucket = 'other' WHERE bucket = 'gift'"),
        (
            "the hash chain breaks",
            "UPDATE entries SET bucket_expires_at = '2101-01-01' WHERE bucket = 'gift'",
        ),
        ("a gap before entry 2", "DELETE FROM movements; DELETE FROM entries WHERE seq = 1"),
        ("wrong balances after", "UPDATE entries SET spent_after_micropoints = 5 WHERE seq = 2"),
        ("older than", "UPDATE entries SET recorded_at = '2001-01-01' WHERE seq = 2"),
        ("the hash chain breaks", "UPDATE entries SET kind = 'undo' WHERE seq = 2"),
        ("the hash chain breaks", "UPDATE entries SET reference = 'other' WHERE seq = 1"),
        ("the hash chain breaks", "UPDATE entries SET incarnation = 2 WHERE seq = 3"),
        ("the head is elsewhere", "UPDATE accounts SET entry_seq = entry_seq + 1"),
    ];
    for (rule, breakage) in breakages {
        sqlx::raw_sql("BEGIN").execute(&mut superuser).await.unwrap();
        sqlx::raw_sql(breakage).execute(&mut superuser).await.unwrap();
        let broken = violations(&mut superuser).await;
        assert!(broken.iter().any(|found| found.contains(rule)), "{rule}: {broken:#?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut superuser).await.unwrap();
    }
    company.finish().await;
}
